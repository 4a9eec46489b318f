"""Writes the averaged weights of a run as a checkpoint to ship: `python -m training.export runs/mini/checkpoint.pt`.

Weights become float16, constants (frequencies, statistics) stay float32. The metadata tells how it was trained.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.config import MMDiTConfig

SAMPLING_SHIFT = 4.0  # of the noise schedule; Mini samples equally well from 2 to 9
CONSTANTS = ("sigma_data", "audio_rope_scale", "residual_std", "sparsity")
BUFFERS = ("frequencies", "_latent_mean", "_latent_std", "black_latent", *CONSTANTS)


def export(checkpoint: Path, path: Path, **facts: str) -> dict[str, str]:
    """Reads a training checkpoint, writes `path` (aside, then renamed) and returns the metadata, `facts` included."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = {
        name: value.float() if name.endswith(BUFFERS) else value.half() for name, value in state["average"].items()
    }
    config, progress, settings = MMDiTConfig.from_state_dict(tensors), state["progress"], state["settings"]
    metadata = {
        "format": "pt",
        "architecture": "skyreels-v4-refiner" if config.refines else "skyreels-v4-mmdit",
        "license": "GPL-3.0-or-later",
        "sampling_shift": json.dumps(SAMPLING_SHIFT),
        "parameters": str(sum(v.numel() for n, v in tensors.items() if not n.endswith(BUFFERS))),
        "dim": str(config.dim),
        "blocks": f"{config.dual_blocks} dual-stream, {config.single_blocks} single-stream",
        "training_level": settings["level"],
        **{f"training_{name}": settings[name] for name in ("clips", "frames") if name in settings},
        "training_rows": str(progress["rows"]),
        "training_steps": str(progress["step"]),
        "training_minutes": str(round(progress["seconds"] / 60, 1)),
        "training_device": settings["device"],
        "training_seed": settings["seed"],
        **facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in tensors.items()}, aside, metadata=metadata)
    aside.rename(path)
    return metadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("models/weights/mini.safetensors"))
    parser.add_argument("--fact", action="append", default=[], metavar="NAME=VALUE", help="more for the metadata")
    arguments = parser.parse_args()
    facts = dict(fact.split("=", 1) for fact in arguments.fact)
    for key, value in export(arguments.checkpoint, arguments.out, **facts).items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
