"""Fits Mini's two codecs to the toybox and saves them: minutes on a CPU.

    python -m training.codecs --out models/weights [--seconds 450] [--level easy] [--only video]
    python -m training.codecs --only video --start models/weights/mini_video_vae.safetensors --seconds 600 [--decoder]
    python -m training.codecs --audio-table

The video codec's linear skeleton is a principal component analysis; its convolutions are then trained for `--seconds`
of wall time. With --start a codec goes on from another one and learns the paired worlds too, while the latents of
ordinary clips stay what they were, so that a network trained on them need not learn anew. With --decoder only its
decoder goes on, and larger and smoother clips are among those that it learns: all latents stay what they are. The
audio codec is a principal component analysis and needs no training.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from models.audio_vae import AudioVAE, AudioVAEConfig, mdct_filters, save_audio_vae
from models.video_vae import VideoVAE, VideoVAEConfig, load_video_vae, save_video_vae
from training.toybox import FRAME_RATE, FRAME_SIZE, HOP, SAMPLE_RATE, Scenes, sample_scenes
from training.worlds import WORLDS

HELD_OUT_SEED = 987_654_321  # never used for fitting
LATENT_NOISE = 0.08  # the decoder learns to tolerate what a diffusion model gets wrong
LATENT_PENALTY = 3e-4
ONSET_FRAME = 256  # samples: 5.8 ms, the grid of `onset_times`
ONSET_TOLERANCE = 0.025  # seconds
STAY = 4.0  # weight of the latents of ordinary clips staying what they were, where a codec goes on from another one
BATCH, FRAMES = 20, 9
LARGE_SCALES = (1, 2, 3, 4, 4)  # of the clips that a decoder learns to make large
LARGE_RATES = (FRAME_RATE, 2 * FRAME_RATE)
FIRST_FRAME_SHARE = 0.25  # of the loss: the first frame has a latent of its own, and a picture of its own to make


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each clip of [B, ...], for values in [-1, 1] (peak 2)."""
    return 10 * torch.log10(4 / (a - b).square().flatten(1).mean(1))


