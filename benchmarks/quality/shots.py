"""Two shots: is there a cut, is it where the prompt says, and does each shot show what the prompt says?

Backgrounds differ from shot to shot, so at a cut most of the picture changes at once, which nothing else does.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.detectors import NONE, look
from benchmarks.quality.figures import Array, Figure
from benchmarks.quality.metrics import share_of_frames
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.worlds import Case, exchanged, shows, tried

NAME = "two shots"
CUT = 0.1  # change of most of the picture, of 2 and as a mean over the colours; the smallest of real ones is 0.2
SHOWN = ("colour", "shape", "background")


def find_cuts(video: Tensor) -> Tensor:
    """First frame of the second shot in video [B, 3, F, H, W]; NONE if there is no cut. [B]"""
    step = video.diff(dim=2).abs().mean(1).flatten(2).median(2).values  # [B, F - 1]
    size, index = step.max(1)
    return torch.where(size >= CUT, index + 1, NONE)


class Cut:
    """Clips against the case that they were made from."""

    def __init__(self, clips: Clips, case: Case):
        assert clips.video is not None
        scenes, facts = case.scenes, case.example.facts
        self.frames, self.cut, self.asked = scenes.frames, find_cuts(clips.video), facts["cut"]
        self.sight = look(clips.video, scenes.level)
        second = torch.arange(scenes.frames) >= facts["cut"][:, None]
        # Of each shot: which frames it has, and what they show.
        self.shots = {
            "first": (~second, {name: getattr(scenes, name) for name in SHOWN}),
            "second": (second, {name: facts[f"second_{name}"] for name in SHOWN}),
        }

    def off(self) -> Array:
        """Frames between the cut of clip i and that of prompt j; the whole clip where there is none. [B, B]"""
        off = (self.cut[:, None] - self.asked).abs()
        return torch.where(self.cut[:, None] == NONE, self.frames, off).double().numpy()

    def done(self) -> Array:
        """The cut is at most a frame off, and both shots show what they should. [B, B] bool"""
        right = [
            shows(getattr(self.sight, name), truth, counted)
            for counted, shown in self.shots.values()
            for name, truth in shown.items()
        ]
        return np.logical_and.reduce([self.off() <= 1, *right])

    def figures(self) -> dict[str, Figure]:
        shares = {
            f"{shot}_{name}": share_of_frames(getattr(self.sight, name), truth, counted)
            for shot, (counted, shown) in self.shots.items()
            for name, truth in shown.items()
        }
        return {"done": exchanged(self.done()), "cut_off": exchanged(self.off()), **shares}


def shots(setting: Setting) -> Result:
    """Two scenes with a cut between them, from one prompt."""
    return tried(setting, [NAME], lambda trial: Cut(trial.clips, trial.case).figures())
