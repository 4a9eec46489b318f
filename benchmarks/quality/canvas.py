"""Is placement real? Patches of held-out clips anywhere in space and time, shown in VideoCanvas' way.

A patch is a random rectangle of one frame of a real clip, 20 to 100 % of its width and height. A new clip is made from
the caption and the patch, and compared with the real one inside the rectangle, at that frame. `benchmarks/videocanvas`
compares this way with its alternatives, each in a network trained for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.quality.detectors import look, moves, speed_of
from benchmarks.quality.figures import Array, Figure, Pairs, gain, mean, rate
from benchmarks.quality.given import Given, InContext
from benchmarks.quality.held_out import generator_of_conditions, prompts_of
from benchmarks.quality.metrics import distances, inside_psnr
from benchmarks.quality.pipeline import Mini
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.strip import Tile, contact_sheet
from models.mmdit import TEMPORAL_SCALE
from training.conditions import zero_padded_patch
from training.toybox import FRAME_SIZE, Scenes

# Frames of the patches: the last of a latent frame's four, whose time is a whole number, and others.
ON_GRID, OFF_GRID = (4, 8, 12), (2, 3, 5, 7, 10, 13)
SEVERAL = (3, 8, 13)  # all at once
NEIGHBOURS = 2  # frames before and after, in the contact sheet


@dataclass(frozen=True)
class Patches:
    """A patch for each clip: its frame [B] long, and where it shows the clip [B, H, W] bool."""

    frame: Tensor
    mask: Tensor

    @property
    def slot(self) -> Tensor:
        """The latent frame that stands for the frame, ceil(frame / 4). [B]"""
        return -(-self.frame // TEMPORAL_SCALE)

    def inside(self, frames: int) -> Tensor:
        """The rectangle at its frame, nothing in the others. [B, F, H, W] bool"""
        return self.mask[:, None] & self.when(frames)[:, :, None, None]

    def when(self, frames: int) -> Tensor:
        """The frame among all. [B, F] bool"""
        return torch.arange(frames) == self.frame[:, None]

    def around(self, track: Array) -> Array:
        """Track [B, F, 2] -> the four frames of the patch's latent frame [B, 4, 2]"""
        last = TEMPORAL_SCALE * self.slot.numpy()
        frames = last[:, None] - np.arange(TEMPORAL_SCALE)[::-1]
        return np.take_along_axis(track, frames[..., None], axis=1)

    def still(self, video: Tensor) -> Tensor:
        """The frame alone, zeros (mid grey) outside the rectangle. [B, 3, 1, H, W]"""
        return at(video, self.frame)[:, :, None] * self.mask[:, None, None]


def at(video: Tensor, frame: Tensor) -> Tensor:
    """One frame of each clip: x [B, C, F, ...], frame [B] -> [B, C, ...]"""
    return video[torch.arange(len(video)), :, frame]


def draw_patches(scenes: Scenes, frames: Sequence[int], generator: torch.Generator) -> Patches:
    """Rectangles that show the object's centre, at the `frames` in turn."""
    clips = len(scenes)
    rows, frame = torch.arange(clips), torch.tensor([frames[i % len(frames)] for i in range(clips)])
    x, y = scenes.positions()[rows, frame].long().unbind(-1)
    mask = torch.zeros(clips, FRAME_SIZE, FRAME_SIZE, dtype=torch.bool)
    while not (shows := mask[rows, y, x]).all():
        drawn = zero_padded_patch(torch.ones(clips, 1, 1, FRAME_SIZE, FRAME_SIZE), generator)[:, 0, 0] > 0
        mask = torch.where(shows[:, None, None], mask, drawn)
    return Patches(frame, mask)


def given_patches(mini: Mini, video: Tensor, *patches: Patches) -> Given:
    """One or more patches per clip, each encoded alone and in context at frame / 4 (VideoCanvas sec. 3.2)."""
    return Given(
        video_context=tuple(
            InContext(mini.encode(patch.still(video)), [(frame / TEMPORAL_SCALE,) for frame in patch.frame.tolist()])
            for patch in patches
        )
    )


