"""What a Refiner starts from: a clip enlarged as a picture and encoded again, with keyframes and what is given.

Frames flow from the decoder past keyframes and canvas into the encoder, so that no large clip is ever in memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import comfy.sd
import torch
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Plan
from ..canvas.pixels import Pixels
from ..models.refiner import refined_frames, refined_shape, upsampled
from .streaming import decode_frames, encode_frames

RATE_TOLERANCE = 1e-3  # 24000 / 1001 frames per second are no number that a node's input holds


@dataclass(frozen=True)
class Refinement:
    """A small clip of `frames` frames becomes `scale` times as wide and high, with `frame_factor` times the rate.

    ValueError if there is no such scale or factor.
    """

    frames: int
    scale: int
    frame_factor: int

    def __post_init__(self):
        refined_shape((1, 1, 1), self.scale, self.frame_factor)

    @property
    def refined_frames(self) -> int:
        return refined_frames(self.frames, self.frame_factor)


def check_canvas(canvas: Canvas, refinement: Refinement, width: int, height: int, fps: float) -> None:
    """ValueError unless the canvas has the size, length and rate of the refined clip."""
    document = canvas.document
    frames = refinement.refined_frames
    if (document.width, document.height) != (width, height):
        raise ValueError(
            f"the canvas is {document.width} x {document.height} pixels, the refined clip {width} x {height}: make a "
            "canvas of that size, and put the source on it in full size"
        )
    if document.frames != frames or abs(document.fps - fps) > RATE_TOLERANCE * fps:
        raise ValueError(
            f"the canvas has {document.frames} frames at {document.fps:.6g} per second, the refined clip {frames} at "
            f"{fps:.6g}: make a canvas of that length and rate"
        )


def source_of(
    latent: Tensor,
    vae: comfy.sd.VAE,
    refinement: Refinement,
    keyframes: Mapping[int, Tensor] | None = None,
    canvas: Canvas | None = None,
    plan: Plan | None = None,
) -> Tensor:
    """Latents [1, C, t, h, w] of a clip, as its VAE emits them -> what the Refiner starts from [1, C, T, H, W].

    keyframes: frame of the refined clip -> picture [H, W, 3] that replaces it. A canvas with its plan (see
    `check_canvas`) replaces what the clip shows where something lies on it.
    """
    frames: Iterable[Tensor] = enlarged(decode_frames(vae, latent), refinement.scale, refinement.frame_factor)
    if keyframes:
        frames = _replaced(frames, keyframes)
    if canvas is not None and plan is not None:
        frames = _drawn(frames, Pixels(canvas), plan)
    return encode_frames(vae, frames, frames=refinement.refined_frames)


def enlarged(chunks: Iterable[Tensor], scale: int, frame_factor: int) -> Iterator[Tensor]:
    """IMAGE chunks [f, H, W, 3] of a clip -> those of the larger clip, of a frame or two; see `upsampled`."""
    last = None
    for frame in (frame for chunk in chunks for frame in chunk.split(1)):  # one by one: they are large
        clip = frame if last is None else torch.cat([last, frame])
        large = upsampled(clip.movedim(-1, 0)[None], scale, frame_factor)[0].movedim(0, -1).clamp(0, 1)
        yield large if last is None else large[1:]
        last = frame


def _replaced(chunks: Iterable[Tensor], keyframes: Mapping[int, Tensor]) -> Iterator[Tensor]:
    first = 0
    for chunk in chunks:
        for frame in range(first, first + len(chunk)):
            if frame in keyframes:
                chunk[frame - first] = keyframes[frame]
        yield chunk
        first += len(chunk)


def _drawn(chunks: Iterable[Tensor], pixels: Pixels, plan: Plan) -> Iterator[Tensor]:
    """The clip with what lies on the canvas, guides as well."""
    patches = {patch.frame: patch for patch in plan.patches}
    first = 0
    for chunk in chunks:
        for index, picture in enumerate(chunk, first):
            frame = pixels.frame(index)  # its picture is on black
            picture.mul_(1 - frame.weight[..., None].to(picture)).add_(frame.picture.to(picture))
            if index in patches:
                ground = picture.to("cpu", torch.float32)
                picture.copy_(pixels.patch(index, patches[index].placements, ground)[0])
        yield chunk
        first += len(chunk)
