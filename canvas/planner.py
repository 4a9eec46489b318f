"""What a clip of any size and length will cost, made directly or by way of a Refiner: before anything runs.

    python3 -m canvas.planner --width 1920 --height 1088 --seconds 15 --fps 32 --scale 4 --frame-factor 2 --keyframes 4

Directly, the base makes every pixel of every frame. Refined (SkyReels-V4 sec. 4.5), it makes a clip of fewer pixels and
frames, and a few keyframes of full size with it; the Refiner, whose attention is sparse, makes the clip of full size
from them, whole or in windows. Operations are counted, memory is that of the network at work, times follow from a rate
that somebody has measured. Prompt, references and the codec are not counted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .cost import ModelCost, duration, token_grid
from .errors import CanvasError
from .grid import AudioGrid, VideoGrid
from .windows import Tiles, tiles_of

SCHEMES = ("both", "direct", "refined")
SCALES = (1, 2, 3, 4)  # of the Refiner, in space
FRAME_FACTORS = (1, 2)  # and in time
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
NETWORKS = {
    # models/weights/mini.safetensors, as it runs on a CPU
    "mini": ModelCost(
        dim=128,
        blocks=4,
        mlp_ratio=3.0,
        parameters=3_700_000,
        bytes_per_number=4,
        audio_patch=2,
        latent_channels=8,
    ),
    # Ovi (arXiv 2510.01284), whose twin branches SkyReels-V4 resembles; sizes of the latter are not published
    "ovi": ModelCost(dim=3072, blocks=30, mlp_ratio=14336 / 3072, parameters=11 * 10**9),
}


@dataclass(frozen=True)
class Clip:
    """frame_rate: frames per second."""

    width: int
    height: int
    frames: int
    frame_rate: float

    def __post_init__(self):
        if not 0 < self.frame_rate < math.inf:
            raise CanvasError(f"frame_rate is {self.frame_rate}: use more than 0 frames per second")

    @property
    def seconds(self) -> float:
        return self.frames / self.frame_rate

    def text(self) -> str:
        frames = f"{self.frames} frame{'s' * (self.frames != 1)}"
        return f"{self.width} x {self.height}, {frames}, {self.seconds:.1f} s at {self.frame_rate:g} fps"


@dataclass(frozen=True)
class Sampling:
    """A network and how often it runs: steps, and passes in each (2 with guidance).

    rate: operations per second, measured; None: not known.
    """

    model: ModelCost
    steps: int
    passes: int = 1
    rate: float | None = None

    def __post_init__(self):
        for name, value in (("steps", self.steps), ("passes", self.passes)):
            if value < 1:
                raise CanvasError(f"{name} is {value}: use 1 or more")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise CanvasError(f"rate is {self.rate}: use the operations per second of this machine, more than 0")


@dataclass(frozen=True)
class Stage:
    """One network at work. tokens, attention, operations: of one pass; bytes: at the peak; seconds: of all passes.

    windows: that the clip is cut into; passes: over each of them. attention: the part of the operations that compares
    queries with keys.
    """

    name: str
    tokens: int
    windows: int
    passes: int
    attention: int
    operations: int
    bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Scheme:
    """A way to make a clip, as stages that run one after the other."""

    name: str
    stages: tuple[Stage, ...]

    def attention(self, passes: int | None = None) -> int:
        """Operations of so many passes of each network; None: of as many as it makes."""
        return sum((passes or stage.passes) * stage.windows * stage.attention for stage in self.stages)

    def operations(self, passes: int | None = None) -> int:
        """Likewise, of all kinds."""
        return sum((passes or stage.passes) * stage.windows * stage.operations for stage in self.stages)

    @property
    def bytes(self) -> int:
        """At the peak: of the largest stage."""
        return max(stage.bytes for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """None if a stage's is not known."""
        times = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(times) if len(times) == len(self.stages) else None


def frames_in(seconds: float, frame_rate: float, frame_factor: int = 1, video: VideoGrid | None = None) -> int:
    """Frames of the shortest clip that lasts so long and that the scheme can make: 15 s at 32 -> 481"""
    if not (0 < seconds < math.inf and 0 < frame_rate < math.inf):
        raise CanvasError(f"{seconds} seconds at {frame_rate} frames per second: use more than 0 of both")
    step = (video or VideoGrid()).temporal * frame_factor
    return step * math.ceil(round(seconds * frame_rate - 1, 6) / step) + 1


def direct(clip: Clip, base: Sampling, *, video: VideoGrid | None = None, audio: AudioGrid | None = None) -> Scheme:
    """The base makes the clip as it is. CanvasError if the clip does not fit the grid of its latents."""
    video, audio = video or VideoGrid(), audio or AudioGrid()
    return Scheme("direct", (_base(clip, base, 0, video, video, audio),))


