"""Masks: a part of a clip is given and has to stay, the rest is made anew and has to fit it.

As the nodes do it: given cells are clean, with timestep 0, and shown in the condition channels; what is not given is
black before the codec sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.detectors import look
from benchmarks.quality.figures import Array, Figure, Pairs, mean, rate
from benchmarks.quality.given import Given, InContext, pixels_of
from benchmarks.quality.held_out import generator_of_conditions, prompts_of
from benchmarks.quality.metrics import (
    distances,
    inside_psnr,
    measure,
    measure_continuation,
    own_psnr,
    share_of_frames,
    signal_to_noise,
)
from benchmarks.quality.pipeline import Clips, Mini
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.strip import Tile, contact_sheet
from models.mmdit import TEMPORAL_SCALE
from training.objective import whole_cells
from training.toybox import FRAME_SIZE, HOP, SAMPLE_RATE, Scenes

GENERATOR = 20  # of the masks' random numbers
MARGIN = 2  # pixels between an object and the box around it
CENTRE = 48  # pixels, side of the box that is given for outpainting: 75 % of the frame
PREFIX = 5  # frames that an extension goes on from
ROWS, STRIDE = 2, 2  # clips of each task in the contact sheet, and frames between those that it shows


@dataclass(frozen=True)
class Task:
    """One way to give a part of clips.

    scenes: what the prompts describe. given [B, F, H, W] bool: the pixels that stay; placed: those shown in context.
    conditions: as the sampler takes them. heard: samples of the sound that stay, from the start. seen: frames that
    stay, if they are at the start.
    """

    scenes: Scenes
    given: Tensor
    placed: Tensor
    conditions: Given
    heard: int = 0
    seen: int = 0


class Source:
    """Real clips, of which the tasks give a part."""

    def __init__(self, mini: Mini, scenes: Scenes, generator: torch.Generator):
        self.mini, self.scenes, self.generator = mini, scenes, generator
        self.video, self.sound = scenes.render(), scenes.sound()
        self.latent_frames = 1 + (scenes.frames - 1) // TEMPORAL_SCALE

    def _task(self, given: Tensor, *, scenes: Scenes | None = None, latents: int = 0) -> Task:
        """given [B, F, H, W] bool: pixels, of which whole cells stay. latents: of the sound that stay."""
        codec = self.mini.codecs.video
        cells = whole_cells(given, codec.spatial_scale)
        pixels = pixels_of(cells, codec)
        conditions = Given(self.mini.encode(torch.where(pixels[:, None], self.video, -1.0)), cells)
        if latents:
            audio = self.mini.encode_sound(self.sound)
            mask = (torch.arange(audio.shape[2]) < latents).float().expand(len(audio), 1, -1)
            conditions = replace(conditions, audio=audio, audio_mask=mask)
        return Task(scenes or self.scenes, pixels, torch.zeros_like(pixels), conditions, latents * HOP)

    def _frames(self, given: Tensor) -> Tensor:
        """[B or 1, F] bool -> [B, F, H, W]"""
        return given[:, :, None, None].expand(len(self.scenes), -1, FRAME_SIZE, FRAME_SIZE)

    @property
    def _index(self) -> Tensor:
        """Numbers of the frames, [1, F]."""
        return torch.arange(self.scenes.frames)[None]

    def first_and_last_frame(self) -> Task:
        """The first frame fills its latent frame; the last one stands for a quarter of its own, so it is a patch."""
        task, last = self._task(self._frames(self._index == 0)), self.scenes.frames - 1
        context = InContext(self.mini.encode(self.video[:, :, -1:]), [(last / TEMPORAL_SCALE,)] * len(self.scenes))
        conditions = replace(task.conditions, video_context=(context,))
        return replace(task, placed=self._frames(self._index == last), conditions=conditions)

    def any_frames(self) -> Task:
        """Some latent frames, at least one and not all."""
        rank = torch.rand(len(self.scenes), self.latent_frames, generator=self.generator).argsort(1).argsort(1)
        count = 1 + torch.arange(len(self.scenes)) % (self.latent_frames - 1)
        latent_of = -(-self._index[0] // TEMPORAL_SCALE)
        return self._task(self._frames((rank < count[:, None])[:, latent_of]))

    def inpainting(self) -> Task:
        """All but a box that moves with the object, which shall have another colour."""
        colours = len(self.scenes.level.colours)
        change = torch.randint(1, colours, (len(self.scenes),), generator=self.generator)
        recoloured = replace(self.scenes, colour=(self.scenes.colour + change) % colours)
        place = self.scenes.positions()[..., None]  # [B, F, 2, 1]
        reach = self.scenes.radius()[:, None, None, None] + MARGIN
        inside = (torch.arange(FRAME_SIZE) + 0.5 - place).abs() <= reach  # [B, F, 2, pixel]
        box = inside[:, :, 1, :, None] & inside[:, :, 0, None, :]
        return self._task(~box, scenes=recoloured)

    def outpainting(self) -> Task:
        """The middle of the picture."""
        inside = (torch.arange(FRAME_SIZE) + 0.5 - FRAME_SIZE / 2).abs() < CENTRE / 2
        box = inside[:, None] & inside
        return self._task(box.expand(len(self.scenes), self.scenes.frames, -1, -1))

    def extension(self) -> Task:
        """The first frames and their sound."""
        latents = int(PREFIX / self.scenes.fps * SAMPLE_RATE / HOP)
        return replace(self._task(self._frames(self._index < PREFIX), latents=latents), seen=PREFIX)

    def picture(self) -> Task:
        return self._task(self._frames(self._index >= 0))

    def whole_sound(self) -> Task:
        return self._task(self._frames(self._index < 0), latents=self.sound.shape[-1] // HOP)


def measured(clips: Clips, task: Task, source: Source) -> dict[str, Figure]:
    """What was given stays, what was made fits it and the prompt."""
    assert clips.video is not None and clips.sound is not None
    given, scenes, figures = task.given, task.scenes, {}
    made = ~(given | task.placed)
    counted = made.flatten(2).any(2)  # frames that are not shown as a whole
    sight = look(clips.video, scenes.level)

    def against(matrix: Array) -> Figure:
        return rate(Pairs.of(matrix, np.ones(len(matrix))))

    if given.any():
        figures["kept_psnr"] = mean(own_psnr(clips.video, source.video, given))
    if heard := max(0, task.heard - HOP):  # the last hop overlaps with what follows
        figures["kept_snr"] = mean(signal_to_noise(clips.sound[..., :heard], source.sound[..., :heard]))
    if task.placed.any():
        figures["placed_psnr"] = against(inside_psnr(clips.video, source.video, task.placed))
    if given.any() and made.any():
        figures["made_psnr"] = against(inside_psnr(clips.video, scenes.render(), made))
        figures["made_away"] = against(distances(sight.track, scenes, counted))
    if made.any():
        figures["colour"] = share_of_frames(sight.colour, scenes.colour, counted)
        if scenes is not source.scenes:
            figures["old_colour"] = share_of_frames(sight.colour, source.scenes.colour, counted)
        figures["shape"] = share_of_frames(sight.shape, scenes.shape, counted)
        figures["one_object"] = mean(((sight.parts == 1) & counted).sum(1), counted.sum(1))
    if task.seen:
        figures |= measure_continuation(clips, scenes, task.seen)
    if task.heard or not made.any():
        read = measure(clips, scenes)
        names = ("sync", "sync_gain", "answered", *(() if task.heard else ("pitch", "timbre")))
        figures |= {name: read[name] for name in names}
    return figures


def masks(setting: Setting) -> Result:
    """Clips of which a part is given by a mask."""
    if setting.scenes.frames <= PREFIX:
        raise ValueError(f"frames {setting.scenes.frames} leaves nothing to make after the {PREFIX} given: use more")
    generator = generator_of_conditions(setting.sampling.seed, GENERATOR)
    source = Source(setting.network, setting.scenes, generator)
    tasks = {
        "first and last frame": source.first_and_last_frame(),
        "any frames": source.any_frames(),
        "inpainting, another colour": source.inpainting(),
        "outpainting": source.outpainting(),
        "extension, sound kept": source.extension(),
        "picture kept, sound made": source.picture(),
        "sound kept, picture made": source.whole_sound(),
    }
    figures: dict[str, Figure] = {}
    ceiling: dict[str, Figure] = {}
    rows: list[tuple[str, list[Tile | None]]] = []
    for name, task in tasks.items():
        setting.report(name)
        scenes, prompts = task.scenes, prompts_of(task.scenes)
        clips = source.mini.generate(prompts, frames=scenes.frames, sampling=setting.sampling, given=task.conditions)
        best = setting.codecs.reconstruct(scenes.render(), scenes.sound())
        for result, made in ((figures, clips), (ceiling, best)):
            result.update({f"{name}/{key}": figure for key, figure in measured(made, task, source).items()})
        assert clips.video is not None
        for i in range(ROWS):
            frames = range(0, scenes.frames, STRIDE)
            tiles = [Tile(clips.video[i, :, f], (task.given | task.placed)[i, f]) for f in frames]
            rows.append((f"{name}: {prompts[i]}", [Tile(source.video[i, :, scenes.frames // 2]), None, *tiles]))
    return Result(figures, ceiling, picture=contact_sheet(rows))
