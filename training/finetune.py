"""Fine-tunes Mini, or a larger checkpoint of its architecture, on a folder of clips: docs/finetuning.md.

    python3 -m training.finetune my_clips --out my_lora.safetensors

The folder is curated, its clips are encoded once, low-rank adapters (or all weights) learn them, and the loss on clips
that were held out is reported beside the base model's. Encoded clips, log and checkpoint lie in a folder beside the
output (`my_lora.work`): the same command goes on where it was stopped.
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.audio_vae import AudioVAE, load_audio_vae
from models.checkpoint import read_checkpoint
from models.config import ArchitectureError, MMDiTConfig
from models.mmdit import AUDIO_LATENT_RATE, TEMPORAL_SCALE, MMDiT
from models.text_encoder import TextEncoder, Tokenizer, load_text_encoder, split_words
from models.video_vae import VideoVAE, load_video_vae
from training.clips import ENOUGH, OwnClips, Stretches, check_captions, choose_entries, encode_entries
from training.lora import LAYERS, add_lora, lora_tensors
from training.objective import flow_matching_loss
from training.train import normalise

WEIGHTS = Path(__file__).parents[1] / "models" / "weights"
CHECKPOINT_PREFIX = "model.diffusion_model."  # ComfyUI's Save Model puts it before every name
FRAME_RATE = 16.0  # of checkpoints that do not say
LORA_RATE, FULL_RATE = 2e-3, 2e-4  # learning rates
TEXT_DROP = 0.1  # rows without a prompt, for classifier-free guidance
ISOLATED = 0.06  # batches whose branches do not see each other, for guidance on how they agree
CLIP_NORM = 1.5
WARMUP_STEPS = 20
LAST_RATE = 0.05  # of the learning rate, to which it falls in a straight line
DRAWS = 16  # of noise for each file that is measured
STREAMS = ("video", "audio")
Losses = dict[str, list[list[float]]]  # "held out", "trained on" -> [video, audio] of each file


@dataclass(frozen=True)
class Settings:
    """What determines a fine-tuning. ValueError for values out of range.

    manifest: of a curation that was made before; None: `folder` is curated now. full: all weights learn, instead of
    adapters of a rank, alpha (None: the rank) and layers (patterns, see `add_lora`). steps: None trains for `minutes`,
    spent on steps alone. frames: 4n+1. size: width, height in pixels. frame_rate: None takes the checkpoint's.
    learning_rate: None is LORA_RATE or FULL_RATE. recompute: blocks run again in the backward pass instead of keeping
    their activations. without_captions: go on if no clip has one.
    """

    folder: Path
    out: Path
    manifest: Path | None = None
    model: Path = WEIGHTS / "mini.safetensors"
    text_encoder: Path = WEIGHTS / "mini_text_encoder.safetensors"
    video_vae: Path = WEIGHTS / "mini_video_vae.safetensors"
    audio_vae: Path = WEIGHTS / "mini_audio_vae.safetensors"
    full: bool = False
    rank: int = 8
    alpha: float | None = None
    layers: tuple[str, ...] = LAYERS
    minutes: float = 10.0
    steps: int | None = None
    frames: int = 17
    size: tuple[int, int] = (64, 64)
    frame_rate: float | None = None
    batch: int = 8
    learning_rate: float | None = None
    seed: int = 0
    device: str = "cpu"
    recompute: bool = False
    without_captions: bool = False

    def __post_init__(self):
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out {self.out} does not end in .safetensors")
        if self.out.resolve() in (x.resolve() for x in (self.model, self.text_encoder, self.video_vae, self.audio_vae)):
            raise ValueError(f"--out {self.out} would overwrite a file that is trained on: choose another name")
        if self.frames < 1 or self.frames % TEMPORAL_SCALE != 1:
            low = max(0, (self.frames - 1) // TEMPORAL_SCALE) * TEMPORAL_SCALE + 1
            raise ValueError(f"--frames {self.frames} is not 4n+1: use {low} or {low + TEMPORAL_SCALE}")
        for option in ("minutes", "steps", "batch", "learning_rate", "alpha"):
            value = getattr(self, option)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{option.replace('_', '-')} {value} is not above 0")
        if self.frame_rate is not None and not 1 <= self.frame_rate <= 120:
            raise ValueError(f"--frame-rate {self.frame_rate:g} is not from 1 to 120")

    @property
    def work(self) -> Path:
        """Folder of what a stopped run goes on with."""
        return self.out.with_suffix(".work")


@dataclass
class Model:
    """A checkpoint with its text encoder and its codecs. tensors, metadata: what its file holds, as it is."""

    network: MMDiT
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    tokenizer: Tokenizer
    encoder: TextEncoder
    video_vae: VideoVAE
    audio_vae: AudioVAE

    @classmethod
    def load(cls, settings: Settings) -> "Model":
        """ValueError or FileNotFoundError if a file is broken or one of them is made for another checkpoint."""
        network, tensors, metadata = load_network(settings.model)
        tokenizer, encoder = load_text_encoder(settings.text_encoder)
        video_vae, audio_vae = load_video_vae(settings.video_vae), load_audio_vae(settings.audio_vae)
        config = network.config
        for file, what, has, takes in (
            (settings.text_encoder, "channels", encoder.config.dim, config.text_dim),
            (settings.text_encoder, "pooled channels", encoder.config.dim, config.pooled_dim or encoder.config.dim),
            (settings.video_vae, "latent channels", video_vae.channels, config.video_channels),
            (settings.audio_vae, "latent channels", audio_vae.channels, config.audio_channels),
            (settings.audio_vae, "latents per second", audio_vae.sample_rate / audio_vae.hop, AUDIO_LATENT_RATE),
        ):
            if has != takes:
                raise ValueError(
                    f"{file.name} gives {has:g} {what}, {settings.model.name} takes {takes:g}: name the files that "
                    "belong to it with --text-encoder, --video-vae and --audio-vae"
                )
        return cls(network, tensors, metadata, tokenizer, encoder, video_vae, audio_vae)

    def check_size(self, size: tuple[int, int]) -> None:
        """ValueError unless width and height are whole tokens."""
        unit = self.video_vae.spatial_scale * self.network.config.video_patch
        for name, side in zip(("width", "height"), size, strict=True):
            if side < unit or side % unit:
                low = side // unit * unit
                nearest = f"{low} or {low + unit}" if low > 0 else f"{unit}"
                raise ValueError(f"--size: {name} {side} is not a multiple of {unit}: use {nearest}")


def prefix_of(tensors: dict[str, Tensor]) -> str:
    return CHECKPOINT_PREFIX if any(name.startswith(CHECKPOINT_PREFIX) for name in tensors) else ""


def load_network(path: Path) -> tuple[MMDiT, dict[str, Tensor], dict[str, str]]:
    """The network in float32, and tensors and metadata of its file.

    ArchitectureError names the tensor that is missing or misshapen, ValueError one that is quantised.
    """
    tensors, metadata = read_checkpoint(path)
    prefix = prefix_of(tensors)
    for name, tensor in tensors.items():
        if tensor.element_size() == 1:
            raise ValueError(
                f"{path.name} is quantised ('{name}' is {tensor.dtype}): train on the file of 16 or 32 bits that it "
                "was made from"
            )
    try:
        network = MMDiT(MMDiTConfig.from_state_dict(tensors, prefix))
        for name, expected in network.state_dict().items():
            if prefix + name not in tensors:
                raise ArchitectureError(f"tensor '{prefix}{name}' is missing")
            if (tensor := tensors[prefix + name]).shape != expected.shape:
                raise ArchitectureError(
                    f"tensor '{prefix}{name}' has shape {list(tensor.shape)}, expected {list(expected.shape)}"
                )
    except ArchitectureError as error:
        raise ArchitectureError(f"{path.name} cannot be fine-tuned: {error}") from error
    network.load_state_dict({name: tensors[prefix + name] for name in network.state_dict()})
    return network, tensors, metadata


def digest_of(*paths: Path) -> str:
    """First 16 hex digits of the files' sha256."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()[:16]