def refined(
    clip: Clip,
    base: Sampling,
    refiner: Sampling,
    *,
    scale: int = 4,
    frame_factor: int = 2,
    keyframes: int = 0,
    tiles: Tiles | None = None,
    video: VideoGrid | None = None,
    audio: AudioGrid | None = None,
) -> Scheme:
    """The base makes a clip of 1/scale the size and 1/frame_factor of the frame rate, the Refiner the rest.

    keyframes: pictures of full size that the base makes as well. tiles: windows that the Refiner works in; None: it
    takes the whole clip at once. video: grid of both networks. CanvasError names what does not fit.
    """
    video, audio = video or VideoGrid(), audio or AudioGrid()
    for name, value, allowed in (("scale", scale, SCALES), ("frame_factor", frame_factor, FRAME_FACTORS)):
        if value not in allowed:
            raise CanvasError(f"{name} is {value}: use {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}")
    # What the small clip's latents are of the small clip, they are of the large one with coarser steps.
    small = replace(video, temporal=video.temporal * frame_factor, spatial=video.spatial * scale)
    first = _base(clip, base, keyframes, video, small, audio)

    latent = video.latent_frames(clip.frames), *video.cells(clip.height, clip.width)
    grid = token_grid(video, *latent)
    tiles = tiles or Tiles()
    frames, rows, columns = map(min, grid, tiles.size)
    windows = math.prod(map(len, tiles.over(grid)))
    second = _stage("Refiner", (frames, rows, columns), 0, 0, math.prod(latent), refiner, windows)
    return Scheme("refined", (first, second))


def plan(clip: Clip, scheme: str, base: Sampling, refiner: Sampling, *, video: VideoGrid, **how) -> list[Scheme]:
    """Schemes by name, `both`, `direct` or `refined`; for the keywords see `refined`."""
    if scheme not in SCHEMES:
        raise CanvasError(f"scheme is '{scheme}': use {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}")
    # The refined clip comes first: what fits its coarser grid fits the other one.
    second = [] if scheme == "direct" else [refined(clip, base, refiner, video=video, **how)]
    return ([] if scheme == "refined" else [direct(clip, base, video=video)]) + second


