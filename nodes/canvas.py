"""The canvas and what is put on it. Each node takes a canvas and gives a new one; the one that came in stays as it was.

Units are those of the canvas: pixels, frames counted from 0, and seconds for sound.
"""

from typing import get_args

from comfy_api.latest import io

from ..canvas.canvas import Canvas
from ..canvas.document import MAX_FRAMES, MAX_SECONDS, MAX_SIDE, Action, Box, CanvasError, Fit, Role
from ..carriers.skyreels_v4 import FRAME_RATE
from .latent import size_inputs
from .types import canvas_input, canvas_output, frame_of, inputs_named, waveform_of


class SkyCanvasNew(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasNew",
            display_name="New Canvas",
            category="SkyCanvas/canvas",
            description="An empty canvas: so wide, so high, so long. Put pictures, clips, sounds, masks and references "
            "on it; the model makes all that is left open.",
            search_aliases=["create canvas", "empty canvas", "space-time canvas"],
            inputs=size_inputs(),
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, width, height, length, frame_rate) -> io.NodeOutput:
        with inputs_named(frames="length", fps="frame_rate"):
            return io.NodeOutput(Canvas.new(width, height, length, frame_rate))


# --- inputs that several nodes share


def coordinate(name: str, tooltip: str, **more) -> io.Int.Input:
    return io.Int.Input(name, default=0, min=-MAX_SIDE, max=MAX_SIDE, tooltip=tooltip, **more)


def side(name: str, tooltip: str, **more) -> io.Int.Input:
    return io.Int.Input(name, default=0, min=0, max=MAX_SIDE, tooltip=tooltip, **more)


def seconds(name: str, tooltip: str, **more) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=MAX_SECONDS, step=0.01, tooltip=tooltip, **more)


def frame_input() -> io.Int.Input:
    return io.Int.Input(
        "frame",
        default=0,
        min=-MAX_FRAMES,
        max=MAX_FRAMES,
        tooltip="The first frame of it, counted from 0. Negative counts from the end: -1 is the last frame.",
    )


def box_inputs(size: str) -> list[io.Input]:
    """size: what a width and height of 0 stand for."""
    return [
        coordinate("x", "Left edge on the canvas, in pixels. May lie outside."),
        coordinate("y", "Top edge on the canvas, in pixels. May lie outside."),
        side("width", f"Pixels. 0: {size}."),
        side("height", f"Pixels. 0: {size}."),
    ]


def placement_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "fit",
            options=list(get_args(Fit)),
            default="cover",
            tooltip="How it fills a box of other proportions. cover: cut what is too much. contain: all of it, the "
            "rest of the box stays open. stretch: distort it.",
        ),
        io.Combo.Input(
            "role",
            options=list(get_args(Role)),
            default="keep",
            tooltip="keep: these very pixels will be in the result. guide: the model follows them, and makes its own.",
        ),
    ]


def shape_input() -> io.Mask.Input:
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="What is shown of it: white yes, black no, gray half. Of its size. The MASK of 'Load Image' is white "
        "where a PNG is transparent: put 'Invert Mask' between.",
    )


def move_inputs() -> list[io.Input]:
    hidden = {"optional": True, "advanced": True}
    return [
        io.Boolean.Input(
            "move",
            default=False,
            tooltip="The box moves evenly to the place and size below, and arrives with its last frame.",
            **hidden,
        ),
        coordinate("to_x", "Left edge at the last frame. Only if move is on.", **hidden),
        coordinate("to_y", "Top edge at the last frame. Only if move is on.", **hidden),
        side("to_width", "Width at the last frame. 0: as at the first. Only if move is on.", **hidden),
        side("to_height", "Height at the last frame. 0: as at the first. Only if move is on.", **hidden),
    ]


def boxes(x, y, width, height, move=False, to_x=0, to_y=0, to_width=0, to_height=0) -> dict[str, Box | None]:
    """`box` and `to` of a placement or region, from the inputs of its node."""
    with inputs_named():
        box, to = Box(x=x, y=y, width=width, height=height), None
    if move:
        with inputs_named(x="to_x", y="to_y", width="to_width", height="to_height"):
            to = Box(x=to_x, y=to_y, width=to_width or width, height=to_height or height)
    return {"box": box, "to": to}


