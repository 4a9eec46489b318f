"""What is measured of a clip: pure functions of its luma [F, H, W] in 0..255 and of its sound [S] in [-1, 1].

Pictures are measured at the size of `training.curation.shots`, about that of training: a 4K clip is sharp enough where
its reduction is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# measure -> (its name in a sentence, its unit, decimals)
NAMES = {
    "seconds": ("duration", " s", 2),
    "side": ("shorter side", " pixels", 0),
    "sharpness": ("sharpness (variance of the Laplacian)", "", 1),
    "contrast": ("contrast", "", 3),
    "brightness": ("brightness", "", 3),
    "motion": ("motion", " sides/s", 4),
    "repeats": ("share of repeated frames", "", 2),
    "flicker": ("flicker", "", 4),
    "volume": ("mean volume", " dB", 1),
    "clipping": ("clipping ratio", "", 4),
    "snr": ("signal-to-noise ratio", " dB", 1),
    "bandwidth": ("bandwidth", " Hz", 0),
    "silence": ("silence ratio", "", 2),
    "offset": ("offset of the sound", " frames", 0),
    "confidence": ("confidence of the offset", "", 2),
}

SAMPLED = 16  # frames of which sharpness, contrast and brightness are taken
SMALL = 64  # pixels of the shorter side, at most, at which change is measured
STILL = 0.25  # mean absolute difference in 0..255: two frames that differ by less are the same one
REPEATED = 0.05  # of what frames differ by where the clip moves most: one that differs by less repeats the one before

FULL_SCALE = 0.95  # a sample beyond this is clipped: lossy codecs leave no clipped peak at 1
FRAME = 0.02  # seconds of a frame of the voice activity detector
SILENT = -50.0  # dB below full scale; and
BELOW_LOUDEST = -40.0  # dB below the loudest frame: quieter is silence
QUIET = 0.1  # share of the frames that show the noise floor
FLOOR, CEILING = -20.0, 100.0  # dB, of the signal-to-noise ratio: beyond, it has no meaning
BAND = -60.0  # dB below the strongest frequency: where the band ends
WINDOW = 1024  # samples


def measure_picture(luma: Tensor, fps: float) -> dict[str, float]:
    """All measures of pictures, uint8 or float [F, H, W] in 0..255 at `fps`."""
    sampled = luma[torch.linspace(0, len(luma) - 1, min(len(luma), SAMPLED)).round().long()].float()
    scale = min(1.0, SMALL / min(luma.shape[1:]))
    size = max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[2] * scale))
    small = torch.cat([F.adaptive_avg_pool2d(part.float(), size) for part in luma.split(64)])
    return {
        "sharpness": sharpness(sampled),
        "contrast": contrast(sampled),
        "brightness": brightness(sampled),
        "motion": motion(small, fps),
        "repeats": repeats(small),
        "flicker": flicker(small),
    }


def measure_sound(sound: Tensor, sample_rate: int) -> dict[str, float]:
    """All measures of a sound [S] at its own rate in Hz: resampled sound has lost its bandwidth."""
    return {
        "volume": volume(sound),
        "clipping": clipping(sound),
        "snr": snr(sound),
        "bandwidth": bandwidth(sound, sample_rate),
        "silence": silence(sound, sample_rate),
    }


def sharpness(luma: Tensor) -> float:
    """Variance of the Laplacian (4 neighbours) over a frame, median over frames; in squares of 0..255."""
    if min(luma.shape[1:]) < 3:
        return 0.0
    inner = luma[:, 1:-1, 1:-1]
    laplacian = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * inner
    return float(laplacian.flatten(1).var(1, correction=0).median())


def contrast(luma: Tensor) -> float:
    """Standard deviation of luma over a frame, median over frames; in 0..1, 0.5 for half black, half white."""
    return float(luma.flatten(1).std(1, correction=0).median()) / 255


def brightness(luma: Tensor) -> float:
    """Mean luma in 0..1: near 0 the clip is underexposed, near 1 overexposed."""
    return float(luma.mean()) / 255


def motion(luma: Tensor, fps: float) -> float:
    """Speed of what moves, averaged over all edges, in shorter sides per second.

    Where brightness is constant, |dI/dt| is |grad I| times the speed across the edge; their sums' quotient is the speed
    averaged over edges. Changes of the whole frame's brightness are removed first. Frames without any edge: 0. What
    moves by more than its own size between frames measures slower than it is.
    """
    if len(luma) < 2 or min(luma.shape[1:]) < 3:
        return 0.0
    even = luma - luma.mean((1, 2), keepdim=True)
    change = even.diff(dim=0).abs().sum()
    across = (even[:, 1:-1, 2:] - even[:, 1:-1, :-2]) / 2
    down = (even[:, 2:, 1:-1] - even[:, :-2, 1:-1]) / 2
    edges = torch.hypot(across, down).sum() * (len(luma) - 1) / len(luma)
    return float(change / edges.clamp(min=1e-6 * luma.numel())) * fps / min(luma.shape[1:])


def repeats(luma: Tensor) -> float:
    """Share of frames that show what the one before shows: 1 for a frozen clip, 0.5 where every other was dropped."""
    if len(luma) < 2:
        return 1.0
    change = luma.diff(dim=0).abs().mean((1, 2))
    return float((change < max(STILL, REPEATED * float(change.quantile(0.9)))).float().mean())


def flicker(luma: Tensor) -> float:
    """Mean of |L[t-1] - 2 L[t] + L[t+1]| / 2, L the brightness of a frame in 0..1: a steady fade has none."""
    if len(luma) < 3:
        return 0.0
    level = luma.mean((1, 2)) / 255
    return float(level.diff(n=2).abs().mean()) / 2


def volume(sound: Tensor) -> float:
    """Mean volume in dB of full scale: 10 log10 of the mean square; -100 for silence."""
    return 10 * math.log10(max(float(sound.square().mean()) if sound.numel() else 0.0, 1e-10))


def clipping(sound: Tensor) -> float:
    """Share of samples beyond 0.95 of full scale."""
    return float((sound.abs() >= FULL_SCALE).float().mean()) if sound.numel() else 0.0


def silence(sound: Tensor, sample_rate: int) -> float:
    """Share of frames of 20 ms in which nothing sounds: below -50 dB, or 40 dB below the loudest."""
    size = max(1, round(FRAME * sample_rate))
    if len(sound) < size:
        return 1.0
    power = sound[: len(sound) // size * size].view(-1, size).square().mean(1)
    threshold = max(10 ** (SILENT / 10), float(power.max()) * 10 ** (BELOW_LOUDEST / 10))
    return float((power < threshold).float().mean())


def snr(sound: Tensor) -> float:
    """Signal-to-noise ratio in dB, in -20..100; the noise floor is that of the quiet frames of each frequency.

    N(f), the noise of a frequency, is its power in the quietest tenth of the frames (the largest of them), over 0.105:
    the quantile of an exponential distribution, which the power of steady noise has, over its mean. A steady drone is
    noise to it.
    """
    power = _power(sound)
    mean = power.mean(1)
    noise = (power.quantile(QUIET, dim=1) / -math.log1p(-QUIET)).minimum(mean).sum()
    if not (signal := mean.sum() - noise) > 0:
        return FLOOR
    return min(max(10 * math.log10(float(signal) / max(float(noise), 1e-20)), FLOOR), CEILING)


def bandwidth(sound: Tensor, sample_rate: int) -> float:
    """Highest frequency in Hz whose mean power is within 60 dB of the strongest one's; 0 for silence."""
    mean = _power(sound).mean(1)
    if not (strongest := mean.max()) > 1e-12:
        return 0.0
    above = (mean > strongest * 10 ** (BAND / 10)).nonzero()
    return float(above.max()) * sample_rate / WINDOW


def _power(sound: Tensor) -> Tensor:
    """Power spectra [frequencies, frames] of a sound [S], under a Hann window."""
    sound = F.pad(sound, (0, max(0, WINDOW - len(sound))))
    window = torch.hann_window(WINDOW)
    return torch.stft(sound, WINDOW, WINDOW // 2, window=window, center=False, return_complex=True).abs().square()
