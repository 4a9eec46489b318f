"""How often each clip is drawn: what there is plenty of seldom, what is rare often.

Clips are counted along three axes, as SkyReels-V4 sec. 3.4.2 balances them: what they look like (clusters of mean
pictures), what their captions name (concepts), and how they move. Along each, a clip counts for n ** -power, n being
the clips like it; the weight is the product.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST = 10.0  # weight over the mean, most: a clip that is drawn more often is learned by heart
MAX_CLUSTERS = 256
ROUNDS = 20  # of k-means
_TAG = re.compile(r"<[^>]*>|@\w+(-\w+)*")
_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMON = frozenset("and are for from has her his into its not off out over she that the their then there they".split())
_COMMON |= frozenset("this was while who with very".split())


def weights(pictures: Tensor, motions: Sequence[float], captions: Sequence[str], power: float) -> list[float]:
    """Weights of N clips, of mean 1 before those over 10 are cut down to it.

    pictures: [N, D] vectors, see `dedup.appearance`. motions: sides per second, see `measures.motion`; those within a
    factor of two are alike. captions: a caption counts with the mean over its concepts. power: 0 makes all weights 1,
    1 draws from all groups of an axis alike.
    """
    if not captions:
        return []
    clusters = cluster(pictures, min(MAX_CLUSTERS, max(1, round(math.sqrt(len(captions) / 2)))))
    octaves = [round(math.log2(max(motion, 1e-3))) for motion in motions]
    groups: list[list[set]] = [[{label} for label in clusters], [{octave} for octave in octaves], concepts(captions)]
    product = [1.0] * len(captions)
    for axis in groups:
        counts = Counter(label for labels in axis for label in labels)
        for i, labels in enumerate(axis):
            product[i] *= sum(counts[label] ** -power for label in labels) / len(labels)
    mean = sum(product) / len(product)
    return [min(value / mean, LARGEST) for value in product]


def concepts(captions: Sequence[str]) -> list[set[str]]:
    """The words of each caption that tell clips apart: not of grammar, in two captions or more. {''} where none does.

    A word of one caption alone is as likely a name, or misspelt, as a concept.
    """
    words = [set(_WORD.findall(_TAG.sub(" ", caption.lower()))) - _COMMON for caption in captions]
    counts = Counter(word for those in words for word in those)
    return [{word for word in those if counts[word] > 1} or {""} for those in words]


def cluster(points: Tensor, clusters: int, *, seed: int = 0) -> list[int]:
    """k-means of points [N, D] from a k-means++ start -> the cluster of each, the same ones for a seed."""
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    nearest = torch.cdist(points, centres)[:, 0].square()
    while len(centres) < clusters and nearest.sum() > 1e-6:
        chosen = points[torch.multinomial(nearest, 1, generator=generator)]
        centres = torch.cat([centres, chosen])
        nearest = nearest.minimum(torch.cdist(points, chosen)[:, 0].square())
    for _ in range(ROUNDS):
        labels = torch.cat([torch.cdist(part, centres).argmin(1) for part in points.split(8192)])
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
        counts = labels.bincount(minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return labels.tolist()
