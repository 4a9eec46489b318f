"""What a network in training makes of every paired world: a sheet to look at, and how much of each edit is left to do.

python -m training.preview runs/mini/checkpoint.pt --out preview.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from models.audio_vae import load_audio_vae
from models.config import MMDiTConfig
from models.mmdit import MMDiT
from models.text_encoder import load_text_encoder
from models.video_vae import VideoVAE, load_video_vae
from training.conditions import ConditionMaker
from training.media import encode_batch
from training.objective import latents_of
from training.sampling import sample_euler
from training.toybox import sample_scenes
from training.worlds import WORLDS, Example

FRAMES, SHOWN = 17, (0, 5, 10, 16)
CLIPS = 2  # of each world; the first is shown
SEED = 2_900_000_000  # neither the training's seeds nor the benchmark's
SHIFT, GUIDANCE = 4.0, 2.0


class Preview:
    """Fixed scenes of every world, in which a network is looked at again and again."""

    def __init__(self, weights: Path, steps: int = 12):
        self.steps = steps
        self.tokenizer, self.text_encoder = load_text_encoder(weights / "mini_text_encoder.safetensors")
        self.video_vae: VideoVAE = load_video_vae(weights / "mini_video_vae.safetensors")
        self.conditions = ConditionMaker(self.video_vae, load_audio_vae(weights / "mini_audio_vae.safetensors"))
        generator = torch.Generator().manual_seed(SEED)
        self.examples = {
            name: world.make(sample_scenes(CLIPS, frames=FRAMES, generator=generator), generator)
            for name, world in WORLDS.items()
        }

    @torch.inference_mode()
    def __call__(self, network: MMDiT) -> tuple[Image.Image, dict[str, float]]:
        """A row of pictures for each world: the clip to edit, the truth, and what the network makes.

        Beside it, for every world that edits a clip, the squared error against the truth as a share of that of the
        clip itself: 0 where the edit is perfect, 1 where nothing is done.
        """
        left, rows = {}, []
        for name, example in self.examples.items():
            video = self._generate(network, example)
            if example.source is not None and not example.pictures and example.given == "nothing":
                error = (video - example.video).square().mean()
                left[name] = round(float(error / (example.source - example.video).square().mean()), 3)
            shown = torch.zeros_like(video) if example.source is None else example.source
            rows.append(torch.cat([clip[0, :, f] for clip in (shown, example.video, video) for f in SHOWN], -1))
        sheet = ((torch.cat(rows, 1).clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0)
        return Image.fromarray(sheet.numpy()), left

    def _generate(self, network: MMDiT, example: Example) -> Tensor:
        made = self.conditions.of_example(example, 16.0)
        clips = len(example)
        sequence, pooled = encode_batch(
            self.tokenizer, self.text_encoder, [*example.captions, *[""] * clips], [*made.media, *[{}] * clips]
        )
        latent = self.video_vae.encode(example.video)
        generator = torch.Generator().manual_seed(SEED)
        latents = latents_of(latent.shape[2])
        noise = torch.randn(latent.shape, generator=generator)
        audio = torch.randn(clips, network.config.audio_channels, latents, generator=generator)
        arguments = {}
        if example.given == "first":
            mask = torch.zeros_like(latent[:, :1])
            mask[:, :, 0] = 1
            arguments = {"condition": self._normalised(network, latent), "mask": mask}
        made_latent, _ = sample_euler(
            network,
            noise,
            audio,
            (sequence[:clips], pooled[:clips]),
            (sequence[clips:], pooled[clips:]),
            steps=self.steps,
            guidance=GUIDANCE,
            shift=SHIFT,
            video_context=[(self._normalised(network, x), times) for x, times in made.video],
            audio_context=[(self._normalised(network, x, "audio"), times) for x, times in made.audio],
            **arguments,
        )
        assert made_latent is not None
        mean, std = (getattr(network, f"video_latent_{x}").view(1, -1, 1, 1, 1) for x in ("mean", "std"))
        return self.video_vae.decode(made_latent * std + mean)

    @staticmethod
    def _normalised(network: MMDiT, latent: Tensor, stream: str = "video") -> Tensor:
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        mean, std = (getattr(network, f"{stream}_latent_{x}").view(shape) for x in ("mean", "std"))
        return (latent - mean) / std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("models/weights"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("preview.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    average = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)["average"]
    network = MMDiT(MMDiTConfig.from_state_dict(average))
    network.load_state_dict(average)
    sheet, left = Preview(arguments.weights, arguments.steps)(network.eval())
    sheet.save(arguments.out)
    print(json.dumps(left, indent=1))


if __name__ == "__main__":
    main()
