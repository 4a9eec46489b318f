"""Long clips, frame by frame: from a latent into a file, and from a file into a latent.

As pictures in memory, 15 seconds at 1080p and 32 frames per second are 12 GB; as a latent they are a few MB.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

import av
import folder_paths
import numpy as np
import torch
import torch.nn.functional as F
from comfy.cli_args import args
from comfy_api.latest import InputImpl, io, ui
from torch import Tensor

from ..canvas.document import MAX_FRAMES, MAX_SIDE
from ..carriers.carrier import finish
from ..carriers.streaming import check_length, decode_frames, decoded_shape, encode_frames, temporal_scale
from .files import MOST_PIXELS, MOST_SECONDS, ToImage, sound_pieces, sound_stream
from .latent import nearest, split_latent
from .output import decode_sound, fit_to_pictures, rate_of_latent
from .prompt import show
from .types import waveform_of

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # that 'Save Video' writes, by channels

# --- into a file


class SkyCanvasDecodeToFile(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasDecodeToFile",
            display_name="Decode to File",
            category="SkyCanvas/output",
            description="Turns a latent into a video in the output folder, frame by frame: takes no more memory for a "
            "long clip than for a short one. Does what a decoder, 'Create Video' and 'Save Video' do together. Clips "
            "of a batch follow one another.",
            search_aliases=["vae decode", "save video", "long video", "out of memory", "streaming"],
            inputs=[
                io.Latent.Input("samples", tooltip="A joint latent or a video latent, from the sampler."),
                io.Vae.Input("vae", tooltip="The VAE of the pictures."),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frames per second. 0 takes the frame rate of the latent.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="video/SkyCanvas",
                    tooltip="Where the file goes in the output folder, and how its name starts. As in 'Save Video'.",
                ),
                io.Vae.Input(
                    "audio_vae", optional=True, tooltip="The VAE of the sound: decodes the sound of a joint latent."
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="Another sound instead. It is written whole, also if it is longer."
                ),
                io.Float.Input(
                    "crf",
                    default=23.0,
                    min=0.0,
                    max=51.0,
                    step=1.0,
                    optional=True,
                    tooltip="Lower values produce higher quality and larger files.",
                ),
                io.Int.Input(
                    "bit_depth",
                    default=8,
                    min=8,
                    max=10,
                    step=2,
                    optional=True,
                    advanced=True,
                    tooltip="10 keeps smooth gradients without bands, but some players cannot show it.",
                ),
            ],
            outputs=[io.Video.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, samples, vae, fps, filename_prefix, audio_vae=None, audio=None, crf=23.0, bit_depth=8
    ) -> io.NodeOutput:
        joint = samples["samples"].is_nested
        video = (split_latent(samples)[0] if joint else finish(samples))["samples"]
        _, count, height, width = decoded_shape(vae, video)
        for name, side in (("width", width), ("height", height)):
            if side % 2:
                raise ValueError(f"{name} {side} is odd, which H.264 cannot hold: {nearest(side, 2)}")
        rate = frame_rate(samples, fps)
        if audio_vae is not None:
            audio = sound_of_latent(samples, audio_vae, count, rate, audio)
        check_sound(audio)
        metadata = {} if args.disable_metadata else workflow_of(cls.hidden)
        frames = decode_frames(vae, video)
        folder, *_ = place_of(filename_prefix, width, height)
        aside = folder / f".{uuid4().hex}.partial"
        try:
            write_video(aside, frames, (width, height), rate, audio, metadata, crf=crf, bit_depth=bit_depth)
            folder, file, subfolder = place_of(filename_prefix, width, height)  # a name that is still free
            os.replace(aside, folder / file)
        finally:
            aside.unlink(missing_ok=True)
        saved = ui.SavedResult(file, subfolder, io.FolderType.output)
        return io.NodeOutput(InputImpl.VideoFromFile(str(folder / file)), ui=ui.PreviewVideo([saved]))


def frame_rate(latent: dict, fps: float) -> float:
    """Frames per second: those that are asked for, else the latent's own. ValueError if it has none."""
    samples = latent["samples"]
    rate = fps or latent.get("frame_rate")
    if not rate and samples.is_nested:
        rate = rate_of_latent(latent)
    if not rate:
        raise ValueError("fps is 0, and the latent has no frame rate of its own: set fps")
    if not 0.1 <= rate <= 1000:
        raise ValueError(f"fps is {rate:g}: use 0.1 to 1000")
    return rate


