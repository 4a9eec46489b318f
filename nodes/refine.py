"""From a clip of few pixels and frames to one of many: what the Refiner is given, and the windows it works in."""

import node_helpers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..canvas.compile import Plan, compile_canvas
from ..canvas.grid import VideoGrid
from ..canvas.windows import tiles_of
from ..carriers.refine import Refinement, check_canvas, source_of
from ..carriers.skyreels_v4 import SkyReelsV4, frame_count, frame_rate_of
from ..carriers.tiles import tile
from ..models.refiner import FRAME_FACTORS, SCALES
from .types import CanvasType, inputs_named

TILE_SIZE, TILE_FRAMES, TILE_OVERLAP = 128, 33, 32  # what Mini's Refiner has seen
# What a prompt says of the small clip's own streams
SMALL = ("skycanvas_audio_context", "skycanvas_keyframes", "skycanvas_latent_shapes")


def tile_inputs() -> list[io.Input]:
    """Windows in which a Refiner works, for the nodes that make them and that count them."""
    return [
        io.Int.Input(
            "tile_size",
            default=TILE_SIZE,
            min=0,
            max=16384,
            step=16,
            optional=True,
            advanced=True,
            tooltip="Width and height of the windows in which a large clip is made, in pixels. Larger ones "
            "need more memory. 0: the whole picture at once.",
        ),
        io.Int.Input(
            "tile_frames",
            default=TILE_FRAMES,
            min=0,
            max=4097,
            step=4,
            optional=True,
            advanced=True,
            tooltip="Frames of the windows, 4n+1. 0: the whole length at once.",
        ),
        io.Int.Input(
            "tile_overlap",
            default=TILE_OVERLAP,
            min=0,
            max=8192,
            step=16,
            optional=True,
            advanced=True,
            tooltip="Pixels that neighbouring windows share at least, so that no seam is seen.",
        ),
    ]


