"""One graph for all families: the MODEL, the prompts' CLIP and the VAEs are exchanged, nothing else."""

from typing import Any, NamedTuple

import comfy.sd
import comfy.utils
import pytest
import torch
from comfy_tools import encode, ksampler
from node_tools import noise, put, run, sound
from skycanvas.canvas.compile import compile_canvas
from skycanvas.canvas.grid import AudioGrid, VideoGrid
from skycanvas.canvas.sound import mix
from skycanvas.nodes.canvas import (
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasNew,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceImage,
)
from skycanvas.nodes.compose import SkyCanvasCompose
from skycanvas.nodes.encode import SkyCanvasEncode
from skycanvas.nodes.output import SkyCanvasDecode
from skycanvas.nodes.preview import SkyCanvasPreview
from tiny_ltx import write_tiny_ltx
from tiny_ltx_text import load_clip

SIZE, FRAMES, FPS = 64, 17, 24.0  # fit both grids
GRIDS = {
    "Mini": (VideoGrid(4, 8, token=2), AudioGrid(1024, 44100)),
    "LTX-2": (VideoGrid(8, 32, token=1), AudioGrid(1764, 44100, first=441)),
}


class Models(NamedTuple):
    """What the loaders give."""

    model: Any
    clip: comfy.sd.CLIP
    vae: comfy.sd.VAE
    audio_vae: comfy.sd.VAE


@pytest.fixture(scope="module")
def families(loaded, tmp_path_factory) -> dict[str, Models]:
    files = write_tiny_ltx(tmp_path_factory.mktemp("ltx"))

    def load_vae(path):
        sd, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
        return comfy.sd.VAE(sd=sd, metadata=metadata)

    with torch.inference_mode():
        model, clip = comfy.sd.load_diffusion_model(str(files.model)), load_clip(str(files.text_encoder))
        return {
            "Mini": Models(*loaded[:4]),
            "LTX-2": Models(model, clip, load_vae(files.vae), load_vae(files.audio_vae)),
        }


@pytest.fixture
def canvas():
    """A clip with a hole, a patch in it at frame 13, and sound with a gap; on neither grid."""
    canvas = put(SkyCanvasNew, width=SIZE, height=SIZE, length=FRAMES, frame_rate=FPS)
    clip = {"images": noise(FRAMES, SIZE, SIZE, 3), "clip_frame_rate": FPS, "audio": sound(FRAMES / FPS)}
    canvas = put(SkyCanvasPlaceClip, canvas=canvas, **clip)
    canvas = put(SkyCanvasMaskRegion, canvas=canvas, frame=3, x=5, y=3, width=50, height=40)
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 20, 20, 3, seed=2), frame=13, x=20, y=10)
    canvas = put(SkyCanvasMaskRegion, canvas=canvas, action="keep", frame=13, frames=1, x=20, y=10, width=20, height=20)
    return put(SkyCanvasMaskSound, canvas=canvas, time=0.2, duration=0.2)


def graph(canvas, models: Models) -> tuple[str, torch.Tensor, dict]:
    """Report, composed pictures and AUDIO."""
    report = run(SkyCanvasPreview, canvas=canvas, model=models.model)[1]
    prompts = [encode(models.clip, text) for text in ("a red circle bounces", "")]
    vaes = {"vae": models.vae, "audio_vae": models.audio_vae}
    inputs = dict(zip(("positive", "negative"), prompts, strict=True))
    positive, negative, latent = run(SkyCanvasEncode, model=models.model, canvas=canvas, **inputs, **vaes)
    samples = {**latent, "samples": ksampler(models.model, positive, negative, latent)}
    images, audio, fps = run(SkyCanvasDecode, samples=samples, **vaes)
    assert fps == FPS
    images, audio = run(SkyCanvasCompose, canvas=canvas, images=images, audio=audio)
    return report, images, audio


def test_graph_runs_unchanged_and_keeps_what_was_given(canvas, families):
    reports, images, sounds = zip(*[graph(canvas, models) for models in families.values()], strict=True)
    given = torch.zeros(FRAMES, SIZE, SIZE, dtype=torch.bool)
    given[:3] = True
    given[3:, 43:] = given[3:, :3] = given[3:, :, :5] = given[3:, :, 55:] = True
    given[13, 10:30, 20:40] = True
    assert all(image.shape == (FRAMES, SIZE, SIZE, 3) for image in images)
    assert torch.equal(images[0][given], images[1][given])
    assert (images[0][~given] == images[1][~given]).all(-1).float().mean() < 0.1  # some are black or white
    for audio in sounds:  # each decoder has a rate of its own
        source, kept = mix(canvas, audio["sample_rate"])
        waveform = audio["waveform"][0]
        assert torch.equal(waveform[:, kept], source.expand_as(waveform)[:, kept])
        assert not kept.all() and waveform[:, ~kept].std() > 1e-4
    assert reports[0] != reports[1]


@pytest.mark.parametrize("family", GRIDS)
def test_report_depends_on_the_grid_alone(canvas, families, family):
    """So two of them differ by their grids only, and by what the sampling costs."""
    report = run(SkyCanvasPreview, canvas=canvas, model=families[family].model)[1]
    *lines, cost = report.splitlines()
    assert "\n".join(lines) == compile_canvas(canvas, *GRIDS[family]).report()
    assert cost.startswith("Cost of 30 steps")
    (other,) = GRIDS.keys() - {family}
    others = compile_canvas(canvas, *GRIDS[other]).report().splitlines()
    assert lines[:2] == others[:2] and lines != others  # what is on the canvas, and what of it is made again