def sound_of_latent(latent: dict, audio_vae, frames: int, rate: float, audio: dict | None) -> dict:
    """AUDIO of a joint LATENT, exactly as long as its clips of so many frames."""
    if audio is not None:
        raise ValueError("audio and audio_vae are both connected: the file has one sound; disconnect one of them")
    waveform, sample_rate = decode_sound(split_latent(latent)[1]["samples"], audio_vae)
    return {"waveform": fit_to_pictures(waveform, frames, rate, sample_rate), "sample_rate": sample_rate}


def check_sound(audio: dict | None) -> None:
    """ValueError if AAC cannot hold it."""
    if audio is None:
        return
    waveform, sample_rate = waveform_of(audio)
    if len(waveform) not in LAYOUTS:
        raise ValueError(f"audio has {len(waveform)} channels: use {', '.join(map(str, LAYOUTS))}")
    rates = av.Codec("aac", "w").audio_rates
    if sample_rate not in rates:
        best = min(rates, key=lambda rate: abs(rate - sample_rate))
        raise ValueError(f"audio has {sample_rate} Hz, which AAC cannot hold: resample it to {best} Hz")


def workflow_of(hidden: io.HiddenHolder | None) -> dict:
    """What opens the workflow when the file is dropped on the canvas; nothing outside of ComfyUI's execution."""
    if hidden is None:
        return {}
    return (hidden.extra_pnginfo or {}) | ({} if hidden.prompt is None else {"prompt": hidden.prompt})


