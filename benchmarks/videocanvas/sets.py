"""The sets of VideoCanvasBench in small (VideoCanvas app. D): what is on the canvas of a clip, and what of it is given.

    AnyP2V         patches at the start, the middle and the end, in seven combinations: half of them boxes around the
                   object, half random crops of 20 to 100 % of the frame's width and height
    AnyI2V         the same with whole frames
    AnyV2V         all frames in part (inpainting, outpainting, camera pan), or the beginning and the end (transition)
    two clips      AnyP2V and AnyI2V with the start from one clip and the end from another that has the same words
    one frame      a whole frame at 2, 3 or 4, of those that share a latent frame (VideoCanvas Table 3)

Half of the anchors are where the paper has them, at frames that end a latent frame; the others are beside these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.held_out import SEEDS, generator_of_conditions, held_out_scenes, prompts_of
from models.mmdit import TEMPORAL_SCALE
from training.paradigms import random_crops
from training.toybox import ATTRIBUTES, FRAME_SIZE, Scenes, sample_scenes

COMBINATIONS = ("S", "M", "E", "S+M", "S+E", "M+E", "S+M+E")
PAPER_FRAMES = (2, 3, 4)  # targets of VideoCanvas' Table 3
PREFIX = 5  # frames of the first clip of a transition; the second one has its last latent frame
HIDDEN = (0.2, 0.5)  # inpainting: sides of the hole, in frames
CENTRE = (0.6, 0.9)  # outpainting: sides of what is given
PAN = (8, 16)  # pixels that a panning camera moves in all
MARGIN = 2  # pixels between an object and the box around it
SHORTEST = 13  # frames: a transition needs a latent frame between its clips

# Seeds of `held_out`: the last thousand are this benchmark's own; each of its seeds has a hundred, each set twenty.
FIRST_SEED, SEEDS_OF_RUN, SEEDS_OF_SET = SEEDS - 1000, 100, 20


@dataclass(frozen=True)
class Group:
    """Clips that are given the same frames.

    scenes: what the prompts describe. canvas [B, 3, F, 64, 64] in [-1, 1]: real clips, of which the pixels given
    [B, F, 64, 64] bool are shown. known: whether the object of `scenes` flies as that of the canvas does.
    seed: of the noise.
    """

    name: str
    scenes: Scenes
    canvas: Tensor
    given: Tensor
    seed: int
    known: bool = True

    @property
    def prompts(self) -> list[str]:
        return prompts_of(self.scenes)

    @property
    def shown(self) -> Tensor:
        """Frames of which anything is given, [B, F] bool."""
        return self.given.flatten(2).any(2)


Make = Callable[["Deck"], Iterable[Group]]


@dataclass(frozen=True)
class Deck:
    """What the groups of a set are made from: scenes, a generator of random numbers, and seeds of noise."""

    scenes: Scenes
    generator: torch.Generator
    seed: int

    def rows(self, index: Tensor) -> Scenes:
        return self.scenes.select(index, self.scenes.frames)

    def split(self, names: Sequence[str]) -> list[tuple[str, int, Scenes]]:
        """The scenes dealt out in turn: name, seed of noise, scenes; nothing for names that get none."""
        index, ways = torch.arange(len(self.scenes)), len(names)
        return [(name, self.seed + i, self.rows(index[i::ways])) for i, name in enumerate(names) if len(index[i::ways])]

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)


def anchors(frames: int) -> tuple[dict[str, int], dict[str, int]]:
    """Start, middle and end of a clip: as in the paper, and beside that."""
    middle, last = frames // 2, frames - 1
    return {"S": 0, "M": middle, "E": last}, {"S": 2, "M": middle + 1, "E": last - 1}


def any_p2v(deck: Deck) -> Iterable[Group]:
    """Patches at the anchors."""
    return _at_anchors(deck, lambda scenes, frame, turn: _patches(scenes, frame, turn, deck.generator))


def any_i2v(deck: Deck) -> Iterable[Group]:
    """Whole frames at the anchors."""
    return _at_anchors(deck, lambda scenes, frame, turn: torch.tensor(True))


def one_frame(deck: Deck) -> Iterable[Group]:
    """One whole frame, of those whose place within a latent frame the ways tell apart or not."""
    for name, seed, scenes in deck.split([f"frame {frame}" for frame in PAPER_FRAMES]):
        given = _nothing(scenes)
        given[:, int(name.removeprefix("frame "))] = True
        yield Group(name, scenes, scenes.render(), given, seed)


def _at_anchors(deck: Deck, draw: Callable[[Scenes, int, int], Tensor]) -> Iterable[Group]:
    """draw: scenes, frame, how many came before -> what of that frame is given, [B, 64, 64] bool."""
    places = dict(zip(("", " beside"), anchors(deck.scenes.frames), strict=True))
    for name, seed, scenes in deck.split([f"{c}{where}" for where in places for c in COMBINATIONS]):
        combination, _, beside = name.partition(" ")
        given = _nothing(scenes)
        for turn, anchor in enumerate(combination.split("+")):
            frame = places[" beside" if beside else ""][anchor]
            given[:, frame] = draw(scenes, frame, turn)
        yield Group(name, scenes, scenes.render(), given, seed)


def any_v2v(deck: Deck) -> Iterable[Group]:
    """Clips of which a part is given on all frames, or some frames at both ends."""
    ways = {
        "inpainting": _inpainting,
        "outpainting": _outpainting,
        "transition, same words": _same_words,
        "transition, other words": _other_words,
        "camera pan": _camera_pan,
    }
    for name, seed, scenes in deck.split(list(ways)):
        yield ways[name](deck, name, seed, scenes)


def two_clips(deck: Deck) -> Iterable[Group]:
    """The start from one clip and the end from another one, of the same words: frames, and patches."""
    last = deck.scenes.frames - 1
    for name, seed, scenes in deck.split(["frames", "patches"]):
        second, given = other_flight(scenes, deck.generator), _nothing(scenes)
        for turn, (frame, clip) in enumerate(((0, scenes), (last, second))):
            given[:, frame] = True if name == "frames" else _patches(clip, frame, turn, deck.generator)
        yield Group(name, scenes, one_after_another(scenes, second), given, seed, known=False)


def _inpainting(deck: Deck, name: str, seed: int, scenes: Scenes) -> Group:
    """A hole that hides the object when half of the clip is over."""
    place = scenes.positions()[:, scenes.frames // 2]
    sides = (deck.uniform(*HIDDEN, len(scenes), 2) * FRAME_SIZE).round()
    low = (place - sides * deck.uniform(0.2, 0.8, len(scenes), 2)).round().clamp(min=0)
    low = torch.minimum(low, FRAME_SIZE - sides)
    given = ~_box(low, low + sides)[:, None].expand(-1, scenes.frames, -1, -1)
    return Group(name, scenes, scenes.render(), given, seed)


def _outpainting(deck: Deck, name: str, seed: int, scenes: Scenes) -> Group:
    """The middle of the picture."""
    sides = (deck.uniform(*CENTRE, len(scenes), 2) * FRAME_SIZE).round()
    low = ((FRAME_SIZE - sides) / 2).floor()
    given = _box(low, low + sides)[:, None].expand(-1, scenes.frames, -1, -1)
    return Group(name, scenes, scenes.render(), given, seed)


def _same_words(deck: Deck, name: str, seed: int, scenes: Scenes) -> Group:
    """Two flights that one prompt describes."""
    return _transition(name, seed, scenes, other_flight(scenes, deck.generator))


def _other_words(deck: Deck, name: str, seed: int, scenes: Scenes) -> Group:
    """Two scenes; the prompt describes the second one."""
    first = sample_scenes(len(scenes), frames=scenes.frames, level=scenes.level, generator=deck.generator)
    return _transition(name, seed, first, scenes)


def _transition(name: str, seed: int, first: Scenes, second: Scenes) -> Group:
    given = _nothing(second)
    given[:, :PREFIX] = given[:, -TEMPORAL_SCALE:] = True
    return Group(name, second, one_after_another(first, second), given, seed, known=False)


def _camera_pan(deck: Deck, name: str, seed: int, scenes: Scenes) -> Group:
    """The clip moves on the canvas, left or right, up or down; what comes into view is to be made."""
    clips, frames, source = len(scenes), scenes.frames, scenes.render()
    canvas = scenes.background_picture().expand_as(source).clone()
    given = _nothing(scenes)
    way = deck.uniform(*PAN, clips) * (torch.randint(2, (clips,), generator=deck.generator) * 2 - 1)
    vertical = torch.randint(2, (clips,), generator=deck.generator).tolist()
    for clip in range(clips):
        for frame in range(frames):
            shift = round(float(way[clip]) * frame / (frames - 1))
            here, there = _overlap(shift), _overlap(-shift)
            to, of = ((here, slice(None)), (there, slice(None))) if vertical[clip] else ((..., here), (..., there))
            given[clip, frame][to] = True
            for channel in range(3):
                canvas[clip, channel, frame][to] = source[clip, channel, frame][of]
    return Group(name, scenes, canvas, given, seed, known=False)


def _overlap(shift: int) -> slice:
    """Where on an axis of the frame something lies that was moved by so many pixels."""
    return slice(max(0, shift), FRAME_SIZE + min(0, shift))


def other_flight(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """Scenes of the same words, that begin elsewhere and fly otherwise."""
    words = {name: getattr(scenes, name).tolist() for name in ATTRIBUTES}
    return sample_scenes(len(scenes), frames=scenes.frames, level=scenes.level, generator=generator, **words)


def one_after_another(first: Scenes, second: Scenes) -> Tensor:
    """The first clip, and from the middle on the second: cut between two latent frames. [B, 3, F, 64, 64]"""
    cut = 1 + TEMPORAL_SCALE * ((first.frames - 1) // TEMPORAL_SCALE // 2)
    return torch.cat([first.render()[:, :, :cut], second.render()[:, :, cut:]], dim=2)


def _nothing(scenes: Scenes) -> Tensor:
    return torch.zeros(len(scenes), scenes.frames, FRAME_SIZE, FRAME_SIZE, dtype=torch.bool)


def _patches(scenes: Scenes, frame: int, turn: int, generator: torch.Generator) -> Tensor:
    """A box around the object and a random crop in turn, [B, 64, 64] bool."""
    place, reach = scenes.positions()[:, frame], scenes.radius()[:, None] + MARGIN
    boxes, crops = _box((place - reach).floor(), (place + reach).ceil()), random_crops(len(scenes), generator)
    aware = (torch.arange(len(scenes)) + turn) % 2 == 0
    return torch.where(aware[:, None, None], boxes, crops)


def _box(low: Tensor, high: Tensor) -> Tensor:
    """Rectangles from low to high [B, 2] (x, y) in pixels, [B, 64, 64] bool."""
    pixel = torch.arange(FRAME_SIZE)
    inside = (pixel >= low[..., None]) & (pixel < high[..., None])  # [B, 2, pixel]
    return inside[:, 1, :, None] & inside[:, 0, None, :]


class Set:
    """A set of the benchmark: its title, how its groups are made, and its share of the clips that are asked for."""

    def __init__(self, title: str, make: Make, share: float = 1.0):
        self.title, self.make, self.share = title, make, share

    def groups(self, clips: int, frames: int, level: str, seed: int, place: int) -> list[Group]:
        """The groups of this set, which is the `place`-th."""
        own = FIRST_SEED + SEEDS_OF_RUN * seed + SEEDS_OF_SET * place
        scenes = held_out_scenes(max(2, round(self.share * clips)), frames=frames, level=level, seed=own)
        return list(self.make(Deck(scenes, generator_of_conditions(own, 0), own)))


SETS = {
    "any_p2v": Set("AnyP2V: patches", any_p2v),
    "any_i2v": Set("AnyI2V: whole frames", any_i2v),
    "any_v2v": Set("AnyV2V: parts of all frames, and transitions", any_v2v),
    "two_clips": Set("Not homologous: start and end from two clips", two_clips, 0.5),
    "one_frame": Set("One whole frame at 2, 3 or 4", one_frame, 0.5),
}
MAIN = ("any_p2v", "any_i2v", "any_v2v")  # VideoCanvasBench


def make_sets(clips: int, frames: int, level: str = "easy", seed: int = 0) -> dict[str, list[Group]]:
    """The groups of all sets. clips: of each of the three; the other sets have half of that."""
    if not 0 <= seed < 1000 // SEEDS_OF_RUN:
        raise ValueError(f"seed {seed} is not among those of the benchmark: use 0 to {1000 // SEEDS_OF_RUN - 1}")
    if frames < SHORTEST or frames % TEMPORAL_SCALE != 1:
        raise ValueError(f"frames {frames} is not 4n+1 from {SHORTEST} on: use 17")
    return {name: one.groups(clips, frames, level, seed, place) for place, (name, one) in enumerate(SETS.items())}


def reference_scenes(count: int, frames: int, level: str, seed: int) -> Scenes:
    """Other real clips, which distances between distributions are measured from."""
    return held_out_scenes(count, frames=frames, level=level, seed=FIRST_SEED + SEEDS_OF_RUN * (seed + 1) - 1)


def of_groups(groups: Sequence[Group]) -> Group:
    """All clips of a set, one group after the other (they need not share their frames any more)."""
    names = (*ATTRIBUTES, "start", "velocity")
    parts: dict[str, Any] = {name: torch.cat([getattr(group.scenes, name) for group in groups]) for name in names}
    return Group(
        "all",
        replace(groups[0].scenes, **parts),
        torch.cat([group.canvas for group in groups]),
        torch.cat([group.given for group in groups]),
        groups[0].seed,
    )