class SkyCanvasRefine(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasRefine",
            display_name="Refine Clip",
            category="SkyCanvas/conditioning",
            description="Makes a clip ready to be made anew with more pixels and more frames: connect the outputs to a "
            "sampler, with cfg 1, and decode with 'VAE Decode'. Keyframes that the latent has are used. The sound is "
            "left alone: take it from 'SkyCanvas Decode' of the small clip.",
            search_aliases=["upscale video", "refiner", "frame interpolation", "super resolution", "double frame rate"],
            inputs=[
                io.Model.Input("model", tooltip="A Refiner, for example that of 'Load SkyCanvas Mini'."),
                io.Conditioning.Input("positive", tooltip="The prompt of the clip, with its references."),
                io.Conditioning.Input("negative", tooltip="Of no effect with cfg 1."),
                io.Vae.Input("vae", tooltip="The VAE of the pictures."),
                io.Latent.Input(
                    "samples", tooltip="The clip: a joint latent, from the sampler, or a video's, from 'VAE Encode'."
                ),
                io.Int.Input(
                    "scale", default=2, min=SCALES[0], max=SCALES[-1], tooltip="Times the width and the height."
                ),
                io.Int.Input(
                    "frame_factor",
                    default=2,
                    min=FRAME_FACTORS[0],
                    max=FRAME_FACTORS[-1],
                    tooltip="Times the frames per second. 2 makes a new frame between every two: 17 become 33.",
                ),
                CanvasType.Input(
                    "canvas",
                    optional=True,
                    tooltip="A canvas of the refined clip's size, length and rate: what lies on it is taken from there "
                    "and not made anew, a single picture is a keyframe. 'Compose Canvas' puts it back exactly.",
                ),
                *tile_inputs(),
                io.Float.Input(
                    "frame_rate",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    optional=True,
                    tooltip="Frames per second of the clip, before it is refined. 0 takes that of the latent; 'VAE "
                    "Encode' sets none.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Float.Output(display_name="fps", tooltip="Frames per second of the refined clip."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        vae,
        samples,
        scale,
        frame_factor,
        canvas=None,
        tile_size=TILE_SIZE,
        tile_frames=TILE_FRAMES,
        tile_overlap=TILE_OVERLAP,
        frame_rate=0.0,
    ) -> io.NodeOutput:
        grid = check_refiner(model, vae)
        video, keyframes, own_rate = clip_of(samples)
        if not (frame_rate or own_rate):
            raise ValueError("frame_rate is 0, and the latent has none of its own: set frame_rate")
        fps = frame_factor * (frame_rate or own_rate)
        if video.shape[1] != vae.latent_channels:
            raise ValueError(f"samples have {video.shape[1]} channels, this vae's have {vae.latent_channels}")
        tiles = tiles_of(tile_frames, tile_size, tile_overlap, grid)
        refinement = Refinement(frame_count(video.shape[2]), scale, frame_factor)
        if keyframes is not None:
            check_keyframes(*keyframes, video, refinement)
        plan: Plan | None = None
        if canvas is not None:
            height, width = (scale * side * grid.spatial for side in video.shape[3:])
            check_canvas(canvas, refinement, width, height, fps)
            with inputs_named():
                plan = compile_canvas(canvas, grid)
        sources = []
        for index, clip in enumerate(video.split(1)):
            pictures = {} if keyframes is None else decoded(keyframes[0][index], keyframes[1], vae, frame_factor)
            sources.append(source_of(clip, vae, refinement, pictures, canvas, plan))
        source = torch.cat(sources)
        given = torch.zeros_like(source[:1, :1]) if plan is None else (plan.concat & plan.given)[None, None].to(source)
        values = {"skycanvas_condition": source, "skycanvas_mask": given, "frame_rate": fps}
        latent = {"samples": source, "frame_rate": fps}
        if given.any():
            latent["noise_mask"] = 1 - given
        prompts = [conditioned(prompt, values) for prompt in (positive, negative)]
        return io.NodeOutput(tile(model, tiles), *prompts, latent, fps)


def check_refiner(model, vae) -> VideoGrid:
    """The latent grid of a Refiner. ValueError if the model is none, or the VAE is not that of its pictures."""
    if not isinstance(model.model, SkyReelsV4) or not model.model.config.refines:
        raise ValueError("model is no Refiner: connect the output refiner of 'Load SkyCanvas Mini'")
    grid, config = VideoGrid(token=model.model.config.video_patch), model.model.config
    if (vae.latent_dim, vae.latent_channels) != (3, config.video_channels):
        raise ValueError(
            f"vae makes latents of {vae.latent_channels} channels and {vae.latent_dim} dimensions, this Refiner takes "
            f"{config.video_channels} and 3: connect the VAE of the pictures that was made for it"
        )
    return grid


def clip_of(latent: dict) -> tuple[Tensor, tuple[Tensor, tuple[int, ...]] | None, float]:
    """Video [B, C, T, h, w] of a LATENT, its keyframes with their frames if it has some, and its frame rate or 0."""
    samples = latent["samples"]
    streams = samples.unbind() if samples.is_nested else [samples]
    video, rate = streams[0], latent.get("frame_rate")
    if video.ndim != 5:
        raise ValueError(
            f"samples {list(video.shape)} are no clip: connect a joint latent, or that of a video [B, C, frames, rows, "
            "columns]"
        )
    keyframes = (streams[2], tuple(latent["keyframes"])) if len(streams) > 2 else None
    if rate is None:
        rate = frame_rate_of([stream.shape for stream in streams[:2]]) if len(streams) > 1 else 0.0
    return video, keyframes, float(rate)


def check_keyframes(latent: Tensor, frames: tuple[int, ...], small: Tensor, refinement: Refinement) -> None:
    """ValueError unless keyframes [B, C, K, H, W] are as large as the refined clip, and at frames of the small one."""
    height, width = (refinement.scale * side for side in small.shape[3:])
    if tuple(latent.shape[3:]) != (height, width):
        raise ValueError(
            f"the keyframes have {latent.shape[3]} x {latent.shape[4]} latent cells, "
            f"{latent.shape[3] / small.shape[3]:g} times those of the clip, and scale is {refinement.scale}: use the "
            "scale of 'Add Keyframes'"
        )
    for frame in frames:
        if not 0 <= frame < refinement.frames:
            raise ValueError(f"keyframe {frame} is outside the clip: use 0 to {refinement.frames - 1}")


def decoded(latent: Tensor, frames: tuple[int, ...], vae, frame_factor: int) -> dict[int, Tensor]:
    """Keyframes [C, K, H, W] of one clip: frame of the refined clip -> picture [H, W, 3]."""
    stills = zip(frames, latent.unbind(1), strict=True)
    return {frame_factor * frame: vae.decode(still[None, :, None])[0, 0] for frame, still in stills}


def conditioned(prompt: list, values: dict) -> list:
    """A prompt for the Refiner: its references stay, what belongs to the small clip's own frames goes."""
    result = []
    for text, options in node_helpers.conditioning_set_values(prompt, values):
        options = {name: value for name, value in options.items() if name not in SMALL}
        entries = options.pop("skycanvas_video_context", None) or []
        references = [entry for entry in entries if entry["times"] and max(entry["times"]) < 0]
        result.append([text, options | ({"skycanvas_video_context": references} if references else {})])
    return result
