"""Can the judges of the paired worlds be trusted? What they say of real clips through the codecs, and of wrong ones."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.quality import judges
from benchmarks.quality.faces import NAMES as FACES
from benchmarks.quality.faces import Spoken
from benchmarks.quality.figures import Array, Figure, mean
from benchmarks.quality.judges import CRITERIA, OVERLAYS, Seen
from benchmarks.quality.layers import NAMES as LAYERS
from benchmarks.quality.layers import Layered
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.shots import NAME as SHOTS
from benchmarks.quality.shots import Cut
from benchmarks.quality.worlds import Case, exchanged, page, page_row
from training.toybox import SAMPLE_RATE
from training.worlds import WORLDS

LATE = 0.2  # seconds by which a voice is shifted
CUT_LATE = 3  # frames by which a cut is shifted
LEFT = {True: 0.5, False: 2 / 3}  # share of an edit that is left to do in a clip that is half edited: overlays, others
STILL = ("motion", "effect")  # worlds that move a picture
QUIET = 0.25  # loudness of a layer that hardly anybody hears, as a share


def done(clips: Clips, case: Case) -> Array:
    """Whether clip i does what example j of any world asks for. [B, B] bool"""
    if case.name in FACES:
        return Spoken(clips, case).done()
    if case.name in LAYERS:
        return Layered(clips, case).done()
    if case.name == SHOTS:
        return Cut(clips, case).done()
    return judges.done(Seen(clips, case))


def undone(case: Case) -> Clips:
    """What one has if nothing is done: the clip to edit with its own sound, a still picture, a face that keeps its
    mouth shut, a scene without a layer or without a cut."""
    example, scenes = case.example, case.scenes
    if case.name in CRITERIA and case.name not in STILL:
        return Clips(case.source, scenes.sound())
    if case.name in LAYERS:
        return Clips(example.video, scenes.sound())
    if case.name == SHOTS:
        return Clips(scenes.render(), example.sound)
    return Clips(frozen(example.video), example.sound)


def frozen(video: Tensor) -> Tensor:
    return video[:, :, :1].expand_as(video)


def in_part(case: Case) -> Clips:
    """What goes some of the way: an edit that is hardly begun, a voice that is late, a layer that is hardly heard."""
    example = case.example
    start = undone(case)
    assert start.video is not None and start.sound is not None
    if case.name in FACES:
        return Clips(example.video, example.sound.roll(round(LATE * SAMPLE_RATE), 2))
    if case.name in LAYERS:
        return Clips(example.video, torch.lerp(start.sound, example.sound, QUIET))
    if case.name == SHOTS:
        waiting = example.video[:, :, :1].expand(-1, -1, CUT_LATE, -1, -1)
        return Clips(torch.cat([waiting, example.video], dim=2)[:, :, :-CUT_LATE], example.sound)
    return Clips(torch.lerp(example.video, start.video, LEFT[case.name in OVERLAYS]), example.sound)


def verdicts(setting: Setting) -> Result:
    """The judges of all worlds on real clips through the codecs, and on wrong ones."""
    figures: dict[str, Figure] = {}
    rows = []
    for name in WORLDS:
        setting.report(name)
        case = Case.of(name, setting.scenes, setting.sampling.seed)
        real = setting.codecs.reconstruct(case.example.video, case.example.sound)
        figures[f"{name}/judged_right"] = exchanged(done(real, case))
        for label, wrong in (("undone", undone(case)), ("in_part", in_part(case))):
            assert wrong.video is not None and wrong.sound is not None
            wrong = setting.codecs.reconstruct(wrong.video, wrong.sound)
            figures[f"{name}/judged_{label}"] = mean(done(wrong, case).diagonal())
        rows.append(page_row(case, real))
    return Result(figures, picture=page(rows))
