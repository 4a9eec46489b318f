"""The view: clips as one watches and hears them, beside what they were made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import folder_paths
import torch.nn.functional as F
from comfy.cli_args import args
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from .output import fit_to_pictures
from .streaming import check_sound, workflow_of, write_video

MOST_CLIPS = 256
PEAKS = 800  # of a waveform: as many as a player is wide
POSTER = 192  # pixels along the longer side
# Fine enough for an amplified difference to show the clips and not their encoding; and x264's lookahead, which this
# preset goes without, makes other files of the same pictures now and then.
CRF, PRESET = 10.0, "ultrafast"


class SkyCanvasView(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasView",
            display_name="View Clip",
            category="SkyCanvas/output",
            description="Plays the result with its sound, frame by frame if you like, and compares it with what it was "
            "made from: side by side, with a divider, or as their difference. The clips of a batch are a strip to "
            "choose from. Saves nothing in the output folder: that is what 'Save Video' is for.",
            search_aliases=["preview video", "play video", "compare videos", "before after", "difference", "waveform"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of the clip, from 'SkyCanvas Decode' or any decoder."),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=0.1,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frames per second. Connect it to the fps of 'SkyCanvas Decode'.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound: one along all clips, or a batch with one for each. Cut or continued with "
                    "silence where it is not as long as the pictures.",
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="What the result is compared with, at the same fps. With as many frames as images: clip "
                    "by clip. Else: one clip, compared with each of them.",
                ),
                io.Audio.Input("source_audio", optional=True, tooltip="The sound of source."),
                io.Int.Input(
                    "clips",
                    default=1,
                    min=1,
                    max=MOST_CLIPS,
                    optional=True,
                    tooltip="How many clips of one length follow one another in images: the batch_size of the latent.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images, fps, audio=None, source=None, source_audio=None, clips=1) -> io.NodeOutput:
        if not 0.1 <= fps <= 1000:
            raise ValueError(f"fps is {fps:g}: use 0.1 to 1000")
        results, sources = clips_of(images, audio, clips, fps), []
        if source is not None:
            count = clips if len(source) == len(images) else 1
            sources = clips_of(source, source_audio, count, fps, "source", "source_audio")
        elif source_audio is not None:
            raise ValueError("source_audio is connected, and source is not: connect its pictures to source")
        metadata = {} if args.disable_metadata else workflow_of(cls.hidden)
        bar = ProgressBar(sum(len(clip.images) for clip in results + sources))
        tracks = [clip.write(fps, metadata, bar, poster=clips > 1) for clip in results]
        view = {"fps": fps, "clips": tracks, "sources": [clip.write(fps, {}, bar) for clip in sources]}
        if sources:
            # one source may belong to several clips
            pairs = zip(results, sources * (clips // len(sources)), strict=True)
            view["differences"] = [difference(result.images, source.images) for result, source in pairs]
        # the page that has our player hides the one that these videos would get
        shown = ui.PreviewVideo([track["video"] for track in tracks]).as_dict()
        return io.NodeOutput(ui=shown | {"skycanvas_view": [view]})


@dataclass(frozen=True)
class Clip:
    """images [F, H, W, 3 or 4]; audio just as long, or None; seconds: how long that was before it was made to fit."""

    images: Tensor
    audio: dict | None
    seconds: float

    def write(self, fps: float, metadata: dict, bar: ProgressBar, poster: bool = False) -> dict:
        """Writes it to the temp folder. Returns what the player is told of it."""
        count, height, width = self.images.shape[:3]
        path = temporary(".mp4")
        even = width + width % 2, height + height % 2
        write_video(path, self._frames(bar), even, fps, self.audio, metadata, crf=CRF, bit_depth=8, preset=PRESET)
        track = {"video": saved(path), "width": width, "height": height, "frames": count, "poster": None, "sound": None}
        if poster:
            track["poster"] = saved(write_poster(self.images[count // 2]))
        if self.audio is not None:
            waveform = self.audio["waveform"][0]
            track["sound"] = {
                "channels": len(waveform),
                "sample_rate": self.audio["sample_rate"],
                "seconds": self.seconds,
                "peaks": peaks_of(waveform),
            }
        return track

    def _frames(self, bar: ProgressBar) -> Iterator[Tensor]:
        """One by one; H.264 has even sides, so that an odd one gets its last row or column twice."""
        for image in self.images.split(1):
            bar.update(1)  # and stops here if the run is interrupted
            odd_height, odd_width = (side % 2 for side in image.shape[1:3])
            yield F.pad(rgb(image), (0, odd_width, 0, odd_height), mode="replicate").movedim(1, -1)


def clips_of(
    images: Tensor, audio: dict | None, count: int, fps: float, name: str = "images", audio_name: str = "audio"
) -> list[Clip]:
    """The clips that follow one another in an IMAGE, each with its part of an AUDIO or with its sound of a batch.

    ValueError for a count that does not divide them, and for a sound that goes with neither, or into no file.
    """
    if not images.numel():
        raise ValueError(f"{name} is empty, of shape {list(images.shape)}: connect pictures")
    total = len(images)
    if total % count:
        fitting = ", ".join(str(n) for n in range(1, min(total, MOST_CLIPS) + 1) if total % n == 0)
        raise ValueError(f"clips is {count}, {name} has {total} frames: use {fitting}")
    frames = total // count
    pictures = images.split(frames)
    if audio is None:
        return [Clip(clip, None, 0.0) for clip in pictures]
    waveform, rate = audio["waveform"], audio["sample_rate"]
    if len(waveform) not in (1, count):
        allowed = "one sound" if count == 1 else f"one sound for all, or {count}"
        held = "1 clip" if count == 1 else f"{count} clips"
        raise ValueError(f"{audio_name} is a batch of {len(waveform)} sounds, {name} is {held}: connect {allowed}")
    try:
        check_sound(audio | {"waveform": waveform[:1]})
    except ValueError as error:
        raise ValueError(str(error).replace("audio", audio_name, 1)) from None
    if not waveform.isfinite().all():
        raise ValueError(f"{audio_name} has samples that are infinite or no numbers: its model has overflowed")
    seconds = waveform.shape[-1] / rate * len(waveform) / count
    whole = fit_to_pictures(waveform, total // len(waveform), fps, rate)
    ends = [round(clip * frames / fps * rate) for clip in range(count + 1)]
    sounds = (audio | {"waveform": whole[..., start:end]} for start, end in zip(ends[:-1], ends[1:], strict=True))
    return [Clip(clip, sound, seconds) for clip, sound in zip(pictures, sounds, strict=True)]


def peaks_of(waveform: Tensor) -> list[list[float]]:
    """The largest of the absolute values in PEAKS or fewer stretches of equal length, for each channel of [C, S]."""
    loudest = F.adaptive_max_pool1d(waveform.abs().float().cpu(), min(PEAKS, waveform.shape[-1]))
    return [[round(value, 3) for value in channel] for channel in loudest.tolist()]


def difference(result: Tensor, source: Tensor) -> dict[str, list[float]]:
    """Mean and largest absolute difference of each frame that both have; the source scaled to the result's size."""
    means, largest = [], []
    for image, other in zip(result.split(1), source.split(1), strict=False):
        image, other = rgb(image), rgb(other)
        if image.shape != other.shape:
            other = F.interpolate(other, image.shape[2:], mode="bicubic", antialias=True).clamp(0, 1)
        apart = (image - other).abs().nan_to_num(nan=1.0)
        means.append(round(apart.mean().item(), 5))
        largest.append(round(apart.max().item(), 5))
    return {"mean": means, "largest": largest}


def rgb(images: Tensor) -> Tensor:
    """[F, H, W, 3 or 4] -> [F, 3, H, W], float32 on the CPU, in 0..1."""
    return images[..., :3].movedim(-1, 1).float().cpu().clamp(0, 1)


def write_poster(image: Tensor) -> Path:
    """Writes a picture [H, W, 3 or 4] small."""
    path = temporary(".jpg")
    picture = Image.fromarray((rgb(image[None])[0].movedim(0, -1) * 255).round().byte().numpy())
    picture.thumbnail((POSTER, POSTER))
    picture.save(path, quality=85)
    return path


def temporary(suffix: str) -> Path:
    """A new file in ComfyUI's temp folder, which is emptied when the server starts."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"skycanvas_{uuid4().hex}{suffix}"


def saved(path: Path) -> ui.SavedResult:
    return ui.SavedResult(path.name, "", io.FolderType.temp)
