"""Latent nodes. A joint latent is a NestedTensor (video [B, C, T, H/8, W/8], audio [B, Ca, L]).

T = 1 + (length - 1) / 4 and L = ceil(seconds * 44100 / 1024). The latent also remembers its `frame_rate`, which
'SkyCanvas Decode' hands on; samplers keep it. 'Add Keyframes' (keyframes.py) puts a third stream beside the two.
"""

from collections.abc import Sequence

import comfy.model_management
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from safetensors import safe_open

import nodes

from ..canvas.grid import AudioGrid, VideoGrid
from ..carriers.carrier import carrier_of, finish
from ..carriers.skyreels_v4 import FRAME_RATE, SkyReelsV4
from ..carriers.skyreels_v4_canvas import clip_shapes
from ..models.config import MMDiTConfig
from .loaders import MODEL, mini_file

SPATIAL_SCALE = 8  # pixels per latent cell
NO_KEYFRAMES = "the latent has no keyframes: put 'Add Keyframes' before the sampler, or leave this output open"


def nearest(value: int, step: int, offset: int = 0) -> str:
    """The multiples of step (plus offset) around value, as an error message names them."""
    low = (value - offset) // step * step + offset
    return f"use {low} or {low + step}" if low > 0 else f"use {low + step}"


def latent_shapes(model, length: int, height: int, width: int, fps: float) -> tuple[Sequence[int], ...]:
    """Shapes of picture and sound of a clip without batch, for a MODEL, or for Mini if there is none.

    ValueError if the size is none of the model's, or no clip can be made with it.
    """
    if model is not None:
        return carrier_of(model).shapes(length, height, width, fps)
    with safe_open(mini_file(MODEL), framework="pt") as file:
        video, audio = (file.get_slice(f"{stream}_latent_mean").get_shape()[0] for stream in ("video", "audio"))
    return clip_shapes((video, audio), VideoGrid(), AudioGrid(), length, height, width, fps)


def config_of(model) -> MMDiTConfig:
    """Sizes of a MODEL of this pack; ValueError if it is of another kind."""
    if not isinstance(model.model, SkyReelsV4):
        raise ValueError(
            f"the model is a {type(model.model).__name__}, which has no joint latent of this kind: connect the MODEL "
            "of 'Load SkyCanvas Mini' or 'Load SkyCanvas Model'"
        )
    return model.model.config


def model_input() -> io.Model.Input:
    return io.Model.Input("model", optional=True, tooltip="The model that will fill the latent. Leave open for Mini.")


def size_inputs() -> list[io.Input]:
    """Size, length and rate of a clip, for Mini at first."""
    side = {"default": 64, "min": 16, "max": nodes.MAX_RESOLUTION, "step": 16}
    return [
        *(io.Int.Input(name, **side, tooltip="Pixels, in steps of 16 (LTX-2: 32).") for name in ("width", "height")),
        io.Int.Input(
            "length", default=17, min=1, max=4097, step=4, tooltip="Frames: 1, 5, 9, 13, 17, ... (4n+1; LTX-2: 8n+1)."
        ),
        io.Float.Input(
            "frame_rate",
            default=FRAME_RATE,
            min=1.0,
            max=120.0,
            step=1.0,
            tooltip="Frames per second; with the length it says how long the sound is. Mini has seen 16 only.",
        ),
    ]


class SkyCanvasEmptyLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasEmptyLatent",
            display_name="Empty SkyCanvas Latent",
            category="SkyCanvas/latent",
            description="A blank clip with its sound, for the sampler to fill. Length 1 makes a picture. (For a sound "
            "without a picture take 'Empty Latent Audio'.)",
            search_aliases=["empty audio video latent", "empty latent video"],
            inputs=[
                *size_inputs(),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many clips at once."),
                model_input(),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width, height, length, frame_rate, batch_size, model=None) -> io.NodeOutput:
        device = comfy.model_management.intermediate_device()
        shapes = latent_shapes(model, length, height, width, frame_rate)
        streams = [torch.zeros(batch_size, *shape, device=device) for shape in shapes]
        return io.NodeOutput({"samples": NestedTensor(streams), "frame_rate": frame_rate})


def split_latent(latent: dict) -> tuple[dict, dict]:
    """Video and audio LATENT of a joint one, finished. A plain noise mask is the video's: so samplers read it.

    Keyframes are left out, see `keyframes_of`.
    """
    latent = finish(latent)
    samples = latent["samples"]
    if not samples.is_nested:
        raise ValueError(
            f"the latent {list(samples.shape)} is not joint: it has no picture and sound to part. Decode a picture "
            "with 'VAE Decode', a sound with 'VAE Decode Audio'."
        )
    masks = [None, None]
    if latent.get("noise_mask") is not None:
        mask = latent["noise_mask"]
        masks = list(mask.unbind()) if mask.is_nested else [mask, None]
    rest = {key: value for key, value in latent.items() if key not in ("samples", "noise_mask", "keyframes")}
    video, audio = (
        {**rest, "samples": stream} | ({} if mask is None else {"noise_mask": mask})
        for stream, mask in zip(samples.unbind()[:2], masks[:2], strict=True)
    )
    return video, audio


def keyframes_of(latent: dict) -> dict | None:
    """Keyframes of a joint LATENT [B, C, K, h, w] as pictures by themselves [B * K, C, 1, h, w]; None without any."""
    streams = latent["samples"].unbind()
    if len(streams) < 3:
        return None
    return {"samples": streams[2].transpose(1, 2).flatten(0, 1).unsqueeze(2)}


class SkyCanvasSplitLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasSplitLatent",
            display_name="Split SkyCanvas Latent",
            category="SkyCanvas/latent",
            description="Parts a joint latent into its picture and its sound, each with its mask, for nodes that take "
            "only one of them, and its keyframes, if it has any. 'Concat AV Latent' joins picture and sound again.",
            search_aliases=["separate av latent", "unbind"],
            inputs=[io.Latent.Input("samples", tooltip="A joint latent, from the sampler for example.")],
            outputs=[
                io.Latent.Output(display_name="video"),
                io.Latent.Output(display_name="audio"),
                io.Latent.Output(display_name="keyframes"),
            ],
        )

    @classmethod
    def execute(cls, samples) -> io.NodeOutput:
        video, audio = split_latent(samples)
        return io.NodeOutput(video, audio, keyframes_of(samples) or ExecutionBlocker(NO_KEYFRAMES))