def picture_boxes(images, x, y, width, height, **move) -> dict[str, Box | None]:
    """The same for a picture: a side of 0 is its own, or follows from the other one by its proportions."""
    own_height, own_width = images.shape[1:3]
    if not width and not height:
        width, height = own_width, own_height
    width = width or max(1, round(height * own_width / own_height))
    height = height or max(1, round(width * own_height / own_width))
    return boxes(x, y, width, height, **move)


def frames_or_rest(canvas: Canvas, frame: int, frames: int) -> int:
    """frames, of which 0 stands for all up to the end of the canvas; an error of `frame` is the document's."""
    return frames or max(1, canvas.document.frames - frame)


# --- placements


class SkyCanvasPlaceImage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPlaceImage",
            display_name="Place Image",
            category="SkyCanvas/canvas",
            description="Puts a picture on the canvas: any place, any size, any frame. As a first frame, a last one, "
            "or a patch somewhere in between. For several pictures one after the other take 'Place Clip'.",
            search_aliases=["image to video", "keyframe", "first frame", "last frame", "patch"],
            inputs=[
                canvas_input(),
                io.Image.Input("image", tooltip="One picture. If it has an alpha channel, that is used."),
                frame_input(),
                *box_inputs("the picture's own size, or in proportion to the other side"),
                *placement_inputs(),
                io.Int.Input(
                    "frames",
                    default=1,
                    min=0,
                    max=MAX_FRAMES,
                    optional=True,
                    tooltip="For how many frames it is shown. 0: to the end.",
                ),
                shape_input(),
                *move_inputs(),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, image, frame, fit, role, frames=1, mask=None, **box) -> io.NodeOutput:
        if len(image) > 1:
            raise CanvasError(f"image is a batch of {len(image)} pictures: use 'Place Clip', or pick one of them")
        frame = frame_of(canvas, frame)
        frames = frames_or_rest(canvas, frame, frames)
        where = picture_boxes(image, **box)
        with inputs_named():
            canvas = canvas.place_image(image, frame=frame, frames=frames, fit=fit, alpha=mask, role=role, **where)
        return io.NodeOutput(canvas)


