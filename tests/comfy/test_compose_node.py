"""After 'Compose Canvas' every given pixel and sample is the one that was placed; all else is what was decoded."""

import pytest
import torch
from node_tools import noise, put, run, sound
from skycanvas.canvas.document import CanvasError
from skycanvas.nodes.canvas import (
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasNew,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceImage,
    SkyCanvasPlaceSound,
)
from skycanvas.nodes.compose import SkyCanvasCompose

SAMPLES = round(17 / 16 * 44100)


@pytest.fixture
def canvas():
    return put(SkyCanvasNew)


@pytest.fixture
def decoded() -> dict:
    return {"images": noise(17, 64, 64, 3, seed=9), "audio": sound(17 / 16)}


def test_given_pixels_and_samples_are_exact(canvas, decoded):
    clip, own = noise(9, 64, 64, 3), sound(9 / 16, channels=2)
    canvas = put(SkyCanvasPlaceClip, canvas=canvas, images=clip, frame=4, audio=own)
    canvas = put(SkyCanvasMaskRegion, canvas=canvas, x=16, y=16, width=8, height=8, frame=6, frames=2)
    before = decoded["images"].clone(), decoded["audio"]["waveform"].clone()
    for feather in (0, 6):
        images, audio = run(SkyCanvasCompose, canvas=canvas, **decoded, feather=feather)
        given = torch.zeros(17, 64, 64, dtype=torch.bool)
        given[4:13] = True
        given[6:8, 16:24, 16:24] = False
        assert torch.equal(images[given], clip[given[4:13]])
        others = torch.equal(images[~given], decoded["images"][~given])
        assert others if feather == 0 else not others
        first, end = round(0.25 * 44100), round(0.25 * 44100) + own["waveform"].shape[-1]
        assert audio["waveform"].shape == (1, 2, SAMPLES) and audio["sample_rate"] == 44100
        assert torch.equal(audio["waveform"][..., first:end], own["waveform"])
        far = first - round(0.011 * 44100)  # beyond the feather of the sound
        mono = decoded["audio"]["waveform"].expand(1, 2, -1)
        assert torch.equal(audio["waveform"][..., :far], mono[..., :far])
    assert torch.equal(decoded["images"], before[0]) and torch.equal(decoded["audio"]["waveform"], before[1])


def test_a_hard_edge_of_the_sound(canvas, decoded):
    canvas = put(SkyCanvasPlaceSound, canvas=canvas, audio=sound(0.5), time=0.25)
    soft = run(SkyCanvasCompose, canvas=canvas, **decoded)[1]["waveform"]
    hard = run(SkyCanvasCompose, canvas=canvas, **decoded, sound_feather=0.0)[1]["waveform"]
    outside = torch.cat([torch.arange(11025), torch.arange(11025 + 22050, SAMPLES)])
    decoded = decoded["audio"]["waveform"][..., outside]
    assert torch.equal(hard[..., outside], decoded) and not torch.equal(soft[..., outside], decoded)


def test_an_empty_canvas_changes_nothing(canvas, decoded):
    images, audio = run(SkyCanvasCompose, canvas=canvas, **decoded)
    assert torch.equal(images, decoded["images"]) and torch.equal(audio["waveform"], decoded["audio"]["waveform"])


def test_half_transparent_pixels_are_mixed(canvas, decoded):
    image = noise(1, 64, 64, 3)
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=image, mask=torch.full((1, 64, 64), 0.25))
    images = put(SkyCanvasCompose, canvas=canvas, **decoded)
    assert torch.allclose(images[0], 0.25 * image[0] + 0.75 * decoded["images"][0], atol=1e-6)


def test_a_guide_is_not_put_back(canvas, decoded):
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 64, 64, 3), role="guide")
    assert torch.equal(put(SkyCanvasCompose, canvas=canvas, **decoded), decoded["images"])


def test_clips_of_a_batch_follow_one_another(canvas):
    picture, own = noise(1, 64, 64, 3), sound(0.1)
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=picture, frame=-1)
    canvas = put(SkyCanvasPlaceSound, canvas=canvas, audio=own)
    images, total = noise(51, 64, 64, 3, seed=5), round(3 * 17 / 16 * 44100)
    audio = {"waveform": noise(1, 1, total), "sample_rate": 44100}
    composed, heard = run(SkyCanvasCompose, canvas=canvas, images=images, audio=audio)
    given = torch.zeros(51, dtype=torch.bool)
    given[[16, 33, 50]] = True
    assert torch.equal(composed[given], picture.expand(3, -1, -1, -1))
    assert torch.equal(composed[~given], images[~given]) and heard["waveform"].shape == (1, 1, total)
    for clip in range(3):
        start = round(clip * 17 / 16 * 44100)
        assert torch.equal(heard["waveform"][..., start : start + 4410], own["waveform"])


def test_without_decoded_sound(canvas, decoded):
    images = decoded["images"]
    assert run(SkyCanvasCompose, canvas=canvas, images=images)[1] is None
    own = sound(0.5)
    placed = put(SkyCanvasPlaceSound, canvas=canvas, audio=own, time=0.25)
    placed = put(SkyCanvasMaskSound, canvas=placed, time=0.5)
    heard = run(SkyCanvasCompose, canvas=placed, images=images)[1]["waveform"]
    assert heard.shape == (1, 1, SAMPLES) and torch.equal(heard[..., 11025:22050], own["waveform"][..., :11025])
    assert not heard[..., :11025].any() and not heard[..., 22050:].any()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"images": noise(16, 64, 64, 3)},
            r"^images have the shape \[16, 64, 64, 3\], the canvas is \[17, 64, 64, 3\]",
        ),
        (
            {"images": noise(17, 64, 32, 3)},
            r"^images have the shape \[17, 64, 32, 3\], the canvas is \[17, 64, 64, 3\]",
        ),
        ({"audio": sound(0.5)}, "^audio has 22050 samples, images last 46856 at 44100 Hz"),
        ({"images": noise(34, 64, 64, 3)}, "^audio has 46856 samples, images last 93712"),
        ({"feather": -1}, "^feather is -1"),
        ({"sound_feather": -1.0}, "^sound_feather is -1"),
        ({"audio": sound(17 / 16, batch=2)}, "^audio is a batch of 2 sounds"),
    ],
)
def test_compose_says_what_does_not_fit(canvas, decoded, change, message):
    with pytest.raises(CanvasError, match=message):
        run(SkyCanvasCompose, canvas=canvas, **decoded | change)
