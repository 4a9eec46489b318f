"""Global editing (Table 3): style, scene attributes, camera. The whole picture changes, what happens in it does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.toybox import BACKGROUNDS, FRAME_SIZE, Scenes
from training.worlds.example import VIDEO, Example, Say

BLOCK = 8  # pixels, side of a block
OUTLINE = 3.0  # pixels, thickness
PAPER = (225, 214, 190)
SHADOW = 5  # pixels, how far a cut-out's shadow falls
SNOW = (215, 225, 235)
GROUND = 10  # pixels, how deep the snow lies
FLAKE_PERIOD = 16  # pixels between flakes
FLAKE_STEP = 4  # pixels that they fall in a frame: after a latent frame (4) every flake is where another one was
NIGHT, WARM = (0.42, 0.48, 0.75), (1.0, 0.72, 0.42)  # factors of red, green, blue
PAN = 20.0  # pixels that the camera travels in a clip
ZOOM = 1.6  # how much nearer it comes
TILT = 20.0  # degrees
DARKNESS = tuple(x / 127.5 - 1 for x in BACKGROUNDS["black"])  # what is outside the box


def _colour(rgb: tuple[int, ...] | tuple[float, ...]) -> Tensor:
    return torch.tensor(rgb)[:, None, None, None] / 127.5 - 1


# -- style -------------------------------------------------------------------------------------------------------------


def outline(scenes: Scenes) -> Tensor:
    """Objects drawn as lines in their colour, on black."""
    cover = scenes.coverage()
    reach = int(OUTLINE)
    inner = -F.max_pool2d(-cover.flatten(0, 2)[:, None], 2 * reach + 1, stride=1, padding=reach)
    line = (cover - inner.view_as(cover)).clamp(0, 1)
    black = torch.tensor(DARKNESS)[:, None, None, None]
    return torch.lerp(black, scenes.paint(), line)


def paper_cut(scenes: Scenes) -> Tensor:
    """Flat cut-outs with a hard shadow, on paper that keeps a tint of the background."""
    cover = scenes.coverage()
    paper = torch.lerp(_colour(PAPER), scenes.background_picture(), 0.25)
    shadow = F.pad(cover, (SHADOW, 0, SHADOW, 0))[..., :FRAME_SIZE, :FRAME_SIZE]
    lit = (paper + 1) * (1 - 0.55 * shadow) - 1
    return torch.lerp(lit, scenes.paint() * 0.9, cover)


def blocks(scenes: Scenes) -> Tensor:
    """Built of square blocks of one colour each."""
    video = scenes.render()
    small = F.avg_pool3d(video, (1, BLOCK, BLOCK))
    return small.repeat_interleave(BLOCK, dim=3).repeat_interleave(BLOCK, dim=4)


# -- scene attributes --------------------------------------------------------------------------------------------------


def toned(video: Tensor, factors: tuple[float, float, float]) -> Tensor:
    return (video + 1) * torch.tensor(factors)[:, None, None, None] - 1


def night(scenes: Scenes) -> Tensor:
    return toned(scenes.render(), NIGHT)


def warm(scenes: Scenes) -> Tensor:
    """As in the light of an evening: lifted, then without most of the blue."""
    return toned(scenes.render() * 0.8 + 0.2, WARM)


def snow(scenes: Scenes) -> Tensor:
    """Snow on the ground, and flakes that fall in front of everything."""
    video = scenes.render()
    rows = torch.arange(FRAME_SIZE)[:, None]
    columns = torch.arange(FRAME_SIZE)[None]
    frame = torch.arange(scenes.frames)[:, None, None]
    stagger = FLAKE_PERIOD // 2 * (columns // FLAKE_PERIOD % 2)
    y = (rows - FLAKE_STEP * frame - stagger).remainder(FLAKE_PERIOD)
    x = columns.remainder(FLAKE_PERIOD)
    flakes = ((y - 4).abs() <= 1) & ((x - 8).abs() <= 1)
    white = (flakes | (rows >= FRAME_SIZE - GROUND)).float()
    return torch.lerp(video, _colour(SNOW), white)


# -- camera ------------------------------------------------------------------------------------------------------------


def seen_by_camera(video: Tensor, transform: Tensor) -> Tensor:
    """The clip as a camera sees it. transform [F, 2, 3]: from the picture's (x, y) in -1..1 to the clip's."""
    clips, _, frames, height, width = video.shape
    black = torch.tensor(DARKNESS)[:, None, None, None]
    flat = (video - black).transpose(1, 2).flatten(0, 1)
    grid = F.affine_grid(transform.repeat(clips, 1, 1), list(flat.shape), align_corners=False)
    seen = F.grid_sample(flat, grid, align_corners=False)  # outside the box: 0, which is darkness
    return seen.view(clips, frames, -1, height, width).transpose(1, 2) + black


def _transform(frames: int, *, zoom: Tensor | float = 1.0, angle: float = 0.0, shift: Tensor | float = 0.0) -> Tensor:
    zoom, shift = torch.as_tensor(zoom).expand(frames), torch.as_tensor(shift).expand(frames)
    c, s = math.cos(angle), math.sin(angle)
    zero = torch.zeros(frames)
    rows = [torch.stack([c / zoom, -s / zoom, shift], -1), torch.stack([s / zoom, c / zoom, zero], -1)]
    return torch.stack(rows, 1)


def progress(frames: int) -> Tensor:
    """From 0 in the first frame to 1 in the last. [F]"""
    return torch.linspace(0, 1, frames)


def pan_right(scenes: Scenes) -> Tensor:
    shift = progress(scenes.frames) * (2 * PAN / FRAME_SIZE)
    return seen_by_camera(scenes.render(), _transform(scenes.frames, shift=shift))


def pan_left(scenes: Scenes) -> Tensor:
    shift = -progress(scenes.frames) * (2 * PAN / FRAME_SIZE)
    return seen_by_camera(scenes.render(), _transform(scenes.frames, shift=shift))


def zoom_in(scenes: Scenes) -> Tensor:
    zoom = 1 + progress(scenes.frames) * (ZOOM - 1)
    return seen_by_camera(scenes.render(), _transform(scenes.frames, zoom=zoom))


def tilted(scenes: Scenes) -> Tensor:
    return seen_by_camera(scenes.render(), _transform(scenes.frames, angle=math.radians(TILT)))


# name -> what it does to the scenes, and how one asks for it, the canonical way first
_STYLE = ("transform {video} into {style} style", "turn {video} into {style} style", "make {video} in {style} style")
GLOBAL: dict[str, tuple[Callable[[Scenes], Tensor], tuple[str, ...]]] = {
    "outline": (outline, tuple(way.replace("{style}", "outline") for way in _STYLE)),
    "paper cut": (paper_cut, tuple(way.replace("{style}", "paper cut") for way in _STYLE)),
    "blocks": (blocks, tuple(way.replace("{style}", "blocks") for way in _STYLE)),
    "night": (night, ("make {video} nighttime", "make it night in {video}", "turn {video} into night")),
    "snow": (snow, ("make {video} snowy", "make it snow in {video}", "turn {video} into snow")),
    "warm tone": (warm, ("give {video} a warm tone", "make {video} warm", "change the tone of {video} to warm")),
    "pan right": (pan_right, ("show {video} with a camera pan to the right", "pan right over {video}")),
    "pan left": (pan_left, ("show {video} with a camera pan to the left", "pan left over {video}")),
    "zoom in": (zoom_in, ("show {video} with a camera zoom in", "zoom in on {video}")),
    "tilt": (tilted, ("show {video} with a tilted camera", "tilt the camera of {video}")),
}


def apply(name: str, scenes: Scenes, say: Say) -> Example:
    """The global edit of that name."""
    function, ways = GLOBAL[name]
    captions = [say.pick(ways).format(video=VIDEO) for _ in range(len(scenes))]
    return Example(function(scenes), scenes.sound(), captions, source=scenes.render())
