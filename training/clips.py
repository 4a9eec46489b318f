"""An artist's own clips for fine-tuning: which ones, with which captions, and their latents, encoded once.

Long clips are cut into stretches of the length that is trained. Each stretch has a file of its own in the cache: a run
that was stopped encodes the rest alone.
"""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from models.audio_vae import AudioVAE
from models.text_encoder import Tokenizer
from models.video_vae import VideoVAE
from training.curation.manifest import Entry, Manifest, read_clip
from training.curation.pipeline import curate
from training.objective import latents_of

STRETCHES = 8  # of one entry of the manifest, at most
HELD_OUT = 0.15  # of the files, where there are at least
ENOUGH = 4
Report = Callable[[str], None]


@dataclass(frozen=True)
class Stretches:
    """How clips are cut: frames (4n+1), frames per second, width and height in pixels."""

    frames: int
    frame_rate: float
    size: tuple[int, int]

    @property
    def seconds(self) -> float:
        return self.frames / self.frame_rate

    def of(self, entry: Entry) -> list[Entry]:
        """Stretches spread evenly over an entry, which share its weight; none if it is too short."""
        if entry.duration < self.seconds - 0.5 / self.frame_rate:
            return []
        count = min(STRETCHES, max(1, int(entry.duration / self.seconds)))
        length = min(self.seconds, entry.duration)
        step = (entry.duration - length) / max(1, count - 1)
        starts = [entry.start + i * step for i in range(count)]
        return [replace(entry, start=start, duration=length, weight=entry.weight / count) for start in starts]


@dataclass
class OwnClips:
    """Encoded stretches: raw latents video [N, C, T, h, w] and audio [N, Ca, L], float16; files and captions [N].

    weights [N]: how often each is drawn, 0 where it is held out. digest: of all that determines the content.
    """

    video: Tensor
    audio: Tensor
    files: list[str]
    captions: list[str]
    weights: Tensor
    digest: str

    def first_of_files(self, *, held_out: bool) -> list[int]:
        """The first stretch of every file that is held out, or of every other. What a file shows is much alike."""
        first: dict[str, int] = {}
        for i, (file, weight) in enumerate(zip(self.files, self.weights.tolist(), strict=True)):
            if (weight == 0) == held_out:
                first.setdefault(file, i)
        return list(first.values())


