"""What every task of the benchmark is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.quality.figures import Figure
from benchmarks.quality.held_out import held_out_scenes
from benchmarks.quality.pipeline import Clips, Codecs, Mini, Sampling
from training.toybox import Scenes


@dataclass
class Setting:
    """What a task works with. mini is None for tasks that need the codecs alone, or the Refiner."""

    codecs: Codecs
    mini: Mini | None
    scenes: Scenes
    sampling: Sampling
    refiner: Mini | None = None
    refiner_steps: int | None = None
    training_cache: Path | None = None
    report: Callable[[str], None] = lambda text: None

    @classmethod
    def held_out(cls, prompts: int, frames: int, level: str, seed: int, **parts) -> Setting:
        return cls(scenes=held_out_scenes(prompts, frames=frames, level=level, seed=seed), **parts)

    @property
    def network(self) -> Mini:
        if self.mini is None:
            raise ValueError("this task samples clips: give it the network")
        return self.mini

    @property
    def refining(self) -> Mini:
        """Codecs and text encoder with the Refiner for a network."""
        if self.refiner is None:
            raise ValueError("this task refines clips: give it the Refiner")
        return self.refiner


@dataclass
class Comparison:
    """Several ways to do the same thing: a row of figures for each; None where a figure has no meaning."""

    title: str
    columns: list[str]
    rows: dict[str, list[Figure | None]]
    note: str = ""


@dataclass
class Result:
    """Figures of the clips and of real clips (ceiling), and what there is to look at.

    Figures are named as in METRICS, or "way/name" where a task makes clips in several ways. picture: what to look at,
    if it is no sheet of the clips. settings: what the task decides itself.
    """

    figures: dict[str, Figure]
    ceiling: dict[str, Figure] = field(default_factory=dict)
    clips: Clips | None = None
    captions: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    picture: Image.Image | None = None
    settings: dict[str, Any] = field(default_factory=dict)
