"""What saved films hold, and how near they are to others."""

import math
from pathlib import Path

import av
import numpy as np


def frames_of(path: Path) -> np.ndarray:
    """[F, H, W, 3] uint8"""
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def sound_of(path: Path) -> tuple[np.ndarray, int]:
    """[channels, samples] in -1..1, and the sample rate"""
    with av.open(str(path)) as file:
        parts = [frame.to_ndarray() for frame in file.decode(audio=0)]
        sound = np.concatenate(parts, axis=-1).astype(np.float64)
        scale = 32768.0 if parts[0].dtype == np.int16 else 2.0**31 if parts[0].dtype == np.int32 else 1.0
        return sound / scale, file.streams.audio[0].rate


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """dB"""
    error = np.square(one.astype(float) - other).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def envelope(sound: np.ndarray, step: int = 1024) -> np.ndarray:
    """Loudness of the first channel in steps of so many samples."""
    whole = sound[0, : sound.shape[-1] // step * step]
    return np.sqrt(np.square(whole.reshape(-1, step)).mean(axis=1))