class FineTuning:
    """The network and what of it learns, its clips, the optimizer, and how far the run is."""

    def __init__(self, settings: Settings, report: Callable[[str], None] = print):
        self.settings = settings
        self.model = Model.load(settings)
        self.model.check_size(settings.size)
        self.network = self.model.network
        self.frame_rate = settings.frame_rate or float(self.model.metadata.get("frame_rate", FRAME_RATE))
        self.alpha = float(settings.alpha or settings.rank)
        self.adapters = {}
        if not settings.full:
            generator = torch.Generator().manual_seed(settings.seed)
            self.adapters = add_lora(
                self.network, rank=settings.rank, alpha=self.alpha, layers=settings.layers, generator=generator
            )
        self.network.to(settings.device)
        self.learning = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        self.rate = settings.learning_rate or (FULL_RATE if settings.full else LORA_RATE)
        self.optimizer = torch.optim.AdamW(self.learning.values(), lr=self.rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.step, self.seconds = 0, 0.0
        self.before: Losses = {}  # of the base model
        self.clips = self._encode(report)

    def _encode(self, report: Callable[[str], None]) -> OwnClips:
        settings, model = self.settings, self.model
        own = settings.work / "manifest.json"
        if settings.manifest is None and self.checkpoint.exists():  # a run goes on with the clips that it began with
            report(f"clips and captions as {own} has them; delete {settings.work} to begin anew")
        goes_on = own if self.checkpoint.exists() else None
        entries = choose_entries(settings.folder, settings.manifest or goes_on, own, report)
        check_captions(entries, model.tokenizer, without=settings.without_captions, report=report)
        return encode_entries(
            settings.folder,
            entries,
            Stretches(settings.frames, self.frame_rate, settings.size),
            (model.video_vae, model.audio_vae),
            settings.work / "clips",
            codecs_digest=digest_of(settings.video_vae, settings.audio_vae),
            seed=settings.seed,
            report=report,
        )

    @property
    def progress(self) -> float:
        if self.settings.steps is not None:
            return min(1.0, self.step / self.settings.steps)
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    # -- one step --------------------------------------------------------------------------------------------------

    def losses(
        self, index: list[int], captions: list[str], generator: torch.Generator, cross_modal: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Flow-matching losses (video, audio) of a batch of clips."""
        device = self.settings.device
        text, pooled = self.model.encoder(self.model.tokenizer.batch(captions))
        how = {"run_block": _recompute} if self.settings.recompute else {}
        return flow_matching_loss(
            self.network,
            self._normalised("video", index),
            self._normalised("audio", index),
            text.to(device),
            pooled.to(device),
            generator=generator,
            frame_rate=self.frame_rate,
            cross_modal=cross_modal,
            **how,
        )

    def _normalised(self, stream: str, index: list[int]) -> Tensor:
        mean, std = (getattr(self.network, f"{stream}_latent_{part}") for part in ("mean", "std"))
        return normalise(getattr(self.clips, stream)[index].to(self.settings.device), mean, std)

    def train_step(self) -> tuple[float, float]:
        """Learns from one batch -> its losses (video, audio)."""
        started, rows = time.perf_counter(), self.settings.batch
        # Random numbers depend on the seed and the step alone: a resumed run repeats nothing.
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        index = torch.multinomial(self.clips.weights, rows, replacement=True, generator=generator).tolist()
        dropped = torch.rand(rows, generator=generator) < TEXT_DROP
        captions = ["" if drop else self.clips.captions[i] for drop, i in zip(dropped, index, strict=True)]
        isolated = torch.rand((), generator=generator) < ISOLATED
        video, audio = self.losses(index, captions, generator, cross_modal=not isolated)
        self.optimizer.zero_grad(set_to_none=True)
        if not (video + audio).isfinite():
            raise ValueError(f"the loss is {video + audio:g} at step {self.step}: choose a lower --learning-rate")
        (video + audio).backward()
        nn.utils.clip_grad_norm_(self.learning.values(), CLIP_NORM)
        rate = min(1.0, (self.step + 1) / WARMUP_STEPS) * (1 - (1 - LAST_RATE) * self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rate
        self.optimizer.step()
        self.step += 1
        self.seconds += time.perf_counter() - started
        return video.item(), audio.item()

    @torch.no_grad()
    def measure(self) -> Losses:
        """Losses of a stretch of each held-out file, and of as many that are trained on, over DRAWS noises and levels.

        A stretch meets the same noise at every call, so that only the network makes a difference.
        """
        held_out, training = (self.clips.first_of_files(held_out=held_out) for held_out in (True, False))
        measured = {"held out": held_out, "trained on": training[:: -(-len(training) // max(1, len(held_out)))]}
        result: Losses = {name: [] for name in measured}
        for name, index in measured.items():
            for i in index:
                generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + i)
                losses = self.losses([i] * DRAWS, [self.clips.captions[i]] * DRAWS, generator)
                result[name].append([round(loss.item(), 6) for loss in losses])
        return result

    # -- files -----------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.settings.work / "checkpoint.state"

    def identity(self) -> dict[str, str]:
        """What a run must have in common with the one that it goes on with."""
        s = self.settings
        kind = {"full": True} if s.full else {"rank": s.rank, "alpha": self.alpha, "layers": s.layers}
        files = {"model": digest_of(s.model), "text encoder": digest_of(s.text_encoder), "clips": self.clips.digest}
        training = {"batch": s.batch, "learning rate": self.rate, "seed": s.seed}
        return {name: json.dumps(value) for name, value in (files | kind | training).items()}

    def save(self) -> None:
        """State of the run; written aside and renamed, so that a kill leaves the last one whole."""
        state = {
            "identity": self.identity(),
            "learning": {name: p.detach() for name, p in self.learning.items()},
            "optimizer": self.optimizer.state_dict(),
            "progress": {"step": self.step, "seconds": self.seconds, "before": self.before},
        }
        aside = self.checkpoint.with_suffix(".part")
        torch.save(state, aside)
        aside.replace(self.checkpoint)

    @torch.no_grad()
    def resume(self) -> bool:
        """Goes on from the checkpoint; False if there is none, ValueError if it is of a run with other settings."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.settings.device, weights_only=True)
        now, then = self.identity(), state["identity"]
        if other := [name for name in now | then if now.get(name) != then.get(name)]:
            raise ValueError(
                f"{self.settings.work} holds a run with another {other[0]} ({then.get(other[0])}, now "
                f"{now.get(other[0])}): delete that folder to begin anew, or give another --out"
            )
        for name, parameter in self.learning.items():
            parameter.copy_(state["learning"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        return True

    def write(self, after: Losses) -> None:
        """Writes what ComfyUI loads, aside, then renamed: the adapters, or the checkpoint with its weights changed."""
        s = self.settings
        facts = {
            "base_model": s.model.name,
            "base_model_digest": digest_of(s.model),
            "words": json.dumps(sorted({word for caption in self.clips.captions for word in split_words(caption)})),
            "training_clips": f"{len(set(self.clips.files))} files, {s.frames} frames, {s.size[0]}x{s.size[1]}",
            "training_frame_rate": f"{self.frame_rate:g}",
            "training_steps": f"{self.step} of {s.batch} clips, learning rate {self.rate:g}, seed {s.seed}",
            "training_minutes": f"{self.seconds / 60:.1f}",
            "loss_before": json.dumps(self.before),
            "loss_after": json.dumps(after),
        }
        if s.full:
            tensors, metadata = dict(self.model.tensors), self.model.metadata
            metadata = metadata | {f"finetuning_{name}": fact for name, fact in facts.items()}
            prefix = prefix_of(tensors)
            for name, parameter in self.learning.items():
                dtype = tensors[prefix + name].dtype
                tensors[prefix + name] = parameter.detach().to("cpu", dtype).contiguous()
        else:
            tensors, layers = lora_tensors(self.adapters), json.dumps(s.layers)
            kind = {"architecture": "skyreels-v4-mmdit lora", "rank": str(s.rank), "alpha": f"{self.alpha:g}"}
            metadata = {"format": "pt", **kind, "layers": layers, **facts}
        s.out.parent.mkdir(parents=True, exist_ok=True)
        aside = s.out.with_suffix(".part")
        save_file(tensors, aside, metadata)
        aside.replace(s.out)


def _recompute(_, block, streams):
    return checkpoint(block, streams, use_reentrant=False)


def summary(before: Losses, after: Losses) -> list[str]:
    """Lines of the report: mean losses of the base model and of the fine-tuned one, the change and its standard error.

    The error is that of a mean over files: of one file there is none.
    """
    lines = [] if before["held out"] else [f"no file is held out: that takes {ENOUGH} of them"]
    for name in (name for name in before if before[name]):
        first, last = torch.tensor(before[name]), torch.tensor(after[name])  # [files, 2]
        change, count = last - first, len(first)
        for i, stream in enumerate(STREAMS):
            error = f" +- {change[:, i].std() / count**0.5:.4f}" if count > 1 else ""
            means = f"base {first[:, i].mean():.4f}, fine-tuned {last[:, i].mean():.4f}"
            lines.append(f"{stream} loss of {count} files {name}: {means}, change {change[:, i].mean():+.4f}{error}")
    return lines


def finetune(
    settings: Settings, report: Callable[[str], None] = print, save_every: float = 30.0, report_every: float = 10.0
) -> FineTuning:
    """Runs, or goes on with, a fine-tuning and writes `settings.out`. Seconds between checkpoints and between reports.

    ValueError or FileNotFoundError for what the artist can mend.
    """
    run = FineTuning(settings, report)
    resumed = run.resume()
    run.before = run.before or run.measure()
    learning = sum(p.numel() for p in run.learning.values()) / 1e6
    start = f"resumed at step {run.step}" if resumed else "new run"
    count, unseen = len(run.clips.files), int((run.clips.weights == 0).sum())
    clips = f"{count - unseen} stretches of {settings.frames} frames, {unseen} more are held out"
    report(f"{start} on {settings.model.name} {digest_of(settings.model)}: {learning:.2f} M parameters learn {clips}")
    saved = reported = time.monotonic()
    smooth: list[float] = []
    with (settings.work / "log.jsonl").open("a") as log:
        while run.progress < 1:
            losses = run.train_step()
            smooth = [0.95 * old + 0.05 * new for old, new in zip(smooth or losses, losses, strict=True)]
            now = time.monotonic()
            if now - reported > report_every or run.progress >= 1:
                reported = now
                entry = {"seconds": round(run.seconds, 1), "step": run.step}
                entry |= {name: round(loss, 4) for name, loss in zip(STREAMS, smooth, strict=True)}
                print(json.dumps(entry), file=log, flush=True)
                report(json.dumps(entry))
            if now - saved > save_every:
                saved = now
                run.save()
    run.save()
    after = run.measure()
    run.write(after)
    for line in summary(run.before, after):
        report(line)
    report(f"wrote {settings.out} ({settings.out.stat().st_size / 1e6:.2f} MB)")
    return run


def size_of(text: str) -> tuple[int, int]:
    """`64x48` -> width 64, height 48. ValueError for anything else, which argparse reports."""
    width, height = map(int, text.split("x"))
    return width, height


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, help="clips, each with its caption in a .txt file of the same name")
    add("--out", type=Path, required=True, help="file to write, *.safetensors")
    add("--manifest", type=Path, help="of a curation that was made before; else the folder is curated now")
    for name in ("model", "text_encoder", "video_vae", "audio_vae"):
        add(f"--{name.replace('_', '-')}", type=Path, default=getattr(Settings, name))
    add("--full", action="store_true", help="train all weights, write a checkpoint instead of a LoRA")
    add("--rank", type=int, default=Settings.rank)
    add("--alpha", type=float, help="the rank, if not given")
    add("--layers", nargs="+", default=LAYERS, metavar="PATTERN", help="names of the layers that get adapters")
    add("--minutes", type=float, default=Settings.minutes, help="of training")
    add("--steps", type=int, help="of training, instead of --minutes")
    add("--frames", type=int, default=Settings.frames, help="of a clip, 4n+1")
    add("--size", type=size_of, default=Settings.size, metavar="WxH", help="pixels; clips are cropped in their middle")
    add("--frame-rate", type=float, help="frames per second, the checkpoint's if not given")
    add("--batch", type=int, default=Settings.batch, help="clips per step")
    add("--learning-rate", "--lr", type=float, help=f"{LORA_RATE:g} if not given, {FULL_RATE:g} with --full")
    add("--seed", type=int, default=Settings.seed)
    add("--device", default=Settings.device)
    add("--recompute", action="store_true", help="compute blocks twice instead of keeping what they made in memory")
    add("--without-captions", action="store_true", help="go on if no clip has a caption")
    values = vars(parser.parse_args(arguments))
    try:
        finetune(Settings(**values | {"layers": tuple(values["layers"])}))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
