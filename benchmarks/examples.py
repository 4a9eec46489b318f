"""The example media that workflows start from, out of the toybox: `python3 run.py python -m benchmarks.examples`.

Writes example_media/: pictures as PNG, clips as FFV1 with FLAC in Matroska, a voice as FLAC, all lossless. The second
video stream of a clip is a mask: its object, anti-aliased.
"""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.toybox import FRAME_RATE, FRAME_SIZE, LEVELS, SAMPLE_RATE, Colour, Level, Scenes, sample_scenes

ROOT = Path(__file__).parents[1]
# Drawn in pure white on pure black, a scene is its own mask.
MASK = Level("mask", LEVELS["easy"].shapes, {"white": Colour((255, 255, 255), 6, "low")}, {"black": (0, 0, 0)})

# Scenes are arranged by hand, so that every clip has a bounce to hear: start in pixels, velocity in pixels per second.
CLIPS = {
    "red_circle": dict(shape="circle", colour="red", background="navy", frames=17, start=(20, 24), velocity=(50, 30)),
    "green_square": dict(
        shape="square", colour="green", background="maroon", frames=17, start=(28, 36), velocity=(-30, -16)
    ),
    "blue_triangle": dict(
        shape="triangle", colour="blue", background="gray", frames=33, start=(32, 22), velocity=(44, -38)
    ),
}
PICTURES = {
    "yellow_square": dict(shape="square", colour="yellow", background="black", start=(40, 30)),
    "magenta_triangle": dict(shape="triangle", colour="magenta", background="maroon", start=(24, 36)),
    "white_circle": dict(shape="circle", colour="white", background="gray", start=(32, 32)),
}
BACKGROUNDS = ("navy", "maroon")
# A note half a second long, as long as the voices that Mini was trained on: the object hits the wall after 0.1 s.
VOICE = dict(shape="triangle", colour="magenta", frames=8, start=(46.2, 32), velocity=(58, 1))


def scene(
    *,
    start: tuple[float, float] = (32, 32),
    velocity: tuple[float, float] = (58, 1),
    frames: int = 1,
    **attributes: str,
) -> Scenes:
    """One scene of the easy level; start and velocity are (x, y)."""
    drawn = sample_scenes(1, frames=frames, generator=torch.Generator().manual_seed(0), **attributes)
    drawn.start, drawn.velocity = torch.tensor([start], dtype=torch.float), torch.tensor([velocity], dtype=torch.float)
    return drawn


def pixels(video: Tensor) -> np.ndarray:
    """[1, 3, F, 64, 64] in [-1, 1] -> uint8 [F, 64, 64, 3]"""
    return ((video[0].movedim(0, -1) + 1) * 127.5).round().byte().numpy()


def pcm(scenes: Scenes) -> np.ndarray:
    """The sound as int16 [1, S], exactly as long as the frames."""
    sound = scenes.sound()[0, :, : round(scenes.duration * SAMPLE_RATE)]
    return (sound * 32767).round().short().numpy()


def mask(scenes: Scenes) -> np.ndarray:
    """How much of each pixel the object covers: uint8 [F, 64, 64], 255 all of it."""
    zero = torch.zeros_like(scenes.colour)
    return pixels(replace(scenes, level=MASK, colour=zero, background=zero).render())[..., 0]


def write_clip(path: Path, scenes: Scenes) -> None:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as file:
        videos = [(pixels(scenes.render()), "rgb24", "bgr0"), (mask(scenes), "gray", "gray")]
        streams = [_video_stream(file, pixel_format) for _, _, pixel_format in videos]
        sound = _sound_stream(file)
        for (frames, layout, pixel_format), stream in zip(videos, streams, strict=True):
            for index, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(picture, format=layout).reformat(format=pixel_format)
                frame.pts = index
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        _encode_sound(file, sound, pcm(scenes))


def write_sound(path: Path, scenes: Scenes) -> None:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as file:
        _encode_sound(file, _sound_stream(file), pcm(scenes))


def _video_stream(file: av.container.OutputContainer, pixel_format: str) -> av.VideoStream:
    stream = file.add_stream("ffv1", rate=round(FRAME_RATE))
    stream.width = stream.height = FRAME_SIZE
    stream.pix_fmt = pixel_format
    return stream


def _sound_stream(file: av.container.OutputContainer) -> av.AudioStream:
    return file.add_stream("flac", rate=SAMPLE_RATE, layout="mono")


def _encode_sound(file: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray) -> None:
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    file.mux(stream.encode(frame))
    file.mux(stream.encode())


def main() -> None:
    folder = ROOT / "example_media"
    folder.mkdir(exist_ok=True)
    for name, attributes in CLIPS.items():
        write_clip(folder / f"{name}.mkv", scene(**attributes))
    for name, attributes in PICTURES.items():
        Image.fromarray(pixels(scene(**attributes).render())[0]).save(folder / f"{name}.png", optimize=True)
    for name in BACKGROUNDS:
        empty = scene(background=name).background_picture()
        Image.fromarray(pixels(empty)[0]).save(folder / f"{name}_background.png", optimize=True)
    write_sound(folder / "high_buzz.flac", scene(**VOICE))
    for path in sorted(folder.iterdir()):
        print(path.relative_to(ROOT), path.stat().st_size)


if __name__ == "__main__":
    main()