def place_of(prefix: str, width: int, height: int) -> tuple[Path, str, str]:
    """Folder, the next free file name, and the folder's name within the output folder."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), width, height
    )
    return Path(folder), f"{name}_{counter:05}_.mp4", subfolder


def write_video(
    path: Path,
    frames: Iterable[Tensor],
    size: tuple[int, int],
    frame_rate: float,
    audio: dict | None,
    metadata: dict,
    *,
    crf: float,
    bit_depth: int,
    preset: str = "medium",
) -> None:
    """Writes IMAGE pieces [f, H, W, 3] and an AUDIO as MP4 (H.264, AAC). size: width, height; metadata: as JSON.

    preset: of x264, from ultrafast on; a slower one takes less space.
    """
    rate = Fraction(round(frame_rate * 1000), 1000)
    layout, levels, pixels = ("rgb24", 255, "yuv420p") if bit_depth == 8 else ("rgb48le", 65535, "yuv420p10le")
    with av.open(str(path), "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"}) as file:
        for key, value in metadata.items():
            file.metadata[key] = json.dumps(value)
        pictures = file.add_stream("h264", rate=rate, options={"crf": str(crf), "preset": preset})
        (pictures.width, pictures.height), pictures.pix_fmt = size, pixels
        if audio is not None:
            waveform, sample_rate = waveform_of(audio)
            channels = LAYOUTS[len(waveform)]
            sound = file.add_stream("aac", rate=sample_rate, layout=channels)
        shown = heard = 0

        def write_sound(until: int | None) -> None:
            nonlocal heard
            piece = waveform[:, heard:until].float().cpu().contiguous().numpy()
            if piece.size:
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=channels)
                frame.sample_rate, frame.pts = sample_rate, heard
                file.mux(sound.encode(frame))
                heard += piece.shape[1]

        for piece in frames:
            for image in piece:
                array = (image.float() * levels).round().clamp(0, levels).cpu().numpy()
                array = array.astype(np.uint8 if bit_depth == 8 else np.uint16)
                file.mux(pictures.encode(av.VideoFrame.from_ndarray(array, format=layout).reformat(format=pixels)))
            shown += len(piece)
            if audio is not None:  # picture and sound lie side by side in the file
                write_sound(math.ceil(shown / rate * sample_rate))
        file.mux(pictures.encode(None))
        if audio is not None:
            write_sound(None)
            file.mux(sound.encode(None))


# --- from a file


class SkyCanvasEncodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasEncodeVideo",
            display_name="Encode Video",
            category="SkyCanvas/conditioning",
            description="Turns a video file into a latent, frame by frame: takes no more memory for a long clip than "
            "for a short one. Does what 'Get Video Components' and 'VAE Encode' do together.",
            search_aliases=["vae encode", "load video", "video to latent", "long video", "streaming"],
            inputs=[
                io.Video.Input("video", tooltip="From 'Load Video'; trimmed, if you like, by 'Trim Video'."),
                io.Vae.Input("vae", tooltip="The VAE of the pictures."),
                io.Int.Input(
                    "start_frame",
                    default=0,
                    min=0,
                    max=MAX_FRAMES - 1,
                    optional=True,
                    tooltip="The first frame that is encoded. The video's own first frame is 0.",
                ),
                io.Int.Input(
                    "length",
                    default=0,
                    min=0,
                    max=MAX_FRAMES,
                    optional=True,
                    tooltip="How many frames are encoded: 1, 5, 9, ... (4n+1). 0 takes all from the start frame on, "
                    "but for up to 3 at the end.",
                ),
            ],
            outputs=[
                io.Latent.Output(),
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The sound from the start frame on, to the last encoded frame if a length is set. Empty "
                    "if the video has none.",
                ),
                io.Float.Output(display_name="fps"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, video, vae, start_frame=0, length=0) -> io.NodeOutput:
        scale, fps = temporal_scale(vae), float(video.get_frame_rate())
        width, height = video.get_dimensions()
        notes = check_size(width, height, vae)
        section = Section(video, start_frame, length, scale)
        latent = encode_frames(vae, section, frames=section.expected)
        notes.insert(0, f"{section.count} frames, {section.count / fps:.2f} s")
        if section.left_out:
            notes.append(f"The last {section.left_out} are left out: clips have {scale}n+1 frames.")
        audio = sound_of(video, section.time, section.time + section.count / fps if length else None)
        return io.NodeOutput({"samples": latent, "frame_rate": fps}, audio, fps, ui=show(cls, notes))


def check_size(width: int, height: int, vae) -> list[str]:
    """What is cut off, in words. ValueError if the pictures are too large or too small."""
    if max(width, height) > MAX_SIDE or width * height > MOST_PIXELS:
        raise ValueError(
            f"video is {width} x {height} pixels: use at most {MAX_SIDE} along a side, and {MOST_PIXELS} in all"
        )
    step = vae.spacial_compression_encode()
    if min(width, height) < step:
        raise ValueError(f"video is {width} x {height} pixels: vae takes {step} x {step} or more")
    if not vae.crop_input or (width % step, height % step) == (0, 0):
        return []
    return [f"The edges of {width} x {height} are cut, as 'VAE Encode' does: vae takes multiples of {step} pixels."]


class Section:
    """Frames of a video from `start` on, as IMAGE pieces: `length` of them, or the longest scale * n + 1 if that is 0.

    ValueError for a length that is not scale * n + 1; and if the video is too short, at once if its header says so.
    After reading, `count` says how many frames there were, `left_out` how many more the video has after the longest
    scale * n + 1, and `time` when the first one is shown, in seconds.
    """

    def __init__(self, video, start: int, length: int, scale: int):
        self.video, self.start, self.length, self.scale = video, start, length, scale
        self.count = self.left_out = 0
        self.time = 0.0
        self.expected = length or None  # how many frames there will be, if that is known
        if length:
            check_length(length, scale)
        frames = frames_in_header(video)
        if frames is not None:
            self._check_frames(frames)
            self.expected = length or (frames - start - 1) // scale * scale + 1

    def __iter__(self) -> Iterator[Tensor]:
        group: list[Tensor] = []
        frames = 0
        with closing(frames_of(self.video, self.start)) as all_frames:
            for time, image in all_frames:
                frames += 1
                if image is None:
                    continue
                if not self.count:
                    self.time = time
                group.append(image)
                if len(group) == (self.scale if self.count else 1):
                    self.count += len(group)
                    yield torch.stack(group)
                    group = []
                if self.count == self.length:
                    return
                if self.count > MAX_FRAMES:
                    break
        self.left_out = len(group)
        self._check_frames(frames)

    def _check_frames(self, frames: int) -> None:
        left = frames - self.start
        if not frames:
            raise ValueError("video has no frame that can be decoded: connect another file")
        if left < 1:
            raise ValueError(f"start_frame is {self.start}, video has {frames} frames: use 0 to {frames - 1}")
        if left < self.length:
            raise ValueError(
                f"length is {self.length}, video has {left} frames from start_frame {self.start} on: use "
                f"{(left - 1) // self.scale * self.scale + 1} or less"
            )
        if not self.length and left > MAX_FRAMES:
            raise ValueError(f"video has more than {MAX_FRAMES} frames: set length, and encode it in parts")


def frames_in_header(video) -> int | None:
    """How many frames there are, if that is known before they are read."""
    if not isinstance(video, InputImpl.VideoFromFile):
        return len(video.get_components().images)
    if any(video.get_active_trim_window()):
        return None
    with av.open(video.get_stream_source()) as file:
        return file.streams.video[0].frames or None


def frames_of(video, start: int) -> Iterator[tuple[float, Tensor | None]]:
    """Time in seconds and IMAGE [H, W, 3] of each frame; None instead of the image before frame `start`."""
    if not isinstance(video, InputImpl.VideoFromFile):
        components = video.get_components()
        for index, image in enumerate(components.images):
            yield index / float(components.frame_rate), image if index >= start else None
        return
    begin, duration = video.get_active_trim_window()
    with av.open(video.get_stream_source()) as file:
        stream = file.streams.video[0]
        first, end = (int(seconds / stream.time_base) for seconds in (begin, begin + duration))
        if first:
            file.seek(first, stream=stream)
        to_image, index, size = ToImage(stream), 0, None
        try:
            for frame in file.decode(stream):
                pts = frame.pts or 0
                if pts < first:
                    continue
                if duration and pts >= end:
                    return
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) != size:
                    raise ValueError(f"video changes from {size[0]} x {size[1]} pixels at frame {index}: trim it there")
                yield frame.time or 0.0, to_image(frame) if index >= start else None
                index += 1
        except av.FFmpegError as error:
            raise ValueError(f"video cannot be read after frame {index}: {error}") from error


def sound_of(video, start: float, end: float | None) -> dict | None:
    """AUDIO of a video from second `start` to `end` (None: to its own end); None if it has no sound there."""
    offset = 0.0
    if isinstance(video, InputImpl.VideoFromFile):
        begin, duration = video.get_active_trim_window()
        if end is None and duration:
            end = begin + duration
        audio, offset = read_sound(video, end)
    else:
        audio = video.get_components().audio
    if audio is None:
        return None
    sample_rate = audio["sample_rate"]
    first = round((start - offset) * sample_rate)
    until = None if end is None else max(0, round((end - offset) * sample_rate))
    waveform = F.pad(audio["waveform"][..., max(0, first) : until], (max(0, -first), 0))
    return {"waveform": waveform, "sample_rate": sample_rate} if waveform.numel() else None


def read_sound(video, end: float | None) -> tuple[dict | None, float]:
    """AUDIO of a file up to second `end` at least, None if it has none; and the second at which it begins."""
    pieces: list[Tensor] = []
    offset = 0.0
    with av.open(video.get_stream_source()) as file:
        stream = sound_stream(file)
        if stream is None:
            return None, offset
        seconds = 0.0
        for time, piece in sound_pieces(file, stream, end=end):
            if not pieces:
                offset = time
            pieces.append(piece)
            seconds += piece.shape[1] / stream.rate
            if seconds > MOST_SECONDS:
                raise ValueError(f"video has more than {MOST_SECONDS} seconds of sound: set length")
    if not pieces:
        return None, offset
    return {"waveform": torch.cat(pieces, 1)[None], "sample_rate": stream.rate}, offset
