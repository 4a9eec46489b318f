"""A sheet of all paired worlds: `python3 -m training.worlds --out docs/worlds.png`.

Each entry: the canonical caption, what it speaks of (a picture, a clip, a voice), the truth, and below it its sound.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training.toybox import FRAME_SIZE, sample_scenes
from training.worlds import WORLDS, Example

FRAMES, SHOWN = 17, (0, 3, 6, 9, 12, 15)
COLUMNS = 2
GAP, CAPTION, WAVE = 2, 16, 24  # pixels: between frames, height of a caption, height of a waveform
FULL_SCALE = 0.35  # amplitude that fills the height: a hard bounce peaks at 0.3
PAPER, INK, BLUE = (250, 250, 250), (40, 40, 40), (60, 90, 160)
WIDTH = (FRAME_SIZE + GAP) * len(SHOWN) - GAP  # of a clip
SOURCE = FRAME_SIZE + 4 * GAP  # where it begins: a picture may stand to the left
TRUTH = SOURCE + WIDTH + 4 * GAP


def frames(video: Tensor) -> Image.Image:
    """Those frames of video [3, F, 64, 64] in [-1, 1] that the sheet shows, in a row; of a picture the only one."""
    shown = [index for index in SHOWN if index < video.shape[1]]
    image = Image.new("RGB", ((FRAME_SIZE + GAP) * len(shown) - GAP, FRAME_SIZE), PAPER)
    pixels = ((video[:, shown].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()
    for place, frame in enumerate(pixels):
        image.paste(Image.fromarray(frame), (place * (FRAME_SIZE + GAP), 0))
    return image


def wave(sound: Tensor, width: int) -> Image.Image:
    """Largest amplitude of sound [1, S] in every column, above and below the middle line."""
    image = Image.new("RGB", (width, WAVE), PAPER)
    draw = ImageDraw.Draw(image)
    middle = WAVE // 2
    for column, part in enumerate(sound[0].tensor_split(width)):
        reach = round(min(1.0, float(part.abs().max()) / FULL_SCALE) * (middle - 1))
        draw.line([(column, middle - reach), (column, middle + reach)], fill=BLUE)
    return image


def entry(name: str, example: Example) -> Image.Image:
    """The first clip of an example."""
    image = Image.new("RGB", (TRUTH + WIDTH, CAPTION + FRAME_SIZE + GAP + WAVE), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    draw.text((2, 0), f"{name}: {example.captions[0]}", fill=INK, font=font)
    for picture in example.pictures.values():
        image.paste(frames(picture[0]), (0, CAPTION))
    if example.source is not None:
        image.paste(frames(example.source[0]), (SOURCE, CAPTION))
    if example.voice is not None:
        # As long for its width as the sound of the truth.
        width = round(WIDTH * example.voice.shape[-1] / example.sound.shape[-1])
        image.paste(wave(example.voice[0], width), (SOURCE + WIDTH - width, CAPTION + FRAME_SIZE + GAP))
    image.paste(frames(example.video[0]), (TRUTH, CAPTION))
    image.paste(wave(example.sound[0], WIDTH), (TRUTH, CAPTION + FRAME_SIZE + GAP))
    return image


def sheet(seed: int) -> Image.Image:
    """All worlds in the order of the registry, column by column."""
    generator = torch.Generator().manual_seed(seed)
    entries = [
        entry(name, world.make(sample_scenes(1, frames=FRAMES, generator=generator), generator))
        for name, world in WORLDS.items()
    ]
    rows = -(-len(entries) // COLUMNS)
    step_x, step_y = entries[0].width + 12 * GAP, entries[0].height + 4 * GAP
    image = Image.new("RGB", (COLUMNS * step_x, rows * step_y), PAPER)
    for index, part in enumerate(entries):
        image.paste(part, (index // rows * step_x + 4 * GAP, index % rows * step_y + 2 * GAP))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("worlds.png"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sheet(arguments.seed).save(arguments.out, optimize=True)
    print(f"{arguments.out}: {len(WORLDS)} worlds")


if __name__ == "__main__":
    main()
