"""Is placement real? Patches of held-out clips anywhere in space and time, and VideoCanvas' alternatives to its way.

A patch is a random rectangle of one frame of a real clip, 20 to 100 % of its width and height. A new clip is made from
the caption and the patch, and compared with the real one inside the rectangle, at that frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.quality.detectors import look, moves, speed_of
from benchmarks.quality.figures import Array, Figure, Pairs, gain, mean, rate
from benchmarks.quality.given import Given, InContext
from benchmarks.quality.held_out import generator_of_conditions, prompts_of
from benchmarks.quality.metrics import distances, inside_psnr
from benchmarks.quality.pipeline import Mini
from benchmarks.quality.setting import Comparison, Result, Setting
from benchmarks.quality.strip import Tile, contact_sheet
from models.mmdit import TEMPORAL_SCALE
from training.conditions import zero_padded_patch
from training.objective import whole_cells
from training.toybox import FRAME_SIZE, Scenes

# Frames of the patches: the last of a latent frame's four, whose time is a whole number, and others.
ON_GRID, OFF_GRID = (4, 8, 12), (2, 3, 5, 7, 10, 13)
SEVERAL = (3, 8, 13)  # all at once
PAPER_FRAMES = (2, 3, 4)  # targets of VideoCanvas' Table 3
NEIGHBOURS = 2  # frames before and after, in the contact sheet


@dataclass(frozen=True)
class Patches:
    """A patch for each clip: its frame [B] long, and where it shows the clip [B, H, W] bool."""

    frame: Tensor
    mask: Tensor

    @property
    def slot(self) -> Tensor:
        """The latent frame that stands for the frame, ceil(frame / 4). [B]"""
        return -(-self.frame // TEMPORAL_SCALE)

    def shown(self, video: Tensor) -> Tensor:
        """Video [B, 3, F, H, W] with zeros (mid grey) outside the rectangle, in all frames."""
        return video * self.mask[:, None, None]

    def inside(self, frames: int) -> Tensor:
        """The rectangle at its frame, nothing in the others. [B, F, H, W] bool"""
        return self.mask[:, None] & self.when(frames)[:, :, None, None]

    def when(self, frames: int) -> Tensor:
        """The frame among all. [B, F] bool"""
        return torch.arange(frames) == self.frame[:, None]

    def around(self, track: Array) -> Array:
        """Track [B, F, 2] -> the four frames of the patch's latent frame [B, 4, 2]"""
        last = TEMPORAL_SCALE * self.slot.numpy()
        frames = last[:, None] - np.arange(TEMPORAL_SCALE)[::-1]
        return np.take_along_axis(track, frames[..., None], axis=1)

    def still(self, video: Tensor) -> Tensor:
        """The zero-padded frame alone, [B, 3, 1, H, W]."""
        return self.shown(at(video, self.frame)[:, :, None])


def at(video: Tensor, frame: Tensor) -> Tensor:
    """One frame of each clip: x [B, C, F, ...], frame [B] -> [B, C, ...]"""
    return video[torch.arange(len(video)), :, frame]


def draw_patches(scenes: Scenes, frames: Sequence[int], generator: torch.Generator) -> Patches:
    """Rectangles that show the object's centre, at the `frames` in turn."""
    clips = len(scenes)
    rows, frame = torch.arange(clips), torch.tensor([frames[i % len(frames)] for i in range(clips)])
    x, y = scenes.positions()[rows, frame].long().unbind(-1)
    mask = torch.zeros(clips, FRAME_SIZE, FRAME_SIZE, dtype=torch.bool)
    while not (shows := mask[rows, y, x]).all():
        drawn = zero_padded_patch(torch.ones(clips, 1, 1, FRAME_SIZE, FRAME_SIZE), generator)[:, 0, 0] > 0
        mask = torch.where(shows[:, None, None], mask, drawn)
    return Patches(frame, mask)


# -- VideoCanvas' way, and what it is compared with --------------------------------------------------------------------

Method = Callable[[Mini, Tensor, Patches], Given]


