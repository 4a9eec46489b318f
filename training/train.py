"""Trains the joint network: `python -m training.train --out runs/mini --minutes 90`; several ranks under `torchrun`.

Settings, the model, one batch; the loop is in training/run.py. A stopped run goes on from its checkpoint with the same
weights, optimizer state and random numbers (each step draws from a generator seeded by its number).
"""

import argparse
import random
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.audio_vae import load_audio_vae
from models.checkpoint import read_checkpoint
from models.config import MMDiTConfig
from models.mmdit import TEMPORAL_SCALE, MMDiT
from models.text_encoder import load_text_encoder
from models.video_vae import load_video_vae
from training import run
from training.captions import SOUND, caption
from training.conditions import SOUND_SAID, ConditionMaker, Conditions
from training.data import Clips, load_or_encode
from training.media import encode_batch
from training.objective import flow_matching_loss, latents_of
from training.preview import Preview
from training.run import Run, RunSettings
from training.stages import STAGES, Stage, rows_of

TEXT_DROP = 0.1  # rows without a prompt, for classifier-free guidance
NO_MASKS = {"nothing": 1.0}
OF_CLIPS = ("worlds", "keyframes")  # a picture alone has neither edits nor keyframes


@dataclass
class Settings(RunSettings):
    """done: share of the curriculum that the weights to begin with have had."""

    done: float = 0.0
    level: str = "easy"
    clips: int = 24_000
    frames: int = 33
    cache: Path = Path("runs/cache")


def mini_config(video_channels: int, audio_channels: int, text_dim: int, pooled_dim: int) -> MMDiTConfig:
    """The network of Mini: two dual-stream and two single-stream blocks with a convolution stem and head."""
    return MMDiTConfig(
        video_channels=video_channels,
        audio_channels=audio_channels,
        text_dim=text_dim,
        pooled_dim=pooled_dim,
        dim=128,
        heads=4,
        dual_blocks=2,
        single_blocks=2,
        mlp_ratio=3.0,
        video_patch=2,
        audio_patch=2,
        stem_channels=64,
        head_blocks=2,
        rope_axes=(12, 10, 10),
        preconditioned=True,
        keyframes=True,
        rope_theta=64.0,  # a short clip needs no slow frequencies
        rope_time_scale=4.0,  # the fastest turns by one radian per pixel frame
        rope_space_scale=3.0,
    )


def normalise(latent: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Raw latent [B, C, ...] -> zero mean and unit variance in each channel."""
    shape = (1, -1) + (1,) * (latent.ndim - 2)
    return (latent.float() - mean.view(shape)) / std.view(shape)


def read_average(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a training's checkpoint, or the weights of a model that was exported from one."""
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)["average"]
    return {name: value.float() for name, value in read_checkpoint(path)[0].items() if name != "sampling_shift"}


