"""Latent grids: which pixels and samples one latent stands for. Made by parameters, so any carrier can have its own."""

import math
from dataclasses import dataclass

from .errors import CanvasError


def _nearest(value: int, step: int, offset: int = 0) -> str:
    """The values around `value` that are `offset` plus a multiple of `step`, as an error message names them."""
    low = (value - offset) // step * step + offset
    return f"use {low} or {low + step}" if low > 0 else f"use {low + step}"


@dataclass(frozen=True)
class VideoGrid:
    """temporal: frames per latent frame; causal: the first frame has a latent frame of its own, as in the VAEs of
    SkyReels-V4 and VideoCanvas. spatial: pixels per latent cell and axis; token: cells per token and axis.
    """

    temporal: int = 4
    spatial: int = 8
    causal: bool = True
    token: int = 2

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip; CanvasError if it would leave one half filled."""
        first = int(self.causal)
        if frames < 1 or (frames - first) % self.temporal:
            offset = 1 if self.causal else 0
            form = f"{self.temporal}n+1" if self.causal else f"a multiple of {self.temporal}"
            raise CanvasError(f"length {frames} is not {form}: {_nearest(frames, self.temporal, offset)}")
        return first + (frames - first) // self.temporal

    def cells(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of latent cells; CanvasError if the picture does not consist of whole tokens."""
        step = self.spatial * self.token
        for name, pixels in (("width", width), ("height", height)):
            if pixels < 1 or pixels % step:
                raise CanvasError(f"{name} {pixels} is not a multiple of {step}: {_nearest(pixels, step)}")
        return height // self.spatial, width // self.spatial

    def frames_of(self, latent: int) -> range:
        """Frames that a latent frame stands for: 0 is frame 0, 1 is frames 1 to 4, ..."""
        end = latent * self.temporal + 1 if self.causal else (latent + 1) * self.temporal
        return range(max(0, end - self.temporal), end)

    def latent_of(self, frame: int) -> int:
        """The latent frame that stands for a frame, ceil(frame / temporal) if causal (VideoCanvas sec. 3.1)."""
        return -(-frame // self.temporal) if self.causal else frame // self.temporal

    def time_of(self, frame: int) -> float:
        """Place of a single frame between the latent frames, for its rotary position (VideoCanvas sec. 3.2)."""
        return frame / self.temporal


@dataclass(frozen=True)
class AudioGrid:
    """hop: samples per latent, of a sound with sample_rate samples per second. first: those of the first latent, where
    it has fewer, as in the causal audio VAE of LTX-2.
    """

    hop: int = 1024
    sample_rate: int = 44100
    first: int | None = None

    @property
    def missing(self) -> int:
        """Samples that the first latent has fewer than the others."""
        return 0 if self.first is None else self.hop - self.first

    def latents(self, seconds: float) -> int:
        """Latents of so many seconds. The last one may reach past their end, or, if the first is short, not to it."""
        return math.ceil(round(seconds * self.sample_rate / self.hop, 6))  # 17 frames at 25 fps: 17.000000000000004

    def span_of(self, latent: int) -> tuple[int, int]:
        """First sample of a latent, and the one after its last."""
        end = (latent + 1) * self.hop - self.missing
        return max(0, end - self.hop), end

    def latent_of(self, sample: int) -> int:
        """The latent that stands for a sample."""
        return (sample + self.missing) // self.hop
