"""The toybox: a procedural world of bouncing shapes with sound, the training data of Mini.

A scene is one bright shape on a dark background that flies through a 64 x 64 box and bounces off its walls. Every
bounce makes a sound: the colour of the shape decides the pitch, the shape decides the timbre, the impact decides the
loudness. Video is `[B, 3, F, 64, 64]` in [-1, 1] at 16 frames per second, sound is `[B, 1, S]` at 44.1 kHz, mono.

    scenes = sample_scenes(24, frames=17, level="easy", generator=torch.Generator().manual_seed(0))
    video, sound = scenes.render(), scenes.sound()

Everything is computed for the whole batch at once, in closed form (walls reflect analytically; nothing is simulated
step by step), on the CPU or on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

FRAME_SIZE = 64  # pixels, height and width
FRAME_RATE = 16.0  # frames per second
SAMPLE_RATE = 44_100  # audio samples per second
HOP = 1024  # audio samples per audio latent
ATTACK = 0.006  # seconds from silence to full level: as slow as an onset may be and still sound sharp
TAIL = 8.0  # a sound is cut off after so many decay times (-69 dB)
SUBPIXELS = 16  # sprites are rendered at positions of 1/16 pixel


@dataclass(frozen=True)
class Shape:
    """A shape and its timbre.

    corners: polygon in units of the radius, y down; empty for the circle. sound: the word for its timbre.
    partials: amplitude of the fundamental, of the octave, ... decay: seconds until the level falls to 1/e.
    """

    corners: tuple[tuple[float, float], ...]
    sound: str
    partials: tuple[float, ...]
    decay: float


@dataclass(frozen=True)
class Colour:
    """A colour (RGB, 0..255) and its pitch: `harmonic` counts in steps of 44100 / 1024 = 43.07 Hz."""

    rgb: tuple[int, int, int]
    harmonic: int
    pitch: str


def _star_corners(points: int, inner: float, outer: float, drop: float = 0.0) -> tuple[tuple[float, float], ...]:
    """Corners of a star that points up, or of a regular polygon where `inner` = `outer` * cos(pi / points)."""
    radii = [outer, inner] * points
    angles = [math.pi * k / points for k in range(2 * points)]
    return tuple((r * math.sin(a), drop - r * math.cos(a)) for r, a in zip(radii, angles, strict=True))


SHAPES = {
    "circle": Shape((), "ping", (1.0,), 0.16),
    "square": Shape(((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)), "thud", (1.0, 0.25), 0.07),
    "triangle": Shape(_star_corners(3, 0.575, 1.15, drop=0.15), "buzz", (0.6, 0.6), 0.12),
    "star": Shape(_star_corners(5, 0.45, 1.05), "chime", (0.3, 0.8), 0.20),
}
# No pitch is the octave of another, so that a shape's second partial is never mistaken for another colour. Pairs are
# close, because their onsets then share components of a spectral codec: 1.4 dB more from the same 16 channels than with
# 7, 9, 11, 13, 16, 20.
COLOURS = {
    "red": Colour((230, 40, 40), 6, "low"),
    "yellow": Colour((245, 230, 60), 7, "low"),
    "green": Colour((50, 210, 70), 9, "mid"),
    "blue": Colour((70, 110, 250), 10, "mid"),
    "magenta": Colour((235, 70, 220), 15, "high"),
    "white": Colour((250, 250, 250), 17, "high"),
    "orange": Colour((250, 140, 40), 8, "mid"),
    "cyan": Colour((60, 225, 235), 19, "high"),
}
BACKGROUNDS = {
    "black": (8, 8, 10),
    "gray": (70, 72, 76),
    "navy": (14, 22, 80),
    "maroon": (82, 14, 24),
    "olive": (58, 60, 12),
    "teal": (6, 62, 64),
    "purple": (54, 16, 74),
    "brown": (72, 42, 16),
}
SPEEDS = {"slowly": 34.0, "quickly": 58.0}  # pixels per second
SIZES = {"large": 12.0, "small": 8.0}  # radius in pixels
TEXTURES = ("plain", "striped", "gradient")


def _first(table: Mapping[str, Any], count: int) -> dict[str, Any]:
    return dict(list(table.items())[:count])


@dataclass(frozen=True)
class Level:
    """A difficulty: what a scene is drawn from, names -> values. An index in `Scenes` counts along these tables."""

    name: str
    shapes: Mapping[str, Shape]
    colours: Mapping[str, Colour]
    backgrounds: Mapping[str, tuple[int, int, int]]
    speeds: Mapping[str, float] = field(default_factory=lambda: dict(SPEEDS))
    sizes: Mapping[str, float] = field(default_factory=lambda: _first(SIZES, 1))
    textures: tuple[str, ...] = ("plain",)

    def choices(self, attribute: str) -> tuple[str, ...]:
        """Names that `attribute` ("shape", "colour", ... "texture") can take, in the order of the indices."""
        return tuple(getattr(self, f"{attribute}s"))


LEVELS = {
    level.name: level
    for level in (
        Level("easy", _first(SHAPES, 3), _first(COLOURS, 6), _first(BACKGROUNDS, 4)),
        Level("medium", SHAPES, COLOURS, BACKGROUNDS, sizes=SIZES),
        Level("hard", SHAPES, COLOURS, BACKGROUNDS, sizes=SIZES, textures=TEXTURES),
    )
}
ATTRIBUTES = ("shape", "colour", "background", "speed", "size", "texture")


def samples_of(frames: int, fps: float = FRAME_RATE) -> int:
    """Audio samples that go with `frames` frames: the duration, rounded up to whole hops."""
    return math.ceil(frames / fps * SAMPLE_RATE / HOP) * HOP


@dataclass
class Scenes:
    """A batch of B scenes on one device.

    shape, colour, background, speed, size, texture: long [B], indices into the tables of `level`.
    start: [B, 2] position (x, y) of frame 0 in pixels; velocity: [B, 2] in pixels per second. scale: how many times
    larger pictures are rendered than the 64 x 64 pixels in which everything is measured.
    """

    shape: Tensor
    colour: Tensor
    background: Tensor
    speed: Tensor
    size: Tensor
    texture: Tensor
    start: Tensor
    velocity: Tensor
    level: Level
    frames: int
    fps: float = FRAME_RATE
    scale: int = 1

    def __len__(self) -> int:
        return len(self.shape)

    def select(self, index: Tensor, frames: int) -> Scenes:
        """The scenes of index [N], with as many frames."""
        parts = {name: getattr(self, name)[index] for name in (*ATTRIBUTES, "start", "velocity")}
        return replace(self, **parts, frames=frames)

    @property
    def device(self) -> torch.device:
        return self.start.device

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.fps

    @property
    def side(self) -> int:
        """Height and width of the pictures, in their own pixels."""
        return FRAME_SIZE * self.scale

    def radius(self) -> Tensor:
        """[B] in pixels: the walls act on a disc of this radius, whatever the shape."""
        return torch.tensor(list(self.level.sizes.values()), device=self.device)[self.size]

    def positions(self) -> Tensor:
        """Centre (x, y) of the shape in every frame, [B, F, 2] in pixels."""
        low = self.radius()[:, None, None]
        room = FRAME_SIZE - 2 * low
        seconds = torch.arange(self.frames, device=self.device) / self.fps
        path = self.start[:, None] - low + self.velocity[:, None] * seconds[:, None]
        # Reflecting at both walls is the same as walking straight on through mirror images of the room.
        folded = torch.remainder(path, 2 * room)
        return low + torch.minimum(folded, 2 * room - folded)

    def bounces(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every wall hit of the batch, ordered by clip, then time.

        Returns (clip index long [E], time in seconds [E], speed towards the wall in pixels per second [E]).
        """
        low = self.radius()[:, None]
        room = FRAME_SIZE - 2 * low
        most = math.ceil(float((self.velocity.abs() * self.duration / room).max())) if len(self) else 0
        walls = torch.arange(-most, most + 2, device=self.device)
        # The straight path meets the mirrored walls at every multiple of the room: [B, 2, walls].
        seconds = (walls * room[..., None] - (self.start - low)[..., None]) / self.velocity[..., None]
        clip, axis, wall = ((seconds > 0) & (seconds < self.duration)).nonzero(as_tuple=True)
        when, impact = seconds[clip, axis, wall], self.velocity[clip, axis].abs()
        order = when.argsort(stable=True)
        order = order[clip[order].argsort(stable=True)]
        return clip[order], when[order], impact[order]

    def render(self) -> Tensor:
        """Video [B, 3, F, side, side] in [-1, 1], anti-aliased."""
        background = self._background()
        return torch.addcmul(background, self.coverage(), self.paint() - background)

    def paint(self) -> Tensor:
        """Colour of each shape [B, 3, 1, 1, 1] in [-1, 1]."""
        colours = tuple(colour.rgb for colour in self.level.colours.values())
        return _rgb(colours, self.device)[self.colour][:, :, None, None, None]

    def coverage(self) -> Tensor:
        """How much of each pixel the shape covers, [B, 1, F, side, side] in [0, 1]."""
        batch, frames = len(self), self.frames
        radii = tuple(self.scale * radius for radius in self.level.sizes.values())
        sprites, patch = _sprites(tuple(self.level.shapes.values()), radii, str(self.device))
        margin = patch // 2 - math.floor(min(radii))
        side = self.side + 2 * margin

        position = self.scale * self.positions()
        corner = position.floor().long()
        subpixel = ((position - corner) * SUBPIXELS).long().clamp(0, SUBPIXELS - 1)
        which = (self.shape * len(self.level.sizes) + self.size)[:, None]
        which = (which * SUBPIXELS + subpixel[..., 1]) * SUBPIXELS + subpixel[..., 0]

        # Paste each sprite's coverage into an empty frame.
        corner = corner + margin - patch // 2
        step = torch.arange(patch, device=self.device)
        offsets = (step[:, None] * side + step).flatten()
        place = (corner[..., 1] * side + corner[..., 0])[..., None] + offsets
        coverage = torch.zeros(batch, frames, side * side, device=self.device)
        coverage.scatter_(2, place, sprites[which.flatten()].view(batch, frames, -1))
        coverage = coverage.view(batch, 1, frames, side, side)
        return coverage[..., margin : margin + self.side, margin : margin + self.side]

    def background_picture(self) -> Tensor:
        """The empty box [B, 3, 1, side, side] in [-1, 1]."""
        return self._background().expand(-1, -1, -1, self.side, self.side)

    def _background(self) -> Tensor:
        """[B, 3, 1, side, side] in [-1, 1] (height and width 1 where all are plain)."""
        plain = _rgb(tuple(self.level.backgrounds.values()), self.device)[self.background][:, :, None, None, None]
        if self.level.textures == ("plain",):
            return plain
        gains = torch.stack([_texture(name, self.side) for name in self.level.textures]).to(self.device)[self.texture]
        return (plain + 1) * gains[:, None, None] - 1

    def sound(self) -> Tensor:
        """Sound [B, 1, S] in [-1, 1], S = `samples_of(frames, fps)`; one note per bounce.

        Notes are phase-locked: partials are sines of the clip's time, at multiples of 44100 / 1024 Hz, and a bounce
        only opens an envelope on them. Each hop of 1024 samples then holds the same waveform, whenever the note
        began, so that a spectral codec needs few components and onsets stay sharp all the same.
        """
        batch, samples = len(self), samples_of(self.frames, self.fps)
        shapes = tuple(self.level.shapes.values())
        clip, when, impact = self.bounces()
        notes = _notes(tuple(shape.decay for shape in shapes), str(self.device))
        begin = (when * SAMPLE_RATE).round().long()
        level = 0.3 * (impact / 60).clamp(0.3, 1).sqrt()

        # All notes of a clip share its waveform, so their envelopes add up first.
        length = min(notes.shape[1], samples)
        envelope = torch.zeros(batch, samples + length, device=self.device)
        steps = torch.arange(length, device=self.device)
        index = (clip * envelope.shape[1] + begin)[:, None] + steps
        played = level[:, None] * notes[self.shape[clip], :length]
        envelope.view(-1).scatter_add_(0, index.flatten(), played.flatten())

        harmonics = tuple(colour.harmonic for colour in self.level.colours.values())
        waves = _waves(tuple(shape.partials for shape in shapes), harmonics, str(self.device))[self.shape, self.colour]
        sound = envelope[:, :samples].view(batch, -1, HOP) * waves[:, None]
        return sound.view(batch, 1, samples)

    def attributes(self, index: int) -> dict[str, str]:
        """What a caption can say about clip `index`. "size" and "texture" appear where the level has several."""
        names = {
            attribute: self.level.choices(attribute)[int(getattr(self, attribute)[index])]
            for attribute in ATTRIBUTES
            if attribute not in ("size", "texture") or len(self.level.choices(attribute)) > 1
        }
        names["pitch"] = self.level.colours[names["colour"]].pitch
        names["sound"] = self.level.shapes[names["shape"]].sound
        return names


