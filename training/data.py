"""Encoded clips of the toybox, made once and cached on disk.

A cache holds, for N clips of F frames: `video` [N, C, T, h, w] and `audio` [N, Ca, L] raw latents, the scenes
themselves, and the statistics that the network normalises by.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.audio_vae import AudioVAE, load_audio_vae
from models.video_vae import VideoVAE, load_video_vae
from training.curation.rendered import check_rendered
from training.toybox import ATTRIBUTES, LEVELS, Scenes, sample_scenes

CHUNK = 64  # clips rendered at once


@dataclass
class Clips:
    """A cache in memory. Latents are raw float16; see `normalise` of the trainer for what the network sees."""

    tensors: dict[str, Tensor]
    scenes: Scenes

    def __len__(self) -> int:
        return len(self.scenes)

    @classmethod
    def load(cls, path: Path) -> "Clips":
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            level, frames = LEVELS[file.metadata()["level"]], int(file.metadata()["frames"])
        parts = {field: tensors.pop(f"scenes.{field}") for field in (*ATTRIBUTES, "start", "velocity")}
        return cls(tensors, Scenes(**parts, level=level, frames=frames))


def cache_path(folder: Path, weights: Path, *, clips: int, frames: int, level: str, seed: int) -> Path:
    """The file's name holds a hash of all that determines its content, the codecs included."""
    digest = hashlib.sha256(f"{clips} {frames} {level} {seed}".encode())
    for name in ("mini_video_vae", "mini_audio_vae"):
        digest.update((weights / f"{name}.safetensors").read_bytes())
    return folder / f"{level}_{frames}f_{clips}_{digest.hexdigest()[:12]}.safetensors"


@torch.inference_mode()
def encode_clips(
    path: Path,
    video_vae: VideoVAE,
    audio_vae: AudioVAE,
    *,
    clips: int,
    frames: int,
    level: str,
    seed: int,
    report=print,
) -> None:
    """Renders and encodes `clips` clips (rounded up to whole chunks); writes the cache aside, then renames it.

    ValueError if the first chunk is not fit to learn from: black, silent, frozen, doubled or out of sync.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {}

    def keep(name: str, value: Tensor) -> None:
        parts.setdefault(name, []).append(value)

    for done in range(0, clips, CHUNK):
        scenes = sample_scenes(CHUNK, frames=frames, level=level, generator=generator)
        video, sound = scenes.render(), scenes.sound()
        # A broken world is noticed before hours of training.
        if not done and frames > 1 and (problems := check_rendered(video, sound, scenes.fps)):
            raise ValueError(f"the world is not fit to learn from: {'; '.join(problems)}")
        keep("video", video_vae.encode(video).half())
        keep("audio", audio_vae.encode(sound).half())
        for field in dataclasses.fields(scenes):
            value = getattr(scenes, field.name)
            if isinstance(value, Tensor):
                keep(f"scenes.{field.name}", value)
        if report and done % (CHUNK * 32) == 0:
            report(f"encoding clips: {done} of {clips}")
    tensors = {name: torch.cat(value).contiguous() for name, value in parts.items()}
    black = video_vae.encode(torch.full((1, 3, 5, *video.shape[-2:]), -1.0))
    tensors["black_latent"] = black.mean((0, 3, 4)).T.contiguous()  # [2, C]: of a first frame, of the later ones
    # The codecs emit channels whose spread follows their importance to the picture and the sound; one scale for all
    # keeps that order (whitening each would spend the network on the weak ones), and silence stays 0.
    for stream in ("video", "audio"):
        latent = tensors[stream].float()
        tensors[f"{stream}_latent_mean"] = torch.zeros(latent.shape[1])
        tensors[f"{stream}_latent_std"] = latent.square().mean().sqrt().expand(latent.shape[1]).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    save_file(tensors, aside, metadata={"level": level, "frames": str(frames), "seed": str(seed)})
    aside.rename(path)


def load_or_encode(folder: Path, weights: Path, **what) -> Clips:
    """The cache for these settings, made now if it is not there."""
    path = cache_path(folder, weights, **what)
    if not path.exists():
        video_vae = load_video_vae(weights / "mini_video_vae.safetensors")
        audio_vae = load_audio_vae(weights / "mini_audio_vae.safetensors")
        encode_clips(path, video_vae, audio_vae, **what)
    return Clips.load(path)
