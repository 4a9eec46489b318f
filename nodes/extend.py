"""Long clips, part by part (VideoCanvas: long extension and loop): each part sees the last frames of the one before.

Every part is a canvas of its own, with those frames and their sound placed at its start (in a loop the last part has
the first frames at its end), so memory for sampling depends on the part, not on the clip.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import compile_canvas
from ..canvas.compose import compose_audio, compose_video
from ..canvas.sound import resample
from ..carriers.carrier import USUAL_WAY, carrier_of
from .latent import nearest
from .output import decode, sample_rate_of
from .prompt import show
from .sampling import SCHEDULES, guidance_inputs, make_guider, sample_latent
from .types import waveform_of

FEATHER = 10.0  # milliseconds of new sound that are drawn towards the old one, so that no seam clicks
MOST_FRAMES = 100_000


@dataclass(frozen=True)
class Part:
    """Frames `first` to `end` (not included) of the long clip. The first `before` of them are there already; the last
    `after` are the beginning of the clip again, and are not shown twice."""

    first: int
    end: int
    before: int
    after: int

    @property
    def new(self) -> range:
        """Frames that this part adds."""
        return range(self.first + self.before, self.end - self.after)


def parts_of(given: int, length: int, window: int, overlap: int, loop: bool, temporal: int = 4) -> Iterator[Part]:
    """How a clip of `given` frames grows to `length` frames in parts of at most `window`, all of 4n+1 frames.

    overlap: frames of 4n+1 that each part shares with the one before. loop: the last part leads back to the beginning.
    temporal: frames of a latent frame, where they are not 4.
    """
    head = overlap - 1 if loop else 0  # the end of a canvas falls into whole latent frames
    at_last = window - overlap - head
    done = given
    while done < length:
        before = min(overlap, (done - 1) // temporal * temporal + 1)
        left, room = length - done, window - before
        last = left <= (at_last if loop else room)
        new = left if last else min(room, left - at_last) if loop else room
        after = head if last else 0
        yield Part(done - before, done + new + after, before, after)
        done += new


class SkyCanvasExtend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasExtend",
            display_name="Extend Clip",
            category="SkyCanvas/sampling",
            description="Continues a clip and its sound for as long as you like, part by part, or leads it back to its "
            "beginning. What you give stays exact. Put several one after the other to change the prompt on the way. "
            "Memory depends on the length of a part, not on that of the clip.",
            search_aliases=["long video", "video extension", "continue", "loop", "autoregressive"],
            inputs=[
                io.Model.Input("model", tooltip="The model that makes picture and sound, patched as you like."),
                io.Conditioning.Input("positive", tooltip="What should go on."),
                io.Conditioning.Input("negative", tooltip="What should not; often an empty prompt."),
                io.Vae.Input("vae", tooltip="The VAE of the pictures."),
                io.Vae.Input("audio_vae", tooltip="The VAE of the sound."),
                io.Image.Input("images", tooltip="The clip so far, at least one frame. Its size is the result's."),
                io.Float.Input(
                    "frame_rate", default=16.0, min=1.0, max=120.0, step=1.0, tooltip="Frames per second of the clip."
                ),
                io.Int.Input(
                    "length",
                    default=201,
                    min=5,
                    max=MOST_FRAMES,
                    step=4,
                    tooltip="Frames of the whole result, the given ones among them. It grows by multiples of 4.",
                ),
                io.Int.Input(
                    "window",
                    default=33,
                    min=9,
                    max=4097,
                    step=4,
                    tooltip="Frames that are in sight at once, 4n+1 (LTX-2: 8n+1). More hold together better, and "
                    "take more memory.",
                ),
                io.Int.Input(
                    "overlap",
                    default=9,
                    min=1,
                    max=4093,
                    step=4,
                    tooltip="Frames that each part sees of what comes before it, 4n+1 (LTX-2: 8n+1). They carry the "
                    "motion on.",
                ),
                io.Boolean.Input(
                    "loop", default=False, tooltip="Leads back to the first frame, so that the clip can run for ever."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise of the first part; each further part takes the next number.",
                ),
                io.Int.Input("steps", default=30, min=1, max=10000, tooltip="Steps of the sampler for each part."),
                *guidance_inputs(),
                io.Combo.Input(
                    "schedule",
                    options=SCHEDULES,
                    default=SCHEDULES[0],
                    tooltip="ordinary: all frames of a part at once. wave: earlier frames ahead of later ones.",
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="The sound of the clip so far. Without it, that part is silent."
                ),
            ],
            outputs=[io.Image.Output(display_name="images"), io.Audio.Output(display_name="audio")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        vae,
        audio_vae,
        images,
        frame_rate,
        length,
        window,
        overlap,
        loop,
        seed,
        steps,
        video_guidance,
        audio_guidance,
        cross_modal,
        schedule,
        audio=None,
    ) -> io.NodeOutput:
        carrier = carrier_of(model)
        carrier.check_vaes(vae, audio_vae)
        temporal = carrier.video.temporal
        check_lengths(len(images), length, window, overlap, loop, temporal)
        if not 0 < frame_rate < math.inf:
            raise ValueError(f"frame_rate is {frame_rate}: use the frames per second of the clip, more than 0")
        rate = sample_rate_of(audio_vae)

        def sample_of(frame: int) -> int:
            return round(frame / frame_rate * rate)

        pictures, sound = images[..., :3].cpu(), given_sound(audio, rate, sample_of(len(images)))
        parts = list(parts_of(len(images), length, window, overlap, loop, temporal))
        head = pictures[: parts[-1].after], sound[:, : sample_of(parts[-1].after)]
        clip, waveform = [pictures], [sound]
        for number, part in enumerate(parts):
            comfy.model_management.throw_exception_if_processing_interrupted()
            show(cls, [f"Part {number + 1} of {len(parts)}: frames {part.new.start} to {part.new.stop - 1}"])
            tail = pictures[-part.before :], sound[:, sample_of(part.first) - sample_of(part.new.start) :]
            canvas = part_canvas(part, tail, head, frame_rate, rate)
            plan = compile_canvas(canvas, carrier.video, carrier.audio)
            texts, latent = carrier.compile(canvas, plan, (positive, negative), vae, audio_vae)
            guider = make_guider(model, *texts, video_guidance, audio_guidance, cross_modal)
            latent = sample_latent(guider, latent, (seed + number) % 2**64, steps, schedule=schedule)
            made, heard, _ = decode(latent, vae, audio_vae)
            pictures = compose_video(canvas, made)[part.before : len(made) - part.after].cpu()
            begin, end = (sample_of(frame) - sample_of(part.first) for frame in (part.new.start, part.new.stop))
            heard = compose_audio(canvas, heard["waveform"], rate, FEATHER)[0].cpu()
            # where frames end between two samples, rounding may have left out the last one of a part
            heard = F.pad(heard[None], (0, max(0, end - heard.shape[1])), mode="replicate")[0]
            clip.append(pictures)
            waveform.append(heard[:, begin:end])
            # the next part sees the end of this one, and of what came before it if this one is short
            pictures = torch.cat([tail[0], pictures])[-overlap:]
            sound = joined([tail[1], waveform[-1]])
        result = {"waveform": joined(waveform)[None], "sample_rate": rate}
        report = f"{length} frames: {len(images)} given, {length - len(images)} made in {len(parts)} parts"
        limits = map(str, carrier.limits(plan, USUAL_WAY))
        return io.NodeOutput(torch.cat(clip), result, ui=show(cls, [report, *limits]))


def check_lengths(given: int, length: int, window: int, overlap: int, loop: bool, temporal: int = 4) -> None:
    """ValueError if the clip cannot be made so long in such parts; temporal: frames of a latent frame."""
    for name, value in (("window", window), ("overlap", overlap)):
        if value < 1 or value % temporal != 1:
            raise ValueError(f"{name} {value} is not {temporal}n+1: {nearest(value, temporal, 1)}")
    if length <= given:
        raise ValueError(
            f"length {length} is no more than the {given} frames that images has: use {given + temporal} or more"
        )
    if (length - given) % temporal:
        raise ValueError(
            f"length {length} adds {length - given} frames to the {given} of images, which is no multiple of "
            f"{temporal}: {nearest(length, temporal, given % temporal)}"
        )
    least = overlap + temporal + (overlap - 1 if loop else 0)
    if window < least:
        kind = "a loop with this overlap" if loop else "this overlap"
        raise ValueError(
            f"window {window} leaves no new frame beside the overlap {overlap}: {kind} needs {least} or more"
        )
    if loop and given < overlap - 1:
        raise ValueError(
            f"images has {given} frames, a loop leads back to its first {overlap - 1}: use a longer clip, or an "
            f"overlap of {given // temporal * temporal + 1}"
        )


def given_sound(audio: dict | None, rate: int, samples: int) -> Tensor:
    """The sound of the given frames, [C, samples]: resampled, cut or filled with silence."""
    if audio is None:
        return torch.zeros(1, samples)
    waveform, own_rate = waveform_of(audio)
    canvas = Canvas.new(1, 1, 1, 1.0).reference(waveform, kind="sound", sample_rate=own_rate)  # checked, 2 channels
    waveform = resample(*canvas.media.values(), own_rate, rate)[:, :samples]
    return F.pad(waveform, (0, samples - waveform.shape[1]))


def joined(sounds: Sequence[Tensor]) -> Tensor:
    """One sound after the other, each [1 or 2, samples]; in stereo if any of them is."""
    channels = max(map(len, sounds))
    return torch.cat([sound.expand(channels, -1) for sound in sounds], dim=1)


def part_canvas(
    part: Part, tail: tuple[Tensor, Tensor], head: tuple[Tensor, Tensor], frame_rate: float, rate: int
) -> Canvas:
    """A part's canvas. tail, head: what comes before it and after it, each as pictures and sound [C, samples]."""
    _, height, width, _ = tail[0].shape
    frames = part.end - part.first
    canvas = Canvas.new(width, height, frames, frame_rate).place_clip(tail[0], frame_rate).place_sound(tail[1], rate)
    if part.after:
        start = frames - part.after
        canvas = canvas.place_clip(head[0], frame_rate, frame=start)
        canvas = canvas.place_sound(head[1], rate, time=start / frame_rate)
    return canvas
