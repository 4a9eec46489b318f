"""The paired worlds of the training on held-out scenes: what is asked for, what is made of it, a page to look at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.quality.figures import Array, Figure, Pairs, rate
from benchmarks.quality.given import Given, InContext, pixels_of
from benchmarks.quality.held_out import generator_of_conditions
from benchmarks.quality.pipeline import Clips, Mini, statistics_of
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.strip import CAPTION_HEIGHT, GAP, INK, PAPER, WAVE_HEIGHT, stack, strip, waveform
from models.mmdit import Context
from training.conditions import AROUND, ConditionMaker
from training.objective import whole_cells
from training.toybox import FRAME_SIZE, SAMPLE_RATE, Scenes
from training.train import normalise
from training.worlds import WORLDS, Example

GENERATOR = 100  # of the random numbers of the first world; each has its own
MOST = 0.8  # share of a clip's frames that must show what was asked for
MASKED = "with a mask"  # of a way: a mask says what the edit leaves alone
SHOWN, STRIDE = 2, 2  # clips of each world on the page, and frames between those that it shows
LABEL = 190  # pixels, width of the column that names the rows of the page


@dataclass(frozen=True)
class Case:
    """A world on held-out scenes: the truth that clips are judged against."""

    name: str
    scenes: Scenes
    example: Example
    seed: int

    @classmethod
    def of(cls, name: str, scenes: Scenes, seed: int = 0) -> Case:
        return cls(name, scenes, WORLDS[name].make(scenes, _generator(name, seed)), seed)

    def generator(self) -> torch.Generator:
        """As it was before the example was drawn, to draw parts of it again."""
        return _generator(self.name, self.seed)

    @property
    def truth(self) -> Clips:
        return Clips(self.example.video, self.example.sound)

    @property
    def target(self) -> Scenes:
        """What the truth shows, if it shows an object; global edits leave the scenes as they are."""
        return self.example.scenes or self.scenes

    @property
    def source(self) -> Tensor:
        """The clip to edit [B, 3, F, H, W]."""
        if self.example.source is None:
            raise ValueError(f"world {self.name!r} has no clip to edit")
        return self.example.source

    def __len__(self) -> int:
        return len(self.scenes)


def _generator(name: str, seed: int) -> torch.Generator:
    return generator_of_conditions(seed, GENERATOR + list(WORLDS).index(name))


def given_of(mini: Mini, example: Example, fps: float) -> Given:
    """What the network sees of an example beside its caption: references in the order in which artists add them."""
    shown = ConditionMaker(mini.codecs.video, mini.codecs.audio).of_example(example, fps)

    def in_context(entries: list[Context], stream: str) -> tuple[InContext, ...]:
        statistics = statistics_of(mini.network, stream)
        return tuple(InContext(normalise(x, *statistics), [tuple(times)] * len(example)) for x, times in entries)

    given = Given(
        video_context=in_context(shown.video, "video"),
        audio_context=in_context(shown.audio, "audio"),
        media=shown.media,
    )
    if example.given == "nothing":
        return given
    if example.given != "first":
        raise ValueError(f"given {example.given!r} is not measured: use 'nothing' or 'first'")
    latent = mini.encode(example.video)
    mask = torch.zeros_like(latent[:, :1])
    mask[:, :, 0] = 1
    return replace(given, video=latent, mask=mask)


def with_mask(mini: Mini, given: Given, example: Example) -> Given:
    """The same, and as the nodes do it with a mask around the edit: what is not given is black before it is encoded."""
    assert example.source is not None
    cells = whole_cells(example.unchanged(AROUND), mini.codecs.video.spatial_scale)
    pixels = pixels_of(cells, mini.codecs.video)
    return replace(given, video=mini.encode(torch.where(pixels[:, None], example.source, -1.0)), mask=cells)


def composed(clips: Clips, example: Example) -> Clips:
    """The clips, with the pixels of the clip to edit put back where the mask keeps them, as Compose Canvas does it."""
    assert clips.video is not None and example.source is not None
    return Clips(torch.where(example.unchanged(AROUND)[:, None], example.source, clips.video), clips.sound)


class Trial(NamedTuple):
    """Clips of a world, and the best that they could be: the truth through the codecs."""

    case: Case
    clips: Clips
    best: Clips
    masked: bool = False


def tried(
    setting: Setting,
    names: Iterable[str],
    figures_of: Callable[[Trial], dict[str, Figure]],
    masked: Collection[str] = (),
) -> Result:
    """Makes and measures the clips of some worlds, one world after the other; those in `masked` once more, with a mask
    around the edit beside the instruction, as "<name> with a mask"."""
    figures: dict[str, Figure] = {}
    ceiling: dict[str, Figure] = {}
    rows = []
    for name in names:
        case = Case.of(name, setting.scenes, setting.sampling.seed)
        mini, frames = setting.network, setting.scenes.frames
        given = given_of(mini, case.example, case.scenes.fps)
        best = setting.codecs.reconstruct(case.example.video, case.example.sound)
        ways = {name: given}
        if name in masked:
            ways[f"{name} {MASKED}"] = with_mask(mini, given, case.example)
        for way, shown in ways.items():
            setting.report(way)
            clips = mini.generate(case.example.captions, frames=frames, sampling=setting.sampling, given=shown)
            if way != name:
                clips = composed(clips, case.example)
            for result, made in ((figures, clips), (ceiling, best)):
                trial = Trial(case, made, best, masked=way != name)
                result |= {f"{way}/{key}": figure for key, figure in figures_of(trial).items()}
            rows.append(page_row(case, clips, way))
    return Result(figures, ceiling, picture=page(rows))


def exchanged(values: Array) -> Figure:
    """Mean of [B, B] over the true pairs, beside that over all others."""
    return rate(Pairs.of(values, torch.ones(len(values)).numpy()))


def shows(read: Tensor, truth: Tensor, counted: Tensor | None = None) -> Array:
    """Whether most frames of clip i, read [B, F], show what is true of clip j, truth [B]. [B, B] bool

    counted [B, F] bool: the frames of clip j that are looked at; where there are none, nothing speaks against it.
    """
    right = (read[:, None] == truth[None, :, None]).double()
    if counted is None:
        return (right.mean(2) >= MOST).numpy()
    weight = counted.double()
    return ((right * weight).sum(2) >= MOST * weight.sum(1)).numpy()


def every_pair(verdict: Tensor) -> Array:
    """A verdict on each clip [B] that does not depend on the example. [B, B]"""
    return verdict[:, None].expand(-1, len(verdict)).numpy()


# -- the page ----------------------------------------------------------------------------------------------------------


def page(rows: list[Image.Image]) -> Image.Image:
    return stack(rows, 6 * GAP)


def page_row(case: Case, clips: Clips, name: str = "") -> Image.Image:
    """A few clips of a world: what they are made from, the truth and its sound, what was made and its sound."""
    entries = []
    for index in range(min(SHOWN, len(case))):
        parts = _parts(case, clips, index, name or case.name)
        entries.append(stack([image for _, image in parts], GAP))
    row = Image.new("RGB", (LABEL + sum(entry.width + 6 * GAP for entry in entries), entries[0].height), PAPER)
    draw, top = ImageDraw.Draw(row), 0
    for name, image in parts:
        draw.text((4, top + 1), name, fill=INK, font=ImageFont.load_default(12))
        top += image.height + GAP
    left = LABEL
    for entry in entries:
        row.paste(entry, (left, 0))
        left += entry.width + 6 * GAP
    return row


def _parts(case: Case, clips: Clips, index: int, name: str) -> list[tuple[str, Image.Image]]:
    """One clip from top to bottom, each part with its name: of the same height for all clips of a world."""
    example, frames = case.example, slice(None, None, STRIDE)
    assert clips.video is not None and clips.sound is not None
    length = int(clips.video.shape[2] / case.scenes.fps * SAMPLE_RATE)
    width = len(range(0, clips.video.shape[2], STRIDE)) * (FRAME_SIZE + GAP) - GAP
    caption = Image.new("RGB", (width, CAPTION_HEIGHT), PAPER)
    ImageDraw.Draw(caption).text((2, 1), example.captions[index], fill=INK, font=ImageFont.load_default(12))
    parts = [(name, caption)]
    if example.source is not None:
        parts.append(("the clip", strip(example.source[index, :, frames], None)))
    if example.pictures:
        pictures = torch.cat([picture[index] for picture in example.pictures.values()], dim=1)
        parts.append(("the picture", strip(pictures, None)))
    if example.voice is not None:
        samples = example.voice.shape[-1]
        parts.append(
            ("the voice", waveform(example.voice[index], round(width * samples / length), WAVE_HEIGHT, samples))
        )
    for label, shown in (("truth", case.truth), ("made", clips)):
        assert shown.video is not None and shown.sound is not None
        parts.append((label, strip(shown.video[index, :, frames], None)))
        parts.append(("", waveform(shown.sound[index], width, WAVE_HEIGHT, length)))
    return parts
