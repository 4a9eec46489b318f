"""The Refiner: a clip of few pixels and frames, and keyframes of many pixels -> a clip of many (SkyReels-V4 sec. 4.5).

The network is the base's without its audio branch. Its condition channels (eq. 7) hold what the base has made, in the
new size, with keyframes in the place of their frames; the network adds what is missing. Where the mask is 1 they hold
what is given, the source in full size, and nothing is added. The sound takes no part.

The clip is enlarged as a picture and encoded again, where the paper interpolates latents: a codec's latents of a large
picture are not those of the small one drawn larger. `python -m benchmarks.quality --task refine` measures both.

Frame f of the clip to refine is frame `frame_factor * f` of the refined one, so both start and end together: F frames
become frame_factor * (F - 1) + 1.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import MMDiTConfig
from .mmdit import TEMPORAL_SCALE

SCALES = (1, 2, 3, 4)  # in space
FRAME_FACTORS = (1, 2)  # in time
# Of the base's tensors: the audio branch, and what makes keyframes.
LEFT_OUT = (".audio_", ".modulation.audio", ".audio.", ".video_to_audio.", ".audio_to_video.", ".keyframe_marker")
OUTPUT = ".video_out.project."  # starts at zero: a new Refiner adds nothing
RESIDUAL_STD = 0.2  # of normalised latents: what a Refiner adds to Mini's clips, 2x to 4x


# -- the network -----------------------------------------------------------------------------------------------------


def refiner_config(base: MMDiTConfig, sparsity: float) -> MMDiTConfig:
    """Sizes of the Refiner that starts from a base of these sizes. sparsity: of its attention, 0 (dense) to 1."""
    video = replace(base, audio_channels=0, audio_patch=1, audio_rope_scale=None, keyframes=False)
    return replace(video, residual_std=RESIDUAL_STD, sparsity=sparsity)


def refiner_weights(base: dict[str, Tensor], refiner: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a Refiner that starts from a base: its own initial values, and the base's for all that both have.

    Audio branch and keyframes are left out. New are the gates of sparse attention and the last layer, which are zero at
    first: a new Refiner gives back its source. The condition channels of the base are those of the Refiner: it has
    learned to copy what they hold where the mask is 1. ValueError names a tensor that fits nowhere.
    """
    left_out = (*LEFT_OUT, OUTPUT)
    kept = {name: value for name, value in base.items() if not any(part in f".{name}" for part in left_out)}
    for name, value in kept.items():
        if name not in refiner or refiner[name].shape != value.shape:
            expected = "no such tensor" if name not in refiner else f"shape {list(refiner[name].shape)}"
            raise ValueError(f"the base's tensor {name!r} {list(value.shape)} fits no Refiner, which has {expected}")
    return refiner | kept


# -- from a small clip to a large one --------------------------------------------------------------------------------


def refined_frames(frames: int, frame_factor: int) -> int:
    """Pixel frames of a refined clip. ValueError if the factor is not one of FRAME_FACTORS."""
    if frame_factor not in FRAME_FACTORS:
        raise ValueError(f"frame factor {frame_factor} is not one of {', '.join(map(str, FRAME_FACTORS))}")
    return frame_factor * (frames - 1) + 1


def refined_shape(shape: Sequence[int], scale: int, frame_factor: int) -> tuple[int, int, int]:
    """Latent frames, rows and columns [T, H, W] of a clip -> those of the refined clip.

    ValueError if the scale is not one of SCALES or the factor not one of FRAME_FACTORS.
    """
    if scale not in SCALES:
        raise ValueError(f"scale {scale} is not one of {', '.join(map(str, SCALES))}")
    time, height, width = shape
    frames = refined_frames(TEMPORAL_SCALE * (time - 1) + 1, frame_factor)
    return 1 + (frames - 1) // TEMPORAL_SCALE, scale * height, scale * width


def upsampled(video: Tensor, scale: int, frame_factor: int) -> Tensor:
    """Pixels [B, 3, F, H, W] -> [B, 3, F', scale * H, scale * W]: bicubic, with means of two where a frame is missing.

    Values may leave the clip's range a little, as bicubic ones do.
    """
    batch, _, frames = video.shape[:3]
    large = video.transpose(1, 2).flatten(0, 1)
    if scale > 1:
        large = F.interpolate(large, scale_factor=scale, mode="bicubic", align_corners=False)
    large = large.unflatten(0, (batch, frames)).transpose(1, 2)
    place = torch.arange(refined_frames(frames, frame_factor), device=video.device) / frame_factor
    before = place.floor().long()
    after = (before + 1).clamp(max=frames - 1)
    return torch.lerp(large[:, :, before], large[:, :, after], (place - before).to(video).view(1, 1, -1, 1, 1))
