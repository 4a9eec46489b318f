"""From a canvas to the composed clip, through every node: what was given comes back bit for bit, whatever the way."""

import random

import pytest
import torch
from comfy_tools import PROMPT, encode, ksampler
from node_tools import noise, put, run, sound
from skycanvas.canvas.compile import ROUTINGS
from skycanvas.canvas.pixels import Pixels
from skycanvas.canvas.sound import mix
from skycanvas.nodes.canvas import (
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasNew,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceImage,
    SkyCanvasPlaceSound,
)
from skycanvas.nodes.compose import SkyCanvasCompose
from skycanvas.nodes.encode import SkyCanvasEncode
from skycanvas.nodes.output import SkyCanvasDecode
from skycanvas.nodes.references import SkyCanvasReferenceImages, SkyCanvasReferenceVoice

SIZE, FRAMES = 32, 9


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


def random_canvas(seed):
    """A canvas as an artist might leave it: things half outside, over each other, on odd frames, at odd rates."""
    chooser = random.Random(seed)
    canvas = put(SkyCanvasNew, width=SIZE, height=SIZE, length=FRAMES)
    for place in range(chooser.randint(1, 4)):
        side = chooser.randint(4, 40)
        box = dict(x=chooser.randint(-3, SIZE - 1), y=chooser.randint(-3, SIZE - 1), width=side, height=side)
        frame = chooser.randrange(FRAMES)
        if chooser.random() < 0.5:
            channels = chooser.choice((3, 4)) if place else 3
            image = noise(1, side, side, channels, seed=chooser.randrange(99))
            canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=image, frame=frame, **box)
        else:
            images, rate = noise(12, 20, 28, 3, seed=chooser.randrange(99)), chooser.choice((8.0, 16.0, 25.0))
            move = dict(move=frame < FRAMES - 1, to_x=chooser.randint(0, 20), to_y=chooser.randint(0, 20))
            canvas = put(
                SkyCanvasPlaceClip, canvas=canvas, images=images, clip_frame_rate=rate, frame=frame, **box, **move
            )
    if chooser.random() < 0.5:
        canvas = put(SkyCanvasMaskRegion, canvas=canvas, frame=chooser.randrange(FRAMES), x=5, y=3, width=9, height=20)
    if chooser.random() < 0.7:
        audio = sound(0.3, channels=chooser.choice((1, 2, 6)), sample_rate=chooser.choice((44100, 48000)))
        canvas = put(SkyCanvasPlaceSound, canvas=canvas, audio=audio, time=chooser.random() / 4)
        canvas = put(SkyCanvasMaskSound, canvas=canvas, time=0.1, duration=0.05)
    if chooser.random() < 0.5:
        canvas = put(SkyCanvasReferenceImages, canvas=canvas, images={"image_1": noise(1, 20, 50, 3)})
        canvas = put(SkyCanvasReferenceVoice, canvas=canvas, audio=sound(0.2))
    return canvas


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("seed", range(8))
def test_what_is_given_comes_back(model, vae, audio_vae, prompts, seed, routing):
    canvas, batch = random_canvas(seed), 1 + seed % 2
    positive, negative, latent = run(
        SkyCanvasEncode,
        model=model,
        canvas=canvas,
        positive=prompts[0],
        negative=prompts[1],
        vae=vae,
        audio_vae=audio_vae,
        routing=routing,
        batch_size=batch,
    )
    made = ksampler(model, positive, negative, latent, steps=2)
    images, audio, rate = run(SkyCanvasDecode, samples={**latent, "samples": made}, vae=vae, audio_vae=audio_vae)
    composed, heard = run(SkyCanvasCompose, canvas=canvas, images=images, audio=audio, feather=seed % 4)
    assert composed.shape == (batch * FRAMES, SIZE, SIZE, 3) and composed.isfinite().all() and rate == 16.0
    pixels, given_pixels = Pixels(canvas), 0
    for index in range(FRAMES):
        frame = pixels.frame(index)
        given_pixels += int(frame.given.sum())
        for clip in composed.unflatten(0, (batch, FRAMES)):
            assert torch.equal(clip[index][frame.given], frame.picture[frame.given])
    source, given = mix(canvas, 44100)
    waveform = heard["waveform"]
    assert waveform.isfinite().all()
    for clip in waveform[0].unflatten(1, (batch, -1)).unbind(1):
        assert torch.equal(clip[:, given], source.expand(len(clip), -1)[:, given])
    assert given_pixels or given.any(), "nothing was given: the test says nothing"