def _in_context(latent: Tensor, times: Sequence[float | None]) -> Given:
    return Given(video_context=(InContext(latent, [None if time is None else (float(time),) for time in times]),))


def rope_interpolation(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """VideoCanvas sec. 3.2: encoded alone, in context at frame / 4."""
    return _in_context(mini.encode(patches.still(video)), (patches.frame / TEMPORAL_SCALE).tolist())


def nearest_slot(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """The same at the nearest whole number."""
    nearest = (patches.frame / TEMPORAL_SCALE + 0.5).floor()
    return _in_context(mini.encode(patches.still(video)), nearest.tolist())


def no_rope(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """The same without any rotary position."""
    return _in_context(mini.encode(patches.still(video)), [None] * len(video))


def latent_slice(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """Of the real clip, encoded as a clip, the latent frame that stands for the frame: it has seen four frames."""
    return _in_context(at(mini.encode(patches.shown(video)), patches.slot)[:, :, None], patches.slot.tolist())


def pixel_padding(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """The same of a clip that is grey but for the patch."""
    rows, padded = torch.arange(len(video)), torch.zeros_like(video)
    padded[rows, :, patches.frame] = patches.still(video)[:, :, 0]
    return _in_context(at(mini.encode(padded), patches.slot)[:, :, None], patches.slot.tolist())


def _in_slot(mini: Mini, video: Tensor, patches: Patches, route: str) -> Given:
    """Encoded alone, in the latent frame that stands for its frame; cells that it fills in part are lost."""
    alone = mini.encode(patches.still(video))
    cells = whole_cells(patches.mask[:, None], mini.codecs.video.spatial_scale)
    latent_frames = 1 + (video.shape[2] - 1) // TEMPORAL_SCALE
    here = (torch.arange(latent_frames) == patches.slot[:, None])[:, None, :, None, None]
    return Given(alone.expand(-1, -1, latent_frames, -1, -1), cells * here, route=route)


def latent_replacement(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """Clean among the noisy latents, with timestep 0."""
    return _in_slot(mini, video, patches, "clean")


def channel_concat(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """In the condition channels (SkyReels-V4 eq. 7)."""
    return _in_slot(mini, video, patches, "channels")


def nothing(mini: Mini, video: Tensor, patches: Patches) -> Given:
    """The caption alone."""
    return Given()


# -- how well clips follow patches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """Clips against patches.

    psnr (dB), away (pixels from the object's true place) [B, B]: clip i against the patch of clip j at its frame.
    moves, pace (pixels per second), one_object, shape (shares of frames) [B]: of the whole clip. pace_there: within the
    four frames of the patch's latent frame.
    """

    psnr: Array
    away: Array
    moves: Array
    pace: Array
    pace_there: Array
    one_object: Array
    shape: Array

    @classmethod
    def of(cls, video: Tensor, scenes: Scenes, real: Tensor, *patches: Patches) -> Placed:
        """Averages over several patches per clip."""
        sight = look(video, scenes.level)
        return cls(
            psnr=np.mean([inside_psnr(video, real, patch.inside(scenes.frames)) for patch in patches], axis=0),
            away=np.mean([distances(sight.track, scenes, patch.when(scenes.frames)) for patch in patches], axis=0),
            moves=moves(sight.track).astype(np.float64),
            pace=speed_of(sight.track, scenes.fps),
            pace_there=np.mean([speed_of(patch.around(sight.track), scenes.fps) for patch in patches], axis=0),
            one_object=(sight.parts == 1).double().mean(1).numpy(),
            shape=(sight.shape == scenes.shape[:, None]).double().mean(1).numpy(),
        )

    @classmethod
    def averaged(cls, *parts: Placed) -> Placed:
        """The same clips with several patches, one after the other."""
        return cls(**{f.name: np.mean([getattr(part, f.name) for part in parts], axis=0) for f in fields(cls)})

    def figures(self) -> dict[str, Figure]:
        psnr, away = (Pairs.of(x, np.ones(len(x))) for x in (self.psnr, self.away))
        return {
            "patch_psnr": rate(psnr),
            "patch_gain": gain(psnr),
            "patch_away": rate(away),
            "moves": mean(self.moves),
            "pace": mean(self.pace),
            "pace_there": mean(self.pace_there),
            "one_object": mean(self.one_object),
            "shape": mean(self.shape),
        }


@dataclass(frozen=True)
class Way:
    """One way of conditioning, with patches at frames 4n and with patches at others."""

    on: Placed
    off: Placed

    @property
    def both(self) -> Placed:
        return Placed.averaged(self.on, self.off)


class Trials:
    """The same held-out clips, made from the same patches in one way after the other."""

    def __init__(self, setting: Setting, on: Patches, off: Patches):
        self.setting, self.on, self.off = setting, on, off
        self.prompts, self.real = prompts_of(setting.scenes), setting.scenes.render()

    def sample(self, method: Method, *patches: Patches) -> Tensor:
        """Video [B, 3, F, H, W] from the captions and one or more patches."""
        setting, mini = self.setting, self.setting.network
        setting.report(f"{method.__name__.replace('_', ' ')}: {len(patches)} patch{'es' * (len(patches) > 1)}")
        made = [method(mini, self.real, patch) for patch in patches]
        given = replace(made[0], video_context=tuple(entry for one in made for entry in one.video_context))
        video = mini.generate(self.prompts, frames=setting.scenes.frames, sampling=setting.sampling, given=given).video
        assert video is not None
        return video

    def placed(self, video: Tensor, *patches: Patches) -> Placed:
        return Placed.of(video, self.setting.scenes, self.real, *patches)

    def both(self, on: Tensor, off: Tensor) -> Way:
        return Way(self.placed(on, self.on), self.placed(off, self.off))

    def way(self, method: Method) -> Way:
        return self.both(self.sample(method, self.on), self.sample(method, self.off))


@dataclass(frozen=True)
class Comparer:
    """Makes tables in the shape of VideoCanvas' out of ways, with the same rows to compare with at their end.

    paper: which clips have a patch at a frame of PAPER_FRAMES [B], among those at frames 4n, and among the others.
    """

    ours: Way
    caption: Way
    ceiling: Way
    paper: tuple[Tensor, Tensor]

    def compare(self, title: str, ways: dict[str, Way], ours: str, note: str) -> Comparison:
        rows = {name: self.figures(way) for name, way in ways.items()}
        rows |= {
            ours: self.figures(self.ours) | {"against ours": None},
            "caption alone": self.figures(self.caption),
            "chance": self.chance(),
            "ceiling": self.figures(self.ceiling),
        }
        columns = list(rows["chance"])
        return Comparison(title, columns, {name: [row[x] for x in columns] for name, row in rows.items()}, note)

    def figures(self, way: Way) -> dict[str, Figure | None]:
        on, off, both = (placed.psnr.diagonal() for placed in (way.on, way.off, way.both))
        paper = np.concatenate([x[here.numpy()] for x, here in zip((on, off), self.paper, strict=True)])
        whole = way.both.figures()
        return {
            "PSNR at frames 4n": mean(on),
            "at other frames": mean(off),
            "at frames 2, 3, 4": mean(paper),
            "against ours": mean(both - self.ours.both.psnr.diagonal()),
            "place off by (px)": whole["patch_away"],
            "moves": whole["moves"],
            "px/s": whole["pace"],
            "px/s at the patch": whole["pace_there"],
            "one object": whole["one_object"],
            "shape": whole["shape"],
        }

    def chance(self) -> dict[str, Figure | None]:
        """Our clips with the patches of others."""
        on, off, both = (placed.figures() for placed in (self.ours.on, self.ours.off, self.ours.both))
        known = {
            "PSNR at frames 4n": on["patch_psnr"],
            "at other frames": off["patch_psnr"],
            "place off by (px)": both["patch_away"],
        }
        exchanged = {name: Figure(figure.chance or math.nan, math.nan) for name, figure in known.items()}
        return dict.fromkeys(self.figures(self.ours)) | exchanged


def canvas(setting: Setting) -> Result:
    """Clips from a caption and a patch at any frame, by VideoCanvas' way and by its alternatives."""
    scenes = setting.scenes
    if scenes.frames < 9:
        raise ValueError(f"frames {scenes.frames} leaves no frames around a patch: use 9 or more")

    def draw(index: int, *frames: int) -> Patches:
        generator = generator_of_conditions(setting.sampling.seed, index)
        return draw_patches(scenes, [frame for frame in frames if frame < scenes.frames], generator)

    trials = Trials(setting, draw(0, *ON_GRID), draw(1, *OFF_GRID))
    several = [draw(2 + i, frame) for i, frame in enumerate(SEVERAL) if frame < scenes.frames]
    codec = setting.codecs.reconstruct(trials.real, scenes.sound()).video
    assert codec is not None

    on, off = (trials.sample(rope_interpolation, patches) for patches in (trials.on, trials.off))
    together = trials.placed(trials.sample(rope_interpolation, *several), *several)
    alone = trials.sample(nothing, trials.on)
    ours, caption, ceiling = (trials.both(*videos) for videos in ((on, off), (alone, alone), (codec, codec)))
    figures: dict[str, Figure] = {}
    ceilings: dict[str, Figure] = {}
    for name, made, best in (
        ("patch at a frame 4n", ours.on, ceiling.on),
        ("patch at another frame", ours.off, ceiling.off),
        (f"{len(several)} patches at once", together, trials.placed(codec, *several)),
    ):
        figures |= {f"{name}/{key}": figure for key, figure in made.figures().items()}
        ceilings |= {f"{name}/{key}": figure for key, figure in best.figures().items() if key != "patch_gain"}

    on_paper, off_paper = (torch.isin(x.frame, torch.tensor(PAPER_FRAMES)) for x in (trials.on, trials.off))
    comparer = Comparer(ours, caption, ceiling, (on_paper, off_paper))
    # At frames 4n the nearest whole number is the patch's own time.
    nearest = Way(ours.on, trials.placed(trials.sample(nearest_slot, trials.off), trials.off))
    comparisons = [
        comparer.compare(
            "VideoCanvas Table 2: ways of conditioning",
            {
                "latent replacement": trials.way(latent_replacement),
                "channel concat": trials.way(channel_concat),
            },
            "in-context conditioning",
            "The patch is encoded alone. Replacement and concat put it into the latent frame ceil(frame / 4); what of "
            "it does not fill a cell of 8 x 8 pixels is lost.",
        ),
        comparer.compare(
            "VideoCanvas Table 3: ways of placing a frame in time",
            {
                "latent-space slice": trials.way(latent_slice),
                "pixel-space padding": trials.way(pixel_padding),
                "without RoPE interpolation": nearest,
            },
            "RoPE interpolation",
            "All in context. The slice is cut from the real clip, so it has seen four real frames. Without "
            "interpolation, a patch is at the nearest whole number, which at frames 4n is the same.",
        ),
        comparer.compare(
            "VideoCanvas Table R5: rotary positions of the patches",
            {"none": trials.way(no_rope)},
            "fractional",
            "Integer extrapolation (all positions times four) cannot be had: no network was trained for it.",
        ),
    ]
    picture = picture_of(trials.prompts, trials.real, [(trials.on, on), (trials.off, off)])
    return Result(figures, ceilings, comparisons=comparisons, picture=picture)


def picture_of(prompts: list[str], real: Tensor, groups: list[tuple[Patches, Tensor]], count: int = 6) -> Image.Image:
    """The first `count` clips of each group: the real frame with its patch, the made one with its neighbours."""
    rows: list[tuple[str, list[Tile | None]]] = []
    for patches, video in groups:
        for i, prompt in enumerate(prompts[:count]):
            frame, mask = int(patches.frame[i]), patches.mask[i]
            around = range(frame - NEIGHBOURS, frame + NEIGHBOURS + 1)
            near = [f for f in around if 0 <= f < video.shape[2]]
            tiles: list[Tile | None] = [Tile(real[i, :, frame], mask), None]
            tiles += [Tile(video[i, :, f], mask if f == frame else None) for f in near]
            rows.append((f"frame {frame}: {prompt}", tiles))
    return contact_sheet(rows)
