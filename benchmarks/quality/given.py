"""What clips are made from beside their prompts: given cells, patches and references in context, and media to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.mmdit import Context
from models.video_vae import VideoVAE


class InContext(NamedTuple):
    """Clean latents [B, ...] beside the clips, and for each clip the times of their latent frames (see Context)."""

    latent: Tensor
    times: Sequence[tuple[float, ...] | None]


@dataclass(frozen=True)
class Given:
    """A row per clip in every tensor; latents are normalised.

    video [B, C, T, h, w] where mask [B, 1, T, h, w] is 1, audio [B, Ca, L] where audio_mask [B, 1, L] is 1.
    route: how given cells of the video reach the network, one of training.objective.ROUTES: in the "channels" of eq. 7,
    "clean" among the noisy ones with timestep 0, or "both", as the nodes do it. Given sounds are always clean.
    video_context, audio_context: patches, references and voices. media: for each clip, what its prompt's tags show.
    """

    video: Tensor | None = None
    mask: Tensor | None = None
    audio: Tensor | None = None
    audio_mask: Tensor | None = None
    route: str = "both"
    video_context: tuple[InContext, ...] = ()
    audio_context: tuple[InContext, ...] = ()
    media: Sequence[Mapping[str, Tensor]] = ()

    def select(self, rows: list[int]) -> Given:
        """Some of the clips."""

        def tensor(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[rows]

        def context(entries: tuple[InContext, ...]) -> tuple[InContext, ...]:
            return tuple(InContext(latent[rows], [times[row] for row in rows]) for latent, times in entries)

        return replace(
            self,
            video=tensor(self.video),
            mask=tensor(self.mask),
            audio=tensor(self.audio),
            audio_mask=tensor(self.audio_mask),
            video_context=context(self.video_context),
            audio_context=context(self.audio_context),
            media=[self.media[row] for row in rows] if self.media else (),
        )

    def batches(self, clips: int, size: int) -> list[list[int]]:
        """Clips that can be sampled together: tokens in context have the same times in all of them."""
        groups: dict[tuple, list[int]] = {}
        for row in range(clips):
            times = tuple(entry.times[row] for entry in (*self.video_context, *self.audio_context))
            groups.setdefault(times, []).append(row)
        return [rows[i : i + size] for rows in groups.values() for i in range(0, len(rows), size)]

    def start(self, video: Tensor | None, audio: Tensor) -> tuple[Tensor | None, Tensor, dict[str, Any]]:
        """Puts clean latents into the noise of a batch -> video, audio, further arguments of `sample_euler`."""
        arguments: dict[str, Any] = {
            "video_context": _shared_times(self.video_context),
            "audio_context": _shared_times(self.audio_context),
        }
        if self.mask is not None and self.route != "clean":
            arguments |= {"condition": self.video, "mask": self.mask}
        fresh_audio = torch.ones_like(audio[:, :1])
        if self.audio is not None and self.audio_mask is not None:
            fresh_audio = 1 - self.audio_mask
            audio = torch.where(self.audio_mask > 0, self.audio, audio)
        if video is not None:
            fresh_video = torch.ones_like(video[:, :1])
            if self.video is not None and self.mask is not None and self.route != "channels":
                fresh_video = 1 - self.mask
                video = torch.where(self.mask > 0, self.video, video)
            if (fresh_video == 0).any() or (fresh_audio == 0).any():
                arguments["noise_masks"] = (fresh_video, fresh_audio)
        return video, audio, arguments


def _shared_times(entries: tuple[InContext, ...]) -> list[Context]:
    return [(latent, times[0]) for latent, times in entries]


def pixels_of(cells: Tensor, codec: VideoVAE) -> Tensor:
    """Cells [B, 1, T, h, w] -> the pixels that they cover [B, F, H, W] bool."""
    x = cells[:, 0].repeat_interleave(codec.spatial_scale, dim=2).repeat_interleave(codec.spatial_scale, dim=3)
    return torch.cat([x[:, :1], x[:, 1:].repeat_interleave(codec.temporal_scale, dim=1)], dim=1) > 0