def principal_components(x: Tensor, *, centred: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """[..., n] -> mean [n] (zero if not centred), components [n, n] in columns, variances [n], by falling variance."""
    x = x.reshape(-1, x.shape[-1])
    mean = x.mean(0, dtype=torch.float64) if centred else x.new_zeros(x.shape[1], dtype=torch.float64)
    covariance = sum((part - mean).T @ (part - mean) for part in x.split(8192)) / len(x)  # in float64, part by part
    variances, components = torch.linalg.eigh(covariance)
    # An eigenvector's sign is arbitrary: fix it, so that every machine fits the same codec.
    components = components * components.gather(0, components.abs().argmax(0, keepdim=True)).sign()
    return mean.float(), components.flip(1).float(), variances.flip(0).clamp(min=0).float()


def fit_video_skeleton(vae: VideoVAE, video: Tensor) -> None:
    """Sets the linear maps of encoder and decoder to principal components of video [B, 3, F, H, W], and freezes them.

    Latents are half-whitened (coordinate / variance ** 1/4): unit scale over all channels together, while channels
    that matter more stay larger. The first frame's basis is then rotated so that a standing picture has nearly the
    same latent whether it comes first or later: a diffusion model sees one language, not two.
    """
    channels, group = vae.channels, vae.temporal_scale

    def basis(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, components, variances = principal_components(patches)
        variances = variances[:channels]
        scale = variances.pow(-0.25)
        scale = scale / (variances * scale.square()).mean().sqrt()
        return mean, components[:, :channels] * scale, components[:, :channels] / scale

    stills = vae.to_patches(video[:, :, 0::group][:, :, :2], 1)
    first_mean, first_encode, first_decode = basis(stills)
    rest_mean, rest_encode, rest_decode = basis(vae.to_patches(video[:, :, 1:], group))
    # Orthogonal Procrustes problem: the rotation that takes the latents of stills to those of the same picture held.
    held = (stills.repeat(1, 1, 1, group) - rest_mean) @ rest_encode
    u, _, v = torch.linalg.svd(((stills - first_mean) @ first_encode).flatten(0, 2).T @ held.flatten(0, 2))
    rotation = u @ v
    with torch.no_grad():
        for encoder, decoder, mean, encode, decode in (
            (vae.encode_first, vae.decode_first, first_mean, first_encode @ rotation, first_decode @ rotation),
            (vae.encode_rest, vae.decode_rest, rest_mean, rest_encode, rest_decode),
        ):
            encoder.project.weight.copy_(encode.T)
            encoder.project.bias.copy_(-mean @ encode)
            decoder.expand.weight.copy_(decode)
            decoder.expand.bias.copy_(mean)
            for correction in (encoder.out, decoder.out):
                nn.init.zeros_(correction.weight)
                nn.init.zeros_(correction.bias)
            encoder.project.requires_grad_(False)
            decoder.expand.requires_grad_(False)


def video_losses(vae: VideoVAE, video: Tensor, generator: torch.Generator, kept: Tensor | None = None) -> Tensor:
    """Squared and absolute error under latent noise, and a mild pull of the latents to zero.

    kept: latents that the first clips of the batch shall have.
    """
    latent = vae.encode(video)
    noise = torch.randn(latent.shape, generator=generator).to(latent)
    error = vae.reconstruct(latent + LATENT_NOISE * noise) - video
    per_pixel = error.square() + 0.03 * error.abs()
    loss = FIRST_FRAME_SHARE * per_pixel[:, :, 0].mean() + (1 - FIRST_FRAME_SHARE) * per_pixel[:, :, 1:].mean()
    loss = loss + LATENT_PENALTY * latent.square().mean()
    return loss if kept is None else loss + STAY * F.mse_loss(latent[: len(kept)], kept)


def world_clips(count: int, level: str, generator: torch.Generator, words: random.Random, frames: int) -> Tensor:
    """What the paired worlds show, sources and targets, of about four worlds. [count, 3, F, 64, 64]"""
    clips: list[Tensor] = []
    for name in words.sample(list(WORLDS), 4):
        scenes = sample_scenes(-(-count // 4), frames=frames, level=level, generator=generator)
        example = WORLDS[name].make(scenes, generator, words)
        source = example.video if example.source is None else example.source
        clips.append(torch.where(torch.arange(len(scenes)).view(-1, 1, 1, 1, 1) % 2 == 0, example.video, source))
    return torch.cat(clips)[:count]


def large_clips(count: int, level: str, generator: torch.Generator, words: random.Random, frames: int) -> Tensor:
    """Windows of clips up to four times as large, at one or two times the frame rate. [count, 3, F, 64, 64]"""
    clips: list[Tensor] = []
    for _ in range(2):
        scale, fps = words.choice(LARGE_SCALES), words.choice(LARGE_RATES)
        scenes = sample_scenes(-(-count // 2), frames=frames, fps=fps, level=level, generator=generator)
        video = replace(scenes, scale=scale).render()
        # Where a window lies is drawn about the object: what is around it is easy.
        centre = scale * scenes.positions()[:, frames // 2]
        room = scenes.side * scale - scenes.side
        spread = scenes.side * torch.rand(centre.shape, generator=generator)
        corners = (centre - spread).long().clamp(0, room).tolist()
        clips += [
            clip[..., y : y + FRAME_SIZE, x : x + FRAME_SIZE] for clip, (x, y) in zip(video, corners, strict=True)
        ]
    return torch.stack(clips[:count])


@torch.no_grad()
def measure_video(vae: VideoVAE, video: Tensor) -> dict[str, float]:
    """PSNR in dB of the first frame and of the rest, clean and with latent noise of 0.1, and the latents' scale."""
    latent = vae.encode(video)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0)).to(latent)
    clean, noisy = vae.decode(latent), vae.decode(latent + 0.1 * noise)
    return {
        "psnr_first": float(psnr(clean[:, :, 0], video[:, :, 0]).mean()),
        "psnr_rest": float(psnr(clean[:, :, 1:], video[:, :, 1:]).mean()),
        "psnr_first_noisy": float(psnr(noisy[:, :, 0], video[:, :, 0]).mean()),
        "psnr_rest_noisy": float(psnr(noisy[:, :, 1:], video[:, :, 1:]).mean()),
        "latent_std": float(latent.std()),
    }


def fit_video(
    level: str, seconds: float, seed: int, device: str, start: Path | None = None, decoder: bool = False
) -> tuple[VideoVAE, dict[str, float]]:
    """Fits a VideoVAE to a level of the toybox: a skeleton, then `seconds` of training with a cosine schedule.

    start: a codec to go on from instead, with half of the clips from the paired worlds. decoder: the encoder stays as
    it is, and a third of the clips are large ones.
    """
    torch.manual_seed(seed)
    generator, words = torch.Generator().manual_seed(seed), random.Random(seed)
    if start is None:
        vae, before, peak = VideoVAE(VideoVAEConfig()), None, 2.5e-3
        fit_video_skeleton(vae, sample_scenes(512, frames=17, level=level, generator=generator).render())
    else:
        before, peak = load_video_vae(start).to(device), 1.2e-3
        vae = copy.deepcopy(before).requires_grad_(True).train()
        encoders = (vae.encode_first, vae.encode_rest)
        for kept in encoders if decoder else [encoder.project for encoder in encoders]:
            kept.requires_grad_(False)
    vae.to(device)
    held_out = held_out_scenes(64, level, device).render()
    unseen = torch.Generator().manual_seed(HELD_OUT_SEED)
    held_out_worlds = world_clips(64, level, unseen, random.Random(0), 17)
    held_out_large = torch.cat([large_clips(8, level, unseen, random.Random(seed), 17) for seed in range(8)])

    def measured() -> dict[str, float]:
        figures = measure_video(vae, held_out)
        if before is not None:
            worlds = measure_video(vae, held_out_worlds.to(device))
            large = measure_video(vae, held_out_large.to(device))
            for name in ("psnr_first", "psnr_rest"):
                figures |= {f"worlds_{name}": worlds[name], f"large_{name}": large[name]}
            with torch.no_grad():
                figures["latents_moved"] = float((vae.encode(held_out) - before.encode(held_out)).std())
        return figures

    report("at first", measured())
    makers = (world_clips, large_clips) if decoder else (world_clips,)
    weights = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.99), weight_decay=1e-4)
    began, steps = time.monotonic(), 0
    for progress in until(seconds):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1, (steps + 1) / 40) * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5
        ordinary = BATCH if before is None else BATCH // 3 if decoder else BATCH // 2
        video = sample_scenes(ordinary, frames=FRAMES, level=level, generator=generator, device=device).render()
        kept = None
        if before is not None:
            with torch.no_grad():
                kept = None if decoder else before.encode(video)
            others = [make(ordinary, level, generator, words, FRAMES) for make in makers]
            video = torch.cat([video, *(clips.to(device) for clips in others)])
        loss = video_losses(vae, video, generator, kept)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        steps += 1
        if steps % 200 == 0:
            report(f"{time.monotonic() - began:.0f} s, step {steps}", measured())
    figures = measured() | {"steps": float(steps), "clips": float(BATCH * steps)}
    report("video codec", figures)
    return vae, figures


def fit_audio(level: str, channels: int, seed: int, *, clips: int = 2048) -> tuple[AudioVAE, dict[str, float]]:
    """Fits an AudioVAE to a level of the toybox: the components of the MDCT that carry most of the energy.

    No mean is removed, so that silence is the latent 0. One scale for all channels: after the square root a channel's
    spread is its variance ** 1/4, which is the video codec's half-whitening.
    """
    sounds = sample_scenes(clips, level=level, generator=torch.Generator().manual_seed(seed)).sound()
    spectrum = AudioVAE(AudioVAEConfig(channels=HOP, hop=HOP, sample_rate=SAMPLE_RATE))
    vae = AudioVAE(AudioVAEConfig(channels=channels, hop=HOP, sample_rate=SAMPLE_RATE))
    with torch.no_grad():
        spectra = torch.cat([spectrum.analyse(part).transpose(1, 2).flatten(0, 1) for part in sounds.split(64)])
        _, components, _ = principal_components(spectra, centred=False)
        vae.filters.copy_(components[:, :channels].double().T @ mdct_filters(HOP))
        vae.scale.copy_(vae.encode(sounds).std())
    figures = measure_audio(vae, held_out_scenes(256, level).sound())
    report(f"audio codec, {channels} channels", figures)
    return vae, figures


def snr(clean: Tensor, decoded: Tensor) -> float:
    """Signal-to-noise ratio in dB over all samples together: silent clips have none of their own."""
    return float(10 * torch.log10(clean.square().sum() / (clean - decoded).square().sum()))


@torch.no_grad()
def measure_audio(vae: AudioVAE, sounds: Tensor) -> dict[str, float]:
    """Of sounds [B, 1, S]: SNR in dB of all and of the last hop, share of onsets kept within 25 ms and of none new."""
    latent = vae.encode(sounds)
    decoded = vae.decode(latent)
    before, after = ([onset_times(sound) for sound in batch] for batch in (sounds[:, 0], decoded[:, 0]))
    return {
        "snr": snr(sounds, decoded),
        "snr_last_hop": snr(sounds[..., -vae.hop :], decoded[..., -vae.hop :]),
        "onsets_kept": matched(before, after, ONSET_TOLERANCE),
        "onsets_true": matched(after, before, ONSET_TOLERANCE),
        "latent_std": float(latent.std()),
    }


def onset_times(sound: Tensor) -> list[float]:
    """Seconds at which a note begins in a sound [S]: where its level rises most while it more than doubles in 23 ms.

    Levels are of frames of 5.8 ms. A level counts that is over 0.008 and over 12 % of the loudest; notes less than
    0.1 s apart are one.
    """
    level = sound[: len(sound) // ONSET_FRAME * ONSET_FRAME].view(-1, ONSET_FRAME).square().mean(1).sqrt()
    before = F.avg_pool1d(F.pad(level, (4, 0))[None], 4, 1)[0, :-1] + 1e-4
    peak = F.max_pool1d(F.pad(level, (0, 3))[None], 4, 1)[0]
    rise = F.pad(level, (1, 3)).diff()
    times: list[float] = []
    for frame in ((peak > 2 * before) & (peak > 0.008) & (peak > 0.12 * level.max())).nonzero()[:, 0].tolist():
        time = (frame + int(rise[frame : frame + 4].argmax()) + 0.5) * ONSET_FRAME / SAMPLE_RATE
        if not times or time - times[-1] > 0.1:
            times.append(time)
    return times


def matched(times: list[list[float]], others: list[list[float]], tolerance: float) -> float:
    """Share of all times that have one of the same clip's `others` within `tolerance` seconds."""
    hits = [
        any(abs(time - other) <= tolerance for other in clip_others)
        for clip, clip_others in zip(times, others, strict=True)
        for time in clip
    ]
    return sum(hits) / max(len(hits), 1)


def until(seconds: float) -> Iterator[float]:
    """Yields the share of `seconds` of wall time that is over, until all is."""
    began = time.monotonic()
    while (progress := (time.monotonic() - began) / max(seconds, 1e-9)) < 1:
        yield progress


def held_out_scenes(count: int, level: str, device: str = "cpu", frames: int = 17) -> Scenes:
    """Scenes that no codec is fitted to."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    return sample_scenes(count, frames=frames, level=level, generator=generator, device=device)


def report(title: str, figures: dict[str, float]) -> None:
    print(f"{title}: " + ", ".join(f"{name} {value:.5g}" for name, value in figures.items()), flush=True)


def facts(figures: dict[str, float]) -> dict[str, str]:
    """Figures as metadata of a safetensors file, which holds strings only."""
    return {name: f"{value:.5g}" for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit Mini's video and audio codec to the toybox.")
    parser.add_argument("--out", type=Path, default=Path("models/weights"), help="folder for the safetensors files")
    parser.add_argument("--seconds", type=float, default=450, help="wall time for the video codec's training")
    parser.add_argument("--level", default="easy", help="level of the toybox")
    parser.add_argument("--audio-channels", type=int, default=16, help="see --audio-table")
    parser.add_argument("--audio-table", action="store_true", help="only measure audio codecs of 8 to 48 channels")
    parser.add_argument("--only", choices=("video", "audio"), help="fit one of the two")
    parser.add_argument("--start", type=Path, help="video codec to go on from, with the paired worlds")
    parser.add_argument("--decoder", action="store_true", help="the decoder alone goes on, and learns large clips")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.decoder and args.start is None:
        parser.error("--decoder goes on from a codec: name it with --start")
    if args.audio_table:
        for channels in (8, 12, 16, 20, 24, 32, 40, 48):
            fit_audio(args.level, channels, args.seed)
        return
    args.out.mkdir(parents=True, exist_ok=True)

    origin = {"level": args.level, "seed": str(args.seed)}
    if args.only != "video":
        audio_vae, figures = fit_audio(args.level, args.audio_channels, args.seed)
        path = args.out / "mini_audio_vae.safetensors"
        save_audio_vae(path, audio_vae, **facts(figures), sample_rate=str(SAMPLE_RATE), **origin)
        print(f"{path}: {path.stat().st_size} bytes")
    if args.only != "audio":
        video_vae, figures = fit_video(args.level, args.seconds, args.seed, args.device, args.start, args.decoder)
        origin["seconds"] = f"{args.seconds:g}"
        if args.start is not None:
            with safe_open(args.start, "pt") as file:
                before = file.metadata()
            earlier = ("before seconds", "before steps", "before clips", "seconds", "steps", "clips")
            origin |= {f"before {name}": before[name] for name in earlier if name in before}
            origin |= {"worlds": "a third", "large": "a third"} if args.decoder else {"worlds": "half"}
        path = args.out / "mini_video_vae.safetensors"
        save_video_vae(path, video_vae, dtype=torch.float16, **facts(figures), frame_rate=f"{FRAME_RATE:g}", **origin)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
