"""Does Mini take subject, background and voice from references? Their tags stand in the caption for the words."""

from __future__ import annotations

from torch import Tensor

from benchmarks.quality.figures import Figure
from benchmarks.quality.given import Given, InContext
from benchmarks.quality.held_out import generator_of_conditions
from benchmarks.quality.metrics import measure
from benchmarks.quality.pipeline import Clips, Mini
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.strip import Tile, contact_sheet
from training.captions import SOUND, caption
from training.conditions import TAGS, reference_times, subject_pictures, voice_times, voices, with_other_voices
from training.toybox import Scenes

GENERATOR = 10  # of the references' random numbers
# What is shown -> the parts of the scene that references stand for.
WAYS = {
    "subject by @image_1": ("subject",),
    "background by @image_2": ("background",),
    "voice by @audio_0": ("sound",),
    "all three": ("subject", "background", "sound"),
}
# Figures of what a part of the scene looks or sounds like -> their names where a reference shows that part.
SHOWN = {
    "subject": {"colour": "reference_colour", "shape": "reference_shape"},
    "background": {"background": "reference_background"},
    "sound": {"pitch": "voice_pitch", "timbre": "voice_timbre"},
}
ROWS, STRIDE = 3, 4  # clips of each way in the contact sheet, and frames between those that it shows


def captions_of(scenes: Scenes, parts: tuple[str, ...]) -> list[str]:
    """Canonical captions with tags. Those with a subject do not say how it sounds: that would tell what it is."""
    captions = []
    for i in range(len(scenes)):
        attributes = scenes.attributes(i)
        if "subject" in parts:
            attributes = {name: value for name, value in attributes.items() if name not in SOUND}
        captions.append(caption(attributes, references={part: TAGS[part] for part in parts}))
    return captions


def given_references(mini: Mini, shown: dict[str, Tensor], fps: float) -> Given:
    """shown: part of the scene -> pictures [B, 3, 1, H, W] or sounds [B, 1, S]; the last picture comes last in time."""
    clips = len(next(iter(shown.values())))
    media: list[dict[str, Tensor]] = [{} for _ in range(clips)]
    pictures: list[Tensor] = []
    sounds: tuple[InContext, ...] = ()
    for part, x in shown.items():
        for row, medium in zip(media, x if part == "sound" else (x.movedim(1, -1) + 1) / 2, strict=True):
            row[TAGS[part]] = medium
        if part == "sound":
            latent = mini.encode_sound(x)
            sounds = (InContext(latent, [tuple(voice_times(latent.shape[2], fps))] * clips),)
        else:
            pictures.append(mini.encode(x))
    after = sum(latent.shape[2] for latent in pictures)
    context = []
    for latent in pictures:
        after -= latent.shape[2]
        context.append(InContext(latent, [tuple(reference_times(latent.shape[2], after))] * clips))
    return Given(video_context=tuple(context), audio_context=sounds, media=media)


def figures_of(parts: tuple[str, ...]) -> dict[str, str]:
    """What to measure where references show those parts: figure -> its name, the prompt's or the reference's."""
    said = {name: name for part, names in SHOWN.items() if part not in parts for name in names}
    if "subject" in parts:
        said = {name: name for name in said if name not in SHOWN["sound"]}  # nobody says how it sounds
    shown = {name: label for part in parts for name, label in SHOWN[part].items()}
    return {**shown, **said, "one_object": "one_object"}


def references(setting: Setting) -> Result:
    """Clips whose subject, background, voice, or all of them are shown instead of said."""
    scenes, mini = setting.scenes, setting.network
    generator = generator_of_conditions(setting.sampling.seed, GENERATOR)
    voiced = with_other_voices(scenes, generator)
    shown = {
        "subject": subject_pictures(scenes, generator),
        "background": scenes.background_picture(),
        "sound": voices(voiced, generator),
    }
    video = scenes.render()
    figures: dict[str, Figure] = {}
    ceiling: dict[str, Figure] = {}
    rows: list[tuple[str, list[Tile | None]]] = []
    for way, parts in WAYS.items():
        setting.report(way)
        prompts = captions_of(scenes, parts)
        given = given_references(mini, {part: shown[part] for part in parts}, scenes.fps)
        clips = mini.generate(prompts, frames=scenes.frames, sampling=setting.sampling, given=given)
        heard = voiced if "sound" in parts else scenes
        real = setting.codecs.reconstruct(video, heard.sound())
        for result, made in ((figures, clips), (ceiling, real)):
            read = measure(made, scenes) | measure(Clips(None, made.sound), heard)
            result.update({f"{way}/{label}": read[name] for name, label in figures_of(parts).items()})
        assert clips.video is not None
        for i in range(min(ROWS, len(prompts))):
            pictures: list[Tile | None] = [Tile(shown[part][i, :, 0]) for part in parts if part != "sound"]
            frames = [Tile(clips.video[i, :, f]) for f in range(0, scenes.frames, STRIDE)]
            rows.append((prompts[i], [*pictures, None, *frames]))
    return Result(figures, ceiling, picture=contact_sheet(rows))