def sample_scenes(
    batch: int,
    *,
    frames: int = 17,
    level: str | Level = "easy",
    generator: torch.Generator,
    device: str | torch.device = "cpu",
    fps: float = FRAME_RATE,
    **fixed: Any,
) -> Scenes:
    """Draws `batch` scenes.

    All draws are made on the generator's device, in an order that does not depend on `fixed`: one CPU generator
    gives the same scenes on every device, and fixing the colour leaves the motion as it was.

    fixed: any of shape, colour, background, speed, size, texture as a name, an index, or one per clip.
    Raises ValueError for an unknown level, attribute or value.
    """
    if isinstance(level, str):
        if level not in LEVELS:
            raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
        level = LEVELS[level]
    if batch < 1 or frames < 1:
        raise ValueError(f"batch {batch} and frames {frames} must both be at least 1")
    if unknown := set(fixed) - set(ATTRIBUTES):
        raise ValueError(f"cannot fix {', '.join(sorted(unknown))}: choose from {', '.join(ATTRIBUTES)}")

    where = generator.device
    drawn = {
        attribute: torch.randint(len(level.choices(attribute)), (batch,), generator=generator, device=where)
        for attribute in ATTRIBUTES
    }
    place = torch.rand(batch, 2, generator=generator, device=where)
    angle = torch.rand(batch, generator=generator, device=where) * (2 * math.pi)
    haste = 0.9 + 0.2 * torch.rand(batch, generator=generator, device=where)
    for attribute, value in fixed.items():
        drawn[attribute] = _indices(value, level.choices(attribute), attribute, batch, where)

    radius = torch.tensor(list(level.sizes.values()), device=where)[drawn["size"]][:, None]
    pace = torch.tensor(list(level.speeds.values()), device=where)[drawn["speed"]] * haste
    start = radius + place * (FRAME_SIZE - 2 * radius)
    velocity = torch.stack([angle.cos(), angle.sin()], -1) * pace[:, None]
    return Scenes(
        **{attribute: index.to(device) for attribute, index in drawn.items()},
        start=start.to(device),
        velocity=velocity.to(device),
        level=level,
        frames=frames,
        fps=fps,
    )


