"""What a batch is conditioned on beside its text: VideoCanvas patches, references of pictures, clips and voices, and
what the paired worlds edit; and the keyframes that are made beside its clips.

All rows of a batch have the same kinds of conditions, at the same times, so that their tokens form one tensor; what
they show differs from row to row. Everything is rendered and encoded when it is needed.
"""

import random
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from models.audio_vae import AudioVAE
from models.mmdit import AUDIO_LATENT_RATE, TEMPORAL_SCALE, Context
from models.video_vae import VideoVAE
from training.objective import whole_cells
from training.stages import EDIT_GIVEN, LAYOUTS, OFTEN, WORLDS_TOGETHER
from training.toybox import FRAME_SIZE, HOP, Scenes, sample_scenes, subject_pictures
from training.worlds import WORLDS, Example
from training.worlds.example import VIDEO, VOICE, joined

# Nothing: text alone, and what the masks give.
KINDS = ("nothing", "patches", "references", "worlds", "keyframes")
PATCHES = {1: 0.4, 2: 0.25, 3: 0.15, 4: 0.1, 6: 0.1}  # how many frames a patch is taken from
# How many keyframes a clip has, and how many times larger than the clip they are.
KEYFRAMES = {1: 0.45, 2: 0.35, 3: 0.2}
KEYFRAME_SCALES = {1: 0.2, 2: 0.8}
# Chance of each reference in a batch of references; one at least is there.
REFERENCES = {"subject": 0.6, "background": 0.35, "motion": 0.15, "sound": 0.35}
TAGS = {"subject": "@image_1", "background": "@image_2", "motion": "@video_1", "sound": "@audio_0"}
SMALLEST_PATCH = 0.2  # of the frame's width and height (VideoCanvas, training recipe: 20 % to 100 %)
MOTION_FRAMES = 17
PACE = 58.0  # pixels per second of what sounds in a voice
VOICE_LATENTS = 22  # about half a second
CLIPS_READ = 0.25  # share of the batches whose text encoder sees the clip to edit: all of its frames are costly to read
AROUND = 4  # pixels between what an edit changes and the mask around it
SOUND_SAID = 0.5  # chance that a caption with a subject for reference says how it sounds


@dataclass
class Conditions:
    """Raw latents and their times, for MMDiT.forward once they are normalised.

    references: part of the scene -> its tag, for the caption. media: for each row, tag -> what the text encoder sees
    (pictures [F, H, W, 3] in 0..1, sounds [1, S]). sound: waveform [B, 1, S] of the target where it is not the scenes'.
    clip [B, 3, F, H, W] and captions: the target of a world and its prompts. given: shares of the masks, as GIVEN in
    training/objective.py; None: the usual ones. unedited [B, 1, T, h, w]: the cells that an edit leaves alone.
    keyframes [B, C, K, s * h, s * w]: pictures to make beside the clip, each encoded alone, at scale s.
    """

    video: list[Context] = field(default_factory=list)
    audio: list[Context] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)
    media: list[dict[str, Tensor]] = field(default_factory=list)
    sound: Tensor | None = None
    clip: Tensor | None = None
    captions: list[str] = field(default_factory=list)
    given: dict[str, float] | None = None
    unedited: Tensor | None = None
    keyframes: Context | None = None


