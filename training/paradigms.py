"""VideoCanvas' ways of conditioning on patches, each trained into a network of its own, at equal budget.

    python -m training.paradigms --out runs/paradigms --rows 8000 [--ways no_rope ...] [--start CHECKPOINT]

All networks begin with the weights of one checkpoint and see the same clips, captions, patches and noise in the same
order; they differ in nothing but how the patches are shown. One way is trained after the other; a stopped run goes on
where it was. Each writes `<way>.pt`, whose averaged weights `benchmarks.videocanvas` compares.
"""

import argparse
import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import MMDiTConfig
from models.mmdit import TEMPORAL_SCALE, TIMESTEP_SCALE, Context, MMDiT
from models.text_encoder import load_text_encoder
from models.video_vae import load_video_vae
from training.captions import caption
from training.conditions import zero_padded_patch
from training.data import load_or_encode
from training.learner import WARMUP_STEPS, Learner, learning_rate
from training.media import encode_batch
from training.objective import latents_of, random_sigma, weighted_error, whole_cells
from training.toybox import FRAME_SIZE
from training.train import normalise

# -- the ways ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What of the patches reaches the network. All latents are normalised.

    context: clean tokens beside the noisy ones, and their times. latent [B, C, T, h, w] counts where mask
    [B, 1, T, h, w] is 1; route: how these cells reach the network, one of `training.objective.ROUTES`.
    """

    context: tuple[Context, ...] = ()
    latent: Tensor | None = None
    mask: Tensor | None = None
    route: str = "clean"


# Video [B, 3, F, H, W] in [-1, 1] -> normalised latent [B, C, T, h, w].
Encode = Callable[[Tensor], Tensor]
# From a clip [B, 3, F, H, W] and the pixels of it that are given [B, F, H, W] bool to what the network sees of them.
Show = Callable[[Encode, Tensor, Tensor], Shown]


def frames_of(given: Tensor) -> list[int]:
    """Frames of given [B, F, H, W] that show anything: they must be the same in all rows, or tokens would not align."""
    shown = given.flatten(2).any(2)
    if (shown != shown[:1]).any():
        raise ValueError("rows of a batch are given different frames: put clips that share their frames into a batch")
    return shown[0].nonzero().flatten().tolist()


def slot_of(frame: int) -> int:
    """The latent frame that stands for a frame: ceil(frame / 4)."""
    return -(-frame // TEMPORAL_SCALE)


def stills(encode: Encode, video: Tensor, given: Tensor) -> list[tuple[int, Tensor]]:
    """Each frame that shows anything, encoded alone, with zeros (mid grey) around it: (frame, [B, C, 1, h, w]) each."""
    if not (frames := frames_of(given)):
        return []
    pixels = (video * given[:, None])[:, :, frames].transpose(1, 2)  # [B, M, 3, H, W]
    latent = encode(pixels.flatten(0, 1).unsqueeze(2)).unflatten(0, (len(video), len(frames)))
    return list(zip(frames, latent.unbind(1), strict=True))


def in_context(time_of: Callable[[int], float] | None) -> Show:
    """Stills in context, at the times that `time_of` gives their frames; None: without any rotary position."""

    def show(encode: Encode, video: Tensor, given: Tensor) -> Shown:
        made = stills(encode, video, given)
        return Shown(tuple((latent, time_of and [time_of(frame)]) for frame, latent in made))

    return show


def in_cells(route: str) -> Show:
    """Stills in the latent frames that stand for their frames: of two in one cell the later, and no half-given cell."""

    def show(encode: Encode, video: Tensor, given: Tensor) -> Shown:
        made = stills(encode, video, given)
        if not made:
            return Shown()
        still = made[0][1]
        latent = still.new_zeros(*still.shape[:2], slot_of(video.shape[2] - 1) + 1, *still.shape[3:])
        mask = torch.zeros_like(latent[:, :1])
        for frame, still in made:
            whole = whole_cells(given[:, frame : frame + 1], video.shape[-1] // still.shape[-1])[:, :, 0]
            latent[:, :, slot_of(frame)] = torch.where(whole > 0, still[:, :, 0], latent[:, :, slot_of(frame)])
            mask[:, :, slot_of(frame)] = torch.maximum(whole, mask[:, :, slot_of(frame)])
        return Shown((), latent, mask, route)

    return show


def pixel_padding(encode: Encode, video: Tensor, given: Tensor) -> Shown:
    """Of a clip that is grey where nothing is given, the latent frames that hold anything."""
    return _slots(encode, video * given[:, None], frames_of(given))


def latent_slice(encode: Encode, video: Tensor, given: Tensor) -> Shown:
    """The same of the clip itself: each latent frame has seen the other three frames it stands for as well."""
    rest = given[:, 1:].unflatten(1, (-1, TEMPORAL_SCALE)).any(2).repeat_interleave(TEMPORAL_SCALE, dim=1)
    return _slots(encode, video * torch.cat([given[:, :1], rest], dim=1)[:, None], frames_of(given))


def _slots(encode: Encode, video: Tensor, frames: list[int]) -> Shown:
    latent = encode(video)
    return Shown(tuple((latent[:, :, [slot]], [float(slot)]) for slot in sorted({*map(slot_of, frames)})))


class Way(NamedTuple):
    """One way of conditioning. stretch: factor on the time positions that the video's tokens are rotated by."""

    title: str
    show: Show
    stretch: float = 1.0