# -- how well clips follow patches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """Clips against patches.

    psnr (dB), away (pixels from the object's true place) [B, B]: clip i against the patch of clip j at its frame.
    moves, pace (pixels per second), one_object, shape (shares of frames) [B]: of the whole clip. pace_there: within the
    four frames of the patch's latent frame.
    """

    psnr: Array
    away: Array
    moves: Array
    pace: Array
    pace_there: Array
    one_object: Array
    shape: Array

    @classmethod
    def of(cls, video: Tensor, scenes: Scenes, real: Tensor, *patches: Patches) -> Placed:
        """Averages over several patches per clip."""
        sight = look(video, scenes.level)
        return cls(
            psnr=np.mean([inside_psnr(video, real, patch.inside(scenes.frames)) for patch in patches], axis=0),
            away=np.mean([distances(sight.track, scenes, patch.when(scenes.frames)) for patch in patches], axis=0),
            moves=moves(sight.track).astype(np.float64),
            pace=speed_of(sight.track, scenes.fps),
            pace_there=np.mean([speed_of(patch.around(sight.track), scenes.fps) for patch in patches], axis=0),
            one_object=(sight.parts == 1).double().mean(1).numpy(),
            shape=(sight.shape == scenes.shape[:, None]).double().mean(1).numpy(),
        )

    def figures(self) -> dict[str, Figure]:
        psnr, away = (Pairs.of(x, np.ones(len(x))) for x in (self.psnr, self.away))
        return {
            "patch_psnr": rate(psnr),
            "patch_gain": gain(psnr),
            "patch_away": rate(away),
            "moves": mean(self.moves),
            "pace": mean(self.pace),
            "pace_there": mean(self.pace_there),
            "one_object": mean(self.one_object),
            "shape": mean(self.shape),
        }


def canvas(setting: Setting) -> Result:
    """Clips from a caption and a patch at any frame, or several."""
    scenes, mini = setting.scenes, setting.network
    if scenes.frames < 9:
        raise ValueError(f"frames {scenes.frames} leaves no frames around a patch: use 9 or more")

    def draw(index: int, *frames: int) -> Patches:
        generator = generator_of_conditions(setting.sampling.seed, index)
        return draw_patches(scenes, [frame for frame in frames if frame < scenes.frames], generator)

    several = [draw(2 + i, frame) for i, frame in enumerate(SEVERAL) if frame < scenes.frames]
    ways = {
        "patch at a frame 4n": [draw(0, *ON_GRID)],
        "patch at another frame": [draw(1, *OFF_GRID)],
        f"{len(several)} patches at once": several,
    }
    prompts, real = prompts_of(scenes), scenes.render()
    codec = setting.codecs.reconstruct(real, scenes.sound()).video
    assert codec is not None
    figures: dict[str, Figure] = {}
    ceiling: dict[str, Figure] = {}
    shown: list[tuple[Patches, Tensor]] = []
    for way, patches in ways.items():
        setting.report(way)
        given = given_patches(mini, real, *patches)
        video = mini.generate(prompts, frames=scenes.frames, sampling=setting.sampling, given=given).video
        assert video is not None
        for result, made in ((figures, video), (ceiling, codec)):
            placed = Placed.of(made, scenes, real, *patches)
            result.update({f"{way}/{name}": figure for name, figure in placed.figures().items()})
        del ceiling[f"{way}/patch_gain"]
        if len(patches) == 1:
            shown.append((patches[0], video))
    return Result(figures, ceiling, picture=picture_of(prompts, real, shown))


def picture_of(prompts: list[str], real: Tensor, groups: list[tuple[Patches, Tensor]], count: int = 6) -> Image.Image:
    """The first `count` clips of each group: the real frame with its patch, the made one with its neighbours."""
    rows: list[tuple[str, list[Tile | None]]] = []
    for patches, video in groups:
        for i, prompt in enumerate(prompts[:count]):
            frame, mask = int(patches.frame[i]), patches.mask[i]
            around = range(frame - NEIGHBOURS, frame + NEIGHBOURS + 1)
            near = [f for f in around if 0 <= f < video.shape[2]]
            tiles: list[Tile | None] = [Tile(real[i, :, frame], mask), None]
            tiles += [Tile(video[i, :, f], mask if f == frame else None) for f in near]
            rows.append((f"frame {frame}: {prompt}", tiles))
    return contact_sheet(rows)
