"""Small media files, each frame and sample of which can be told apart."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor


def colour(frame: int) -> tuple[int, int, int]:
    """Of all pixels of a frame of `clip_file`, so that compression leaves no doubt which of 400 it is."""
    return 20 + 10 * (frame % 20), 20 + 10 * (frame // 20 % 20), 128


def frame_of(pixel) -> int:
    """Which frame has this colour (0..255)."""
    red, green = (round((float(value) - 20) / 10) for value in pixel[:2])
    return red + 20 * green


def picture_file(path: Path, size=(12, 8), mode="RGB", seed=1, **options) -> Path:
    """A picture of noise; size: width, height."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(values if channels > 1 else values[..., 0], mode).save(path, **options)
    return path


def clip_file(
    path: Path, frames=17, size=(16, 16), rate=16, codec="ffv1", pixels="bgr0", times=None, sound=None, **options
) -> Path:
    """A clip whose frame n has `colour(n)`. times: of its frames, in 1/1000 s; sound: [C, samples], 44100 Hz.

    Lossless, but for codecs that are not.
    """
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        (stream.width, stream.height), stream.pix_fmt = size, pixels
        track = None
        if sound is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
            track = file.add_stream("pcm_s16le" if codec == "ffv1" else "aac", rate=44100, layout=layout)
        for n in range(frames):
            image = np.full((size[1], size[0], 3), colour(n), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = times[n], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if track is not None:
            encode_sound(file, track, sound, layout)
    return path


def sound_file(path: Path, waveform: Tensor, codec="pcm_s16le", rate=44100) -> Path:
    with av.open(str(path), "w") as file:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(waveform)]
        encode_sound(file, file.add_stream(codec, rate=rate, layout=layout), waveform, layout, rate)
    return path


def encode_sound(file, track, waveform: Tensor, layout: str, rate=44100) -> None:
    floats = track.codec_context.format.name.startswith("flt")
    if floats:
        frame = av.AudioFrame.from_ndarray(waveform.contiguous().numpy(), format="fltp", layout=layout)
    else:
        samples = (waveform * 32768).round().clamp(-32768, 32767).short().T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples.contiguous().numpy(), format="s16", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    file.mux(track.encode(frame))
    file.mux(track.encode(None))


def ramp(samples: int, channels=1) -> Tensor:
    """A sound whose samples tell where they are; exact in 16 bits."""
    place = torch.arange(samples)
    return torch.stack([((place * (7 + c)) % 60000 - 30000) / 32768 for c in range(channels)])
