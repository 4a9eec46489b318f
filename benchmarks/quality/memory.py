"""Does Mini recite its training clips? Distances of latents to the nearest clip of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.figures import Array
from benchmarks.quality.pipeline import statistics_of
from models.mmdit import MMDiT
from training.data import Clips
from training.toybox import ATTRIBUTES, Level, Scenes
from training.train import normalise


class TrainingClips:
    """The cached clips of one level that lie in a folder (`training.train --cache`)."""

    def __init__(self, folder: Path, level: Level, network: MMDiT):
        self.caches = [Clips.load(path) for path in sorted(folder.glob(f"{level.name}_*.safetensors"))]
        self.network = network

    def __len__(self) -> int:
        return sum(len(cache) for cache in self.caches)

    @torch.inference_mode()
    def nearest(self, latent: Tensor, scenes: Scenes) -> Array:
        """Mean squared distance of each normalised latent [B, C, T, h, w] to the nearest training clip of the same
        shape, colour, background and speed; NaN if there is none. [B]"""
        result = np.full(len(latent), np.nan)
        for index, clip in enumerate(latent):
            for cache in self.caches:
                same = torch.ones(len(cache), dtype=torch.bool)
                for attribute in ATTRIBUTES:
                    same &= getattr(cache.scenes, attribute) == getattr(scenes, attribute)[index]
                if same.any() and cache.scenes.frames >= scenes.frames:
                    known = cache.tensors["video"][same][:, :, : clip.shape[1]]
                    known = normalise(known, *statistics_of(self.network, "video"))
                    result[index] = np.fmin(result[index], float((known - clip).square().flatten(1).mean(1).min()))
        return result
