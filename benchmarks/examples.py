"""The example media that workflows start from, out of the toybox: `python3 run.py python -m benchmarks.examples`.

Writes example_media/: pictures as PNG, clips as FFV1 with FLAC in Matroska, voices as FLAC, all lossless. The second
video stream of a clip is a mask: its object, anti-aliased.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.toybox import (
    FRAME_RATE,
    LEVELS,
    SAMPLE_RATE,
    Colour,
    Level,
    Scenes,
    sample_scenes,
    samples_of,
)
from training.worlds.edits import level_of_props, logo_mask, overlaid, subtitle_mask, watermark_mask, with_props
from training.worlds.effects import EFFECTS, standing, with_effect
from training.worlds.faces import RADIUS, Speech, faces

ROOT = Path(__file__).parents[1]
EASY = LEVELS["easy"]
# Drawn in pure white on pure black, a scene is its own mask.
MASK = Level("mask", EASY.shapes, {"white": Colour((255, 255, 255), 6, "low")}, {"black": (0, 0, 0)})

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
# What stands in a corner of the red circle's clip, where the circle does not come.
SMALL_SQUARE = dict(shape="square", colour="yellow", start=(51, 13))
SHRINKING = dict(shape="square", colour="magenta", background="gray", frames=17, start=(26, 36))
# Shape and colour of a speaker say how the voice sounds; the colour is that of the face, too.
SPEAKER = dict(shape="triangle", colour="yellow", background="navy", frames=17)
SYLLABLES = (0.06, 0.36, 0.72)  # seconds
FACE = dict(colour="green", background="maroon")
# A note half a second long, as long as the voices that Mini was trained on: the object hits the wall after 0.1 s.
NOTE = dict(shape="triangle", colour="magenta", frames=8, start=(46.2, 32), velocity=(58, 1))
# "la la", as long as that
VOICE = dict(shape="circle", colour="red", frames=8)
VOICE_SYLLABLES = (0.0, 0.25)  # seconds
SEED = 1  # of where the overlays lie


@dataclass(frozen=True)
class Clip:
    """video and mask (its object, white on black) [1, 3, F, H, W] and sound [1, 1, S], in [-1, 1]"""

    video: Tensor
    mask: Tensor
    sound: Tensor
    fps: float = FRAME_RATE

    @property
    def seconds(self) -> float:
        return self.video.shape[2] / self.fps


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


def white_on_black(scenes: Scenes) -> Scenes:
    zero = torch.zeros_like(scenes.colour)
    return replace(scenes, level=MASK, colour=zero, background=zero)


# --- clips


def bouncing(**attributes) -> Clip:
    scenes = scene(**attributes)
    return Clip(scenes.render(), white_on_black(scenes).render(), scenes.sound())


def large(name: str) -> Clip:
    """A clip with twice the width, height and frame rate: what a Refiner would have to make of it."""
    scenes = scene(**CLIPS[name])
    scenes = replace(scenes, scale=2, fps=2 * scenes.fps, frames=2 * scenes.frames - 1)
    return Clip(scenes.render(), white_on_black(scenes).render(), scenes.sound(), scenes.fps)


def with_overlays(clip: Clip) -> dict[str, Clip]:
    """The clip under a logo, a subtitle and a watermark."""
    generator = torch.Generator().manual_seed(SEED)
    overlays = {
        "logo": logo_mask(generator, 1)[0],
        "subtitle": subtitle_mask(generator, 1),
        "watermark": watermark_mask(generator, 1),
    }
    return {name: replace(clip, video=overlaid(clip.video, opacity)) for name, opacity in overlays.items()}


def with_small_square(**attributes) -> Clip:
    small = replace(scene(**SMALL_SQUARE), level=level_of_props(EASY))
    return replace(bouncing(**attributes), video=with_props(scene(**attributes), small))


def speech(scenes: Scenes, syllables: tuple[float, ...]) -> Speech:
    """The voice of a speaker who begins a syllable at each of those seconds."""
    return Speech(torch.tensor([syllables]), pitch=scenes.colour, timbre=scenes.shape)


def said(scenes: Scenes, syllables: tuple[float, ...]) -> Tensor:
    return speech(scenes, syllables).sound(scenes, samples_of(scenes.frames))


def talking_face() -> Clip:
    """The mask is the face, eyes and mouth included."""
    scenes = scene(**SPEAKER)
    mouth = speech(scenes, SYLLABLES).openness(torch.arange(scenes.frames) / FRAME_RATE)
    disc = white_on_black(scene(shape="circle", frames=scenes.frames, velocity=(0, 0)))
    disc = replace(disc, level=replace(MASK, sizes={"face": RADIUS}))
    return Clip(faces(scenes, mouth), disc.render(), said(scenes, SYLLABLES))


def shrinking() -> Clip:
    """It makes no sound."""
    scenes, shrink = standing(scene(**SHRINKING)), torch.tensor([EFFECTS.index("shrink")])
    silence = torch.zeros(1, 1, samples_of(scenes.frames))
    return Clip(with_effect(scenes, shrink), with_effect(white_on_black(scenes), shrink), silence)


def clips() -> dict[str, Clip]:
    """By the names of their files."""
    made = {name: bouncing(**attributes) for name, attributes in CLIPS.items()}
    overlays = with_overlays(made["red_circle"])
    return {
        **made,
        **{f"red_circle_{name}": clip for name, clip in overlays.items()},
        "red_circle_yellow_square": with_small_square(**CLIPS["red_circle"]),
        "talking_face": talking_face(),
        "shrinking_square": shrinking(),
        "green_square_large": large("green_square"),
    }


def pictures() -> dict[str, Tensor]:
    """[1, 3, 1, 64, 64] in [-1, 1], a patch smaller, by the names of their files."""
    around = slice(18, 46)
    return {
        **{name: scene(**attributes).render() for name, attributes in PICTURES.items()},
        **{f"{name}_background": scene(background=name).background_picture() for name in BACKGROUNDS},
        "face": faces(scene(**FACE), torch.zeros(1, 1)),
        "white_circle_patch": scene(**PICTURES["white_circle"]).render()[..., around, around],
    }


def voices() -> dict[str, Tensor]:
    """[1, 1, S] in [-1, 1], by the names of their files."""
    return {"high_buzz": scene(**NOTE).sound(), "low_voice": said(scene(**VOICE), VOICE_SYLLABLES)}


# --- files


def pixels(video: Tensor) -> np.ndarray:
    """[1, 3, F, H, W] in [-1, 1] -> uint8 [F, H, W, 3]"""
    return ((video[0].movedim(0, -1) + 1) * 127.5).round().byte().numpy()


def pcm(sound: Tensor, seconds: float) -> np.ndarray:
    """[1, 1, S] in [-1, 1] -> int16 [1, samples], exactly so long"""
    return (sound[0, :, : round(seconds * SAMPLE_RATE)] * 32767).round().short().numpy()


def write_clip(path: Path, clip: Clip) -> None:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as file:
        videos = [(pixels(clip.video), "rgb24", "bgr0"), (pixels(clip.mask)[..., 0], "gray", "gray")]
        streams = [_video_stream(file, pixel_format, clip) for _, _, pixel_format in videos]
        sound = _sound_stream(file)
        for (frames, layout, pixel_format), stream in zip(videos, streams, strict=True):
            for index, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(picture, format=layout).reformat(format=pixel_format)
                frame.pts = index
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        _encode_sound(file, sound, pcm(clip.sound, clip.seconds))


def write_sound(path: Path, samples: np.ndarray) -> None:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as file:
        _encode_sound(file, _sound_stream(file), samples)


def _video_stream(file: av.container.OutputContainer, pixel_format: str, clip: Clip) -> av.VideoStream:
    stream = file.add_stream("ffv1", rate=round(clip.fps))
    stream.height, stream.width = clip.video.shape[3:]
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
    for name, clip in clips().items():
        write_clip(folder / f"{name}.mkv", clip)
    for name, picture in pictures().items():
        Image.fromarray(pixels(picture)[0]).save(folder / f"{name}.png", optimize=True)
    for name, sound in voices().items():
        write_sound(folder / f"{name}.flac", pcm(sound, VOICE["frames"] / FRAME_RATE))
    for path in sorted(folder.iterdir()):
        print(path.relative_to(ROOT), path.stat().st_size)


if __name__ == "__main__":
    main()
