"""The tasks: which clips are made, what they are measured on, and which clips show the ceiling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.quality.canvas import canvas
from benchmarks.quality.continuation import FRAMES, continuation
from benchmarks.quality.edits import edits
from benchmarks.quality.faces import faces
from benchmarks.quality.figures import mean
from benchmarks.quality.given import Given
from benchmarks.quality.held_out import prompts_of
from benchmarks.quality.keyframes import keyframes
from benchmarks.quality.layers import layers
from benchmarks.quality.masks import masks
from benchmarks.quality.memory import TrainingClips
from benchmarks.quality.metrics import measure, measure_codecs, measure_continuation, measure_detectors
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.references import references
from benchmarks.quality.refine import refine
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.shots import shots
from benchmarks.quality.verdicts import verdicts
from training.codecs import psnr


def detectors(setting: Setting) -> Result:
    """The detectors on real clips, against what is known of the scenes: how far the other tables can be trusted."""
    scenes = setting.scenes
    clips = Clips(scenes.render(), scenes.sound())
    return Result(measure_detectors(clips, scenes), clips=clips, captions=prompts_of(scenes))


def codec(setting: Setting) -> Result:
    """Real clips through both codecs."""
    scenes = setting.scenes
    video, sound = scenes.render(), scenes.sound()
    clips = setting.codecs.reconstruct(video, sound)
    return Result(measure_codecs(clips, video, sound, scenes), clips=clips, captions=prompts_of(scenes))


def t2va(setting: Setting) -> Result:
    """Video and its sound from a prompt."""
    scenes, prompts, mini = setting.scenes, prompts_of(setting.scenes), setting.network
    video = scenes.render()
    real = setting.codecs.reconstruct(video, scenes.sound())
    clips = mini.generate(prompts, frames=scenes.frames, sampling=setting.sampling, report=setting.report)
    figures, ceiling = measure(clips, scenes), measure(real, scenes)
    if setting.training_cache is not None:
        training = TrainingClips(setting.training_cache, scenes.level, mini.network)
        if len(training) and clips.latent is not None:
            figures["nearest"] = mean(training.nearest(clips.latent, scenes))
            ceiling["nearest"] = mean(training.nearest(mini.encode(video), scenes))
    return Result(figures, ceiling, clips, prompts)


# What the wave is compared in: way -> steps of each frame, and whether it is a wave. With a delay of one half a clip of
# 17 frames needs 3.5 evaluations of the network for each step: 32 and 42 in all.
WAVES = {
    "ordinary, 32 steps": (32, False),
    "wave, 9 steps of each frame": (9, True),
    "ordinary, 42 steps": (42, False),
    "wave, 12 steps of each frame": (12, True),
}
WAVE_FIGURES = ("shape", "one_object", "teleports", "jitter", "bounces", "at_wall", "onsets", "sync", "sync_gain")


def wave(setting: Setting) -> Result:
    """Text to video and sound with earlier frames ahead of later ones, beside as many ordinary steps."""
    scenes, prompts = setting.scenes, prompts_of(setting.scenes)
    real = measure(setting.codecs.reconstruct(scenes.render(), scenes.sound()), scenes)
    figures, ceiling, clips = {}, {}, None
    for way, (steps, is_wave) in WAVES.items():
        setting.report(way)
        sampling = replace(setting.sampling, steps=steps, wave=is_wave)
        clips = setting.network.generate(prompts, frames=scenes.frames, sampling=sampling)
        made = measure(clips, scenes)
        figures |= {f"{way}/{name}": made[name] for name in WAVE_FIGURES}
        ceiling |= {f"{way}/{name}": real[name] for name in WAVE_FIGURES}
    return Result(figures, ceiling, clips, prompts)


def t2i(setting: Setting) -> Result:
    """A picture from a prompt: a clip of one frame."""
    scenes, prompts = setting.scenes, prompts_of(setting.scenes)
    real = setting.codecs.reconstruct(scenes.render()[:, :, :1], scenes.sound())
    clips = setting.network.generate(prompts, frames=1, sampling=setting.sampling, report=setting.report)
    real.sound = clips.sound = None
    figures, ceiling = measure(clips, scenes), measure(real, scenes)
    keep = ("colour", "background", "shape", "fit", "one_object")
    return Result({name: figures[name] for name in keep}, {name: ceiling[name] for name in keep}, clips, prompts)


def t2a(setting: Setting) -> Result:
    """Sound alone from a prompt: the video branch does not run."""
    scenes, prompts = setting.scenes, prompts_of(setting.scenes)
    real = setting.codecs.reconstruct(scenes.render(), scenes.sound())
    clips = setting.network.generate(
        prompts, frames=scenes.frames, sampling=setting.sampling, picture=False, report=setting.report
    )
    real.video = None
    return Result(measure(clips, scenes), measure(real, scenes), clips, prompts)


def i2v(setting: Setting) -> Result:
    """Video and sound from a prompt and the first frame."""
    return _continued(setting, given=1)


def extension(setting: Setting) -> Result:
    """Video and sound from a prompt and the first five frames, which show where the object is heading."""
    return _continued(setting, given=2)


def _continued(setting: Setting, given: int) -> Result:
    """given: latent frames."""
    scenes, prompts, mini = setting.scenes, prompts_of(setting.scenes), setting.network
    frames = 1 + mini.codecs.video.temporal_scale * (given - 1)
    if scenes.frames <= frames:
        raise ValueError(f"frames {scenes.frames} leaves nothing to generate after the {frames} given: use more")
    video = scenes.render()
    real = setting.codecs.reconstruct(video, scenes.sound())
    clean = mini.encode(video)
    mask = torch.zeros_like(clean[:, :1])
    mask[:, :, :given] = 1
    clips = mini.generate(
        prompts,
        frames=scenes.frames,
        sampling=setting.sampling,
        given=Given(clean, mask, route="channels"),
        report=setting.report,
    )
    assert real.video is not None and clips.video is not None
    figures, ceiling = (
        measure_continuation(x, scenes, frames) | measure(x, scenes, given=frames) for x in (clips, real)
    )
    figures["given_psnr"] = mean(psnr(clips.video[:, :, :frames], real.video[:, :, :frames]))
    return Result(figures, ceiling, clips, prompts)


_WITHOUT_NETWORK = (detectors, verdicts, codec)
_OF_THE_CANVAS = (t2va, wave, t2i, t2a, i2v, extension, continuation, canvas, references, masks, keyframes)
_OF_THE_WORLDS = (edits, faces, layers, shots)
_OF_THE_REFINER = (refine,)
TASKS: dict[str, Callable[[Setting], Result]] = {
    task.__name__: task for task in (*_WITHOUT_NETWORK, *_OF_THE_CANVAS, *_OF_THE_WORLDS, *_OF_THE_REFINER)
}
WITHOUT_NETWORK = tuple(task.__name__ for task in (*_WITHOUT_NETWORK, *_OF_THE_REFINER))
OF_THE_REFINER = tuple(task.__name__ for task in _OF_THE_REFINER)
LENGTHS = {"t2i": 1, "continuation": FRAMES}  # frames of the clips, where the task decides
