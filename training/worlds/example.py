"""What a world hands over, and the words that all worlds speak in."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from training.captions import SYNONYMS, with_article
from training.toybox import Scenes

CHANGED = 0.1  # difference in a colour, of 2, from which on an edit changes a pixel
VIDEO, SUBJECT, BACKGROUND, VOICE = "@video_1", "@image_1", "@image_2", "@audio_0"  # the tags that prompts speak of


@dataclass(frozen=True)
class Example:
    """A batch of B clips to learn, and what they are made from.

    video [B, 3, F, 64, 64] in [-1, 1] and sound [B, 1, S]: the target. captions: an instruction or description each.
    source [B, 3, F, 64, 64]: the clip that VIDEO names. pictures: tag -> [B, 3, 1, 64, 64]. voice [B, 1, S]: the sound
    that VOICE names. given: what of the target is shown by a mask, a key of `training.objective.GIVEN`.
    scenes: what the target shows, where that is a scene of the toybox. facts: what else is true of it, for measuring.
    """

    video: Tensor
    sound: Tensor
    captions: list[str]
    source: Tensor | None = None
    pictures: dict[str, Tensor] = field(default_factory=dict)
    voice: Tensor | None = None
    given: str = "nothing"
    scenes: Scenes | None = None
    facts: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.video)

    @property
    def changed(self) -> Tensor:
        """Pixels that the edit changes, [B, F, H, W] bool. ValueError if there is no clip to edit."""
        if self.source is None:
            raise ValueError("this example has no clip to edit")
        return (self.source - self.video).abs().amax(1) > CHANGED

    def unchanged(self, beside: int) -> Tensor:
        """Pixels that it leaves as they are, more than so many pixels away from the others. [B, F, H, W] bool"""
        return F.max_pool2d(self.changed.float(), 2 * beside + 1, stride=1, padding=beside) == 0


@dataclass(frozen=True)
class World:
    """One task. make(scenes, generator, words=None): words None gives canonical captions, a generator paraphrases.

    layout: which worlds can share a batch, because their examples have the same kinds of conditions.
    """

    name: str
    layout: str
    function: Callable[[Scenes, torch.Generator, Say], Example]

    def make(self, scenes: Scenes, generator: torch.Generator, words: random.Random | None = None) -> Example:
        return self.function(scenes, generator, Say(scenes, words))


def joined(examples: Sequence[Example]) -> Example:
    """Examples of worlds of one layout as one batch; what is for measuring alone is dropped.

    ValueError if they have not the same kinds of conditions.
    """
    first = examples[0]
    kinds = {
        (example.source is None, example.voice is None, tuple(example.pictures), example.given) for example in examples
    }
    if len(kinds) > 1:
        raise ValueError(f"examples of {len(kinds)} layouts cannot share a batch: join worlds of one layout")

    def together(part: Callable[[Example], Tensor | None]) -> Tensor | None:
        tensors = [tensor for example in examples if (tensor := part(example)) is not None]
        return torch.cat(tensors) if tensors else None

    return replace(
        first,
        video=torch.cat([example.video for example in examples]),
        sound=torch.cat([example.sound for example in examples]),
        captions=[caption for example in examples for caption in example.captions],
        source=together(lambda example: example.source),
        pictures={tag: torch.cat([example.pictures[tag] for example in examples]) for tag in first.pictures},
        voice=together(lambda example: example.voice),
        scenes=None,
        facts={},
    )


class Say:
    """Words for what scenes show: the first choice everywhere, or random ones."""

    def __init__(self, scenes: Scenes, words: random.Random | None):
        self.scenes, self.words = scenes, words

    def pick(self, options: Sequence[str]) -> str:
        """The canonical wording, which comes first, or any."""
        return options[0] if self.words is None else self.words.choice(options)

    def name(self, attribute: str, index: int | Tensor) -> str:
        """A word for value `index` of an attribute of the scenes' level."""
        return self.pick(SYNONYMS[attribute][self.scenes.level.choices(attribute)[int(index)]])

    def word(self, attribute: str, value: str) -> str:
        """A word for `value` of an attribute."""
        return self.pick(SYNONYMS[attribute][value])

    def each(self, *templates: str, **columns: Sequence[str]) -> list[str]:
        """One of the templates for each scene, filled with its entries of the columns."""
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [with_article(self.pick(templates).format(**row)) for row in rows or [{}] * len(self.scenes)]

    def names(self, attribute: str, scenes: Scenes) -> list[str]:
        """A word for that attribute of each scene."""
        return [self.name(attribute, index) for index in getattr(scenes, attribute)]


def another(index: Tensor, options: int, generator: torch.Generator) -> Tensor:
    """For each index another one of so many options. [B]"""
    change = torch.randint(1, options, index.shape, generator=generator)
    return (index + change) % options


def silence(scenes: Scenes) -> Tensor:
    """No sound, as long as the scenes' own. [B, 1, S]"""
    return torch.zeros_like(scenes.sound())