def subject_pictures(scenes: Scenes, generator: torch.Generator) -> Tensor:
    """The object of each scene in another place, on another background. [B, 3, 1, 64, 64] in [-1, 1]"""
    other = sample_scenes(len(scenes), frames=1, level=scenes.level, generator=generator)
    return replace(other, shape=scenes.shape, colour=scenes.colour, size=scenes.size).render()


def _indices(value: Any, names: tuple[str, ...], attribute: str, batch: int, device: torch.device) -> Tensor:
    """A name, an index, or one of them per clip -> long [batch]."""
    items = [value] * batch if isinstance(value, (str, int)) else list(value)
    if len(items) != batch:
        raise ValueError(f"{len(items)} values of {attribute} for a batch of {batch}")
    result = []
    for item in items:
        if isinstance(item, str) and item in names:
            result.append(names.index(item))
        elif not isinstance(item, str) and 0 <= int(item) < len(names):
            result.append(int(item))
        else:
            raise ValueError(f"{attribute} {item!r} is not one of {', '.join(names)}, nor an index below {len(names)}")
    return torch.tensor(result, device=device)


def _rgb(colours: tuple[tuple[int, int, int], ...], device: torch.device) -> Tensor:
    """0..255 -> [n, 3] in [-1, 1]."""
    return torch.tensor(colours, device=device) / 127.5 - 1


