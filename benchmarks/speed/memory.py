"""Peak memory by length of the clip: what one pass, or one decoding, takes beside its weights and inputs.

Each figure comes from a process of its own: of its resident memory on a CPU, read from /proc; of what PyTorch has
allocated on CUDA. Networks have the sizes of a checkpoint and random weights.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.canvas import memory, reset_peak
from benchmarks.speed import core
from benchmarks.speed.clock import DTYPES, machine
from benchmarks.speed.table import Report, number
from models.checkpoint import read_checkpoint
from models.config import MMDiTConfig
from models.mmdit import TEMPORAL_SCALE, MMDiT
from models.refiner import refiner_config
from training.objective import latents_of

RATE = 32.0  # frames per second
WORDS = 32  # tokens of the prompt
SPATIAL = 8  # pixels of a latent cell
WINDOW, OVERLAP = (9, 8, 8), (2, 2, 2)  # of the tiled Refiner: latent frames, and tokens down and across
MEBI = 2**20
Run = Callable[[], Any]


def _network(config: MMDiTConfig, kind: Callable[..., MMDiT], options: argparse.Namespace, **more) -> MMDiT:
    network = kind(config, dtype=DTYPES[options.device], device=options.device, **more).eval()
    for parameter in network.parameters():
        parameter.data.normal_(std=0.02)
    return network


def _inputs(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> dict[str, Any]:
    """A pass over noise of the clip's size, with a condition everywhere; the sound is None where there is none."""
    like: dict[str, Any] = {"dtype": DTYPES[options.device], "device": options.device}
    latents, side = 1 + (frames - 1) // TEMPORAL_SCALE, options.side // SPATIAL
    video = torch.randn(1, config.video_channels, latents, side, side, **like)
    audio = torch.randn(1, config.audio_channels, latents_of(latents, RATE), **like) if config.audio_channels else None
    return {
        "video": video,
        "audio": audio,
        "timestep": torch.full((1,), 500.0, device=options.device),
        "text": torch.randn(1, WORDS, config.text_dim, **like),
        "pooled": torch.randn(1, max(1, config.pooled_dim), **like),
        "condition": torch.zeros_like(video),
        "mask": torch.zeros_like(video[:, :1]),
    }


