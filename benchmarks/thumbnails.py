"""Thumbnails of the workflows, drawn from what they make: `python3 run.py python -m benchmarks.thumbnails [name ...]`.

Runs every workflow, or those named, on the real server and writes workflows/<name>.jpg, which ComfyUI shows in its
template browser. Of those for LTX-2, whose weights are not here, it shows the canvas as 'Preview Canvas' draws it.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from benchmarks.quality.strip import PAPER, stack, waveform
from launcher.cache import Cache, cache_root
from launcher.environment import prepare
from launcher.server import Server
from launcher.workflow import to_prompt

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from ltx_tools import add_tiny_ltx  # noqa: E402
from server_tools import LTX_WORKFLOWS  # noqa: E402

WIDTH, COLUMNS, ROWS, GAP = 480, 4, 2, 4  # pixels, frames, pixels


def thumbnail(path: Path) -> Image.Image:
    """A picture of a saved file: some frames over the waveform of its sound, or the one of them that it has."""
    parts = []
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)] if container.streams.video else []
    if frames:
        parts.append(grid(frames))
    with av.open(str(path)) as container:
        if container.streams.audio:
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler("flt", "mono", rate)
            blocks = [b.to_ndarray() for frame in container.decode(audio=0) for b in resampler.resample(frame)]
            sound = torch.from_numpy(np.concatenate(blocks, axis=1))
            parts.append(waveform(sound, WIDTH, 90 if frames else WIDTH // 2, sound.shape[-1]))
    return stack(parts, GAP)


def grid(frames: list[np.ndarray]) -> Image.Image:
    """Frames from first to last, in rows; a single frame alone."""
    columns, rows = (COLUMNS, ROWS) if len(frames) > 1 else (1, 1)
    side = (WIDTH + GAP) // columns - GAP
    picture = Image.new("RGB", (WIDTH, rows * (side + GAP) - GAP), PAPER)
    for place, index in enumerate(np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)):
        cell = Image.fromarray(frames[index]).resize((side, side), Image.Resampling.NEAREST)
        picture.paste(cell, (place % columns * (side + GAP), place // columns * (side + GAP)))
    return picture


def preview_alone(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt up to 'Preview Canvas', whose picture is saved."""
    (preview,) = [key for key, node in prompt.items() if node["class_type"] == "SkyCanvasPreview"]
    needed, found = {}, [preview]
    while found:
        key = found.pop()
        needed[key] = prompt[key]
        found += [value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    needed[preview]["inputs"]["thumbnails"] = COLUMNS * ROWS
    save = {"images": [preview, 0], "filename_prefix": "sheet"}
    return {**needed, "sheet": {"class_type": "SaveImage", "inputs": save}}


def main() -> None:
    known = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of workflows: {', '.join(known)}")
    names = parser.parse_args().names or known
    if unknown := set(names) - set(known):
        parser.error(f"no workflow is called {', '.join(sorted(unknown))}: use {', '.join(known)}")
    setup = prepare(Cache(cache_root()), ROOT)
    with tempfile.TemporaryDirectory(prefix="skycanvas-") as base:
        if set(names) & set(LTX_WORKFLOWS):
            add_tiny_ltx(Path(base), setup.comfyui)
        with Server(
            python=setup.python,
            comfyui=setup.comfyui,
            pack=ROOT,
            base_directory=Path(base),
            output_directory=Path(base) / "output",
            port=0,
        ) as server:
            object_info = server.get("/object_info")
            for path in (ROOT / "workflows" / f"{name}.json" for name in names):
                workflow = json.loads(path.read_text(encoding="utf-8"))
                prompt, picture = to_prompt(workflow, object_info), path.with_suffix(".jpg")
                if path.stem in LTX_WORKFLOWS:
                    (saved,) = server.run(preview_alone(prompt))
                    sheet = Image.open(saved)
                    size = WIDTH, round(WIDTH * sheet.height / sheet.width)
                    sheet.resize(size, Image.Resampling.LANCZOS).save(picture, quality=88)
                else:
                    (saved, *_) = server.run(prompt, workflow=workflow)
                    thumbnail(saved).save(picture, quality=88)
                print(picture.relative_to(ROOT), flush=True)


if __name__ == "__main__":
    main()