def _texture(name: str, side: int = FRAME_SIZE) -> Tensor:
    """Brightness factor [side, side] of a background texture, mean 1."""
    if name == "plain":
        return torch.ones(side, side)
    column = ((torch.arange(side) + 0.5) / side).expand(side, -1)  # 0 to 1
    if name == "striped":
        return torch.where((4 * column).remainder(1) < 0.5, 1.4, 0.6)
    if name == "gradient":
        return 0.5 + column
    raise ValueError(f"texture {name!r} is not one of {', '.join(TEXTURES)}")


def _signed_distance(corners: tuple[tuple[float, float], ...], x: Tensor, y: Tensor) -> Tensor:
    """Distance to the outline, negative inside; all in units of the radius. No corners: the unit circle."""
    if not corners:
        return torch.hypot(x, y) - 1
    nearest = torch.full_like(x, math.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(corners, corners[-1:] + corners[:-1], strict=True):
        ex, ey = bx - ax, by - ay
        along = (((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        nearest = torch.minimum(nearest, torch.hypot(x - ax - along * ex, y - ay - along * ey))
        if ey:  # even-odd rule: count the edges that a ray to the right crosses
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ex / ey)
    return torch.where(inside, -nearest, nearest)


@lru_cache(maxsize=16)
def _sprites(shapes: tuple[Shape, ...], radii: tuple[float, ...], device: str) -> tuple[Tensor, int]:
    """Coverage (0..1) of every shape, size and subpixel position, [shapes * sizes * 16 * 16, P * P], and P.

    A table makes rendering a lookup: thousands of clips per second and thread.
    """
    patch = 2 * math.ceil(max(radii)) + 4
    fraction = (torch.arange(SUBPIXELS) + 0.5) / SUBPIXELS
    offset = torch.arange(patch) + 0.5 - patch // 2 - fraction[:, None]  # [subpixel, P], pixels from the centre
    x = offset[None, :, None, :].expand(SUBPIXELS, SUBPIXELS, patch, patch)
    y = offset[:, None, :, None].expand_as(x)
    table = [
        (0.5 - radius * _signed_distance(shape.corners, x / radius, y / radius)).clamp(0, 1)
        for shape in shapes
        for radius in radii
    ]
    return torch.stack(table).view(-1, patch * patch).to(device), patch


@lru_cache(maxsize=16)
def _notes(decays: tuple[float, ...], device: str) -> Tensor:
    """Envelope of one note per shape, [shapes, samples]."""
    seconds = torch.arange(round(TAIL * max(decays) * SAMPLE_RATE), device=device) / SAMPLE_RATE
    attack = (seconds / ATTACK).clamp(max=1)
    return attack * torch.exp(-seconds / torch.tensor(decays, device=device)[:, None])


@lru_cache(maxsize=16)
def _waves(timbres: tuple[tuple[float, ...], ...], harmonics: tuple[int, ...], device: str) -> Tensor:
    """One period (1024 samples) of every timbre at every pitch, [shapes, colours, 1024]."""
    turn = torch.arange(HOP, device=device) * (2 * math.pi / HOP)
    waves = torch.zeros(len(timbres), len(harmonics), HOP, device=device)
    for timbre, partials in enumerate(timbres):
        for pitch, harmonic in enumerate(harmonics):
            for number, amplitude in enumerate(partials, start=1):
                # The partials' phases differ, or their peaks would coincide and clip sooner.
                waves[timbre, pitch] += amplitude * torch.sin(number * harmonic * turn + 0.7 * (number - 1))
    return waves