class SkyCanvasPlaceClip(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPlaceClip",
            display_name="Place Clip",
            category="SkyCanvas/canvas",
            description="Puts a clip on the canvas, with its sound if you connect it: to continue it, to paint around "
            "it, to make parts of it again. With move on, the frame of the clip travels: a zoom or a pan.",
            search_aliases=["video to video", "video extension", "outpainting", "camera zoom", "camera pan"],
            inputs=[
                canvas_input(),
                io.Image.Input("images", tooltip="The frames of the clip. If they have an alpha channel, it is used."),
                io.Float.Input(
                    "clip_frame_rate",
                    default=FRAME_RATE,
                    min=0.1,
                    max=1000.0,
                    step=1.0,
                    tooltip="Frames per second of the clip ('Get Video Components' says it). If it is not the canvas' "
                    "own, frames are left out or repeated, so that the clip keeps its speed.",
                ),
                frame_input(),
                *box_inputs("the clip's own size, or in proportion to the other side"),
                *placement_inputs(),
                seconds("start", "Where in the clip to begin, in seconds.", optional=True),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=MAX_FRAMES,
                    optional=True,
                    tooltip="How many frames of the canvas it fills. 0: all that it has, up to the end of the canvas.",
                ),
                shape_input(),
                io.Audio.Input("audio", optional=True, tooltip="Its sound: goes to the same time, and is kept."),
                *move_inputs(),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(
        cls, canvas, images, clip_frame_rate, frame, fit, role, start=0.0, frames=0, mask=None, audio=None, **box
    ) -> io.NodeOutput:
        where = picture_boxes(images, **box)
        frame = frame_of(canvas, frame)
        with inputs_named(fps="clip_frame_rate"):
            canvas = canvas.place_clip(
                images,
                clip_frame_rate,
                frame=frame,
                frames=frames or None,
                fit=fit,
                alpha=mask,
                role=role,
                start=start,
                **where,
            )
        if audio is not None:
            canvas = place_sound_of_clip(canvas, audio, start)
        return io.NodeOutput(canvas)


def place_sound_of_clip(canvas: Canvas, audio: dict, start: float) -> Canvas:
    """The sound of the clip that was placed last, as long as that is shown or as there is sound."""
    waveform, sample_rate = waveform_of(audio)
    clip, fps = canvas.document.placements[-1], canvas.document.fps
    left = waveform.shape[-1] / sample_rate - start
    duration = min(clip.frames / fps, left) if left > 0 else None  # None: the document says what is wrong
    with inputs_named():
        return canvas.place_sound(waveform, sample_rate, time=clip.frame / fps, start=start, duration=duration)


class SkyCanvasPlaceSound(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPlaceSound",
            display_name="Place Sound",
            category="SkyCanvas/canvas",
            description="Puts a sound on the canvas, which is kept as it is: the model makes picture and sound around "
            "it. Several sounds at one time are mixed.",
            search_aliases=["audio to video", "soundtrack", "dub"],
            inputs=[
                canvas_input(),
                io.Audio.Input("audio", tooltip="Any sample rate; more than two channels are mixed down to stereo."),
                seconds("time", "When it begins on the canvas, in seconds."),
                seconds("start", "Where in the sound to begin, in seconds."),
                seconds("duration", "How many seconds of it. 0: all that is left, up to the end of the canvas."),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, audio, time, start, duration) -> io.NodeOutput:
        waveform, sample_rate = waveform_of(audio)
        with inputs_named():
            canvas = canvas.place_sound(waveform, sample_rate, time=time, start=start, duration=duration or None)
        return io.NodeOutput(canvas)


# --- what is made again, and what is not


def action_input(what: str) -> io.Combo.Input:
    return io.Combo.Input(
        "action",
        options=list(get_args(Action)),
        default="generate",
        tooltip=f"generate: the {what} in here is made again, whatever was put there. keep: it is kept after all. The "
        "later node has the last word.",
    )


class SkyCanvasMaskRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasMaskRegion",
            display_name="Mask Region",
            category="SkyCanvas/canvas",
            description="Says which part of the picture is made again: a box, which may move, or a mask, for some "
            "frames or to the end. As it comes, it asks for the whole frame; draw it smaller.",
            search_aliases=["inpaint", "video inpainting", "remove object", "mask video", "keep region"],
            inputs=[
                canvas_input(),
                action_input("picture"),
                frame_input(),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=MAX_FRAMES,
                    tooltip="For how many frames. 0: to the end, or as long as the mask, up to the end.",
                ),
                *box_inputs("to the edge of the canvas"),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Instead of the box: white is the region. Of the canvas' size; one for all frames, or one "
                    "for each.",
                ),
                *move_inputs(),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, action, frame, frames, x, y, width, height, mask=None, **move) -> io.NodeOutput:
        frame = frame_of(canvas, frame)
        if mask is not None:
            if x or y or width or height or move.get("move"):
                raise CanvasError(
                    f"mask is connected, and a box of {width}x{height} at ({x}, {y}) is set: disconnect mask, or set "
                    "x, y, width and height to 0 and move off"
                )
            with inputs_named():
                return io.NodeOutput(canvas.region_mask(action, mask, frame=frame, frames=frames or None))
        document = canvas.document
        where = boxes(x, y, width or max(1, document.width - x), height or max(1, document.height - y), **move)
        with inputs_named():
            return io.NodeOutput(canvas.region_box(action, frame=frame, frames=frames or None, **where))


class SkyCanvasMaskSound(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasMaskSound",
            display_name="Mask Sound",
            category="SkyCanvas/canvas",
            description="Says which span of the sound is made again. As it comes, all of it.",
            search_aliases=["audio inpaint", "remake sound", "mask audio"],
            inputs=[
                canvas_input(),
                action_input("sound"),
                seconds("time", "When the span begins, in seconds."),
                seconds("duration", "How long it is, in seconds. 0: to the end."),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, action, time, duration) -> io.NodeOutput:
        rest = canvas.document.seconds - time
        with inputs_named():
            # past the end there is no rest: the error is then that of `time`
            canvas = canvas.region_sound(action, time, duration or (rest if rest > 0 else 1.0))
        return io.NodeOutput(canvas)
