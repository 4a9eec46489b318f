"""Two shots with a cut between them, in one clip."""

from __future__ import annotations

from dataclasses import replace

import torch

from training.captions import caption
from training.toybox import HOP, SAMPLE_RATE, Scenes, sample_scenes
from training.worlds.example import Example, Say, another

CUTS = {"early": 1 / 4, "halfway": 1 / 2, "late": 3 / 4}  # of the clip
SAID = ("shape", "colour", "background", "speed")


def cut_frames(cut: torch.Tensor, frames: int) -> torch.Tensor:
    """First frame of the second shot; cuts come between latent frames. cut [B], index into CUTS -> [B]"""
    latents = (frames - 1) // 4
    return 4 * (torch.tensor(list(CUTS.values()))[cut] * latents).round().long() + 1


def two_shots(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """One scene, then another, each with its sound."""
    level = scenes.level
    other = sample_scenes(len(scenes), frames=scenes.frames, level=level, generator=generator)
    # Colours differ, or there would be no cut to see.
    other = replace(
        other,
        colour=another(scenes.colour, len(level.colours), generator),
        background=another(scenes.background, len(level.backgrounds), generator),
    )
    cut = torch.randint(len(CUTS), (len(scenes),), generator=generator)
    frames = cut_frames(cut, scenes.frames)
    second = torch.arange(scenes.frames) >= frames[:, None]
    video = torch.where(second[:, None, :, None, None], other.render(), scenes.render())
    sound = scenes.sound()
    # On a grid of whole latents, as notes are.
    hops = (frames / scenes.fps * SAMPLE_RATE / HOP).round()[:, None]
    later = (torch.arange(sound.shape[-1]) // HOP >= hops)[:, None]
    captions = []
    for i, when in enumerate(cut.tolist()):
        one, two = (
            caption({name: value for name, value in shot.attributes(i).items() if name in SAID}, say.words)
            for shot in (scenes, other)
        )
        captions.append(say.pick(("{} , {} cut to {}", "{} , then {} cut to {}")).format(one, list(CUTS)[when], two))
    facts = {"cut": frames, **{f"second_{name}": getattr(other, name) for name in SAID}}
    return Example(video, torch.where(later, other.sound(), sound), captions, scenes=scenes, facts=facts)
