"""Whether sound and picture go together: a small SyncNet (Chung and Zisserman, "Out of time", 2016).

    python -m training.curation.sync --seconds 100

Two ConvNets embed 5 frames of picture and the 0.2 s of sound that go with them, at 25 frames per second. Over all
shifts of the sound the distance of the embeddings is averaged along the clip: the offset is the shift of the least, its
confidence the median over shifts minus the least. It is trained by telling the right shift of a clip's sound from the
others of the same clip, as multi-way matching does (Chung et al., "Perfect match", 2019), and clips with the sound of
another clip by a confidence under 1.5.

The shipped network knows the toybox, where bounces sound, and nothing else. `--folder` trains on clips of one's own.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks, resample

from training.curation.media import SUFFIXES, MediaError, probe, read_sound
from training.curation.shots import read_shots
from training.toybox import SAMPLE_RATE, sample_scenes

RATE = 25  # frames per second; offsets count these
WINDOW = 5  # frames that an embedding sees
SIDE = 32  # pixels, height and width
MELS = 40
HEARD = 16_000  # Hz
HOP = HEARD // 100  # samples of a column of the spectrogram: four columns for a frame
REACH = 400  # samples that a column is taken of
MAX_SHIFT = 15  # frames
CONFIDENT = 1.5  # the paper's limit: training puts clips with another's sound below it, with their own above
SHARPNESS = 4.0  # log-odds for a unit of distance, in training
CLOSE = 1  # frames that an offset may be wrong by and still count as right, as in the paper
LEVELS = ("easy", "medium", "hard")
SHIPPED = Path(__file__).with_name("sync.safetensors")
HELD_OUT_SEED = 20_161  # of scenes that training never draws


def _layer(convolution: nn.Conv1d | nn.Conv2d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm1d if isinstance(convolution, nn.Conv1d) else nn.BatchNorm2d
    return convolution, norm(convolution.out_channels), nn.ReLU()


class SyncNet(nn.Module):
    """Embeds pictures and sounds; see `prepare_picture` and `prepare_sound` for their preparation."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            *_layer(nn.Conv2d(WINDOW, 16, 5, stride=2, padding=2)),
            *_layer(nn.Conv2d(16, 32, 3, stride=2, padding=1)),
            *_layer(nn.Conv2d(32, 48, 3, stride=2, padding=1)),
            *_layer(nn.Conv2d(48, 64, 4)),
            nn.Flatten(),
            nn.Linear(64, dim),
        )
        self.sound = nn.Sequential(  # sees 20 columns, 4 WINDOW, and moves by 4
            *_layer(nn.Conv1d(MELS, 48, 5)),
            *_layer(nn.Conv1d(48, 64, 4, stride=4)),
            *_layer(nn.Conv1d(64, 64, 4)),
            nn.Conv1d(64, dim, 1),
        )

    def forward(self, picture: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, F, 32, 32] and sounds [B, 40, 4 F] -> embeddings [B, F - 4, D] of both."""
        windows = picture.unfold(1, WINDOW, 1).movedim(-1, 2)  # [B, F - 4, 5, 32, 32]
        seen = self.picture(windows.flatten(0, 1)).view(*windows.shape[:2], -1)
        return seen, self.sound(sound).transpose(1, 2)


def prepare_picture(luma: Tensor, times: Sequence[float], frames: int) -> Tensor:
    """Luma [F, H, W] at `times` (seconds, from 0) -> [frames, 32, 32] at 25 per second, mean 0 and deviation 1."""
    given = torch.tensor(times, dtype=torch.float64)
    wanted = torch.arange(frames, dtype=torch.float64) / RATE
    after = torch.searchsorted(given, wanted).clamp(max=len(given) - 1)
    before = (after - 1).clamp(min=0)
    nearest = torch.where((given[after] - wanted) < (wanted - given[before]), after, before)
    used, index = nearest.unique(return_inverse=True)
    small = F.adaptive_avg_pool2d(luma[used].float(), SIDE)[index]
    return (small - small.mean()) / small.std().clamp(min=1e-3)


def prepare_sound(sound: Tensor, sample_rate: int, frames: int) -> Tensor:
    """Sound [..., S] -> log-mel spectrogram [..., 40, 4 frames] in -1..1; 1 is its loudest point, -1 50 dB below.

    Column j covers 25 ms from j / 100 s on.
    """
    sound = resample(sound, sample_rate, HEARD) if sample_rate != HEARD else sound
    columns = 4 * frames
    length = (columns - 1) * HOP + REACH
    sound = F.pad(sound[..., :length], (0, max(0, length - sound.shape[-1])))
    power = torch.fft.rfft(sound.unfold(-1, REACH, HOP) * torch.hann_window(REACH), n=512).abs().square()
    mel = (power @ _mel_filters()).transpose(-1, -2)
    relative = mel / mel.amax((-2, -1), keepdim=True).clamp(min=1e-6)
    return relative.clamp(min=1e-5).log10() / 2.5 + 1


@lru_cache(maxsize=1)
def _mel_filters() -> Tensor:
    return melscale_fbanks(257, 60.0, 7600.0, MELS, HEARD)


def mean_distances(seen: Tensor, heard: Tensor, most: int = MAX_SHIFT) -> Tensor:
    """Embeddings [B, W, D] of pictures and sounds -> mean distance for each shift of the sound [B, 2 most + 1].

    Entry i is of shift i - most: picture window t with sound window t + shift, over those t that have one.
    """
    distance = torch.cdist(seen, heard)
    return torch.stack([distance.diagonal(s, 1, 2).mean(1) for s in range(-most, most + 1)], 1)


def offset_and_confidence(curve: Tensor) -> tuple[int, float]:
    """Mean distances [2 most + 1] -> (argmin as a shift in frames, median - least)."""
    return int(curve.argmin()) - len(curve) // 2, float(curve.median() - curve.min())


def confidences(curves: Tensor) -> Tensor:
    """Of mean distances [B, 2 most + 1]: [B], with a gradient."""
    return curves.median(1).values - curves.amin(1)


def most_shift(frames: int) -> int:
    """Shifts that a clip of so many frames permits: at each, half of its windows have a partner."""
    return min(MAX_SHIFT, (frames - WINDOW + 1) // 2)


@torch.inference_mode()
def measure_sync(
    net: SyncNet, luma: Tensor, times: Sequence[float], sound: Tensor, sample_rate: int
) -> dict[str, float]:
    """offset in frames of 1/25 s (positive: the sound comes late) and its confidence, of one clip.

    luma: [F, H, W] in 0..255 at `times` (seconds from the beginning of the sound). sound: [S]. A clip under half a
    second, or one without sound, has offset 0 of confidence 0.
    """
    frames = min(round(len(sound) / sample_rate * RATE), round(times[-1] * RATE) + 1) if len(times) else 0
    most = most_shift(frames)
    if most < 4 or not sound.any():
        return {"offset": 0.0, "confidence": 0.0}
    picture = prepare_picture(luma, times, frames)[None]
    seen, heard = net(picture, prepare_sound(sound, sample_rate, frames)[None])
    offset, confidence = offset_and_confidence(mean_distances(seen, heard, most)[0])
    return {"offset": float(offset), "confidence": confidence}


# Training: a source draws clips of a length, prepared, picture and sound beside each other.

Source = Callable[[int, int], tuple[Tensor, Tensor]]
CROP = 37  # frames of a training example
DRAWN = CROP + 14  # frames of a clip, from which its picture and its sound are cut


def toybox_source(seed: int) -> Source:
    """Clips of the toybox at 16 or 25 frames per second, all levels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(clips: int, frames: int) -> tuple[Tensor, Tensor]:
        choice = int(torch.randint(6, (1,), generator=generator))
        fps = (16.0, 25.0)[choice % 2]
        count = math.ceil((frames + 1) / RATE * fps)
        scenes = sample_scenes(clips, frames=count, fps=fps, level=LEVELS[choice // 2], generator=generator)
        times = [i / fps for i in range(count)]
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
        luma = ((scenes.render() * weights).sum(1) + 1) * 127.5
        picture = torch.stack([prepare_picture(clip, times, frames) for clip in luma])
        sound = scenes.sound()[:, 0]
        level = 10 ** (-2 - 2 * torch.rand(clips, 1, generator=generator))
        sound = sound + level * sound.abs().amax(1, True) * torch.randn(sound.shape, generator=generator)
        picture = picture + 0.05 * torch.randn(picture.shape, generator=generator)
        return picture, prepare_sound(sound, SAMPLE_RATE, frames)

    return draw


def folder_sources(folder: Path, seed: int) -> tuple[Source, Source]:
    """Clips of a folder of videos, to train on and (every fifth file) to test on.

    ValueError unless there are two files or more with sound and a shot of 2.1 s. 60 KB of memory for each second.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    examples: list[list[tuple[Tensor, Tensor]]] = []
    for path in files:
        try:
            examples.append(_examples(path))
        except MediaError as error:
            print(f"left out: {error}", flush=True)
    examples = [found for found in examples if found]
    if len(examples) < 2:
        raise ValueError(f"{folder} has {len(examples)} files with sound and a shot of 2.1 s: at least 2 are needed")

    def source(files: list[list[tuple[Tensor, Tensor]]], seed: int) -> Source:
        pool, generator = [one for found in files for one in found], torch.Generator().manual_seed(seed)

        def draw(clips: int, frames: int) -> tuple[Tensor, Tensor]:
            parts = []
            for index in torch.randint(len(pool), (clips,), generator=generator).tolist():
                picture, sound = pool[index]
                begin = int(torch.randint(len(picture) - frames + 1, (1,), generator=generator))
                parts.append((picture[begin : begin + frames], sound[:, 4 * begin : 4 * (begin + frames)]))
            pictures, sounds = zip(*parts, strict=True)
            return torch.stack(pictures).float(), torch.stack(sounds).float()

        return draw

    learnt = [found for i, found in enumerate(examples) if i % 5 != 1]
    return source(learnt, seed), source(examples[1::5], seed + 1)


def _examples(path: Path) -> list[tuple[Tensor, Tensor]]:
    """The shots of a file that are long enough for training, prepared; none for a file without sound."""
    rate, found = probe(path).sample_rate, []
    for shot in read_shots(path, most_seconds=15.0) if rate else ():
        frames = int(shot.duration * RATE)
        sound = read_sound(path, shot.start, shot.duration, rate)
        if frames >= DRAWN and sound.any():
            picture = prepare_picture(shot.luma, [time - shot.start for time in shot.times], frames)
            found.append((picture.half(), prepare_sound(sound[0], rate, frames).half()))
    return found


def shifted(picture: Tensor, sound: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of DRAWN frames -> pictures and sounds of CROP, and by how many frames [B] the sound comes late: -7..7."""
    most = (DRAWN - CROP) // 2
    shift = torch.randint(-most, most + 1, (len(picture),), generator=generator)
    begin = (most - shift).tolist()  # cut off less of the beginning, and it comes later
    sounds = torch.stack([one[:, 4 * b : 4 * (b + CROP)] for one, b in zip(sound, begin, strict=True)])
    return picture[:, most : most + CROP], sounds, shift


def train(
    source: Source, seconds: float, *, seed: int = 0, clips: int = 16, report: Callable[[str], None] = print
) -> tuple[SyncNet, int]:
    """Trains for so many seconds of the processor -> the network and the steps that it took."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net, peak = SyncNet(), 4e-3
    optimizer = torch.optim.AdamW(net.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    begin, step, done = time.process_time(), 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 50) * (1 - done) + 1e-5
        if step % 2 == 0:  # clips cost as much as the network does: each is used twice
            drawn = source(clips, DRAWN)
        picture, sound, shift = shifted(*drawn, generator)
        seen, heard = net(picture, sound)
        curves, strangers = mean_distances(seen, heard), mean_distances(seen, heard.roll(1, 0))
        loss = F.cross_entropy(-SHARPNESS * curves, shift + MAX_SHIFT)
        loss = loss + F.softplus(SHARPNESS * (CONFIDENT - confidences(curves))).mean()
        loss = loss + F.softplus(SHARPNESS * (confidences(strangers) - CONFIDENT)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step, done = step + 1, (time.process_time() - begin) / seconds
        if step % 50 == 0:
            report(f"{done:4.0%} step {step} loss {loss.item():.3f}")
    return net.eval().requires_grad_(False), step


@torch.inference_mode()
def evaluate(net: SyncNet, source: Source, *, clips: int, seed: int) -> dict[str, float]:
    """On clips of a source with shifted sound, and with the sound of another clip (which has no right offset).

    accuracy: share of clips with the right offset, by a frame at most. confident: share over 1.5 in confidence, and
    their accuracy. strangers_kept: share that the filter keeps of clips with another's sound.
    """
    generator = torch.Generator().manual_seed(seed)
    right, sure, kept = [], [], []
    for _ in range(math.ceil(clips / 16)):
        picture, sound, shift = shifted(*source(16, DRAWN), generator)
        seen, heard = net(picture, sound)
        for curve, true in zip(mean_distances(seen, heard), shift.tolist(), strict=True):
            offset, confidence = offset_and_confidence(curve)
            right.append(abs(offset - true) <= CLOSE)
            sure.append(confidence > CONFIDENT)
        for curve in mean_distances(seen, heard.roll(1, 0)):
            offset, confidence = offset_and_confidence(curve)
            kept.append(abs(offset) <= 3 and confidence > CONFIDENT)
    both = [r for r, s in zip(right, sure, strict=True) if s]
    return {
        "clips": float(len(right)),
        "accuracy": round(sum(right) / len(right), 4),
        "confident": round(sum(sure) / len(sure), 4),
        "accuracy_of_confident": round(sum(both) / max(len(both), 1), 4),
        "strangers_kept": round(sum(kept) / len(kept), 4),
        "chance": round((2 * CLOSE + 1) / (2 * MAX_SHIFT + 1), 4),
    }


def save(path: Path, net: SyncNet, **facts: str) -> None:
    """Writes float16 weights aside, then renames them."""
    aside = path.with_suffix(".part")
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, aside, metadata={"format": "pt", "architecture": "skycanvas-syncnet", **facts})
    aside.rename(path)


def load(path: Path = SHIPPED) -> SyncNet:
    """ValueError for a file that is no SyncNet of ours."""
    net = SyncNet()
    try:
        with safe_open(path, framework="pt") as file:
            net.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} is no sync network: train one with python3 -m training.curation.sync") from error
    return net.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the network that tells whether sound and picture agree.")
    parser.add_argument("--seconds", type=float, default=100, help="of the processor, on all threads together")
    parser.add_argument("--folder", type=Path, help="own clips to train on; the toybox if not given")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    learnt, held_out = toybox_source(arguments.seed), toybox_source(HELD_OUT_SEED)
    if arguments.folder:
        if arguments.out == SHIPPED:
            parser.error("--folder needs --out: the shipped network stays that of the toybox")
        learnt, held_out = folder_sources(arguments.folder, arguments.seed)
    net, steps = train(learnt, arguments.seconds, seed=arguments.seed)
    figures = evaluate(net, held_out, clips=512, seed=HELD_OUT_SEED)
    world = "own clips" if arguments.folder else f"toybox, levels {', '.join(LEVELS)}"
    facts = {
        "training": f"{world}: {steps} steps of 16 clips, {arguments.seconds:.0f} s of CPU",
        "held_out": json.dumps(figures),
    }
    save(arguments.out, net, **facts)
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
