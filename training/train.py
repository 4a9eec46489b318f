"""Trains the joint network: `python -m training.train --out runs/mini --minutes 90`; several ranks under `torchrun`.

One file, read from top to bottom: settings, the model, one step, the loop. A stopped run goes on from its checkpoint
with the same weights, optimizer state and random numbers (each step draws from a generator seeded by its number).
"""

import argparse
import copy
import json
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.audio_vae import load_audio_vae
from models.checkpoint import read_checkpoint
from models.mmdit import TEMPORAL_SCALE, MMDiT, MMDiTConfig
from models.text_encoder import load_text_encoder
from models.video_vae import load_video_vae
from training.captions import SOUND, caption
from training.conditions import SOUND_SAID, ConditionMaker, Conditions
from training.data import Clips, load_or_encode
from training.media import encode_batch
from training.objective import flow_matching_loss, latents_of
from training.optim import build_optimizers
from training.preview import Preview
from training.stages import ROWS, STAGES, Stage

TEXT_DROP = 0.1  # rows without a prompt, for classifier-free guidance
NO_MASKS = {"nothing": 1.0}
WARMUP_STEPS = 50
HOLD = 0.45  # of the time at full learning rate, then linear to LAST_RATE
LAST_RATE = 0.02
EMA = 0.999
CLIP_NORM = 1.5


@dataclass
class Settings:
    """What determines a run. start: weights to begin with, of another run's checkpoint or of an exported model; done:
    share of the curriculum they had.

    rows: how many to train on, instead of for so many minutes: then the seed determines the weights.
    """

    out: Path
    start: Path = Path()
    done: float = 0.0
    minutes: float = 90.0
    rows: int = 0
    preview_minutes: float = 15.0
    level: str = "easy"
    clips: int = 24_000
    frames: int = 33
    weights: Path = Path("models/weights")
    cache: Path = Path("runs/cache")
    seed: int = 0
    muon_lr: float = 0.02
    adam_lr: float = 0.002
    device: str = "cpu"


def mini_config(video_channels: int, audio_channels: int, text_dim: int, pooled_dim: int) -> MMDiTConfig:
    """The network of Mini 0.1: two dual-stream and two single-stream blocks with a convolution stem and head."""
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