# VideoCanvas sec. 3.2 and what it is compared with: Table 3 (sec. 4.3), Table R5 and Table 2, in this order.
WAYS = {
    "rope_interpolation": Way("in context at frame / 4 (VideoCanvas)", in_context(lambda frame: frame / 4)),
    "nearest_slot": Way("in context at the nearest whole number", in_context(lambda frame: float((frame + 2) // 4))),
    "pixel_padding": Way("in context, a padded clip's latent frame", pixel_padding),
    "latent_slice": Way("in context, the real clip's latent frame", latent_slice),
    # Targets at 0, 4, 8, ... and patches at their frames: the same positions, turned four times as fast.
    "integer_positions": Way(
        "in context at whole frames, all positions times 4", in_context(lambda frame: frame / 4), 4
    ),
    "no_rope": Way("in context without any position", in_context(None)),
    "latent_replacement": Way("latent replacement", in_cells("clean")),
    "channel_concat": Way("channel concat", in_cells("channels")),
}

# -- what is learned ---------------------------------------------------------------------------------------------------

# Shares of the batches: text alone, some frames of the clip, all of its frames.
GIVEN = {"nothing": 0.1, "frames": 0.7, "clip": 0.2}
FRAMES = {1: 0.3, 2: 0.25, 3: 0.25, 4: 0.1, 6: 0.1}  # how many are given; the paper's recipe: 20 of 77
TEXT_DROP = 0.1  # rows without a prompt, for classifier-free guidance
CACHED_FRAMES = 33  # as training/train.py has them, so that one cache serves both


def draw_given(rows: int, frames: int, chooser: random.Random, generator: torch.Generator) -> Tensor:
    """What of the clips of a batch is given, [rows, F, 64, 64] bool.

    Frames: a random crop of 20 to 100 % of each (VideoCanvas, training recipe). Clip: the inside or the outside of one
    such rectangle on all frames.
    """
    given = torch.zeros(rows, frames, FRAME_SIZE, FRAME_SIZE, dtype=torch.bool)
    kind = chooser.choices(list(GIVEN), list(GIVEN.values()))[0]
    if kind == "frames":
        count = min(frames, chooser.choices(list(FRAMES), list(FRAMES.values()))[0])
        for frame in chooser.sample(range(frames), count):
            given[:, frame] = random_crops(rows, generator)
    elif kind == "clip":
        inside = random_crops(rows, generator)[:, None].expand_as(given)
        whole = inside.flatten(2).all(2)[..., None, None]  # of which the outside is empty: such rows are given all
        given = inside if chooser.random() < 0.5 else ~inside | whole
    return given


def random_crops(rows: int, generator: torch.Generator) -> Tensor:
    """Rectangles of 20 to 100 % of a frame's width and height, [rows, 64, 64] bool."""
    return zero_padded_patch(torch.ones(rows, 1, 1, FRAME_SIZE, FRAME_SIZE), generator)[:, 0, 0] > 0


def loss_of(
    network: MMDiT,
    shown: Shown,
    video: Tensor,
    audio: Tensor,
    text: Tensor,
    pooled: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Flow-matching losses (video, audio) of normalised clean latents, with one noise level for each row.

    Cells that are replaced hold the patch, have timestep 0, and count for nothing (VideoCanvas app. C.2).
    """
    one = random_sigma(len(video), 1, generator=generator)
    cells = one.view(-1, 1, 1, 1, 1).expand_as(video[:, :1])
    noise, audio_noise = (torch.randn(x.shape, generator=generator) for x in (video, audio))
    noisy, patch = torch.lerp(video, noise, cells), network.config.video_patch
    conditions: dict[str, Tensor | None] = {}
    if shown.latent is not None and shown.mask is not None:
        if shown.route == "clean":
            noisy = torch.where(shown.mask > 0, shown.latent, noisy)
            cells = cells * (1 - shown.mask)
        else:
            conditions = {"condition": shown.latent, "mask": shown.mask}
    tokens = F.max_pool3d(cells, (1, patch, patch), ceil_mode=True)[:, 0]  # as noisy as their noisiest cell
    velocity, audio_velocity = network(
        noisy,
        torch.lerp(audio, audio_noise, one[..., None]),
        tokens * TIMESTEP_SCALE,
        text,
        pooled=pooled,
        audio_timestep=one * TIMESTEP_SCALE,
        video_context=shown.context,
        **conditions,
    )
    return (
        weighted_error(velocity, noise - video, cells),
        weighted_error(audio_velocity, audio_noise - audio, one[..., None]),
    )


# -- training ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What determines the networks, beside their ways. rows: that each of them sees; frames: of the clips, 4n+1."""

    out: Path = Path("runs/paradigms")
    start: Path = Path("runs/mini/checkpoint.pt")
    rows: int = 8_000
    batch: int = 16
    frames: int = 17
    level: str = "easy"
    clips: int = 10_000
    weights: Path = Path("models/weights")
    cache: Path = Path("runs/cache")
    seed: int = 0
    muon_lr: float = 0.006
    adam_lr: float = 0.0006

    def __post_init__(self) -> None:
        if self.frames % TEMPORAL_SCALE != 1 or not 5 <= self.frames <= CACHED_FRAMES:
            raise ValueError(f"frames {self.frames} is not 4n+1 from 5 to {CACHED_FRAMES}: use 17")
        for name in ("rows", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} leaves nothing to learn from: use 1 or more")
        if not self.start.exists():
            raise ValueError(f"start {self.start} does not exist: name a checkpoint of training.train")

    @property
    def steps(self) -> int:
        return -(-self.rows // self.batch)

    def facts(self) -> dict[str, str]:
        """What must be equal for a run to go on, and for networks to be compared."""
        own = {key: str(value) for key, value in asdict(self).items() if key not in ("out", "cache", "weights")}
        return own | {
            "start": self.start.name,
            "start_digest": hashlib.sha256(self.start.read_bytes()).hexdigest()[:16],
        }


class Batch(NamedTuple):
    """video [B, C, T, h, w] and audio [B, Ca, L] raw latents, text and pooled, pixels [B, 3, F, 64, 64], given."""

    video: Tensor
    audio: Tensor
    text: Tensor
    pooled: Tensor
    pixels: Tensor
    given: Tensor


class Lessons:
    """The batches, the same for every way: each depends on the seed and its number alone."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.tokenizer, self.text_encoder = load_text_encoder(settings.weights / "mini_text_encoder.safetensors")
        self.video_vae = load_video_vae(settings.weights / "mini_video_vae.safetensors")
        self.clips = load_or_encode(
            settings.cache,
            settings.weights,
            clips=settings.clips,
            frames=CACHED_FRAMES,
            level=settings.level,
            seed=1_000_003 * (settings.seed + 1),
        )

    def generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.settings.seed * 1_000_003 + step) * 4096)

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        rows, frames = self.settings.batch, self.settings.frames
        chooser = random.Random(self.settings.seed * 1_000_003 + step)
        index = torch.randint(len(self.clips), (rows,), generator=generator)
        scenes, data = self.clips.scenes.select(index, frames), self.clips.tensors
        latent_frames = slot_of(frames - 1) + 1
        captions = [caption(scenes.attributes(row), chooser) for row in range(rows)]
        dropped = torch.rand(rows, generator=generator) < TEXT_DROP
        texts = ["" if drop else words for drop, words in zip(dropped, captions, strict=True)]
        return Batch(
            data["video"][index, :, :latent_frames],
            data["audio"][index, :, : latents_of(latent_frames)],
            *encode_batch(self.tokenizer, self.text_encoder, texts, [{}] * rows),
            scenes.render(),
            draw_given(rows, frames, chooser, generator),
        )


class Pupil(Learner):
    """The network of one way; its seconds are of CPU."""

    def __init__(self, name: str, settings: Settings, lessons: Lessons):
        self.name, self.way, self.settings, self.lessons = name, WAYS[name], settings, lessons
        weights = torch.load(settings.start, map_location="cpu", weights_only=True)["average"]
        model = MMDiT(MMDiTConfig.from_state_dict(weights))
        model.load_state_dict(weights)
        model.time_frequencies *= self.way.stretch
        super().__init__(model, settings.muon_lr, settings.adam_lr)

    @property
    def done(self) -> bool:
        return self.step >= self.settings.steps

    @property
    def checkpoint(self) -> Path:
        return self.settings.out / f"{self.name}.pt"

    def normalised(self, stream: str, latent: Tensor) -> Tensor:
        return normalise(latent, *(getattr(self.model, f"{stream}_latent_{part}") for part in ("mean", "std")))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        return self.normalised("video", self.lessons.video_vae.encode(video))

    def train_step(self) -> None:
        started = time.process_time()
        generator = self.lessons.generator(self.step)
        batch = self.lessons.batch(self.step, generator)
        losses = loss_of(
            self.model,
            self.way.show(self.encode, batch.pixels, batch.given),
            self.normalised("video", batch.video),
            self.normalised("audio", batch.audio),
            batch.text,
            batch.pooled,
            generator,
        )
        video, sound = losses
        steps = self.settings.steps
        rate = learning_rate(self.step, self.step / steps, warmup=min(WARMUP_STEPS, max(1, steps // 10)))
        self.learn(video + sound, rate, len(batch.video))
        self.note(video=video, audio=sound)
        self.seconds += time.process_time() - started

    def keep(self) -> None:
        """Saves what a stopped run goes on from, and what is compared."""
        self.save(self.checkpoint, settings=self.settings.facts(), way=self.name)

    def resume(self) -> bool:
        """Goes on from the last checkpoint; False if there is none. ValueError if its settings were others."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        for name, value in self.settings.facts().items():
            if (before := state["settings"].get(name)) != value:
                raise ValueError(
                    f"{self.checkpoint} has {name} {before}, this run {value}: "
                    f"use the same, another --out, or remove the file"
                )
        self.load(state)
        return True


def train(
    settings: Settings, ways: Sequence[str] = tuple(WAYS), save_every: float = 60.0, report_every: float = 20.0
) -> dict[str, Pupil]:
    """Trains (or goes on with) the networks of the ways, one after the other, until each has seen its rows."""
    lessons, pupils = Lessons(settings), {}
    for name in ways:
        pupils[name] = pupil = Pupil(name, settings, lessons)
        resumed = pupil.resume()
        print(f"{name}: {'goes on at' if resumed else 'begins,'} row {pupil.rows} of {settings.rows}", flush=True)
        saved = reported = time.monotonic()
        while not pupil.done:
            pupil.train_step()
            now = time.monotonic()
            if pupil.done or now - reported > report_every:
                reported = now
                pupil.log.append(pupil.entry())
                print(json.dumps({"way": name} | {k: round(v, 4) for k, v in pupil.log[-1].items()}), flush=True)
            if pupil.done or now - saved > save_every:
                saved = now
                pupil.keep()
    return pupils


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.paradigms", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--threads", type=int, default=1)
    for field in Settings.__dataclass_fields__.values():
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    ways, threads = options.pop("ways"), options.pop("threads")
    torch.set_num_threads(threads)
    try:
        train(Settings(**options), ways)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
