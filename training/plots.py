"""Pictures of a run: `python -m training.plots runs/mini` writes loss.png and samples.png beside its checkpoint.

Needs matplotlib, which neither the pack nor the training does.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.audio_vae import load_audio_vae
from models.config import MMDiTConfig
from models.mmdit import TEMPORAL_SCALE, MMDiT
from models.text_encoder import load_text_encoder
from models.video_vae import load_video_vae
from training.objective import latents_of
from training.sampling import sample_euler

PROMPTS = (
    "a red circle bounces slowly on a navy background <sfx> low ping </sfx>",
    "a yellow square bounces quickly on a gray background <sfx> low thud </sfx>",
    "a green triangle bounces slowly on a black background <sfx> mid buzz </sfx>",
    "a white circle bounces quickly on a maroon background <sfx> high ping </sfx>",
)
CODEC_SCALE = 8  # pixels per latent cell


def plot_losses(log: Sequence[dict], path: Path) -> None:
    """The smoothed loss of every kind of batch over the minutes of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    names = sorted({name for entry in log for name in entry} - {"seconds", "step", "rows"})
    for name in names:
        points = [(entry["seconds"] / 60, entry[name]) for entry in log if name in entry]
        frames = name.lstrip("abcdefghijklmnopqrstuvwxyz")
        label = f"{name.removesuffix(frames)}, {frames} latent frames" if frames else name
        axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="minutes", ylabel="loss (1 = knows nothing)", yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


@torch.inference_mode()
def sample_clips(
    model: MMDiT,
    weights: Path,
    prompts: Sequence[str],
    *,
    latent_frames: int,
    size: int = 64,
    seed: int = 0,
    **sampling,
) -> tuple[Tensor, Tensor]:
    """Clips of the prompts: video [B, 3, F, size, size] in [-1, 1] and sound [B, 1, S]."""
    generator = torch.Generator().manual_seed(seed)
    tokenizer, text_encoder = load_text_encoder(weights / "mini_text_encoder.safetensors")
    text = text_encoder(tokenizer.batch(list(prompts)))
    empty = text_encoder(tokenizer.batch([""] * len(prompts)))
    c, cells = model.config, size // CODEC_SCALE
    video = torch.randn(len(prompts), c.video_channels, latent_frames, cells, cells, generator=generator)
    audio = torch.randn(len(prompts), c.audio_channels, latents_of(latent_frames), generator=generator)
    denoised, sound = sample_euler(model, video, audio, text, empty, **sampling)
    assert denoised is not None
    video = denoised * model.video_latent_std.view(1, -1, 1, 1, 1) + model.video_latent_mean.view(1, -1, 1, 1, 1)
    audio = sound * model.audio_latent_std.view(1, -1, 1) + model.audio_latent_mean.view(1, -1, 1)
    return (
        load_video_vae(weights / "mini_video_vae.safetensors").decode(video),
        load_audio_vae(weights / "mini_audio_vae.safetensors").decode(audio),
    )


def plot_samples(video: Tensor, sound: Tensor, captions: Sequence[str], path: Path, columns: int = 9) -> None:
    """One row per clip: frames over its waveform."""
    from matplotlib.figure import Figure

    rows = len(video)
    figure = Figure(figsize=(columns, 1.9 * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    frames = [round(i * (video.shape[2] - 1) / max(1, columns - 1)) for i in range(min(columns, video.shape[2]))]
    for row in range(rows):
        for column, frame in enumerate(frames):
            axes = figure.add_subplot(grid[2 * row, column])
            axes.imshow(((video[row, :, frame] + 1) / 2).clamp(0, 1).movedim(0, -1).numpy())
            axes.axis("off")
            if not column:
                axes.set_title(captions[row], loc="left", fontsize="small")
        axes = figure.add_subplot(grid[2 * row + 1, :])
        axes.plot(sound[row, 0].numpy(), linewidth=0.5)
        axes.set(xlim=(0, sound.shape[-1]), ylim=(-0.5, 0.5))
        axes.axis("off")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("models/weights"))
    parser.add_argument("--frames", type=int, default=17, help="4n+1")
    arguments = parser.parse_args()
    state = torch.load(arguments.run / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = MMDiT(MMDiTConfig.from_state_dict(state["average"]))
    model.load_state_dict(state["average"])
    plot_losses(state["log"], arguments.run / "loss.png")
    latent_frames = 1 + math.ceil((arguments.frames - 1) / TEMPORAL_SCALE)
    clips = sample_clips(model.eval(), arguments.weights, PROMPTS, latent_frames=latent_frames)
    plot_samples(*clips, PROMPTS, arguments.run / "samples.png")


if __name__ == "__main__":
    main()