class Trainer:
    """The model, its average, its optimizers, and how far the run is."""

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
        self.model = MMDiT(config).init_weights(torch.Generator().manual_seed(settings.seed)).to(settings.device)
        self._take_statistics(data)
        if settings.start != Path():
            self.model.load_state_dict(read_average(settings.start))
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizers = build_optimizers(self.model, settings.muon_lr, settings.adam_lr)
        self.step, self.seconds, self.clock, self.rows, self.log = 0, 0.0, 0.0, 0, []
        self.smooth: dict[str, float] = {}

    def _text_widths(self) -> tuple[int, int]:
        sequence, pooled = self.text_encoder(self.tokenizer.batch([""]))
        return sequence.shape[-1], pooled.shape[-1]

    def _take_statistics(self, data: dict[str, Tensor]) -> None:
        for stream in ("video", "audio"):
            for part in ("mean", "std"):
                statistic = data[f"{stream}_latent_{part}"].clone()
                if self.world > 1:  # every rank must normalise alike
                    dist.broadcast(statistic, 0)
                getattr(self.model, f"{stream}_latent_{part}").copy_(statistic)
        black = (data["black_latent"] - self.model.video_latent_mean.cpu()) / self.model.video_latent_std.cpu()
        self.model.black_latent.copy_(black)

    # -- one step --------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the rows, or of the minutes by the clock that all ranks agree on, that are used up."""
        if self.settings.rows:
            return min(1.0, self.rows / self.settings.rows)
        return min(1.0, self.clock / (60 * self.settings.minutes))

    @property
    def stage(self) -> Stage:
        place = self.settings.done + (1 - self.settings.done) * self.progress
        return next((stage for stage in STAGES if place < stage.until), STAGES[-1])

    def batch(self, generator: torch.Generator, chooser: random.Random) -> dict:
        """Clean latents, text and context of one batch. All ranks draw the same kind of batch."""
        device, data, stage = self.settings.device, self.clips.tensors, self.stage
        frames = chooser.choices(list(stage.lengths), list(stage.lengths.values()))[0]
        kind = chooser.choices(list(stage.kinds), list(stage.kinds.values()))[0] if frames else "nothing"
        if frames == 1 and kind == "worlds":
            kind = "nothing"  # edits are of clips
        index = torch.randint(len(self.clips), (ROWS[frames],), generator=generator)
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
        }

    def normalised(self, stream: str, latent: Tensor) -> Tensor:
        mean, std = (getattr(self.model, f"{stream}_latent_{part}") for part in ("mean", "std"))
        return normalise(latent.to(self.settings.device), mean, std)

    def _caption(self, attributes: dict[str, str], conditions: Conditions, words: random.Random) -> str:
        if "subject" in conditions.references and words.random() >= SOUND_SAID:
            attributes = {name: value for name, value in attributes.items() if name not in SOUND}
        return caption(attributes, words, conditions.references)

    def train_step(self, network: nn.Module) -> None:
        started = time.perf_counter()
        # Random numbers of a step depend on the seed, the step and the rank alone: a resumed run repeats nothing.
        generator = torch.Generator().manual_seed((self.settings.seed * 1_000_003 + self.step) * 4096 + self.rank)
        batch = self.batch(generator, random.Random(self.settings.seed * 1_000_003 + self.step))
        losses = flow_matching_loss(network, **batch, generator=generator)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        sum(losses).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        rate = self.learning_rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * rate
            optimizer.step()
        self.step += 1
        self.rows += self.world * len(batch["audio"])
        decay = min(EMA, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), [p.detach() for p in self.model.parameters()], 1 - decay)
        frames = 0 if batch["video"] is None else batch["video"].shape[2]
        for name, loss in zip(("video", "audio"), losses, strict=True):
            if frames or name == "audio":
                key = f"{name}{frames}"
                self.smooth[key] = 0.97 * self.smooth.get(key, loss.item()) + 0.03 * loss.item()
        self.seconds += time.perf_counter() - started

    def agree_on_clock(self) -> None:
        """All ranks follow rank 0, or one would stop while another waits for it."""
        clock = torch.tensor([self.seconds], dtype=torch.float64, device=self.settings.device)
        if self.world > 1:
            dist.broadcast(clock, 0)
        self.clock = float(clock)

    def learning_rate(self) -> float:
        falling = max(0.0, self.progress - HOLD) / (1 - HOLD)
        return min(1.0, (self.step + 1) / WARMUP_STEPS) * (1 - (1 - LAST_RATE) * falling)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.settings.out / "checkpoint.pt"

    def save(self) -> None:
        """Local training state; written aside and renamed, so that a kill leaves the last one whole."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": {"step": self.step, "seconds": self.seconds, "rows": self.rows, "smooth": self.smooth},
            "settings": {key: str(value) for key, value in asdict(self.settings).items()},
            "log": self.log,
        }
        aside = self.checkpoint.with_name(f"checkpoint.rank{self.rank}.part")
        torch.save(state, aside)
        # Muon's momentum lives on the rank that owns the matrix, so every rank keeps its own file.
        aside.rename(self.rank_checkpoint(self.rank))

    def rank_checkpoint(self, rank: int) -> Path:
        return self.checkpoint if rank == 0 else self.settings.out / f"checkpoint.rank{rank}.pt"

    def resume(self) -> bool:
        """Goes on from the last checkpoint; False if there is none. The number of ranks may have changed."""
        if not self.checkpoint.exists():
            return False

        def read(path: Path) -> dict:
            return torch.load(path, map_location=self.settings.device, weights_only=True)

        state, own = read(self.checkpoint), self.rank_checkpoint(self.rank)
        if self.rank and own.exists() and (mine := read(own))["progress"]["step"] == state["progress"]["step"]:
            state = mine
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for key, value in state["progress"].items():
            setattr(self, key, value)
        self.log = state["log"]
        return True


def train(settings: Settings, save_every: float = 60.0, report_every: float = 20.0) -> Trainer:
    """Runs (or goes on with) a training until its minutes are used up.

    Beside the checkpoint it writes log.jsonl (losses, and how much of each edit is left to do) and pictures of what the
    averaged weights make of every world.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("nccl" if settings.device == "cuda" else "gloo")
    if settings.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    settings.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings, rank, world)
    resumed = trainer.resume()
    # Batches of pictures alone or sounds alone leave some parameters without a gradient.
    network = (
        nn.parallel.DistributedDataParallel(trainer.model, find_unused_parameters=True) if world > 1 else trainer.model
    )
    if rank == 0:
        parameters = sum(p.numel() for p in trainer.model.parameters()) / 1e6
        start = f"resumed at step {trainer.step}" if resumed else "new run"
        print(f"{start}, {parameters:.2f} M parameters, {world} rank(s)", flush=True)
    preview = Preview(settings.weights) if rank == 0 and settings.preview_minutes else None
    saved = reported = time.monotonic()
    looked = -1
    while True:
        if trainer.step % 10 == 0:
            trainer.agree_on_clock()
        if trainer.progress >= 1:
            break
        trainer.train_step(network)
        now = time.monotonic()
        if rank == 0 and now - reported > report_every:
            reported = now
            entry = {"seconds": round(trainer.seconds), "step": trainer.step, "rows": trainer.rows, **trainer.smooth}
            trainer.log.append(entry)
            write_log(settings.out, {k: round(v, 4) for k, v in entry.items()})
        if preview and (part := int(trainer.seconds / 60 // settings.preview_minutes)) > looked:
            looked = part
            sheet, left = preview(trainer.average)
            sheet.save(settings.out / f"step_{trainer.step}.png")
            write_log(settings.out, {"step": trainer.step, "left": left})
        if trainer.step % 100 == 0 and now - saved > save_every:
            saved = now
            trainer.save()
    trainer.save()
    if world > 1:
        dist.destroy_process_group()
    return trainer


def write_log(folder: Path, entry: dict) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = Settings(out=Path("runs/mini"))
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    train(Settings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
