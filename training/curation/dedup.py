"""Finds clips that show the same: equal ones by a hash, near duplicates by a fingerprint of how they look and move.

A fingerprint is a grey film of 8 x 8 pixels at 8 frames per second. It is split into its mean picture and what moves in
it, and two clips are the same where both agree at some shift in time: the mean picture alone would call all clips of
one camera the same, the film alone all clips of one bright sky.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 8  # pixels, height and width
RATE = 8.0  # frames per second
OVERLAP = 0.75  # of the longer clip, that the shorter one shares at least: so much may be trimmed off
LOOSE = 0.9  # cosine of mean pictures, least, of clips that are compared in full
NEIGHBOURS = 32  # clips that are compared in full with one, at most
STILL = 1.0  # root mean square of 0..255: a clip that moves less stands still
CHUNK = 512  # clips compared with all others at once: 200 MB for 100 000 clips


def digest(luma: Tensor) -> str:
    """Hash of decoded frames, uint8 [F, H, W]: equal for copies and for the same stream in another container."""
    hashed = hashlib.blake2b(repr(tuple(luma.shape)).encode(), digest_size=16)
    hashed.update(luma.contiguous().numpy().data)
    return hashed.hexdigest()


def fingerprint(luma: Tensor, times: Sequence[float]) -> Tensor:
    """Frames uint8 [F, H, W] in 0..255 and their times in seconds -> film, float16 [T, 64] in 0..255 at 8 Hz.

    Each of its frames is the mean over 1/4 s, so that copies at other frame rates agree.
    """
    grid = torch.cat([F.adaptive_avg_pool2d(part.float(), GRID).flatten(1) for part in luma.split(64)])
    slots = ((torch.tensor(times, dtype=torch.float64) - times[0]) * RATE + 1e-6).long()
    _, slots = slots.unique(return_inverse=True)  # a clip slower than 8 Hz has fewer
    film = torch.zeros(int(slots.max()) + 1, GRID * GRID).index_add_(0, slots, grid) / slots.bincount()[:, None]
    return (_between(film) if len(film) > 1 else film).half()


def similarity(one: Tensor, other: Tensor) -> float:
    """Of two fingerprints [T, 64], at the shift in time, in steps of 1/16 s, where it is highest: -1..1.

    The lower of two cosines: of the mean pictures, and of what moves (1 if nothing does in both, 0 if only in one).
    """
    one, other = one.float(), other.float()
    return max(_best(one, other), _best(_between(one), other), _best(one, _between(other)))


def _between(film: Tensor) -> Tensor:
    """The film half a frame later, one frame shorter."""
    return (film[:-1] + film[1:]) / 2


def _best(one: Tensor, other: Tensor) -> float:
    """The highest agreement of films over shifts in whole frames that leave enough of the longer one."""
    if len(one) > len(other):
        one, other = other, one
    best, least = -1.0, max(1, round(OVERLAP * len(other)))
    for shift in range(least - len(one), len(other) - least + 1):
        first, last = max(shift, 0), min(shift + len(one), len(other))
        if last - first >= least:
            best = max(best, _agreement(one[first - shift : last - shift], other[first:last]))
    return best


def _agreement(one: Tensor, other: Tensor) -> float:
    mean, other_mean = one.mean(0), other.mean(0)
    moving, other_moving = one - mean, other - other_mean
    standing = float(F.cosine_similarity(mean - mean.mean(), other_mean - other_mean.mean(), dim=0))
    still = [float(part.square().mean().sqrt()) < STILL for part in (moving, other_moving)]
    if any(still):
        return standing if all(still) else 0.0
    return min(standing, float(F.cosine_similarity(moving.flatten(), other_moving.flatten(), dim=0)))


def appearance(film: Tensor) -> Tensor:
    """The mean picture of a fingerprint [T, 64] as a vector [64] of mean 0 and length 1 (0 for a plain one)."""
    mean = film.float().mean(0)
    return F.normalize(mean - mean.mean(), dim=0)


def find_duplicates(
    digests: Sequence[str], films: Sequence[Tensor], threshold: float
) -> list[tuple[int, float] | None]:
    """For clips in order of preference: (an earlier one that is kept and shows the same, similarity), or None.

    The similarity of equal clips is 1. Time grows with the square of the number of clips, at 128 operations for a pair;
    memory is that of the fingerprints, 1 KB for each second.
    """
    found: list[tuple[int, float] | None] = []
    first_of: dict[str, int] = {}
    vectors = torch.stack([appearance(film) for film in films]) if films else torch.zeros(0, GRID * GRID)
    for begin in range(0, len(films), CHUNK):
        nearness = vectors[begin : begin + CHUNK] @ vectors[: begin + CHUNK].T
        nearness = nearness.tril(begin - 1)
        cosines, neighbours = nearness.topk(min(NEIGHBOURS, nearness.shape[1]))
        for row in range(len(nearness)):
            index = begin + row
            if (equal := first_of.setdefault(digests[index], index)) != index:
                found.append((equal, 1.0) if found[equal] is None else found[equal])
                continue
            match = None
            for cosine, other in zip(cosines[row].tolist(), neighbours[row].tolist(), strict=True):
                if cosine < LOOSE or threshold > 1:
                    break
                if found[other] is None and (alike := similarity(films[index], films[other])) >= threshold:
                    match = other, alike
                    break
            found.append(match)
    return found