def _plain(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    network, inputs = _network(config, MMDiT, options), _inputs(config, frames, options)
    return lambda: network(**inputs, frame_rate=RATE)


def base(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    return _plain(config, frames, options)


def refiner_dense(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    return _plain(replace(refiner_config(config, 0.0), sparsity=None), frames, options)


def refiner_sparse(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    return _plain(refiner_config(config, options.sparsity), frames, options)


def refiner_tiled(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    core.load(options.device)
    import comfy.model_patcher
    import comfy.ops
    from skycanvas.carriers.skyreels_v4 import DiffusionModel
    from skycanvas.carriers.tiles import Tiles, tile

    config = refiner_config(config, options.sparsity)
    network = _network(config, DiffusionModel, options, operations=comfy.ops.disable_weight_init)
    device, given = torch.device(options.device), _inputs(config, frames, options)
    tiled = tile(comfy.model_patcher.ModelPatcher(network, device, device), Tiles(WINDOW, OVERLAP))
    conditions = {name: given[name] for name in ("pooled", "condition", "mask")}
    return lambda: network(
        [given["video"]],
        given["timestep"],
        given["text"],
        transformer_options={"wrappers": tiled.wrappers},
        frame_rate=RATE,
        **conditions,
    )


def _vae(frames: int, options: argparse.Namespace):
    """ComfyUI's VAE with our codec, and a latent."""
    core.load(options.device)
    from skycanvas.carriers.vae import SkyCanvasVideoVAE, load_vae

    vae = load_vae(SkyCanvasVideoVAE, str(options.vae), torch.device(options.device))
    latents, side = 1 + (frames - 1) // TEMPORAL_SCALE, options.side // SPATIAL
    return vae, torch.randn(1, vae.latent_channels, latents, side, side)


def decode_whole(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    vae, latent = _vae(frames, options)
    return lambda: vae.decode(latent)


def decode_streaming(config: MMDiTConfig, frames: int, options: argparse.Namespace) -> Run:
    vae, latent = _vae(frames, options)
    from skycanvas.carriers.streaming import decode_frames

    return lambda: sum(len(piece) for piece in decode_frames(vae, latent))


CASES: dict[str, Callable[[MMDiTConfig, int, argparse.Namespace], Run]] = {
    "base": base,
    "Refiner, dense": refiner_dense,
    "Refiner, sparse": refiner_sparse,
    "Refiner, tiled": refiner_tiled,
    "decoding, whole": decode_whole,
    "decoding, streaming": decode_streaming,
}


@torch.inference_mode()
def added(case: str, frames: int, options: argparse.Namespace) -> float:
    """MiB at the peak of a case, beyond what there was before it ran."""
    config = MMDiTConfig.from_state_dict(read_checkpoint(options.model)[0])
    run = CASES[case](config, frames, options)
    if options.device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return (torch.cuda.max_memory_allocated() - before) / MEBI
    resident = memory("VmRSS")
    reset_peak()
    run()
    return memory("VmHWM") - resident


def alone(case: str, frames: int, options: argparse.Namespace) -> tuple[float | None, str | None]:
    """The same in a new process: MiB, or why there is none."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    command = [sys.executable, "-m", "benchmarks.speed.memory", json.dumps([case, frames, given])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=core.ROOT, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was ended from outside: no memory left?"])[-1]
        return None, last
    return round(float(done.stdout.split()[-1]), 1), None


def report(settings: dict[str, Any], rows: list[dict[str, Any]], cases: list[str]) -> Report:
    lines = [["frames", "tokens", *(f"{case} (MiB)" for case in cases)]]
    lines += [[str(row["frames"]), str(row["tokens"]), *(number(row["mib"].get(c)) for c in cases)] for row in rows]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for case in cases:
            points = {row["frames"]: row["mib"][case] for row in rows if case in row["mib"]}
            axes.plot(list(points), list(points.values()), marker="o", label=case)
        axes.set(xlabel="frames", ylabel="MiB at the peak", ylim=(0, None))
        axes.legend(fontsize="small")

    first, last = rows[0], rows[-1]
    times = last["frames"] / first["frames"]
    grown = [
        f"{case} {last['mib'][case] / max(first['mib'][case], 0.1):.1f}x"
        for case in cases
        if case in first["mib"] and case in last["mib"]
    ]
    notes = [
        "What a pass or a decoding takes beside weights and inputs. Tokens: of the clip; the tiled Refiner sees "
        f"{WINDOW[0]} latent frames and {WINDOW[1]} x {WINDOW[2]} tokens at a time.",
        f"From {first['frames']} to {last['frames']} frames, {times:.1f} times as long: {', '.join(grown)}.",
    ]
    if reasons := [f"* {case}, {row['frames']} frames: {why}" for row in rows for case, why in row["skipped"].items()]:
        notes.append("\n".join(["Not measured:", *reasons]))
    return Report("memory", "Peak memory by length", settings, rows, [lines], draw, notes)


def arguments(parser: argparse.ArgumentParser) -> None:
    weights = Path("models/weights")
    parser.add_argument("--frames", type=int, nargs="+", default=[33, 97, 257], help="lengths: 4n+1 each")
    parser.add_argument("--side", type=int, default=256, help="width and height in pixels: a multiple of 16")
    parser.add_argument("--sparsity", type=float, default=0.5, help="of the Refiner, 0 (dense) .. 1")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument(
        "--model", type=Path, default=weights / "mini.safetensors", help="whose sizes the networks have"
    )
    parser.add_argument("--vae", type=Path, default=weights / "mini_video_vae.safetensors")


def check(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything."""
    if options.device == "cpu" and not Path("/proc/self/clear_refs").exists():
        return "the peak of a process' memory is read from /proc, as Linux has it: use --device cuda"
    for name in ("model", "vae"):
        path = getattr(options, name)
        if not path.exists():
            return f"--{name} {path} does not exist: name a safetensors file"
        setattr(options, name, path.absolute())
    for frames in options.frames:
        if frames < 1 or frames % TEMPORAL_SCALE != 1:
            low = max(1, (frames - 1) // TEMPORAL_SCALE * TEMPORAL_SCALE + 1)
            return f"--frames {frames} is not 4n+1: use {low} or {low + TEMPORAL_SCALE}"
    if options.side < 16 or options.side % 16:
        low = max(16, options.side // 16 * 16)
        return f"--side {options.side} is not a multiple of 16: use {low} or {low + 16}"
    if not 0 <= options.sparsity <= 1:
        return f"--sparsity {options.sparsity} must be from 0 (all tiles) to 1 (one tile)"
    return None


def run(options: argparse.Namespace) -> Report:
    config = MMDiTConfig.from_state_dict(read_checkpoint(options.model)[0])
    settings = machine(options) | {
        "pixels": f"{options.side}x{options.side}",
        "sparsity": options.sparsity,
        "width": config.dim,
        "dtype": str(DTYPES[options.device]).removeprefix("torch."),
    }
    rows = []
    for frames in sorted(options.frames):
        side = -(-options.side // SPATIAL // config.video_patch)
        row: dict[str, Any] = {"frames": frames, "tokens": (1 + (frames - 1) // TEMPORAL_SCALE) * side**2}
        row |= {"mib": {}, "skipped": {}}
        for case in options.cases:
            mib, why = alone(case, frames, options)
            if mib is None:
                row["skipped"][case] = why
            else:
                row["mib"][case] = mib
        rows.append(row)
        print({"frames": frames, **row["mib"]}, flush=True)
    return report(settings, rows, options.cases)


def _main(case: str, frames: int, given: dict[str, Any]) -> None:
    print(added(case, frames, argparse.Namespace(**given)))


if __name__ == "__main__":
    _main(*json.loads(sys.argv[1]))
