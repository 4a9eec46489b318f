"""A whole clip of cinema size through every step of the pipeline, with real shapes and networks of little width.

Small clip, sound and keyframes by the base; enlarged and encoded again; the Refiner in windows; decoded into a file:
the nodes of the pack, as a graph would call them, in ComfyUI. What the file shows is noise; what is measured is that
every step holds the shapes, how long it takes and how much memory.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.canvas import memory, reset_peak
from benchmarks.speed import core
from benchmarks.speed.clock import machine
from benchmarks.speed.table import Report
from models.audio_vae import AudioVAE, AudioVAEConfig
from models.config import MMDiTConfig
from models.mmdit import MMDiT
from models.refiner import refiner_config
from models.video_vae import VideoVAE, VideoVAEConfig

CONFIG = MMDiTConfig(
    video_channels=8,
    audio_channels=32,
    text_dim=32,
    pooled_dim=32,
    dim=32,
    heads=1,
    dual_blocks=1,
    single_blocks=1,
    mlp_ratio=2.0,
    video_patch=2,
    audio_patch=2,
    rope_axes=(12, 10, 10),
    preconditioned=True,
    keyframes=True,
)
SPARSITY = 0.9
KEYFRAMES = 3
TILE = {"tile_size": 512, "tile_frames": 33, "tile_overlap": 64}


def write_networks(folder: Path) -> None:
    """Base, Refiner and codecs with random weights."""
    torch.manual_seed(0)
    base, refiner = MMDiT(CONFIG).init_weights(), MMDiT(refiner_config(CONFIG, SPARSITY)).init_weights()
    video = VideoVAE(VideoVAEConfig(encoder_dim=16, encoder_blocks=1, decoder_dim=16, decoder_blocks=1))
    audio = AudioVAE(AudioVAEConfig(channels=CONFIG.audio_channels))
    for name, network in {"base": base, "refiner": refiner, "video": video, "audio": audio}.items():
        save_file(
            {key: value.contiguous() for key, value in network.state_dict().items()}, folder / f"{name}.safetensors"
        )


class Steps:
    """Seconds and peak memory (MiB, of the whole process) of one step after the other."""

    def __init__(self):
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """What the body puts into the dictionary is told beside the figures."""
        reset_peak()
        row: dict[str, Any] = {"step": name}
        started = time.perf_counter()
        yield row
        row |= {"seconds": round(time.perf_counter() - started, 1), "mib": round(memory("VmHWM"))}
        self.rows.append(row)
        print(row, flush=True)


@torch.inference_mode()
def pipeline(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    from skycanvas.carriers.skyreels_v4 import load_model
    from skycanvas.carriers.vae import SkyCanvasAudioVAE, SkyCanvasVideoVAE, load_vae
    from skycanvas.nodes.keyframes import SkyCanvasKeyframes
    from skycanvas.nodes.latent import SkyCanvasEmptyLatent, split_latent
    from skycanvas.nodes.refine import SkyCanvasRefine
    from skycanvas.nodes.streaming import SkyCanvasDecodeToFile

    import nodes

    base, refiner = (load_model(str(folder / f"{name}.safetensors")) for name in ("base", "refiner"))
    vae = load_vae(SkyCanvasVideoVAE, str(folder / "video.safetensors"))
    audio_vae = load_vae(SkyCanvasAudioVAE, str(folder / "audio.safetensors"))
    prompt = [[torch.randn(1, 32, CONFIG.text_dim), {"pooled_output": torch.randn(1, CONFIG.pooled_dim)}]]
    frames = options.frame_factor * round(options.seconds_long * options.fps / options.frame_factor / 4) * 4 + 1
    small = (frames - 1) // options.frame_factor + 1
    steps = Steps()

    def shape(latent: dict) -> str:
        samples = latent["samples"]
        return " + ".join("x".join(map(str, x.shape)) for x in (samples.unbind() if samples.is_nested else [samples]))

    with steps.step("before anything runs"):
        pass
    with steps.step("base: small clip, sound and keyframes, 1 step") as told:
        size = (options.width // options.scale, options.height // options.scale)
        empty = SkyCanvasEmptyLatent.execute(*size, small, options.fps / options.frame_factor, 1, base).result[0]
        at = ", ".join(str(round(i * (small - 1) / (KEYFRAMES - 1))) for i in range(KEYFRAMES))
        positive, negative, latent = SkyCanvasKeyframes.execute(prompt, prompt, empty, at, options.scale).result
        sampling = (base, 0, 1, 1.0, "euler", "simple")
        latent = nodes.KSampler().sample(*sampling, positive, negative, latent)[0]
        told["shape"] = shape(latent)
    with steps.step("enlarged, with keyframes, encoded again") as told:
        result = SkyCanvasRefine.execute(
            refiner, positive, negative, vae, latent, options.scale, options.frame_factor, **TILE
        ).result
        *conditioned, large, fps = result
        told["shape"] = shape(large)
    with steps.step("Refiner in windows, 1 step") as told:
        model, *prompts = conditioned
        large = nodes.KSampler().sample(model, *sampling[1:], *prompts, large)[0]
        told["shape"] = shape(large)
    with steps.step("decoded into a file, with the sound") as told:
        waveform = audio_vae.decode(split_latent(latent)[1]["samples"]).movedim(-1, 1)
        audio = {"waveform": waveform, "sample_rate": audio_vae.audio_sample_rate}
        video = SkyCanvasDecodeToFile.execute(large, vae, fps, "shape", audio=audio).result[0]
        width, height = video.get_dimensions()
        told["shape"] = (
            f"{width}x{height} pixels, {video.get_frame_count()} frames at {float(video.get_frame_rate()):g}"
        )
    return steps.rows


def run(options: argparse.Namespace) -> Report:
    core.load(options.device)
    import folder_paths

    output = folder_paths.get_output_directory()
    with tempfile.TemporaryDirectory(prefix="skycanvas-shape-") as scratch:
        write_networks(Path(scratch))
        folder_paths.set_output_directory(scratch)
        try:
            rows = pipeline(options, Path(scratch))
        finally:
            folder_paths.set_output_directory(output)
    settings = machine(options) | {
        "pixels": f"{options.width}x{options.height}",
        "fps": options.fps,
        "seconds": options.seconds_long,
        "scale": options.scale,
        "frame_factor": options.frame_factor,
        "width": CONFIG.dim,
        "blocks": CONFIG.dual_blocks + CONFIG.single_blocks,
        "sparsity": SPARSITY,
        **TILE,
    }
    lines = [["step", "shape", "seconds", "peak of the process (MiB)"]]
    lines += [[row["step"], row.get("shape", ""), f"{row['seconds']:.1f}", str(row["mib"])] for row in rows]
    clip = options.width * options.height * 3 * 4 * round(options.fps * options.seconds_long)
    notes = [f"As pictures in memory the clip alone would take {clip / 2**20:.0f} MiB."]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.barh([row["step"] for row in rows], [row["mib"] for row in rows])
        axes.invert_yaxis()
        axes.set(xlabel="MiB at the peak")

    return Report("shape", "A clip of cinema size, step by step", settings, rows, [lines], draw, notes)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1088)
    parser.add_argument("--fps", type=float, default=32.0)
    parser.add_argument("--seconds-long", type=float, default=15.0, help="of the clip")
    parser.add_argument("--scale", type=int, default=4, choices=(1, 2, 3, 4))
    parser.add_argument("--frame-factor", type=int, default=2, choices=(1, 2))


def check(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything."""
    if options.device == "cpu" and not Path("/proc/self/clear_refs").exists():
        return "the peak of a process' memory is read from /proc, as Linux has it: run it there"
    step = 16 * options.scale
    for name in ("width", "height"):
        value = getattr(options, name)
        if value < step or value % step:
            low = max(step, value // step * step)
            return f"--{name} {value} is not a multiple of {step}: use {low} or {low + step}"
    return None
