"""Looks over a batch of rendered clips before hours of training on them: a broken world is noticed in a second."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.curation import sync
from training.curation.dedup import digest, find_duplicates, fingerprint
from training.curation.filters import Rules
from training.curation.measures import brightness, clipping, repeats, volume

ENOUGH = 8  # clips, of which statements about the whole batch are made
DUPLICATE = 0.999
LUMA = (0.299, 0.587, 0.114)
SURE = 0.8  # confidence of the offset of a batch: 8 bouncing clips have 1.2 or more, with others' sounds 0.7 or less


def check_rendered(
    video: Tensor, sound: Tensor, fps: float, sample_rate: int = 44_100, *, still: bool = False, in_sync: bool = True
) -> list[str]:
    """What is wrong with clips of a procedural world, a sentence each; an empty list for one in order.

    video: [B, 3, F, H, W] in [-1, 1] at `fps`. sound: [B, 1, S] in [-1, 1]. 32 to 64 clips are a good sample: single
    clips may be silent, but not all of 8 or more. still: a world where things may stand still. in_sync: a world whose
    sounds are of bounces, as the toybox's; False for speech or music, of which the network knows nothing.
    """
    if video.dim() != 5 or sound.dim() != 3 or len(video) != len(sound) or video.shape[1] != 3 or sound.shape[1] != 1:
        return [f"shapes {[*video.shape]} and {[*sound.shape]} are not video [B, 3, F, H, W] and sound [B, 1, S]"]
    problems, rules, count = [], Rules(), len(video)
    for name, medium in (("video", video), ("sound", sound)):
        if not medium.isfinite().all():
            return [f"{name} has values that are not finite"]
        if (most := float(medium.abs().max())) > 1.001:
            problems.append(f"{name} reaches {most:.3f}: its range is -1 to 1")
    if sound.shape[-1] < (least := math.floor(video.shape[2] / fps * sample_rate)):
        problems.append(f"sound has {sound.shape[-1]} samples: {video.shape[2]} frames at {fps:g} per s need {least}")

    weights = torch.tensor(LUMA, device=video.device).view(3, 1, 1, 1)
    luma = (((video * weights).sum(1).clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
    waves = sound[:, 0].cpu()
    # Of the channel that has most: red on grey has next to none in luma.
    contrasts = video.std((3, 4), correction=0).amax(1).median(1).values / 2
    bad = {
        "are empty pictures": (contrasts < rules.least_contrast).tolist(),
        "are black": [brightness(x.float()) < rules.least_brightness for x in luma],
        "are white": [brightness(x.float()) > rules.most_brightness for x in luma],
        "stand still": [not still and len(x) > 1 and repeats(x.float()) > rules.most_repeats for x in luma],
        "have clipped sound": [clipping(x) > rules.most_clipping for x in waves],
    }
    problems += [f"{sum(those)} of {count} clips {what}" for what, those in bad.items() if any(those)]
    silent = sum(volume(x) < rules.least_volume for x in waves)
    if silent == count and count >= ENOUGH:
        problems.append(f"all {count} clips are silent")

    times = [frame / fps for frame in range(luma.shape[1])]
    films = [fingerprint(x, times) for x in luma]
    twice = sum(match is not None for match in find_duplicates([digest(x) for x in luma], films, DUPLICATE))
    if twice:
        problems.append(f"{twice} of {count} clips show what another one shows")
    if in_sync and count - silent >= ENOUGH:
        problems += _out_of_sync(luma, times, waves, sample_rate)
    return problems


@torch.inference_mode()
def _out_of_sync(luma: Tensor, times: list[float], waves: Tensor, sample_rate: int) -> list[str]:
    """Judges the whole batch by the mean of its clips' distances: one clip of a second has few bounces."""
    frames = round(len(times) * (times[1] if len(times) > 1 else 0) * sync.RATE)
    most = sync.most_shift(frames)
    if most < 4:
        return []
    heard = [i for i in range(len(waves)) if waves[i].any()]
    pictures = torch.stack([sync.prepare_picture(luma[i], times, frames) for i in heard])
    seen, sounds = sync.load()(pictures, sync.prepare_sound(waves[heard], sample_rate, frames))
    offset, confidence = sync.offset_and_confidence(sync.mean_distances(seen, sounds, most).mean(0))
    if confidence < SURE:
        return [f"sound and picture do not go together: confidence {confidence:.2f}, of bounces it is over {SURE:g}"]
    if abs(offset) > 1:
        return [f"the sound comes {offset / sync.RATE * 1000:+.0f} ms late"]
    return []