class Trainer(Run):
    """The joint network on its curriculum."""

    settings: Settings

    def __init__(self, settings: Settings, rank: int, world: int):
        self.settings, self.rank, self.world = settings, rank, world
        self.tokenizer, self.text_encoder = load_text_encoder(settings.weights / "mini_text_encoder.safetensors")
        self.clips: Clips = load_or_encode(
            settings.cache,
            settings.weights,
            clips=settings.clips // world,
            frames=settings.frames,
            level=settings.level,
            seed=1_000_003 * (settings.seed + 1) + rank,  # every rank has clips of its own
        )
        codecs = (settings.weights / f"mini_{kind}_vae.safetensors" for kind in ("video", "audio"))
        self.conditions = ConditionMaker(load_video_vae(next(codecs)), load_audio_vae(next(codecs)))
        data = self.clips.tensors
        config = mini_config(data["video"].shape[1], data["audio"].shape[1], *self._text_widths())
        model = MMDiT(config).init_weights(torch.Generator().manual_seed(settings.seed)).to(settings.device)
        self._take_statistics(model, data)
        if settings.start != Path():
            # A base that has not learned keyframes yet has no marker; it begins at zero.
            model.load_state_dict({"keyframe_marker": model.keyframe_marker} | read_average(settings.start))
        super().__init__(model, settings, rank, world)

    def _text_widths(self) -> tuple[int, int]:
        sequence, pooled = self.text_encoder(self.tokenizer.batch([""]))
        return sequence.shape[-1], pooled.shape[-1]

    def _take_statistics(self, model: MMDiT, data: dict[str, Tensor]) -> None:
        for stream in ("video", "audio"):
            for part in ("mean", "std"):
                statistic = data[f"{stream}_latent_{part}"].clone()
                if self.world > 1:  # every rank must normalise alike
                    dist.broadcast(statistic, 0)
                getattr(model, f"{stream}_latent_{part}").copy_(statistic)
        black = (data["black_latent"] - model.video_latent_mean.cpu()) / model.video_latent_std.cpu()
        model.black_latent.copy_(black)

    @property
    def stage(self) -> Stage:
        place = self.settings.done + (1 - self.settings.done) * self.progress
        return next((stage for stage in STAGES if place < stage.until), STAGES[-1])

    def batch(self, generator: torch.Generator, chooser: random.Random) -> dict:
        """Clean latents, text and context of one batch. All ranks draw the same kind of batch."""
        device, data, stage = self.settings.device, self.clips.tensors, self.stage
        frames = chooser.choices(list(stage.lengths), list(stage.lengths.values()))[0]
        kind = chooser.choices(list(stage.kinds), list(stage.kinds.values()))[0] if frames else "nothing"
        if frames == 1 and kind in OF_CLIPS:
            kind = "nothing"
        index = torch.randint(len(self.clips), (rows_of(frames, kind),), generator=generator)
        sound = latents_of(frames or chooser.choice((5, 9)))
        scenes = self.clips.scenes.select(index, TEMPORAL_SCALE * ((frames or 5) - 1) + 1)
        conditions = self.conditions.make(kind, scenes, chooser, generator)
        words = random.Random(int(torch.randint(2**31, (), generator=generator)))
        captions = conditions.captions or [
            self._caption(scenes.attributes(row), conditions, words) for row in range(len(index))
        ]
        dropped = torch.rand(len(index), generator=generator) < TEXT_DROP
        text, pooled = encode_batch(
            self.tokenizer,
            self.text_encoder,
            ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)],
            [{} if drop else media for drop, media in zip(dropped, conditions.media or [{}] * len(index), strict=True)],
        )
        video, audio = data["video"][index, :, :frames], data["audio"][index, :, :sound]
        with torch.no_grad():
            if conditions.clip is not None:
                video = self.conditions.video_vae.encode(conditions.clip)
            if conditions.sound is not None:
                audio = self.conditions.audio_vae.encode(conditions.sound)[..., :sound]
        keyframes = conditions.keyframes
        return {
            "video": self.normalised("video", video) if frames else None,
            "audio": self.normalised("audio", audio),
            "text": text.to(device),
            "pooled": pooled.to(device),
            "video_context": [(self.normalised("video", latent), times) for latent, times in conditions.video],
            "audio_context": [(self.normalised("audio", latent), times) for latent, times in conditions.audio],
            "cross_modal": chooser.random() >= stage.isolated,
            "given": conditions.given if stage.masks else NO_MASKS,
            "unedited": conditions.unedited,
            "keyframes": keyframes and (self.normalised("video", keyframes[0]), keyframes[1]),
        }

    def normalised(self, stream: str, latent: Tensor) -> Tensor:
        mean, std = (getattr(self.model, f"{stream}_latent_{part}") for part in ("mean", "std"))
        return normalise(latent.to(self.settings.device), mean, std)

    def _caption(self, attributes: dict[str, str], conditions: Conditions, words: random.Random) -> str:
        if "subject" in conditions.references and words.random() >= SOUND_SAID:
            attributes = {name: value for name, value in attributes.items() if name not in SOUND}
        return caption(attributes, words, conditions.references)

    def losses(
        self, network: nn.Module, generator: torch.Generator, chooser: random.Random
    ) -> tuple[dict[str, Tensor], int]:
        batch = self.batch(generator, chooser)
        video, sound, *keyframes = flow_matching_loss(network, **batch, generator=generator)
        frames = 0 if batch["video"] is None else batch["video"].shape[2]
        losses = {f"audio{frames}": sound}
        if frames:
            losses[f"video{frames}"] = video
        if keyframes:
            losses["keyframes"] = keyframes[0]
        return losses, len(batch["audio"])


def train(settings: Settings, **options) -> Trainer:
    """Runs (or goes on with) a training; options: see `training.run.train`.

    Its previews show what the averaged weights make of every world, and how much of each edit is left to do.
    """
    return run.train(partial(Trainer, settings), settings, partial(Preview, settings.weights), **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = Settings(out=Path("runs/mini"))
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    train(Settings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
