"""The canvas as one picture, for 'Preview Canvas': frames, timeline, sound and references, before anything is made.

A section is a picture [H, W, 3] of WIDTH pixels; they are stacked. Pictures in here are numpy arrays of floats in 0..1.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Plan
from ..canvas.document import Box, Document, Placement
from ..canvas.pixels import Frame, Pixels
from ..canvas.sound import mix

WIDTH, MARGIN, GAP, GUTTER = 1280, 24, 12, 64  # pixels of the sheet; the gutter holds the names of the tracks
INNER = WIDTH - 2 * MARGIN
TRACK = INNER - GUTTER
FRAMES_AREA = 720_000  # of all thumbnails together
THUMBNAIL_SIDES, LEAST_CAPTION = (144, 480), 96  # least and most of a square one; room for what stands below

BACKGROUND, PANEL, FAINT, TEXT = (24, 25, 28), (38, 40, 45), (152, 155, 162), (236, 236, 238)
GIVEN, AGAIN, LOST, PATCH, GUIDE = (88, 196, 128), (134, 104, 236), (255, 152, 38), (64, 212, 240), (246, 104, 196)
ROLES = {"keep": PATCH, "guide": GUIDE}


def contact_sheet(canvas: Canvas, plan: Plan, most: int) -> Tensor:
    """[1, H, WIDTH, 3] in 0..1. most: frames to show, if there are more."""
    frames, lost = thumbnails(canvas, plan, most)
    sections = [header(canvas, plan, lost or bool(plan.audio_partial.any())), frames, timeline(canvas, plan)]
    if canvas.document.references:
        sections.append(references(canvas))
    height = sum(section.height + MARGIN for section in sections) + MARGIN
    sheet, top = Image.new("RGB", (WIDTH, height), BACKGROUND), MARGIN
    for section in sections:
        sheet.paste(section, (MARGIN, top))
        top += section.height + MARGIN
    return torch.from_numpy(np.asarray(sheet).astype(np.float32) / 255)[None]


# --- drawing


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def panel(width: int, height: int, colour=BACKGROUND) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def array(image: Tensor) -> np.ndarray:
    return image.float().cpu().numpy()


def image_of(picture: np.ndarray) -> Image.Image:
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))


def scaled(picture: Tensor, width: int, height: int) -> np.ndarray:
    """[H, W] or [H, W, 3] at another size: pixels stay pixels when it grows, and are averaged when it shrinks."""
    step = max(1, min(picture.shape[0] // (3 * height), picture.shape[1] // (3 * width)))  # 3 x 3 pixels tell enough
    grows = width >= picture.shape[1] and height >= picture.shape[0]
    image = Image.fromarray((picture[::step, ::step] * 255).round().byte().numpy())
    return np.asarray(image.resize((width, height), Image.NEAREST if grows else Image.BOX)).astype(np.float32) / 255


def made_again(height: int, width: int, period: int = 10) -> np.ndarray:
    """The hatching of what the model makes."""
    rows, columns = np.indices((height, width))
    strength = np.where((rows + columns) % period < period // 3, 0.62, 0.26)
    return strength[..., None] * np.array(AGAIN) / 255


def outline(region: np.ndarray, thickness: int = 2) -> np.ndarray:
    """The inner edge of a region [H, W]."""
    inner = np.pad(region, thickness)
    for axis in (0, 1):
        shifted = [np.roll(inner, shift, axis) for shift in range(-thickness, thickness + 1)]
        inner = np.logical_and.reduce(shifted)
    return region & ~inner[thickness:-thickness, thickness:-thickness]


def fitting(text: str, size: int, width: int) -> str:
    """text, cut with dots where it is wider than that."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


# --- sections


def header(canvas: Canvas, plan: Plan, lost: bool) -> Image.Image:
    document = canvas.document
    image, draw = panel(INNER, 64)
    frames = f"{document.frames} frame{'s' * (document.frames > 1)}"
    title = f"{document.width} x {document.height}  ·  {frames} at {document.fps:g} fps  ·  {document.seconds:.2f} s"
    draw.text((0, 0), title, TEXT, font(22))
    left, roles = 0, {placement.role for _, placement in in_context(canvas, plan)}
    entries = [("given", GIVEN, True), ("made by the model", AGAIN, True)]
    entries += [("given, but lost to the latent grid", LOST, lost)]
    entries += [("given in context", PATCH, "keep" in roles), ("guide, in context", GUIDE, "guide" in roles)]
    for name, colour, shown in entries:
        if shown:
            swatch(image, left, 40, colour)
            draw.text((left + 30, 39), name, FAINT, font(15))
            left += 30 + math.ceil(font(15).getlength(name)) + 28
    return image


