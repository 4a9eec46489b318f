"""How clean the sound of a clip is: the notes that explain it best, and what they leave unexplained.

A note is a sine and a cosine of each partial under one envelope (6 ms of attack, then an exponential decay), so its
phase is free; loudness and phase follow by least squares, times and decay by trying.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.detectors import ENVELOPE_STEP, NONE, SILENCE, Hearing, loudness
from benchmarks.quality.figures import Array
from training.toybox import ATTACK, HOP, SAMPLE_RATE, Level, Shape

MOST_NOTES = 8  # of a clip; 33 frames have six at most
COARSE = 8  # samples in one, while times and decays are tried: the highest partial of the level has 1.5 kHz
LATE = np.arange(-4, 5) * 0.004  # seconds around a found onset at which a note may begin
STRETCH = 2 ** (np.arange(-8, 9) / 4)  # factors of the decay
HEARD_OUT = 0.15  # seconds before the end that a note must begin if its decay is to be told
QUIET = 0.002  # amplitude of the explained sound below which the clip should be silent
SHORTEST_SILENCE = 0.05  # seconds that are enough to judge it
SOFTEST, LOUDEST, TOLERANCE = 0.3 * math.sqrt(0.3), 0.3, 2.0  # amplitude of a note; two may begin together


@dataclass
class Notes:
    """Sounds of B clips; NaN where there is nothing to measure.

    snr: of the notes that explain the sound best to the rest, in dB. hum: RMS amplitude where it should be silent.
    decay: octaves between the notes' decay and that of the timbre that is heard. loud: share of the notes that are as
    loud as notes are. whole: share of the sounding hops that notes explain, without flat tops.
    """

    snr: Array
    hum: Array
    decay: Array
    loud: Array
    whole: Array


@torch.inference_mode()
def explain(sound: Tensor, hearing: Hearing, level: Level) -> Notes:
    """Explains sound [B, 1, S] by notes of the pitch and timbre that are heard; of noise, by those that fit best."""
    shapes, harmonics = list(level.shapes.values()), [colour.harmonic for colour in level.colours.values()]
    rows = []
    for x, onsets, timbre, pitch in zip(sound, hearing.onsets, hearing.timbre, hearing.pitch, strict=True):
        heard = pitch != NONE
        kinds = [(shapes[timbre], harmonics[pitch])] if heard else list(product(shapes, harmonics))
        rows.append(_explain(x[0].double().numpy(), onsets, kinds))
    return Notes(*np.array(rows).T)


def _explain(x: Array, onsets: Array, kinds: list[tuple[Shape, int]]) -> tuple[float, ...]:
    """The five numbers of `Notes`. kinds: shape and harmonic of the notes that may be in x [S]."""
    seconds = np.arange(len(x)) / SAMPLE_RATE
    if not len(onsets):
        return math.nan, _rms(x), math.nan, math.nan, math.nan
    if len(onsets) > MOST_NOTES:
        strength = loudness(torch.from_numpy(x).float()[None, None])[0].numpy()
        after = np.minimum((onsets + ATTACK) * SAMPLE_RATE / ENVELOPE_STEP, len(strength) - 1).astype(int)
        onsets = np.sort(onsets[np.argsort(-strength[after])[:MOST_NOTES]])
    few, when = x[::COARSE], seconds[::COARSE]
    shape, harmonic = kinds[0]
    if len(kinds) > 1:
        shape, harmonic = min(kinds, key=lambda k: _fit(few, when, onsets, _partials(when, *k), k[0].decay)[1])
    waves = _partials(when, shape, harmonic)
    for note in range(len(onsets)):
        tried = [np.where(np.arange(len(onsets)) == note, onsets + late, onsets) for late in LATE]
        onsets = min(tried, key=lambda times: _fit(few, when, times, waves, shape.decay)[1])
    stretch = min(STRETCH, key=lambda factor: _fit(few, when, onsets, waves, shape.decay * factor)[1])
    waves = _partials(seconds, shape, harmonic)
    parts, _ = _fit(x, seconds, onsets, waves, shape.decay * stretch)
    amplitude = np.sqrt(np.square(parts).sum(1)) / np.linalg.norm(shape.partials)
    since = seconds - onsets[:, None]
    envelopes = _envelope(since, shape.decay * stretch)
    ringing = amplitude @ envelopes
    rest = x - ((parts.T @ envelopes) * waves).sum(0)
    near = np.abs(since).min(0) < LATE.max()
    quiet = x[(ringing < QUIET) & ~near]
    return (
        20 * math.log10(_rms(x) / max(_rms(rest), 1e-5)),
        _rms(quiet) if len(quiet) >= SHORTEST_SILENCE * SAMPLE_RATE else math.nan,
        abs(math.log2(stretch)) if onsets.min() < seconds[-1] - HEARD_OUT else math.nan,
        float(((amplitude >= SOFTEST / TOLERANCE) & (amplitude <= LOUDEST * TOLERANCE)).mean()),
        _whole(x.reshape(-1, HOP), rest.reshape(-1, HOP)),
    )


def _partials(seconds: Array, shape: Shape, harmonic: int) -> Array:
    """Sines and cosines of the partials, [2 * partials, S]."""
    numbers = np.arange(1, len(shape.partials) + 1)[:, None]
    turn = 2 * math.pi * numbers * harmonic * SAMPLE_RATE / HOP * seconds
    return np.concatenate([np.sin(turn), np.cos(turn)])


def _fit(x: Array, seconds: Array, onsets: Array, waves: Array, decay: float) -> tuple[Array, float]:
    """Amplitudes of the waves [w, S] in each note [n, w], and the power of x [S] that is left."""
    table = (_envelope(seconds - onsets[:, None], decay)[:, None] * waves).reshape(-1, len(x))
    products = table @ table.T
    products.flat[:: len(products) + 1] += 1e-9 * (1 + products.trace())  # two notes of one time are one
    told = table @ x
    parts = np.linalg.solve(products, told)
    rest = np.square(x).sum() - 2 * parts @ told + parts @ products @ parts
    return parts.reshape(len(onsets), -1), float(max(rest, 0.0))


def _envelope(since: Array, decay: float) -> Array:
    """Of a note, so many seconds since it began."""
    result = np.zeros_like(since)
    rung = since > 0
    result[rung] = np.minimum(since[rung] / ATTACK, 1) * np.exp(-since[rung] / decay)
    return result


def _rms(x: Array) -> float:
    return float(np.sqrt(np.square(x).mean()))


def _whole(hops: Array, rest: Array) -> float:
    """Share of the sounding ones among hops [n, HOP] of which notes explain half the power, and no tops are flat.

    Three equal samples in a row are a limit that was hit.
    """
    same = (np.abs(np.diff(hops)) < 1e-6) & (np.abs(hops[:, 1:]) > SILENCE)
    flat = (same[:, 1:] & same[:, :-1]).any(1)
    power, left = np.square(hops).mean(1), np.square(rest).mean(1)
    sounds = power > SILENCE**2
    return float((~flat & (left < power / 2))[sounds].mean()) if sounds.any() else math.nan
