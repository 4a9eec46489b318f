"""Local editing (Table 3): overlays removed, subjects added, deleted, replaced; colour, texture, shape, background.

The instruction names the clip; the target differs from it in the one thing that it says.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from training.toybox import FRAME_SIZE, Level, Scenes, sample_scenes
from training.worlds.example import VIDEO, Example, Say, another, silence

WHITE = 0.85  # of overlays, in [-1, 1]
WATERMARK = 0.45  # opacity of a watermark
LOGO = 12  # pixels, side
MARGIN = 3  # pixels between a logo and the rim
SUBTITLE_ROWS = slice(51, 59)
PROP_RADIUS = 8.0  # of the small standing object that is added or deleted
CORNERS = {"top left": (13, 13), "top right": (51, 13), "bottom left": (13, 51), "bottom right": (51, 51)}  # x, y
STRIPE = 8  # pixels, period of a striped object
DARK_STRIPE = 0.25  # brightness of its dark stripes


def _edit(scenes: Scenes, source: Tensor, target: Scenes, captions: list[str], video: Tensor | None = None) -> Example:
    video = target.render() if video is None else video
    return Example(video, target.sound(), captions, source=source, scenes=target)


# -- overlays ----------------------------------------------------------------------------------------------------------


def watermark_mask(generator: torch.Generator, clips: int) -> Tensor:
    """Two crossing diagonal bands, shifted by up to 8 pixels: opacity in [0, 1]. [B, 1, 1, 64, 64]"""
    x = torch.arange(FRAME_SIZE).expand(FRAME_SIZE, -1)
    shift = torch.randint(-8, 9, (clips, 2, 1, 1), generator=generator)
    down = ((x - x.T)[None] + shift[:, 0]).abs() < 5
    up = ((x + x.T - FRAME_SIZE)[None] + shift[:, 1]).abs() < 5
    return WATERMARK * (down | up)[:, None, None].float()


def logo_mask(generator: torch.Generator, clips: int) -> tuple[Tensor, Tensor]:
    """A white emblem in one of the corners: opacity [B, 1, 1, 64, 64] in {0, 1}, and which corner [B]."""
    corner = torch.randint(len(CORNERS), (clips,), generator=generator)
    kind = torch.randint(2, (clips,), generator=generator)
    step = (torch.arange(LOGO) + 0.5 - LOGO / 2).abs()
    ring = (torch.maximum(step, step[:, None]) > LOGO / 2 - 3).float()
    cross = (torch.minimum(step, step[:, None]) < 2).float()
    mask = torch.zeros(clips, 1, 1, FRAME_SIZE, FRAME_SIZE)
    low, high = slice(MARGIN, MARGIN + LOGO), slice(FRAME_SIZE - MARGIN - LOGO, FRAME_SIZE - MARGIN)
    for i in range(clips):
        rows = high if corner[i] >= 2 else low
        columns = high if corner[i] % 2 else low
        mask[i, 0, 0, rows, columns] = cross if kind[i] else ring
    return mask, corner


def subtitle_mask(generator: torch.Generator, clips: int) -> Tensor:
    """A line of white word-like bars near the bottom: opacity [B, 1, 1, 64, 64] in {0, 1}."""
    mask = torch.zeros(clips, 1, 1, FRAME_SIZE, FRAME_SIZE)
    lengths = torch.randint(5, 12, (clips, 8), generator=generator)
    for i in range(clips):
        column = 6
        for length in lengths[i].tolist():
            if column + length > FRAME_SIZE - 6:
                break
            mask[i, 0, 0, SUBTITLE_ROWS, column : column + length] = 1
            column += length + 3
    return mask


def overlaid(video: Tensor, opacity: Tensor) -> Tensor:
    return torch.lerp(video, torch.full((), WHITE), opacity)


_REMOVE = ("remove the {} from {}", "remove the {} in {}", "erase the {} from {}", "make {1} without the {0}")


def watermark(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    source = overlaid(scenes.render(), watermark_mask(generator, len(scenes)))
    return _edit(scenes, source, scenes, [say.pick(_REMOVE).format("watermark", VIDEO) for _ in range(len(scenes))])


def logo(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    mask, corner = logo_mask(generator, len(scenes))
    names = list(CORNERS)
    what = [say.pick(("logo", f"logo at the {names[i]}", "logo in the corner")) for i in corner.tolist()]
    return _edit(scenes, overlaid(scenes.render(), mask), scenes, [say.pick(_REMOVE).format(x, VIDEO) for x in what])


def subtitle(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    source = overlaid(scenes.render(), subtitle_mask(generator, len(scenes)))
    what = [say.pick(("subtitle", "text", "subtitle at the bottom")) for _ in range(len(scenes))]
    return _edit(scenes, source, scenes, [say.pick(_REMOVE).format(x, VIDEO) for x in what])


# -- subjects ----------------------------------------------------------------------------------------------------------


def props(scenes: Scenes, generator: torch.Generator) -> tuple[Scenes, Tensor]:
    """A small object that stands in a corner of each scene, of another colour than the large one; and which corner."""
    level = replace(scenes.level, sizes={"small": PROP_RADIUS})
    drawn = sample_scenes(len(scenes), frames=scenes.frames, level=level, generator=generator)
    corner = torch.randint(len(CORNERS), (len(scenes),), generator=generator)
    standing = replace(
        drawn,
        colour=another(scenes.colour, len(level.colours), generator),
        start=torch.tensor(list(CORNERS.values()), dtype=torch.float32)[corner],
        velocity=torch.zeros(len(scenes), 2),
    )
    return standing, corner


def with_props(scenes: Scenes, standing: Scenes) -> Tensor:
    """The scenes with their props, which stand behind the moving object."""
    behind = torch.lerp(scenes.background_picture(), standing.paint(), standing.coverage())
    return torch.lerp(behind, scenes.paint(), scenes.coverage())


def _described(say: Say, scenes: Scenes, size: str = "") -> list[str]:
    colours, shapes = say.names("colour", scenes), say.names("shape", scenes)
    return [" ".join(filter(None, (size, *pair))) for pair in zip(colours, shapes, strict=True)]


def add(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """A small object that stands in a corner appears."""
    standing, corner = props(scenes, generator)
    captions = say.each(
        "add a {what} at the {where} of {video}",
        "insert a {what} at the {where} of {video}",
        "add a {what} in the {where} to {video}",
        what=_described(say, standing, "small"),
        where=[list(CORNERS)[i] for i in corner],
        video=[VIDEO] * len(scenes),
    )
    return _edit(scenes, scenes.render(), scenes, captions, with_props(scenes, standing))


def delete(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The small object disappears, the moving one stays."""
    standing, _ = props(scenes, generator)
    what = _described(say, standing, "small")
    captions = [say.pick(_REMOVE).format(x, VIDEO) for x in what]
    return _edit(scenes, with_props(scenes, standing), scenes, captions)


