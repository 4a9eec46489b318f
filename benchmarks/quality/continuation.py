"""How a clip of 33 frames goes on, beside a frozen frame and a straight line, which know nothing of walls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmarks.quality.detectors import look
from benchmarks.quality.figures import Array, Figure, mean
from benchmarks.quality.given import Given
from benchmarks.quality.held_out import prompts_of
from benchmarks.quality.setting import Comparison, Result, Setting
from models.mmdit import TEMPORAL_SCALE
from training.toybox import FRAME_SIZE

FRAMES = 33
AHEAD = (20, 24, 28, 32)  # frames at which the object is looked for
WAYS = {"17 frames given": 17, "1 frame given": 1}
RIVALS = {"frozen_20": ("frozen", 20), "straight_28": ("straight line", 28)}  # figure -> what to be nearer than, when


def frozen(places: Array, given: int) -> Array:
    """The object stays where it was last seen: places [B, F, 2] -> [B, F, 2]"""
    return np.broadcast_to(places[:, given - 1 : given], places.shape)


def straight(places: Array, given: int) -> Array:
    """It flies on as it did between the last two frames, through the walls. [B, F, 2]"""
    ahead = np.arange(places.shape[1])[:, None] - (given - 1)
    last = places[:, given - 1, None]
    return last + ahead * (last - places[:, given - 2, None])


def continuation(setting: Setting) -> Result:
    """Clips of 33 frames whose first 17 are given, or the first alone."""
    scenes, mini = replace(setting.scenes, frames=FRAMES), setting.network
    video, places = scenes.render(), scenes.positions().double().numpy()
    best = setting.codecs.reconstruct(video, scenes.sound()).video
    assert best is not None
    clean = mini.encode(video)

    def errors(track: Array) -> Array:
        """Distance (pixels) from the truth at the frames AHEAD; a lost object is as far away as the box is wide."""
        return np.nan_to_num(np.linalg.norm(track - places, axis=2), nan=FRAME_SIZE)[:, AHEAD]

    figures: dict[str, Figure] = {}
    ceiling: dict[str, Figure] = {}
    comparisons, shown = [], None
    limit = errors(look(best, scenes.level).track)
    for way, given in WAYS.items():
        mask = torch.zeros_like(clean[:, :1])
        mask[:, :, : 1 + (given - 1) // TEMPORAL_SCALE] = 1
        clips = mini.generate(
            prompts_of(scenes),
            frames=FRAMES,
            sampling=setting.sampling,
            given=Given(clean, mask),
            report=setting.report,
        )
        assert clips.video is not None
        shown = shown or clips
        rows = {"made": errors(look(clips.video, scenes.level).track), "frozen": errors(frozen(places, given))}
        if given > 1:
            rows["straight line"] = errors(straight(places, given))
        rows["real clips through the codecs"] = limit
        for name, (rival, frame) in RIVALS.items():
            if rival in rows:
                when = AHEAD.index(frame)
                for result, error in ((figures, rows["made"]), (ceiling, limit)):
                    result[f"{way}/{name}"] = mean(error[:, when] - rows[rival][:, when])
        table: dict[str, list[Figure | None]] = {name: [mean(row) for row in error.T] for name, error in rows.items()}
        comparisons.append(
            Comparison(f"{way}: distance from the true place (pixels)", [f"frame {f}" for f in AHEAD], table)
        )
    return Result(figures, ceiling, shown, prompts_of(scenes), comparisons)
