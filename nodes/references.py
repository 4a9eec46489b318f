"""References: who or what is to appear, move or speak like that. The prompt calls each of them by its tag."""

from comfy_api.latest import io

from ..canvas.document import CanvasError
from ..carriers.skyreels_v4 import FRAME_RATE
from .types import canvas_input, canvas_output, inputs_named, waveform_of

MOST_IMAGES = 16  # inputs of one node; several nodes can follow one another


def tag_input(first: str) -> io.String.Input:
    return io.String.Input(
        "tag",
        default="",
        optional=True,
        tooltip="What the prompt calls it: a name of your own such as @Actor-0. Empty: the next free one, from "
        f"{first} on.",
    )


class SkyCanvasReferenceImages(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasReferenceImages",
            display_name="Reference Images",
            category="SkyCanvas/references",
            description="Pictures of who or what is to appear: a face, a thing, a place, a style. Write @image_1, "
            "@image_2, ... in the prompt where you speak of them.",
            search_aliases=["subject reference", "character reference", "ip adapter", "style reference"],
            inputs=[
                canvas_input(),
                io.Autogrow.Input(
                    "images",
                    template=io.Autogrow.TemplateNames(
                        io.Image.Input("image", tooltip="One picture. Each one of a batch counts."),
                        names=[f"image_{i}" for i in range(1, MOST_IMAGES + 1)],
                        min=0,
                    ),
                    optional=True,
                ),
                io.String.Input(
                    "tags",
                    default="",
                    optional=True,
                    tooltip="Names of your own, in order, with commas between: @Actor-0, @Actor-1. Pictures for which "
                    "there is none get the next free one, from @image_1 on.",
                ),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, images=None, tags="") -> io.NodeOutput:
        names = [tag.strip() for tag in tags.split(",")] if tags.strip() else []
        slots = sorted((images or {}).items(), key=lambda slot: int(slot[0].rpartition("_")[2]))
        pictures = [batch[i : i + 1] for _, batch in slots if batch is not None for i in range(len(batch))]
        if len(names) > len(pictures):
            raise CanvasError(f"tags has {len(names)} names, images has {len(pictures)}: use one name for each at most")
        for i, picture in enumerate(pictures):
            with inputs_named(tag="tags", **{"the image": f"images ({i + 1} of {len(pictures)})"}):
                canvas = canvas.reference(picture, kind="image", tag=names[i] or None if i < len(names) else None)
        return io.NodeOutput(canvas)


class SkyCanvasReferenceClip(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasReferenceClip",
            display_name="Reference Clip",
            category="SkyCanvas/references",
            description="A clip that shows how to move, look or be filmed. Write @video_1 in the prompt where you "
            "speak of it.",
            search_aliases=["motion reference", "video reference", "expression reference"],
            inputs=[
                canvas_input(),
                io.Image.Input("images", tooltip="The frames of the clip."),
                io.Float.Input(
                    "clip_frame_rate",
                    default=FRAME_RATE,
                    min=0.1,
                    max=1000.0,
                    step=1.0,
                    tooltip="Frames per second of the clip ('Get Video Components' says it).",
                ),
                tag_input("@video_1"),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, images, clip_frame_rate, tag="") -> io.NodeOutput:
        with inputs_named(fps="clip_frame_rate"):
            return io.NodeOutput(canvas.reference(images, kind="clip", fps=clip_frame_rate, tag=tag.strip() or None))


class SkyCanvasReferenceVoice(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasReferenceVoice",
            display_name="Reference Voice",
            category="SkyCanvas/references",
            description="A voice, or a sound, that is to be heard again with other words. Write @audio_0 in the prompt "
            "where you speak of it.",
            search_aliases=["voice reference", "voice clone", "audio reference", "timbre"],
            inputs=[
                canvas_input(),
                io.Audio.Input("audio", tooltip="A few seconds of it, with nothing else in the background."),
                tag_input("@audio_0"),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    def execute(cls, canvas, audio, tag="") -> io.NodeOutput:
        waveform, sample_rate = waveform_of(audio)
        with inputs_named():
            canvas = canvas.reference(waveform, kind="sound", sample_rate=sample_rate, tag=tag.strip() or None)
        return io.NodeOutput(canvas)
