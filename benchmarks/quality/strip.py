"""Pictures of clips: a strip of frames with the waveform below, each frame above the sound of its moment.

python3 -m benchmarks.quality.strip --prompt "a red circle bounces slowly on a navy background" --out strip.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

from benchmarks.quality.pipeline import Clips, Mini, Sampling
from training.toybox import FRAME_RATE, FRAME_SIZE, SAMPLE_RATE

GAP = 2  # pixels between frames
WAVE_HEIGHT = 40  # pixels, before scaling
CAPTION_HEIGHT = 16
PAPER, INK, WAVE, OUTLINE = (250, 250, 250), (40, 40, 40), (60, 90, 160), (255, 140, 0)
FULL_SCALE = 0.35  # amplitude that fills the height: a hard bounce peaks at 0.3


def strip(video: Tensor | None, sound: Tensor | None, caption: str = "", scale: int = 1) -> Image.Image:
    """Frames of video [3, F, H, W] in [-1, 1] in a row, the waveform of sound [1, S] below, a caption above.

    Without a video, the waveform alone, a frame's width for each sixteenth of a second.
    """
    parts = []
    cell = (FRAME_SIZE + GAP) * scale
    if video is not None:
        count = video.shape[1]
    elif sound is not None:
        count = round(sound.shape[-1] / SAMPLE_RATE * FRAME_RATE)
    else:
        raise ValueError("a strip needs a video, a sound or both")
    width = count * cell - GAP * scale
    if caption:
        parts.append(label(caption, width))
    if video is not None:
        row = Image.new("RGB", (width, FRAME_SIZE * scale), PAPER)
        pixels = ((video.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()
        for index, frame in enumerate(pixels):
            size = (FRAME_SIZE * scale, FRAME_SIZE * scale)
            row.paste(Image.fromarray(frame).resize(size, Image.Resampling.NEAREST), (index * cell, 0))
        parts.append(row)
    if sound is not None:
        parts.append(waveform(sound, width, WAVE_HEIGHT * scale, round(count / FRAME_RATE * SAMPLE_RATE)))
    return stack(parts, GAP * scale)


def label(caption: str, width: int) -> Image.Image:
    """A line of text."""
    image = Image.new("RGB", (width, CAPTION_HEIGHT), PAPER)
    ImageDraw.Draw(image).text((2, 1), caption, fill=INK, font=ImageFont.load_default(12))
    return image


def waveform(sound: Tensor, width: int, height: int, samples: int) -> Image.Image:
    """Lowest and highest sample of sound [1, S] for each column of `width` columns that share `samples` samples."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    middle = height // 2
    draw.line([(0, middle), (width, middle)], fill=(215, 215, 215))
    wave = sound[0, :samples].numpy()
    for column, part in enumerate(np.array_split(np.pad(wave, (0, max(0, samples - len(wave)))), width)):
        if len(part) and np.abs(part).max() > 1e-3:
            reach = np.clip([part.max() / FULL_SCALE, part.min() / FULL_SCALE], -1, 1) * (middle - 1)
            top, bottom = (middle - reach).round().tolist()
            draw.line([(column, top), (column, bottom)], fill=WAVE)
    return image


class Tile(NamedTuple):
    """A frame [3, H, W] in [-1, 1], and what of it to outline [H, W] bool."""

    frame: Tensor
    mask: Tensor | None = None


def tile(part: Tile, scale: int) -> Image.Image:
    """A frame, enlarged, with a line along the inner edge of its mask."""
    pixels = ((part.frame.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    if part.mask is not None:
        mask = part.mask.numpy().repeat(scale, 0).repeat(scale, 1)
        pixels[mask & ~ndimage.binary_erosion(mask)] = OUTLINE
    return Image.fromarray(pixels)


def contact_sheet(rows: Sequence[tuple[str, Sequence[Tile | None]]], scale: int = 2) -> Image.Image:
    """A row of frames under each caption; None leaves a gap."""
    cell, lines = FRAME_SIZE * scale + GAP, []
    for caption, tiles in rows:
        width = sum(cell if part is not None else 4 * GAP for part in tiles)
        image = Image.new("RGB", (width, CAPTION_HEIGHT + cell), PAPER)
        ImageDraw.Draw(image).text((2, 1), caption, fill=INK, font=ImageFont.load_default(12))
        left = 0
        for part in tiles:
            if part is not None:
                image.paste(tile(part, scale), (left, CAPTION_HEIGHT))
            left += cell if part is not None else 4 * GAP
        lines.append(image)
    return stack(lines, 2 * GAP)


def stack(images: list[Image.Image], gap: int) -> Image.Image:
    """One below the other, left-aligned."""
    width = max(image.width for image in images)
    result = Image.new("RGB", (width, sum(image.height + gap for image in images) - gap), PAPER)
    top = 0
    for image in images:
        result.paste(image, (0, top))
        top += image.height + gap
    return result


def sheet(clips: Clips, captions: list[str], count: int = 12) -> Image.Image:
    """The first `count` clips, one strip below the other."""
    count = min(count, len(captions))
    strips = [
        strip(
            None if clips.video is None else clips.video[index],
            None if clips.sound is None else clips.sound[index],
            captions[index],
        )
        for index in range(count)
    ]
    return stack(strips, 3 * GAP)


def main() -> None:
    parser = argparse.ArgumentParser(description="A strip of frames and sound from a prompt.")
    parser.add_argument("--prompt", action="append", required=True, help="may be given several times")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    parser.add_argument("--weights", type=Path, default=Path("models/weights"))
    parser.add_argument("--model", type=Path, help="default: mini.safetensors of the weights")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, default=1, help="pixels per pixel")
    options = parser.parse_args()
    mini = Mini.load(options.weights, options.model or options.weights / "mini.safetensors")
    clips = mini.generate(options.prompt, frames=options.frames, sampling=Sampling(seed=options.seed))
    assert clips.video is not None and clips.sound is not None
    parts = zip(clips.video, clips.sound, options.prompt, strict=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    stack([strip(*part, options.scale) for part in parts], 3 * GAP).save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()
