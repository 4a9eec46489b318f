"""Mini without ComfyUI: from prompts to clips, by a plain Euler sampler with one sigma for all tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.quality.given import Given
from benchmarks.quality.held_out import noise_of
from models.audio_vae import AudioVAE, load_audio_vae
from models.checkpoint import read_checkpoint
from models.config import MMDiTConfig
from models.mmdit import MMDiT
from models.text_encoder import TextEncoder, Tokenizer, load_text_encoder
from models.video_vae import VideoVAE, load_video_vae
from training.media import encode_batch
from training.objective import latents_of
from training.sampling import sample_euler, sample_wave
from training.toybox import FRAME_SIZE
from training.train import normalise

CODEC_FILES = ("mini_video_vae.safetensors", "mini_audio_vae.safetensors")
REFINER_FILE = "mini_refiner.safetensors"
BATCH = 16  # clips sampled together
SHIFT = 2.0  # of the noise schedule, for checkpoints that do not say
NOTHING = Given()


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler; shift None: the checkpoint's own. wave: earlier frames ahead of later ones."""

    steps: int = 30
    guidance: float = 2.0
    shift: float | None = None
    seed: int = 0
    wave: bool = False


@dataclass
class Clips:
    """A batch; what it has not is None.

    video [B, 3, F, 64, 64] in [-1, 1], sound [B, 1, S] in [-1, 1], latent [B, C, T, h, w], the video's, normalised.
    """

    video: Tensor | None
    sound: Tensor | None
    latent: Tensor | None = None

    @classmethod
    def joined(cls, parts: list[Clips]) -> Clips:
        """Batches, one after the other."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        return cls(**{name: None if column[0] is None else torch.cat(column) for name, column in columns.items()})

    def select(self, rows: Sequence[int]) -> Clips:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Clips(**{name: None if part is None else part[list(rows)] for name, part in parts.items()})


class Codecs:
    """The video and the audio codec of a weights folder."""

    def __init__(self, weights: Path):
        self.video: VideoVAE = load_video_vae(weights / CODEC_FILES[0])
        self.audio: AudioVAE = load_audio_vae(weights / CODEC_FILES[1])

    @torch.inference_mode()
    def reconstruct(self, video: Tensor, sound: Tensor) -> Clips:
        """Clips after encoding and decoding: the best that a generator in their latents can look and sound like."""
        seen = [self.video.decode(self.video.encode(part)) for part in video.split(BATCH)]
        heard = [self.audio.decode(self.audio.encode(part)) for part in sound.split(BATCH)]
        return Clips(torch.cat(seen), torch.cat(heard)[..., : sound.shape[-1]])


class Mini:
    """Codecs, text encoder and network, ready to sample."""

    def __init__(self, codecs: Codecs, tokenizer: Tokenizer, encoder: TextEncoder, network: MMDiT, shift: float):
        self.codecs, self.tokenizer, self.encoder, self.network, self.shift = codecs, tokenizer, encoder, network, shift

    @classmethod
    def load(cls, weights: Path, model: Path, codecs: Codecs | None = None) -> Mini:
        """weights: folder of codecs and text encoder; model: the network's safetensors, or a training's checkpoint."""
        network, shift = load_network(model)
        tokenizer, encoder = load_text_encoder(weights / "mini_text_encoder.safetensors")
        return cls(codecs or Codecs(weights), tokenizer, encoder, network, shift)

    def read(self, prompts: list[str], media: Sequence[Mapping[str, Tensor]] = ()) -> tuple[Tensor, Tensor]:
        """Text embeddings [B, Lt, D] and their summary [B, D]. media: for each prompt, tag -> what it shows."""
        if any(media) and self.encoder.media is None:
            raise ValueError("this text encoder sees no references: train it with `python3 -m training.media`")
        return encode_batch(self.tokenizer, self.encoder, prompts, media or [{}] * len(prompts))

    def encode(self, video: Tensor) -> Tensor:
        """Video [B, 3, F, 64, 64] -> normalised latent [B, C, T, h, w]."""
        latents = [self.codecs.video.encode(part) for part in video.split(BATCH)]
        return normalise(torch.cat(latents), *statistics_of(self.network, "video"))

    def encode_sound(self, sound: Tensor) -> Tensor:
        """Sound [B, 1, S] -> normalised latent [B, Ca, L]."""
        return normalise(self.codecs.audio.encode(sound), *statistics_of(self.network, "audio"))

    @torch.inference_mode()
    def generate(
        self,
        prompts: list[str],
        *,
        frames: int,
        sampling: Sampling,
        picture: bool = True,
        given: Given = NOTHING,
        report: Callable[[str], None] = lambda text: None,
    ) -> Clips:
        """Samples one clip per prompt, each from noise of its own. picture False: sound alone."""
        batches = given.batches(len(prompts), BATCH)
        parts: list[Clips] = []
        for done, rows in enumerate(batches):
            report(f"sampling clips: batch {done + 1} of {len(batches)}")
            parts.append(self._generate([prompts[row] for row in rows], rows, frames, sampling, picture, given))
        order = [row for rows in batches for row in rows]
        return Clips.joined(parts).select(sorted(range(len(order)), key=order.__getitem__))

    def _generate(
        self, prompts: list[str], rows: list[int], frames: int, sampling: Sampling, picture: bool, given: Given
    ) -> Clips:
        codec, config = self.codecs.video, self.network.config
        latent_frames = 1 + (frames - 1) // codec.temporal_scale
        cells = FRAME_SIZE // codec.spatial_scale
        shapes = (
            (config.video_channels, latent_frames, cells, cells),
            (config.audio_channels, latents_of(latent_frames)),
        )
        noise = [noise_of(row, *shapes, seed=sampling.seed) for row in rows]
        video_noise, audio_noise = (torch.stack(stream) for stream in zip(*noise, strict=True))
        given = given.select(rows)
        video, audio, conditions = given.start(video_noise if picture else None, audio_noise)
        # Read together, prompts and the empty prompt are padded to the same length.
        count = len(prompts)
        media = given.media or [{}] * count
        sequence, pooled = self.read([*prompts, *[""] * count], [*media, *[{}] * count])
        sample = sample_wave if sampling.wave else sample_euler
        latent, sound = sample(
            self.network,
            video,
            audio,
            (sequence[:count], pooled[:count]),
            (sequence[count:], pooled[count:]),
            steps=sampling.steps,
            guidance=sampling.guidance,
            shift=self.shift if sampling.shift is None else sampling.shift,
            **conditions,
        )
        heard = self.codecs.audio.decode(self._raw(sound, "audio"))
        seen = None if latent is None else codec.decode(self._raw(latent, "video"))
        return Clips(seen, heard.clamp(-1, 1), latent)

    def _raw(self, latent: Tensor, stream: str) -> Tensor:
        """Undoes `normalise`."""
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        mean, std = (x.view(shape) for x in statistics_of(self.network, stream))
        return latent * std + mean


def statistics_of(network: MMDiT, stream: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [C] that normalise the latents of "video" or "audio"."""
    return getattr(network, f"{stream}_latent_mean"), getattr(network, f"{stream}_latent_std")


def load_network(path: Path) -> tuple[MMDiT, float]:
    """The network in float32 and its sampling shift, of a safetensors file or a training's checkpoint (its average)."""
    if path.suffix == ".safetensors":
        sd, facts = read_checkpoint(path)
    else:
        sd, facts = torch.load(path, map_location="cpu", weights_only=True)["average"], {}
    shift = float(sd.pop("sampling_shift", facts.get("sampling_shift", SHIFT)))
    network = MMDiT(MMDiTConfig.from_state_dict(sd))
    network.load_state_dict(sd)
    return network.eval().requires_grad_(False), shift


def digest(*paths: Path) -> str:
    """First 16 hex digits of the files' sha256: which weights a table is about."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
