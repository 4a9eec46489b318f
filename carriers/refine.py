"""What a Refiner starts from: a clip enlarged as a picture and encoded again, with keyframes and what is given.

Frames flow from the decoder through the canvas into the encoder, so that no large clip is ever in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import comfy.sd
import torch
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Patch, Plan
from ..canvas.grid import VideoGrid
from ..canvas.pixels import Pixels
from ..models.refiner import keyframe_slot, refined_frames, refined_shape, upsampled, with_keyframes
from .streaming import decode_frames, encode_frames


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


def keyframe_slots(keyframes: Tensor, frames: Sequence[int], small: Tensor, refinement: Refinement) -> list[int]:
    """Latent frames of the refined clip that keyframes [B, C, K, H, W] at `frames` of the small one take the place of.

    ValueError if they are not as large as the refined clip, or at a frame that has no latent frame of its own.
    """
    height, width = (refinement.scale * side for side in small.shape[3:])
    if tuple(keyframes.shape[3:]) != (height, width):
        raise ValueError(
            f"the keyframes have {keyframes.shape[3]} x {keyframes.shape[4]} latent cells, "
            f"{keyframes.shape[3] / small.shape[3]:g} times those of the clip, and scale is {refinement.scale}: "
            "use the scale of 'Add Keyframes'"
        )
    return [keyframe_slot(frame, refinement.frames, refinement.frame_factor) for frame in frames]


def check_canvas(canvas: Canvas, refinement: Refinement, width: int, height: int, fps: float) -> None:
    """ValueError unless the canvas has the size, length and rate of the refined clip."""
    document = canvas.document
    frames = refinement.refined_frames
    if (document.width, document.height) != (width, height):
        raise ValueError(
            f"the canvas is {document.width} x {document.height} pixels, the refined clip {width} x {height}: make a "
            "canvas of that size, and put the source on it in full size"
        )
    if document.frames != frames or abs(document.fps - fps) > 1e-6:
        raise ValueError(
            f"the canvas has {document.frames} frames at {document.fps:g} per second, the refined clip {frames} at "
            f"{fps:g}: make a canvas of that length and rate"
        )


def patch_slots(plan: Plan, grid: VideoGrid) -> dict[int, Patch]:
    """The latent frame whose last frame is that of a patch -> the patch.

    ValueError for a patch on another frame: alone it would have to stand for a latent frame that shows others too.
    """
    slots = {}
    for patch in plan.patches:
        if patch.frame % grid.temporal:
            low = patch.frame // grid.temporal * grid.temporal
            near = [frame for frame in (low, low + grid.temporal) if frame < plan.document.frames]
            raise ValueError(
                f"the canvas has a picture on frame {patch.frame}, and a Refiner takes single pictures on every "
                f"{grid.temporal}th frame: use {' or '.join(map(str, near))}, or let it last for several frames"
            )
        slots[patch.frame // grid.temporal] = patch
    return slots


def source_of(
    latent: Tensor, vae: comfy.sd.VAE, refinement: Refinement, canvas: Canvas | None = None, plan: Plan | None = None
) -> Tensor:
    """Latents [1, C, t, h, w] of a clip, as its VAE emits them -> what the Refiner starts from [1, C, T, H, W].

    With a canvas and its plan (see `check_canvas`), what lies on it replaces what the clip shows there.
    """
    stills: dict[int, Tensor] = {}
    frames: Iterable[Tensor] = enlarged(decode_frames(vae, latent), refinement.scale, refinement.frame_factor)
    slots: dict[int, Patch] = {}
    if canvas is not None and plan is not None:
        slots = patch_slots(plan, plan.video)
        frames = _drawn(frames, Pixels(canvas), plan, {patch.frame: patch for patch in slots.values()}, stills)
    source = encode_frames(vae, frames, frames=refinement.refined_frames)
    if slots:
        alone = [encode_frames(vae, [stills[patch.frame]]) for patch in slots.values()]
        source = with_keyframes(source, torch.cat(alone, dim=2), list(slots))
    return source


def enlarged(chunks: Iterable[Tensor], scale: int, frame_factor: int) -> Iterator[Tensor]:
    """IMAGE chunks [f, H, W, 3] of a clip -> those of the larger clip, see `upsampled`."""
    last = None
    for chunk in chunks:
        clip = chunk if last is None else torch.cat([last, chunk])
        large = upsampled(clip.movedim(-1, 0)[None], scale, frame_factor)[0].movedim(0, -1).clamp(0, 1)
        yield large if last is None else large[1:]
        last = chunk[-1:]


def _drawn(
    chunks: Iterable[Tensor], pixels: Pixels, plan: Plan, patches: dict[int, Patch], stills: dict[int, Tensor]
) -> Iterator[Tensor]:
    """The clip with what the canvas gives; `stills` collects the frames of patches, [1, H, W, 3] each."""
    shown = plan.concat.flatten(1).any(1)
    index = 0
    for chunk in chunks:
        for picture in chunk:
            if index in patches:
                patch = (pixels.patch(index, patches[index].placements) + 1).to(picture) / 2
                there = (patch != 0.5).any(-1, keepdim=True)  # mid grey beside what it shows
                stills[index] = torch.where(there, patch, picture)[None]
            if shown[plan.video.latent_of(index)]:
                frame = pixels.frame(index)
                picture.mul_(1 - frame.weight[..., None].to(picture)).add_(
                    frame.picture.to(picture)
                )  # which is on black
            index += 1
        yield chunk