def swatch(image: Image.Image, left: int, top: int, colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(image)
    if colour == AGAIN:
        image.paste(image_of(made_again(18, 22)), (left, top))
    elif colour == GIVEN:
        draw.rectangle((left, top, left + 21, top + 17), GIVEN)
    else:
        draw.rectangle((left, top, left + 21, top + 17), outline=colour, width=2)


def in_context(canvas: Canvas, plan: Plan) -> Iterable[tuple[int, Placement]]:
    """Frames and placements that go there as in-context patches."""
    placements = {placement.id: placement for placement in canvas.document.placements}
    for patch in plan.patches:
        for name in patch.placements:
            yield patch.frame, placements[name]


def thumbnails(canvas: Canvas, plan: Plan, most: int) -> tuple[Image.Image, bool]:
    """The frames, and whether there is anything on them that is lost to the grid."""
    document, any_lost = canvas.document, False
    frames = shown_frames(plan, document.frames, most)
    width, height, columns = thumbnail_size(document, len(frames))
    cell = max(width, LEAST_CAPTION)
    gap = (INNER - columns * cell) // max(columns - 1, 1) if len(frames) > columns else GAP
    image, draw = panel(INNER, math.ceil(len(frames) / columns) * (height + 20 + GAP) - GAP)
    pixels, ground, patches = Pixels(canvas), Ground(canvas), list(in_context(canvas, plan))
    for i, frame in enumerate(frames):
        left, top = i % columns * (cell + gap), i // columns * (height + 20 + GAP)
        boxed = [(placement.box_at(frame), placement.role) for at, placement in patches if at == frame]
        seen = pixels.frame(frame)
        picture = thumbnail(seen, ground.frame(frame), width, height)
        lost = lost_pixels(plan, seen, frame, (box for box, _ in boxed), width, height)
        any_lost |= bool(lost.any())
        mark(picture, lost, LOST)
        shown = image_of(picture)
        mark_patches(shown, boxed, document)
        image.paste(shown, (left, top))
        seconds = f"{frame / document.fps:.2f} s"
        draw.text((left, top + height + 3), f"frame {frame}" if cell > 120 else str(frame), TEXT, font(14))
        draw.text((left + cell, top + height + 3), seconds, FAINT, font(14), anchor="ra")
    return image, any_lost


def thumbnail_size(document: Document, count: int) -> tuple[int, int, int]:
    """Width and height of a thumbnail, and how many stand side by side. Small canvases grow by whole factors."""
    least, largest = THUMBNAIL_SIDES
    area = min(max(FRAMES_AREA / count, least**2), largest**2)
    scale = min(math.sqrt(area / (document.width * document.height)), INNER / document.width, 560 / document.height)
    if scale >= 1:
        scale = math.floor(scale)
        columns = (INNER + GAP) // (max(document.width * scale, LEAST_CAPTION) + GAP)
    else:
        columns = max(1, round((INNER + GAP) / (max(document.width * scale, LEAST_CAPTION) + GAP)))
        scale = min(scale, ((INNER + GAP) / columns - GAP) / document.width)
    return max(1, int(document.width * scale)), max(1, int(document.height * scale)), min(columns, count)


def shown_frames(plan: Plan, frames: int, most: int) -> list[int]:
    """At most so many frames: the first and last, those where something begins, then where it ends, then others."""
    if frames <= most:
        return list(range(frames))
    patches = {patch.frame: patch.placements for patch in plan.patches}
    looks = [(given, patches.get(frame, ())) for frame, given in enumerate(plan.given_pixels.tolist())]
    changes = [frame for frame in range(1, frames) if looks[frame] != looks[frame - 1]]
    begins = [frame for frame in changes if looks[frame] != (0, ())]
    shown: set[int] = set()
    for wanted in ([0], [frames - 1], begins, changes, range(frames)):
        rest, room = [frame for frame in wanted if frame not in shown], most - len(shown)
        shown |= set(rest) if len(rest) <= room else {rest[int((i + 0.5) * len(rest) / room)] for i in range(room)}
    return sorted(shown)


class Ground:
    """What shines through where the model makes a frame: guides, and what regions have taken away."""

    def __init__(self, canvas: Canvas):
        document = canvas.document
        self.guides = [placement for placement in document.placements if placement.role == "guide"]
        self.pixels = Pixels(Canvas(document.replace(regions=()), canvas.media))

    def frame(self, frame: int) -> Tensor:
        """[H, W, 3], black where nothing was placed."""
        picture = self.pixels.frame(frame).picture
        guides = [guide.id for guide in self.guides if 0 <= frame - guide.frame < guide.frames]
        return self.pixels.patch(frame, guides, picture)[0]


def thumbnail(seen: Frame, ground: Tensor, width: int, height: int) -> np.ndarray:
    """What is given as it is, what is made hatched over the ground [H, W, 3]."""
    made = 0.4 * scaled(ground, width, height) + made_again(height, width)
    return scaled(seen.picture, width, height) + (1 - scaled(seen.weight, width, height)[..., None]) * made


def lost_pixels(plan: Plan, seen: Frame, frame: int, patches: Iterable[Box], width: int, height: int) -> np.ndarray:
    """[height, width] bool: what is given, but reaches the model neither by channel concat nor in context."""
    latent, cell = plan.video.latent_of(frame), plan.video.spatial
    lost = (plan.partial[latent] & ~plan.concat[latent]).numpy().copy()
    for box in patches:
        rows = slice(max(box.y, 0) // cell, -(-(box.y + box.height) // cell))
        lost[rows, max(box.x, 0) // cell : -(-(box.x + box.width) // cell)] = False
    if not lost.any():
        return np.zeros((height, width), bool)
    rows, columns = (np.arange(side) * cells // side for side, cells in zip((height, width), lost.shape, strict=True))
    return lost[rows][:, columns] & (scaled(seen.given, width, height) > 0.5)


def mark(picture: np.ndarray, region: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Tints and outlines a region [H, W] of a picture [H, W, 3]."""
    paint = np.array(colour) / 255
    picture[region] = 0.8 * picture[region] + 0.2 * paint
    picture[outline(region)] = paint


def mark_patches(image: Image.Image, patches: list[tuple[Box, str]], document: Document) -> None:
    """Boxes around what goes in context, in the colour of its role."""
    draw, scale = ImageDraw.Draw(image), image.width / document.width
    for box, role in patches:
        left, right = (min(max(x, 0), document.width) * scale for x in (box.x, box.x + box.width))
        top, bottom = (min(max(y, 0), document.height) * scale for y in (box.y, box.y + box.height))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=ROLES[role], width=2)


def timeline(canvas: Canvas, plan: Plan) -> Image.Image:
    """How much of each frame is given, and the sound, above one ruler."""
    image, draw = panel(INNER, 40 + 12 + 72 + 22)
    for name, top in (("picture", 12), ("sound", 52 + 28)):
        draw.text((0, top), name, FAINT, font(14))
    image.paste(picture_track(canvas, plan, 40), (GUTTER, 0))
    image.paste(sound_track(canvas, plan, 72), (GUTTER, 52))
    seconds = canvas.document.seconds
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600) if seconds / s <= 12), seconds / 6)
    for i in range(math.floor(seconds / step + 1e-6) + 1):
        left = GUTTER + i * step / seconds * (TRACK - 1)
        draw.line((left, 124, left, 129), FAINT)
        anchor = "ra" if i * step > 0.97 * seconds else "ma" if i else "la"
        draw.text((left, 131), f"{i * step:g} s", FAINT, font(13), anchor=anchor)
    return image


def picture_track(canvas: Canvas, plan: Plan, height: int) -> Image.Image:
    """A bar for each frame: green, how much of it is given; a bar on top of that: it has a patch in context."""
    document = canvas.document
    image = image_of(made_again(height, TRACK))
    draw = ImageDraw.Draw(image)
    shares = (plan.given_pixels.double() / (document.width * document.height)).tolist()
    roles = {frame: placement.role for frame, placement in in_context(canvas, plan)}
    for frame, share in enumerate(shares):
        left, right = (round(f * TRACK / document.frames) for f in (frame, frame + 1))
        right = max(left, right - 1)
        if share:
            draw.rectangle((left, height - max(2, round(share * height)), right, height), GIVEN)
        if frame in roles:
            draw.rectangle((left, 0, right, 5), ROLES[roles[frame]])
    room = TRACK / len(plan.given) >= 6  # pixels
    for latent in range(1, len(plan.given)) if room else ():
        left = round(plan.video.frames_of(latent).start * TRACK / document.frames)
        draw.line((left, 0, left, height), BACKGROUND)
    return image


def sound_track(canvas: Canvas, plan: Plan, height: int) -> Image.Image:
    """The wave of what is given; hatched what is made; framed the latents that hold some of both."""
    sound = mix(canvas, plan.audio.sample_rate)
    wave, given = array(sound.waveform).mean(0), array(sound.given).astype(bool)
    picture, middle = made_again(height, TRACK), (height - 1) / 2
    starts = np.minimum(np.arange(TRACK) * len(given) // TRACK, len(given) - 1)
    kept = np.logical_and.reduceat(given, starts)
    low, high = (
        np.where(kept, reduce(wave, starts), 0).clip(-1, 1) for reduce in (np.minimum.reduceat, np.maximum.reduceat)
    )
    picture[:, kept] = np.array(PANEL) / 255
    rows = np.arange(height)[:, None]
    line = (rows >= middle - 0.96 * middle * high - 0.6) & (rows <= middle - 0.96 * middle * low + 0.6) & kept
    picture[line] = np.array(GIVEN) / 255
    partial = array(plan.audio_partial).astype(bool)
    cells = np.minimum(np.arange(TRACK) * len(partial) // TRACK, len(partial) - 1)
    framed = np.broadcast_to(partial[cells], (height, TRACK))
    picture[outline(framed)] = np.array(LOST) / 255
    return image_of(picture)


def references(canvas: Canvas) -> Image.Image:
    """A thumbnail and a tag for each: pictures, first frames of clips, waves of voices."""
    cell, side = 112, 96
    columns = (INNER + GAP) // (cell + GAP)
    entries = canvas.document.references
    image, draw = panel(INNER, 26 + math.ceil(len(entries) / columns) * (side + 34) - 10)
    draw.text((0, 0), "references", FAINT, font(15))
    for i, reference in enumerate(entries):
        left, top = i % columns * (cell + GAP), 26 + i // columns * (side + 34)
        media, facts = canvas.media[reference.media], canvas.document.media[reference.media]
        if facts.kind == "sound":
            shown = wave_thumbnail(media, cell, side)
        else:
            factor = min(cell / facts.width, side / facts.height)
            size = (max(1, round(facts.width * factor)), max(1, round(facts.height * factor)))
            shown, _ = panel(cell, side, PANEL)
            shown.paste(image_of(scaled(media[0], *size)), ((cell - size[0]) // 2, (side - size[1]) // 2))
        image.paste(shown, (left, top))
        length = f"{facts.seconds:.1f} s" if facts.seconds else ""
        room = cell - font(13).getlength(length) - 6 * bool(length)
        draw.text((left, top + side + 4), fitting(reference.tag, 14, room), TEXT, font(14))
        draw.text((left + cell, top + side + 4), length, FAINT, font(13), anchor="ra")
    return image


def wave_thumbnail(waveform: Tensor, width: int, height: int) -> Image.Image:
    wave = array(waveform).mean(0)
    starts = np.minimum(np.arange(width) * len(wave) // width, len(wave) - 1)
    image, draw = panel(width, height, PANEL)
    loudest = max(float(np.abs(wave).max()), 1e-6)
    for x, (low, high) in enumerate(
        zip(np.minimum.reduceat(wave, starts), np.maximum.reduceat(wave, starts), strict=True)
    ):
        draw.line((x, height / 2 * (1 - 0.9 * high / loudest), x, height / 2 * (1 - 0.9 * low / loudest)), GIVEN)
    return image