def choose_entries(folder: Path, manifest: Path | None, save: Path, report: Report) -> list[Entry]:
    """The clips of `manifest`; if None of a curation of `folder`, which is saved. ValueError if there are none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: name the one that holds the clips")
    if manifest is not None:
        chosen = Manifest.load(manifest)
    else:
        chosen = curate(folder, report=report)
        chosen.save(save)
        for entry, reason in chosen.dropped:
            report(f"left out {entry.file} at {entry.start:.2f} s: {reason}")
    kept = [entry for entry in chosen.kept if entry.weight > 0]
    if not kept:
        raise ValueError(
            f"no clip of {folder} can be trained on: {len(chosen.dropped)} were left out, for the reasons given above. "
            "Choose by other rules with python3 -m training.curation, and give its manifest as --manifest"
            if manifest is None
            else f"{manifest} keeps no clip: curate the folder by other rules"
        )
    return kept


def check_captions(entries: Sequence[Entry], tokenizer: Tokenizer, *, without: bool, report: Report) -> None:
    """ValueError if no clip has a caption (unless `without`), or one is too long. Lists unknown words once."""
    empty = [entry.file for entry in entries if not entry.caption.strip()]
    if len(empty) == len(entries) and not without:
        raise ValueError(
            f"none of the {len(entries)} clips has a caption: write what is seen and heard in {empty[0]} into "
            f"{Path(empty[0]).with_suffix('.txt').name} beside it, and so on, or add --without-captions"
        )
    if empty:
        report(f"{len(empty)} of {len(entries)} clips have no caption: they teach the empty prompt")
    unknown: dict[str, None] = {}
    for entry in entries:
        try:
            tokenizer(entry.caption)
        except ValueError as error:
            raise ValueError(f"caption of {entry.file}: {error}") from error
        unknown |= dict.fromkeys(tokenizer.unknown_words(entry.caption))
    if unknown:
        report(f"words that the text encoder does not know, which all mean the same to it: {', '.join(unknown)}")


def hold_out(entries: Sequence[Entry], seed: int) -> set[str]:
    """Files to measure on. Whole files: two stretches of one are too much alike to tell what was learnt."""
    files = sorted({entry.file for entry in entries})
    count = max(1, round(HELD_OUT * len(files))) if len(files) >= ENOUGH else 0
    return set(random.Random(seed).sample(files, count))


@torch.inference_mode()
def encode_entries(
    folder: Path,
    entries: Sequence[Entry],
    cut: Stretches,
    codecs: tuple[VideoVAE, AudioVAE],
    cache: Path,
    *,
    codecs_digest: str,
    seed: int,
    report: Report,
) -> OwnClips:
    """Reads and encodes every stretch that `cache` has not yet. ValueError if no clip is long enough."""
    stretches = [stretch for entry in entries for stretch in cut.of(entry)]
    if not stretches:
        raise ValueError(
            f"none of the {len(entries)} clips lasts {cut.seconds:.2f} s ({cut.frames} frames at {cut.frame_rate:g} "
            f"per second), the longest {max(entry.duration for entry in entries):.2f} s: use fewer --frames, or longer "
            "clips"
        )
    if short := len(entries) - sum(bool(cut.of(entry)) for entry in entries):
        report(f"{short} of {len(entries)} clips are shorter than {cut.seconds:.2f} s and left out")
    cache.mkdir(parents=True, exist_ok=True)
    names, parts = [], []
    for done, stretch in enumerate(stretches):
        file = (folder / stretch.file).stat()
        content = (stretch.file, file.st_size, file.st_mtime_ns, stretch.start, stretch.duration)
        names.append(_digest([content, cut.frames, cut.frame_rate, cut.size, codecs_digest]))
        path = cache / f"{names[-1]}.latents"  # by its suffix, ComfyUI would offer it among the LoRAs beside it
        if not path.exists():
            _encode(path, folder, stretch, cut, *codecs)
        parts.append(load_file(path))
        if (done + 1) % 100 == 0:
            report(f"encoded {done + 1} of {len(stretches)} stretches of {cut.seconds:.2f} s")
    captions, unseen = [stretch.caption for stretch in stretches], hold_out(stretches, seed)
    return OwnClips(
        video=torch.stack([part["video"] for part in parts]),
        audio=torch.stack([part["audio"] for part in parts]),
        files=[stretch.file for stretch in stretches],
        captions=captions,
        weights=torch.tensor([0.0 if stretch.file in unseen else stretch.weight for stretch in stretches]),
        digest=_digest([names, captions]),
    )


def _encode(path: Path, folder: Path, stretch: Entry, cut: Stretches, video_vae: VideoVAE, audio_vae: AudioVAE) -> None:
    """Writes the latents of one stretch aside, then renames the file."""
    rate = audio_vae.sample_rate
    video, sound = read_clip(folder, stretch, frames=cut.frames, fps=cut.frame_rate, size=cut.size, sample_rate=rate)
    latent = video_vae.encode(video[None])[0]
    samples = latents_of(latent.shape[1], cut.frame_rate) * audio_vae.hop
    sound = F.pad(sound, (0, samples - sound.shape[1]))  # the last latent reaches a little beyond the pictures
    tensors = {"video": latent.half().contiguous(), "audio": audio_vae.encode(sound[None])[0].half().contiguous()}
    aside = path.with_suffix(".part")
    save_file(tensors, aside)
    aside.replace(path)


def _digest(what: list) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
