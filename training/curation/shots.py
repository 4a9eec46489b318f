"""Cuts a file into shots: at its hard cuts, and long takes into chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training.curation.media import probe, read_frames

SIDE = 256  # pixels of the shorter side, at most, at which clips are measured
THUMBNAIL = 16  # pixels, height and width, of what is compared at a cut
CUT = 0.06  # mean absolute difference of luma in 0..1, least, across a cut
RATIO = 3.0  # so much more than between the frames before and after it: a pan or a shaking hand is no cut
MEMORY = 8  # differences between frames before a cut, with which it is compared


@dataclass(frozen=True)
class Shot:
    """A stretch of a file without a cut.

    start, duration: seconds in the file. size: width and height of the file in pixels. luma: uint8 [F, H, W], of at
    most 256 pixels on the shorter side. times: seconds of each frame, in the file.
    """

    start: float
    duration: float
    size: tuple[int, int]
    luma: Tensor
    times: tuple[float, ...]

    @property
    def fps(self) -> float:
        return len(self.times) / self.duration


def read_shots(path: Path, *, most_seconds: float, split: bool = True) -> Iterator[Shot]:
    """The shots of a file in order, a frame of the next in memory at most. MediaError as of `training.curation.media`.

    most_seconds: longer shots become chunks of this length. split: False leaves cuts in, for clips of several shots.
    """
    interval = 1 / probe(path).fps

    def luma_frames() -> Iterator[tuple[float, tuple[int, int], Tensor]]:
        for frame in read_frames(path):
            scale = min(1.0, SIDE / min(frame.size))
            size = max(1, round(frame.size[0] * scale)), max(1, round(frame.size[1] * scale))
            yield frame.time, frame.size, frame.pixels(size, "gray")

    for part, end in _parts(luma_frames(), most_seconds, split):
        times = tuple(time for time, _, _ in part)
        end = times[-1] + interval if end is None else end
        yield Shot(times[0], end - times[0], part[0][1], torch.stack([luma for _, _, luma in part]), times)


def _parts(frames: Iterable[tuple], most_seconds: float, split: bool) -> Iterator[tuple[list[tuple], float | None]]:
    """(frames of a shot, time at which the next begins: None at the end)."""
    shot: list[tuple] = []
    thumbnails: list[Tensor] = []
    for frame in frames:
        time, luma = frame[0], frame[2]
        if shot and (luma.shape != shot[-1][2].shape or time - shot[0][0] >= most_seconds - 1e-3):
            yield shot, time
            shot, thumbnails = [], []
        shot.append(frame)
        thumbnails.append(F.adaptive_avg_pool2d(luma[None].float() / 255, THUMBNAIL)[0])
        del thumbnails[: -MEMORY - 3]
        if split and len(shot) > 2 and is_cut(torch.stack(thumbnails[:-2]), torch.stack(thumbnails[-2:])):
            yield shot[:-2], shot[-2][0]
            shot, thumbnails = shot[-2:], thumbnails[-2:]
    if shot:
        yield shot, None


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Whether a cut lies between the frames before [n >= 1, h, w] and the two after it, in 0..1.

    The last two before must differ from both after by CUT, or a flash would be one; and by RATIO times what frames
    differ by on either side. Dissolves and wipes are none.
    """
    jump = min(float((a - b).abs().mean()) for a in before[-2:] for b in after)
    steady = torch.cat([before.diff(dim=0), after.diff(dim=0)]).abs().mean()
    return jump > CUT and jump > RATIO * float(steady)
