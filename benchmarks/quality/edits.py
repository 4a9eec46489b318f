"""Editing (Table 3 of SkyReels-V4): is the edit done, is all else as it was, and does the sound go with it?"""

from __future__ import annotations

import numpy as np

from benchmarks.quality.figures import Figure, Pairs, gain, mean, rate
from benchmarks.quality.judges import CRITERIA, LOCAL, OVERLAYS, Seen, away, done, in_place, places_of, rest_psnr
from benchmarks.quality.metrics import TOGETHER, close_events, share_of_frames
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.worlds import Case, Trial, exchanged, tried
from training.codecs import psnr

LOSS = 1.0  # dB below the codecs' that count as unchanged
PLENTY = 35.0  # dB from which on nobody sees a difference, whatever the codecs can do


def measured(trial: Trial) -> dict[str, Figure]:
    case, best = trial.case, trial.best.video
    assert best is not None
    seen, figures = Seen(trial.clips, case), {}
    is_done = done(seen)
    figures["removed" if case.name in OVERLAYS else "done"] = exchanged(is_done)
    if in_place in CRITERIA[case.name]:
        figures["in_place"] = exchanged(in_place(seen))
    if case.name in LOCAL:
        rest, ceiling = rest_psnr(seen.video, case), rest_psnr(best, case)
        kept = rest >= np.minimum(ceiling - LOSS, PLENTY)
        figures["rest_psnr"] = mean(rest)
        figures["overlay_rest_loss" if case.name in OVERLAYS else "rest_loss"] = mean(ceiling - rest)
        figures["rest_kept"] = mean(kept)
        if trial.masked:
            figures["done_alone"] = mean(is_done.diagonal() & kept)
    if case.name == "motion":
        figures["reference_colour"] = share_of_frames(seen.sight.colour, case.scenes.colour)
        figures["reference_shape"] = share_of_frames(seen.sight.shape, case.scenes.shape)
        figures["guide_away"] = exchanged(away(seen.sight.track, *places_of(case)))
    if case.name == "effect":
        figures["given_psnr"] = mean(psnr(seen.video[:, :, :1], case.example.video[:, :, :1]))
    return figures | _sound(seen, case)


def _sound(seen: Seen, case: Case) -> dict[str, Figure]:
    """Notes at the bounces of the truth, in the voice of the object that it shows; or silence."""
    sounds, target = seen.hearing.sounds, case.target
    if not case.example.sound.any():
        return {"silent": mean(~sounds.numpy())}
    clip, when, _ = (x.numpy() for x in target.bounces())
    bounces = [when[clip == index].astype(np.float64) for index in range(len(case))]
    pitch, timbre = (
        Pairs.of((read[:, None] == asked).numpy(), sounds.double().numpy())
        for read, asked in ((seen.hearing.pitch, target.colour), (seen.hearing.timbre, target.shape))
    )
    return {
        "truth_sync_gain": gain(Pairs.of(*close_events(seen.hearing.onsets, bounces, TOGETHER))),
        "truth_pitch": rate(pitch),
        "truth_timbre": rate(timbre),
    }


def edits(setting: Setting) -> Result:
    """Clips that are edited, and what else is made from a clip and a picture."""
    return tried(setting, CRITERIA, measured, masked=LOCAL)