def delete_subject(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The moving object disappears, and its sound with it."""
    what = [say.pick((x, x.split()[-1])) for x in _described(say, scenes)]
    captions = [say.pick(_REMOVE).format(x, VIDEO) for x in what]
    video = scenes.background_picture().expand(-1, -1, scenes.frames, -1, -1)
    return Example(video, silence(scenes), captions, source=scenes.render())


def replace_subject(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """Another shape in another colour moves in the same way."""
    level = scenes.level
    other = replace(
        scenes,
        shape=another(scenes.shape, len(level.shapes), generator),
        colour=another(scenes.colour, len(level.colours), generator),
    )
    captions = say.each(
        "replace the {old} in {video} with a {new}",
        "replace the {old} of {video} by a {new}",
        "change the {old} in {video} to a {new}",
        old=_described(say, scenes),
        new=_described(say, other),
        video=[VIDEO] * len(scenes),
    )
    return _edit(scenes, scenes.render(), other, captions)


# -- attributes --------------------------------------------------------------------------------------------------------


def colour(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    other = replace(scenes, colour=another(scenes.colour, len(scenes.level.colours), generator))
    captions = say.each(
        "change the color of the {shape} in {video} to {colour}",
        "make the {shape} in {video} {colour}",
        "change the colour of the {shape} in {video} to {colour}",
        "turn the {shape} of {video} {colour}",
        shape=say.names("shape", scenes),
        colour=say.names("colour", other),
        video=[VIDEO] * len(scenes),
    )
    return _edit(scenes, scenes.render(), other, captions)


def shape(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    other = replace(scenes, shape=another(scenes.shape, len(scenes.level.shapes), generator))
    captions = say.each(
        "change the shape of the {old} in {video} to a {new}",
        "turn the {old} in {video} into a {new}",
        "make the {old} in {video} a {new}",
        old=say.names("shape", scenes),
        new=say.names("shape", other),
        video=[VIDEO] * len(scenes),
    )
    return _edit(scenes, scenes.render(), other, captions)


def striped(scenes: Scenes) -> Tensor:
    """The scenes with vertical stripes on their objects, which move with them."""
    step = torch.arange(FRAME_SIZE) - scenes.positions()[..., :1]  # [B, F, 64]
    dark = torch.where(step.remainder(STRIPE) < STRIPE / 2, 1.0, DARK_STRIPE)
    paint = (scenes.paint() + 1) * dark[:, None, :, None, :] - 1
    return torch.lerp(scenes.background_picture(), paint, scenes.coverage())


def texture(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    captions = say.each(
        "make the {shape} in {video} {striped}",
        "change the texture of the {shape} in {video} to {striped}",
        "turn the {shape} of {video} {striped}",
        shape=say.names("shape", scenes),
        striped=[say.word("texture", "striped") for _ in range(len(scenes))],
        video=[VIDEO] * len(scenes),
    )
    return _edit(scenes, scenes.render(), scenes, captions, striped(scenes))


# -- background --------------------------------------------------------------------------------------------------------


def other_background(scenes: Scenes, generator: torch.Generator) -> Scenes:
    return replace(scenes, background=another(scenes.background, len(scenes.level.backgrounds), generator))


def background(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    other = other_background(scenes, generator)
    captions = say.each(
        "change the background of {video} to {colour}",
        "replace the background of {video} with {colour}",
        "make the background of {video} {colour}",
        colour=say.names("background", other),
        video=[VIDEO] * len(scenes),
    )
    return _edit(scenes, scenes.render(), other, captions)


def level_of_props(level: Level) -> Level:
    """The level of the small objects, for detectors."""
    return replace(level, sizes={"small": PROP_RADIUS})
