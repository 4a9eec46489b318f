"""The prompts: categories of them, each with scenes and noise of its own that no training and no other benchmark sees.

A further category is a further entry of CATEGORIES, at the end: the seeds count along them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.quality.given import Given
from benchmarks.quality.held_out import generator_of_conditions, held_out_scenes
from benchmarks.quality.pipeline import Mini
from training.captions import EASY, SOUND, caption
from training.toybox import ATTRIBUTES, LEVELS, Scenes, sample_scenes

LEVEL = LEVELS["easy"]
FIRST_SEED = 5000  # of those of benchmarks.quality.held_out; each category has the one at its place
PER_CATEGORY = 12  # every colour twice, every shape four times, every background three times
TAKE = 30  # of the generators of conditions: other takes of the same prompts
LOOKS = tuple(name for name in EASY if name not in SOUND)  # what a prompt can say of the picture


@dataclass(frozen=True)
class Category:
    """A kind of prompt.

    says: attributes that its prompts name; only these are followed or not. worded: attributes -> prompt. speeds: words
    of the level. given: what the network is shown beside the prompt. seen: frames at the start that are given, and not
    judged by their looks.
    """

    name: str
    says: tuple[str, ...] = (*LOOKS, *SOUND)
    worded: Callable[[dict[str, str]], str] = caption
    speeds: tuple[str, ...] = tuple(LEVEL.speeds)
    frames: int = 17
    given: Callable[[Mini, Scenes], Given] | None = None
    seen: int = 0


def start_of_clip(latent_frames: int) -> Callable[[Mini, Scenes], Given]:
    """Gives the first latent frames of the real clip, in the condition channels (SkyReels-V4 eq. 7)."""

    def given(mini: Mini, scenes: Scenes) -> Given:
        clean = mini.encode(scenes.render())
        mask = torch.zeros_like(clean[:, :1])
        mask[:, :, :latent_frames] = 1
        return Given(clean, mask, route="channels")

    return given


CATEGORIES = (
    Category("slow shot", speeds=("slowly",)),
    Category("quick shot", speeds=("quickly",)),
    Category("no word of the sound", says=LOOKS),
    Category("pitch alone", says=(*LOOKS, "pitch")),
    Category("timbre alone", says=(*LOOKS, "sound")),
    Category("long shot", frames=33),
    Category("image to video", given=start_of_clip(1), seen=1),
    Category("extension", given=start_of_clip(2), seen=5),
)
MOST = PER_CATEGORY * len(CATEGORIES)


@dataclass(frozen=True)
class Prompts:
    """Prompts of one category. seed: of the noise. scenes: what they tell of. said: of each, attribute -> word."""

    category: Category
    seed: int
    scenes: Scenes
    said: Sequence[Mapping[str, str]]

    @classmethod
    def of(cls, category: Category, number: int) -> Prompts:
        """All prompts of the category, which has that number."""
        seed = FIRST_SEED + number
        speeds = {name: LEVEL.speeds[name] for name in category.speeds}
        narrow = replace(LEVEL, speeds=speeds)
        scenes = held_out_scenes(PER_CATEGORY, frames=category.frames, level=narrow, seed=seed)
        place = torch.tensor([LEVEL.choices("speed").index(name) for name in speeds])
        return cls.telling(category, seed, replace(scenes, level=LEVEL, speed=place[scenes.speed]))

    @classmethod
    def telling(cls, category: Category, seed: int, scenes: Scenes) -> Prompts:
        said = [{name: scenes.attributes(i)[name] for name in category.says} for i in range(len(scenes))]
        return cls(category, seed, scenes, said)

    def __len__(self) -> int:
        return len(self.said)

    @property
    def texts(self) -> list[str]:
        return [self.category.worded(dict(words)) for words in self.said]

    def first(self, count: int) -> Prompts:
        scenes = self.scenes.select(torch.arange(count), self.scenes.frames)
        return Prompts(self.category, self.seed, scenes, self.said[:count])

    def another_take(self) -> Prompts:
        """The same words, told of scenes that start elsewhere and fly elsewhere."""
        scenes = sample_scenes(
            len(self),
            frames=self.scenes.frames,
            level=self.scenes.level,
            generator=generator_of_conditions(self.seed, TAKE),
            **{name: getattr(self.scenes, name).tolist() for name in ATTRIBUTES},
        )
        return Prompts(self.category, self.seed, scenes, self.said)


def all_prompts() -> list[Prompts]:
    return [Prompts.of(category, number) for number, category in enumerate(CATEGORIES)]


def chosen(count: int) -> list[Prompts]:
    """`count` of the prompts, 2 to MOST, as many of each category (or one more of the first categories).

    More prompts are the fewer and some further ones.
    """
    if not 2 <= count <= MOST:
        raise ValueError(f"--prompts {count} is not among 2 to {MOST}, the prompts that there are")
    share, rest = divmod(count, len(CATEGORIES))
    counts = [share + (number < rest) for number in range(len(CATEGORIES))]
    return [prompts.first(n) for prompts, n in zip(all_prompts(), counts, strict=True) if n]
