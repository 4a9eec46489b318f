"""A small clip and the Refiner beside the large clip made at once by the base (SkyReels-V4 sec. 4.5), at equal output.

Operations are those that canvas.planner counts, for the clips that are measured and for 1080p. Mini makes clips both
ways from the same held-out prompts; times include decoding, enlarging and encoding again. Its base has only learned
clips of 64 pixels, and the detectors know no other size: they look at every second frame, drawn smaller.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.quality.detectors import foreground, look
from benchmarks.quality.figures import Array, Pairs, mean, rate
from benchmarks.quality.held_out import held_out_scenes, noise_of, prompts_of
from benchmarks.quality.pipeline import Mini, digest, load_network
from benchmarks.quality.refine import STEPS
from benchmarks.quality.worlds import MOST, shows
from benchmarks.speed.clock import Clock, clock_of, machine
from benchmarks.speed.table import GIGA, Report, number
from canvas import planner
from canvas.cost import ModelCost
from models.mmdit import TEMPORAL_SCALE, MMDiT
from models.refiner import refined_frames, upsampled
from training.objective import latents_of
from training.refiner import Encoder
from training.sampling import sample_euler
from training.toybox import FRAME_RATE, FRAME_SIZE, Scenes

SCALE, FRAME_FACTOR = 2, 2  # of the clips that are measured
RATE = FRAME_RATE * FRAME_FACTOR  # frames per second of the finished ones
# Whose operations are counted beside those of the measured clips: a network of the planner, and the scale.
CINEMA = planner.Clip(1920, 1088, 481, RATE)
SHAPES = {
    "1080p, 15 s, width of Mini": ("mini", 4),
    "1080p, 15 s, width of Ovi": ("ovi", 4),
    "1080p, 15 s, width of Ovi, half the size": ("ovi", 2),
}
CINEMA_KEYFRAMES = 3
BASE_PASSES = 2  # of the base in a step: with guidance
Text = tuple[Tensor, Tensor]


# -- counted ---------------------------------------------------------------------------------------------------------


def cost_of(network: MMDiT) -> ModelCost:
    config = network.config
    return ModelCost(
        dim=config.dim,
        blocks=config.dual_blocks + config.single_blocks,
        mlp_ratio=config.mlp_ratio,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        bytes_per_number=network.text_in.weight.itemsize,
        audio_patch=config.audio_patch,
        sparsity=config.sparsity,
        latent_channels=config.video_channels,
    )


def counted(
    name: str,
    clip: planner.Clip,
    scale: int,
    keyframes: int,
    networks: tuple[ModelCost, ModelCost],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Multiply-adds of both ways (the planner counts both halves), and how many times fewer the scheme has.

    equal_passes: with as many passes of both networks, so that the steps, which are our choice, have no part in it.
    """
    base = planner.Sampling(networks[0], options.steps, BASE_PASSES)
    refiner = planner.Sampling(networks[1], options.refiner_steps)
    direct = planner.direct(clip, base)
    refined = planner.refined(clip, base, refiner, scale=scale, frame_factor=FRAME_FACTOR, keyframes=keyframes)
    row: dict[str, Any] = {
        "shape": name,
        "clip": f"{clip.width}x{clip.height}, {clip.frames} frames",
        "scale": scale,
        "keyframes": keyframes,
        "sparsity": networks[1].sparsity,
        "tokens": direct.stages[0].tokens,
        "tokens_of_the_small_clip": refined.stages[0].tokens,
    }
    for kind in ("operations", "attention"):
        ways = [getattr(way, kind)() // 2 for way in (direct, refined)]
        equal = [getattr(way, kind)(1) for way in (direct, refined)]
        row |= {f"{kind}_direct": ways[0], f"{kind}_scheme": ways[1], f"{kind}_ratio": round(ways[0] / ways[1], 2)}
        row[f"{kind}_ratio_of_equal_passes"] = round(equal[0] / equal[1], 2)
    return row


def counts(networks: tuple[MMDiT, MMDiT], options: argparse.Namespace) -> list[dict[str, Any]]:
    side, own = SCALE * FRAME_SIZE, (cost_of(networks[0]), cost_of(networks[1]))
    clip = planner.Clip(side, side, refined_frames(options.frames, FRAME_FACTOR), RATE)
    kinds = sorted({0, len(options.keyframes)})
    rows = [counted("what is measured", clip, SCALE, keyframes, own, options) for keyframes in kinds]
    for name, (network, scale) in SHAPES.items():
        base = planner.NETWORKS[network]
        for sparsity in options.sparsity:
            networks_of = (base, replace(base, sparsity=sparsity))
            rows.append(counted(name, CINEMA, scale, CINEMA_KEYFRAMES, networks_of, options))
    return rows


# -- made ------------------------------------------------------------------------------------------------------------


@dataclass
class Studio:
    """Both networks with their codec, and the prompts [B] of a batch whose first clip has the number `first`."""

    mini: Mini
    refiner: MMDiT
    refiner_shift: float
    options: argparse.Namespace
    prompts: list[str]
    first: int

    def __post_init__(self):
        count = len(self.prompts)
        texts = self.mini.read([*self.prompts, *[""] * count])
        sequence, pooled = (text.to(self.options.device) for text in texts)
        self.words, self.empty = (sequence[:count], pooled[:count]), (sequence[count:], pooled[count:])

    @property
    def encoder(self) -> Encoder:
        network = self.mini.network
        return Encoder(self.mini.codecs.video, network.video_latent_mean, network.video_latent_std)

    def noise(self, *shapes: tuple[int, ...]) -> list[Tensor]:
        rows = [noise_of(self.first + row, *shapes, seed=self.options.seed) for row in range(len(self.prompts))]
        return [torch.stack(stream).to(self.options.device) for stream in zip(*rows, strict=True)]

    def base(self, scale: int, frame_factor: int, keyframes: Sequence[int] = ()) -> list[Tensor]:
        """Latents of clips `scale` times as large as those that the base has learned, at `frame_factor` their rate.

        keyframes: frames of which a picture of SCALE times the size is made with them.
        """
        config, cells = self.mini.network.config, FRAME_SIZE // self.mini.codecs.video.spatial_scale
        frames = refined_frames(self.options.frames, frame_factor)
        latents, side, fps = 1 + (frames - 1) // TEMPORAL_SCALE, scale * cells, float(FRAME_RATE * frame_factor)
        shapes = [(config.video_channels, latents, side, side), (config.audio_channels, latents_of(latents, fps))]
        if keyframes:
            shapes.append((config.video_channels, len(keyframes), SCALE * cells, SCALE * cells))
        video, audio, *pictures = self.noise(*shapes)
        made = sample_euler(
            self.mini.network,
            video,
            audio,
            self.words,
            self.empty,
            steps=self.options.steps,
            guidance=self.options.guidance,
            shift=self.mini.shift,
            keyframes=(pictures[0], [frame / TEMPORAL_SCALE for frame in keyframes]) if pictures else None,
            frame_rate=fps,
        )
        return [latent for latent in made if latent is not None]

    def refine(self, small: Tensor, pictures: Tensor | None) -> Tensor:
        """Latents of small clips, and of keyframes -> latents of the refined clips."""
        encoder = self.encoder
        large = upsampled(encoder.decode(small), SCALE, FRAME_FACTOR).clamp(-1, 1)
        if pictures is not None:
            stills = encoder.decode(pictures.transpose(1, 2).flatten(0, 1).unsqueeze(2))[:, :, 0]
            at = [FRAME_FACTOR * frame for frame in self.options.keyframes]
            large[:, :, at] = stills.unflatten(0, (len(small), -1)).transpose(1, 2)
        source = encoder(large)
        latent, _ = sample_euler(
            self.refiner,
            self.noise(source.shape[1:])[0],
            None,
            self.words,
            self.empty,
            steps=self.options.refiner_steps,
            guidance=1.0,
            shift=self.refiner_shift,
            condition=source,
            mask=torch.zeros_like(source[:, :1]),
        )
        assert latent is not None
        return latent

    # The ways, each to clips [B, 3, F, H, W] in -1..1 of the same size, length and rate.

    def direct(self) -> Tensor:
        return self.encoder.decode(self.base(SCALE, FRAME_FACTOR)[0])

    def enlarged(self) -> Tensor:
        small = self.encoder.decode(self.base(1, 1)[0])
        return upsampled(small, SCALE, FRAME_FACTOR).clamp(-1, 1)

    def refined(self) -> Tensor:
        return self.encoder.decode(self.refine(self.base(1, 1)[0], None))

    def refined_with_keyframes(self) -> Tensor:
        small, _, pictures = self.base(1, 1, self.options.keyframes)
        return self.encoder.decode(self.refine(small, pictures))


WAYS: dict[str, Callable[[Studio], Tensor]] = {
    "at once": Studio.direct,
    "small, enlarged without a network": Studio.enlarged,
    "small, refined": Studio.refined,
    "small with keyframes, refined": Studio.refined_with_keyframes,
}
CEILING = "real clips, through the codec"


# -- looked at -------------------------------------------------------------------------------------------------------


def right(video: Tensor, scenes: Scenes) -> NDArray[np.bool_]:
    """Whether most frames of clip i show one object, of the shape and the colour of scene j. [B, B] bool"""
    batch = len(video)
    frames = video[:, :, ::FRAME_FACTOR].transpose(1, 2).flatten(0, 1)
    small = F.interpolate(frames, (FRAME_SIZE, FRAME_SIZE), mode="area").unflatten(0, (batch, -1)).transpose(1, 2)
    sight = look(small, scenes.level)
    one = ((sight.parts == 1).double().mean(1) >= MOST).numpy()
    verdicts = (shows(sight.shape, scenes.shape), shows(sight.colour, scenes.colour), one[:, None])
    return np.logical_and.reduce(np.broadcast_arrays(*verdicts))


def steepness(video: Tensor) -> Array:
    """How steep the object's outline is in clips [B, 3, F, H, W]: share of its contrast from one pixel to the next,
    on average along the outline. NaN where there is no object. [B]"""
    coverage, _, _ = foreground((video.transpose(1, 2).flatten(0, 1) + 1) / 2)
    slope = torch.stack([coverage.diff(dim=1)[:, :, :-1], coverage.diff(dim=2)[:, :-1]]).norm(dim=0)
    slope = slope.flatten(1).view(len(video), -1).double()
    total = slope.sum(1)
    return torch.where(total > 0, slope.square().sum(1) / total, torch.nan).numpy()


def _make(way: Callable[[Studio], Tensor], studio: Studio, into: list[Tensor]) -> None:
    into.append(way(studio).cpu())


def measured(networks: tuple[Mini, MMDiT, float], options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """A row for each way: seconds for a clip, and figures with standard errors, chance and the ceiling."""
    frames = refined_frames(options.frames, FRAME_FACTOR)
    held_out = held_out_scenes(options.prompts, frames=options.frames, level=options.level, seed=options.seed)
    large = replace(held_out.select(torch.arange(len(held_out)), frames), fps=RATE, scale=SCALE)
    ways = {name: way for name, way in WAYS.items() if options.keyframes or way is not Studio.refined_with_keyframes}
    took: dict[str, float] = dict.fromkeys(ways, 0.0)
    clips: dict[str, list[Tensor]] = {name: [] for name in (*ways, CEILING)}
    for first in range(0, len(held_out), options.batch):
        rows = torch.arange(first, min(first + options.batch, len(held_out)))
        scenes = large.select(rows, frames)
        studio = Studio(*networks, options, prompts_of(scenes), first)
        for name, way in ways.items():  # in turn, so that what else the machine does meets all of them
            took[name] += clock.once(partial(_make, way, studio, clips[name])) / 1000
        clips[CEILING].append(studio.encoder.decode(studio.encoder(scenes.render().to(options.device))).cpu())
        print(f"{first + len(rows)} of {len(held_out)} clips", flush=True)
    result = []
    for name, parts in clips.items():
        video = torch.cat(parts)
        once = np.ones((len(video), len(video)))
        seconds = took[name] / len(video) if name in took else None
        result.append(
            {
                "way": name,
                "seconds_per_clip": None if seconds is None else round(seconds, 3),
                "times_faster": None if seconds is None else round(took["at once"] / took[name], 2),
                "right": vars(rate(Pairs.of(right(video, held_out), once))),
                "steepness": vars(mean(steepness(video))),
            }
        )
    return result


# -- report ----------------------------------------------------------------------------------------------------------


def report(settings: dict[str, Any], operations: list[dict[str, Any]], made: list[dict[str, Any]]) -> Report:
    lines = [["", "sparsity", "at once (G multiply-adds)", "refined", "fewer", "attention alone", "with equal passes"]]
    for row in operations:
        both = [f"{row[f'operations_{way}'] / GIGA:,.0f}" for way in ("direct", "scheme")]
        kinds = ("operations_ratio", "attention_ratio", "attention_ratio_of_equal_passes")
        ratios = [f"{row[kind]:.2f}x" for kind in kinds]
        shape = f"{row['shape']}: {row['clip']}, {row['scale']}x, {row['keyframes']} keyframes"
        lines.append([shape, number(row["sparsity"], "{:g}"), *both, *ratios])

    def figure_of(figure: dict[str, float | None]) -> str:
        return f"{figure['value']:.2f} ± {figure['error']:.2f}"

    table = [["", "seconds for a clip", "faster", "as asked for (share of clips)", "chance", "steepness of edges"]]
    for row in made:
        line = [row["way"], number(row["seconds_per_clip"], "{:.2f}"), number(row["times_faster"], "{:.2f}x")]
        line += [figure_of(row["right"]), number(row["right"]["chance"], "{:.2f}"), figure_of(row["steepness"])]
        table.append(line)

    def draw(figure: Any) -> None:
        left, middle = figure.subplots(1, 2)
        names = [f"{row['shape']}, {number(row['sparsity'], '{:g}')}".replace(", ", "\n", 1) for row in operations]
        left.barh(names, [row["operations_ratio"] for row in operations])
        left.set(xlabel="times fewer operations")
        left.invert_yaxis()
        left.tick_params(labelsize="x-small")
        for row in made[:-1]:
            middle.plot(row["seconds_per_clip"], row["right"]["value"], "o", label=row["way"])
        middle.axhline(made[-1]["right"]["value"], color="grey", linewidth=0.8, label=CEILING)
        middle.set(xlabel="seconds for a clip", ylabel="shows what was asked for", xlim=(0, None), ylim=(-0.05, 1.05))
        middle.legend(fontsize="x-small")

    notes = [
        "Operations: of all passes, see canvas.planner; in the last column, as if each network ran once. Sparsity: "
        "share of the key tiles that the Refiner's attention leaves out. Goal: 5x at 1080p.",
        f"As asked for: {MOST:.0%} of the frames show one object, of the prompt's shape and colour. Chance: the "
        "same clips with all prompts exchanged. Steepness: share of an outline's contrast from one pixel to the next.",
    ]
    rows = [{"of": "operations"} | row for row in operations] + [{"of": "clips"} | row for row in made]
    return Report("scheme", "Small and refined beside large at once", settings, rows, [lines, table], draw, notes)


def arguments(parser: argparse.ArgumentParser) -> None:
    weights = Path("models/weights")
    parser.add_argument("--weights", type=Path, default=weights, help="folder of codecs and text encoder")
    parser.add_argument("--model", type=Path, help="the base; default: mini.safetensors of the weights")
    parser.add_argument("--refiner", type=Path, help="default: mini_refiner.safetensors of the weights")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="clips made together")
    parser.add_argument("--frames", type=int, default=17, help="of the small clip: 8n+1")
    parser.add_argument("--steps", type=int, default=30, help="of the base")
    parser.add_argument("--guidance", type=float, default=2.0, help="of the base")
    parser.add_argument("--refiner-steps", type=int, default=STEPS, help="without guidance")
    parser.add_argument(
        "--keyframes",
        type=int,
        nargs="*",
        metavar="FRAME",
        help="of the small clip, made in full size; default: first, middle and last, of a base that makes keyframes",
    )
    parser.add_argument(
        "--sparsity", type=float, nargs="+", default=[0.5, 0.9], help="of a Refiner at 1080p, 0 (dense) .. 1"
    )
    parser.add_argument("--level", default="easy", help="of the toybox")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and noise")


def check(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything."""
    options.model = options.model or options.weights / "mini.safetensors"
    options.refiner = options.refiner or options.weights / "mini_refiner.safetensors"
    if not options.model.exists():
        return f"--model {options.model} does not exist: name a safetensors file or a training's checkpoint.pt"
    if not options.refiner.exists():
        return (
            f"--refiner {options.refiner} does not exist: train one with `python3 run.py python -m training.refiner`, "
            "or name a safetensors file or that training's checkpoint.pt"
        )
    if options.prompts < 2:
        return f"--prompts {options.prompts} leaves nothing to exchange for chance: use 2 or more"
    for name in ("batch", "steps", "refiner_steps"):
        if getattr(options, name) < 1:
            return f"--{name.replace('_', '-')} {getattr(options, name)} must be at least 1"
    if options.frames < 9 or options.frames % 8 != 1:
        low = max(9, (options.frames - 1) // 8 * 8 + 1)
        return f"--frames {options.frames} is not 8n+1: use {low} or {low + 8}"
    if wrong := [frame for frame in options.keyframes or () if not 0 <= frame < options.frames]:
        return f"--keyframes {wrong[0]} is outside the clip: use 0 to {options.frames - 1}"
    if wrong := [share for share in options.sparsity if not 0 <= share <= 1]:
        return f"--sparsity {wrong[0]} must be from 0 (all tiles) to 1 (one tile)"
    return None


def run(options: argparse.Namespace) -> Report:
    mini = Mini.load(options.weights, options.model)
    refiner, shift = load_network(options.refiner)
    if mini.network.config.refines or not refiner.config.refines:
        raise SystemExit(f"--model {options.model} must be a base, and --refiner {options.refiner} a Refiner")
    if options.keyframes is None:
        last = options.frames - 1
        options.keyframes = [0, last // 2, last] if mini.network.config.keyframes else []
    if options.keyframes and not mini.network.config.keyframes:
        raise SystemExit(f"--keyframes: {options.model} was not trained to make keyframes: leave them out")
    for module in (mini.network, mini.codecs.video, refiner):
        module.to(options.device)
    settings = machine(options) | {
        "base": digest(options.model),
        "refiner": digest(options.refiner),
        "level": options.level,
        "prompts": options.prompts,
        "seed": options.seed,
        "batch": options.batch,
        "steps": options.steps,
        "guidance": options.guidance,
        "refiner_steps": options.refiner_steps,
        "keyframes": ", ".join(map(str, options.keyframes)) or "none",
    }
    operations = counts((mini.network, refiner), options)
    return report(settings, operations, measured((mini, refiner, shift), options, clock_of(options)))