def zero_padded_patch(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Cuts a random rectangle out of each row and sets all else to 0 (mid grey). [B, 3, 1, H, W] -> the same shape"""
    rows, mask = len(frames), torch.ones(1, dtype=torch.bool)
    for axis, size in ((-2, frames.shape[-2]), (-1, frames.shape[-1])):
        share = SMALLEST_PATCH + (1 - SMALLEST_PATCH) * torch.rand(rows, 1, generator=generator)
        length = (size * share).round().clamp(min=1)
        start = (torch.rand(rows, 1, generator=generator) * (size - length + 1)).floor()
        place = torch.arange(size)
        inside = (place >= start) & (place < start + length)
        mask = mask & inside.view(rows, 1, 1, *((-1, 1) if axis == -2 else (1, -1)))
    return frames * mask


def still(scenes: Scenes, frame: int) -> Scenes:
    """One frame of each scene."""
    return replace(scenes, start=scenes.positions()[:, frame], frames=1)


def reference_times(latent_frames: int, before: int) -> list[float]:
    """Negative times of a reference's latent frames, `before` latent frames of references coming after it (eq. 9)."""
    return [float(i - latent_frames - before) for i in range(latent_frames)]


def voice_times(latents: int, frame_rate: float) -> list[float]:
    """Times of a voice's latents, in latent video frames: as if it were heard just before the clip begins."""
    return [((i + 0.5 - latents) / AUDIO_LATENT_RATE * frame_rate - 0.5) / TEMPORAL_SCALE for i in range(latents)]


def with_other_voices(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """The scenes as they sound when a voice replaces the object's own: any shape's timbre, any colour's pitch."""
    shape, colour = (
        torch.randint(len(scenes.level.choices(name)), (len(scenes),), generator=generator)
        for name in ("shape", "colour")
    )
    return replace(scenes, shape=shape, colour=colour)


def voices(scenes: Scenes, generator: torch.Generator) -> Tensor:
    """About half a second in which each scene's object hits a wall once. [B, 1, S]"""
    clips = len(scenes)
    until = 0.04 + 0.2 * torch.rand(clips, generator=generator)  # seconds
    start = torch.stack([FRAME_SIZE - scenes.radius() - PACE * until, torch.full((clips,), FRAME_SIZE / 2)], dim=1)
    velocity = torch.tensor([PACE, 1.0]).expand(clips, -1)
    hit = replace(scenes, start=start, velocity=velocity, frames=MOTION_FRAMES)
    return hit.sound()[..., : VOICE_LATENTS * HOP]


class ConditionMaker:
    """Renders and encodes conditions with the codecs of the model that is trained."""

    def __init__(self, video_vae: VideoVAE, audio_vae: AudioVAE):
        self.video_vae, self.audio_vae = video_vae, audio_vae

    @torch.no_grad()
    def make(self, kind: str, scenes: Scenes, chooser: random.Random, generator: torch.Generator) -> Conditions:
        """Conditions of one of KINDS. `chooser` decides what all ranks share, `generator` what each row shows."""
        if kind == "patches":
            return self._patches(scenes, chooser, generator)
        if kind == "references":
            return self._references(scenes, chooser, generator)
        if kind == "worlds":
            return self._worlds(scenes, chooser, generator)
        if kind == "keyframes":
            return self._keyframes(scenes, chooser)
        return Conditions()

    def _patches(self, scenes: Scenes, chooser: random.Random, generator: torch.Generator) -> Conditions:
        count = min(scenes.frames, chooser.choices(list(PATCHES), list(PATCHES.values()))[0])
        context: list[Context] = []
        for frame in sorted(chooser.sample(range(scenes.frames), count)):
            patch = zero_padded_patch(still(scenes, frame).render(), generator)
            context.append((self.video_vae.encode(patch), [frame / TEMPORAL_SCALE]))
        return Conditions(video=context)

    def _keyframes(self, scenes: Scenes, chooser: random.Random) -> Conditions:
        count, scale = (
            chooser.choices(list(shares), list(shares.values()))[0] for shares in (KEYFRAMES, KEYFRAME_SCALES)
        )
        frames = sorted(chooser.sample(range(scenes.frames), count))
        stills = [replace(still(scenes, frame), scale=scale).render() for frame in frames]
        latent = torch.cat([self.video_vae.encode(picture) for picture in stills], dim=2)
        return Conditions(keyframes=(latent, [frame / TEMPORAL_SCALE for frame in frames]))

    def _references(self, scenes: Scenes, chooser: random.Random, generator: torch.Generator) -> Conditions:
        kinds = [kind for kind, share in REFERENCES.items() if chooser.random() < share] or ["subject"]
        made = Conditions(references={kind: TAGS[kind] for kind in kinds}, media=[{} for _ in range(len(scenes))])
        clips: list[Tensor] = []
        for kind in kinds:
            if kind == "sound":
                self._voice(made, scenes, generator)
                continue
            clip = self._picture(kind, scenes, generator)  # [B, 3, F, 64, 64]
            clips.append(self.video_vae.encode(clip))
            for row, pixels in zip(made.media, (clip.movedim(1, -1) + 1) / 2, strict=True):
                row[TAGS[kind]] = pixels
        after = 0
        for latent in reversed(clips):
            made.video.insert(0, (latent, reference_times(latent.shape[2], after)))
            after += latent.shape[2]
        return made

    def _picture(self, kind: str, scenes: Scenes, generator: torch.Generator) -> Tensor:
        """The subject somewhere else, the empty background, or something else that moves in the same way."""
        if kind == "background":
            return scenes.background_picture()
        if kind == "subject":
            return subject_pictures(scenes, generator)
        other = sample_scenes(len(scenes), frames=MOTION_FRAMES, level=scenes.level, generator=generator)
        return replace(other, size=scenes.size, start=scenes.start, velocity=scenes.velocity).render()

    def _voice(self, made: Conditions, scenes: Scenes, generator: torch.Generator) -> None:
        """Another pitch and timbre than the object would have, heard once in the reference."""
        voiced = with_other_voices(scenes, generator)
        made.sound, heard = voiced.sound(), voices(voiced, generator)
        latent = self.audio_vae.encode(heard)
        made.audio.append((latent, voice_times(latent.shape[2], scenes.fps)))
        for row, waveform in zip(made.media, heard, strict=True):
            row[TAGS["sound"]] = waveform

    def _worlds(self, scenes: Scenes, chooser: random.Random, generator: torch.Generator) -> Conditions:
        """Several worlds of one layout share the batch."""
        layout = chooser.choices(list(LAYOUTS), list(LAYOUTS.values()))[0]
        names = [name for name, world in WORLDS.items() if world.layout == layout]
        # A batch has one set of tags, so worlds with pictures come one at a time.
        count = 1 if layout == "clip and picture" else min(WORLDS_TOGETHER, len(names), len(scenes))
        words = random.Random(int(torch.randint(2**31, (), generator=generator)))
        rows = torch.arange(len(scenes)).tensor_split(count)
        # Weighted, without repeats: those with the largest of random numbers to the power of 1 / weight.
        names.sort(key=lambda name: chooser.random() ** (1 / OFTEN.get(name, 1.0)), reverse=True)
        picked = zip(names[:count], rows, strict=True)
        made = [WORLDS[name].make(scenes.select(index, scenes.frames), generator, words) for name, index in picked]
        conditions = self.of_example(joined(made), scenes.fps, pictures_first=chooser.random() < 0.5)
        if chooser.random() >= CLIPS_READ:
            for row in conditions.media:
                row.pop(VIDEO, None)
        return conditions

    @torch.no_grad()
    def of_example(self, example: Example, fps: float, *, pictures_first: bool = True) -> Conditions:
        """An example of a world. pictures_first: references are in the order in which an artist adds them."""
        media: list[dict[str, Tensor]] = [{} for _ in range(len(example))]
        given = {example.given: 1.0} if example.given != "nothing" else None
        shown = dict(example.pictures)
        if example.source is not None:
            given = given or EDIT_GIVEN
            clip = {VIDEO: example.source}
            shown = {**shown, **clip} if pictures_first else {**clip, **shown}
        made = Conditions(media=media, sound=example.sound, clip=example.video, captions=example.captions, given=given)
        if given is EDIT_GIVEN:
            made.unedited = whole_cells(example.unchanged(AROUND), self.video_vae.spatial_scale)
        after = 0
        for tag, clip in reversed(shown.items()):
            latent = self.video_vae.encode(clip)
            made.video.insert(0, (latent, reference_times(latent.shape[2], after)))
            after += latent.shape[2]
            for row, pixels in zip(media, (clip.movedim(1, -1) + 1) / 2, strict=True):
                row[tag] = pixels
        if example.voice is not None:
            latent = self.audio_vae.encode(example.voice)
            made.audio.append((latent, voice_times(latent.shape[2], fps)))
            for row, waveform in zip(media, example.voice, strict=True):
                row[VOICE] = waveform
        return made