def _base(clip: Clip, base: Sampling, keyframes: int, video: VideoGrid, grid: VideoGrid, audio: AudioGrid) -> Stage:
    """grid: of the base's latents over the pixels and frames of the clip in full size; video: of its keyframes."""
    latent = grid.latent_frames(clip.frames), *grid.cells(clip.height, clip.width)
    picture = 1, *video.cells(clip.height, clip.width)
    factor = grid.temporal // video.temporal
    frames = 1 + (clip.frames - 1) // factor
    if not 0 <= keyframes <= frames:
        raise CanvasError(f"keyframes is {keyframes}: use 0 to {frames}, the frames of the clip that the base makes")
    others = keyframes * math.prod(token_grid(video, *picture))
    cells = math.prod(latent) + keyframes * math.prod(picture)
    sound = -(-audio.latents(frames * factor / clip.frame_rate) // base.model.audio_patch)
    return _stage("base", token_grid(grid, *latent), others, sound, cells, base)


def _stage(
    name: str, grid: tuple[int, int, int], others: int, sound: int, cells: int, sampling: Sampling, windows: int = 1
) -> Stage:
    """grid: tokens of one window; others: of the video branch beside it; cells: of the latents of all windows."""
    model, video = sampling.model, math.prod(grid) + others
    operations, passes = model.operations(video, sound, 0, grid), sampling.steps * sampling.passes
    return Stage(
        name,
        tokens=video + sound,
        windows=windows,
        passes=passes,
        attention=model.attention(video, sound, 0, grid),
        operations=operations,
        bytes=model.bytes(video + sound, cells=cells, own_timesteps=others > 0),
        seconds=None if sampling.rate is None else passes * windows * operations / sampling.rate,
    )


# -- in words ----------------------------------------------------------------------------------------------------------


def report(clip: Clip, schemes: Sequence[Scheme]) -> str:
    """The clip, a table of its stages, and how the other schemes compare with the first."""
    rows: list[tuple[str, ...]] = []
    for scheme in schemes:
        for stage in scheme.stages:
            windows = f" in {stage.windows:,} windows" if stage.windows > 1 else ""
            alone = Scheme(scheme.name, (stage,))
            counts = (f"{stage.tokens:,} tokens", f"{stage.passes * stage.windows:,} passes")
            rows.append((f"{scheme.name}, {stage.name}{windows}:", *counts, *_totals(alone)))
        if len(scheme.stages) > 1:
            rows.append((f"{scheme.name}, together:", "", "", *_totals(scheme)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join(
        [f"{clip.text()}:", *table, *(_compared(schemes[0], other) for other in schemes[1:]), _notes(clip)]
    )


def _totals(scheme: Scheme) -> tuple[str, ...]:
    operations = f"{_count(scheme.operations())} operations", f"{_count(scheme.attention())} of them attention"
    return *operations, _size(scheme.bytes), "" if scheme.seconds is None else duration(scheme.seconds)


def _compared(first: Scheme, other: Scheme) -> str:
    def ratios(passes: int | None) -> str:
        attention = first.attention(passes) / other.attention(passes)
        operations = first.operations(passes) / other.operations(passes)
        return f"{_times(attention)} operations of attention, {_times(operations)} in all"

    return f"{other.name} against {first.name}: {ratios(None)}. With equally many passes of all networks: {ratios(1)}."


def _notes(clip: Clip) -> str:
    pixels = 3 * 4 * clip.width * clip.height * clip.frames
    return (
        "Tokens are those of one pass; G, T, P, E: 10 to the power of 9, 12, 15, 18. Memory is that of a network at "
        f"work, with its latents; the clip itself, as IMAGE, takes {_size(pixels)}. Prompt, references and codec are "
        "not counted."
    )


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times fewer" if ratio >= 1 else f"{1 / ratio:.1f} times more"


def _count(operations: int) -> str:
    """`12.3 P`: with three digits and a prefix"""
    power = min((len(str(operations)) - 1) // 3, len(PREFIXES) - 1)
    value = operations / 1000**power
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {PREFIXES[power]}".rstrip()


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 2 else f"{count / 2**20:.0f} MiB"


# -- the command -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m canvas.planner",
        description="Says tokens, memory and time of a clip before it is made, directly and by way of a Refiner.",
    )
    parser.add_argument("--width", type=int, required=True, help="pixels of the finished clip")
    parser.add_argument("--height", type=int, required=True)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="at least; the next length that fits is taken")
    length.add_argument("--length", type=int, help="frames")
    parser.add_argument("--fps", type=float, required=True, help="frames per second of the finished clip")
    parser.add_argument("--scheme", choices=SCHEMES, default="both")
    parser.add_argument("--scale", type=int, default=4, help="what the Refiner multiplies width and height by, 1 to 4")
    parser.add_argument("--frame-factor", type=int, default=2, help="and the frame rate, 1 or 2")
    parser.add_argument("--keyframes", type=int, default=0, help="pictures of full size that the base makes as well")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--passes", type=int, default=2, help="of the base in each step; 2 with guidance")
    parser.add_argument("--refiner-steps", type=int, default=2)
    parser.add_argument("--sparsity", type=float, default=0.5, help="share of key tiles that the Refiner leaves out")
    parser.add_argument("--tile-frames", type=int, default=0, help="windows of the Refiner, 4n+1 frames; 0: all")
    parser.add_argument("--tile-size", type=int, default=0, help="and their width and height in pixels; 0: all")
    parser.add_argument("--tile-overlap", type=int, default=0, help="pixels that neighbouring windows share")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mini", help="sizes to start from")
    parser.add_argument("--dim", type=int, help="width of the network, instead of the preset's")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--mlp-ratio", type=float, help="hidden width / dim")
    parser.add_argument("--parameters", type=int, help="how many numbers the weights are")
    parser.add_argument("--bytes-per-number", type=int, help="of weights and activations")
    parser.add_argument("--audio-patch", type=int, help="audio latents per token")
    parser.add_argument("--rate", type=float, help="measured operations per second; without it there are no times")
    options = parser.parse_args(arguments)
    sizes = ("dim", "blocks", "mlp_ratio", "parameters", "bytes_per_number", "audio_patch")
    given = {name: getattr(options, name) for name in sizes if getattr(options, name) is not None}
    try:
        model = replace(NETWORKS[options.network], **given)
        base = Sampling(model, options.steps, options.passes, options.rate)
        refiner = Sampling(replace(model, sparsity=options.sparsity), options.refiner_steps, rate=options.rate)
        factor = options.frame_factor if options.scheme != "direct" else 1
        frames = options.length or frames_in(options.seconds, options.fps, factor)
        clip = Clip(options.width, options.height, frames, options.fps)
        tiles = tiles_of(options.tile_frames, options.tile_size, options.tile_overlap, VideoGrid())
        how = {"scale": options.scale, "frame_factor": options.frame_factor, "keyframes": options.keyframes}
        schemes = plan(clip, options.scheme, base, refiner, video=VideoGrid(), tiles=tiles, **how)
    except CanvasError as error:
        sys.exit(f"error: {error}")
    print(report(clip, schemes))


if __name__ == "__main__":
    main()
