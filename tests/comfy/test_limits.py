"""What would fill the memory, or fall over without a word, is refused with one."""

import pytest
import torch
from comfy_tools import PROMPT, empty_latent, encode
from node_tools import noise, put, run, sound
from skycanvas.canvas.compile import MOST_CELLS
from skycanvas.models.text_encoder import split_words
from skycanvas.nodes.canvas import SkyCanvasNew, SkyCanvasPlaceImage, SkyCanvasPlaceSound
from skycanvas.nodes.compose import SkyCanvasCompose
from skycanvas.nodes.extend import check_lengths, given_sound
from skycanvas.nodes.preview import SkyCanvasPreview
from skycanvas.nodes.prompt import SkyCanvasPrompt, reference_media
from skycanvas.nodes.references import SkyCanvasReferenceClip, SkyCanvasReferenceVoice
from skycanvas.nodes.sampling import SkyCanvasSampler, SkyCanvasWave


@pytest.fixture
def canvas():
    return put(SkyCanvasNew)


def test_sounds_of_odd_rates(canvas, clip):
    odd = sound(0.1, sample_rate=44101)
    voiced = put(SkyCanvasReferenceVoice, canvas=canvas, audio=odd)
    with pytest.raises(ValueError, match="the sound has 44101 Hz, too odd a rate to resample to 44100 Hz"):
        SkyCanvasPrompt.execute(clip, "a red circle <sfx> @audio_0 </sfx>", voiced)
    with pytest.raises(ValueError, match="44101 Hz, too odd a rate"):
        given_sound(odd, 44100, 44100)


def test_missing_sound(canvas):
    with pytest.raises(ValueError, match="audio is empty: the file has no sound"):
        put(SkyCanvasPlaceSound, canvas=canvas, audio=None)
    with pytest.raises(ValueError, match="a sample rate of 0 Hz"):
        put(SkyCanvasPlaceSound, canvas=canvas, audio=sound(0.1) | {"sample_rate": 0})


def test_a_strip_that_would_be_enlarged_beyond_all_measure(canvas):
    strip = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 1, 8192, 3), width=64, height=64, fit="cover")
    with pytest.raises(ValueError, match="it would enlarge 8192x1 to 524288x64 pixels.* crop the picture"):
        put(SkyCanvasPreview, canvas=strip)


def test_a_clip_that_would_last_for_hours(canvas):
    slow = put(SkyCanvasReferenceClip, canvas=canvas, images=noise(30, 8, 8, 3), clip_frame_rate=0.1)
    with pytest.raises(ValueError, match="@video_1 lasts 300 s, 4800 frames at the canvas' rate: use"):
        reference_media(slow)


def test_a_canvas_that_no_machine_samples():
    huge = put(SkyCanvasNew, width=8192, height=8192, length=4097)
    with pytest.raises(ValueError, match=f"8192x8192 pixels and 4097 frames .* of at most {MOST_CELLS}"):
        put(SkyCanvasPreview, canvas=huge)


def test_a_canvas_that_lasts_for_hours():
    """Its sound alone would fill the memory, though its pictures are few and small."""
    long = put(SkyCanvasNew, width=16, height=16, length=9997, frame_rate=1.0)
    with pytest.raises(ValueError, match="9997 frames at 1 per second lasts 9997 s: use fewer .* for 6086 s at most"):
        put(SkyCanvasPreview, canvas=long)


def test_feathers(canvas):
    images, audio = noise(17, 64, 64, 3), sound(17 / 16)
    with pytest.raises(ValueError, match="feather is 257: use 0 to 256 pixels"):
        run(SkyCanvasCompose, canvas=canvas, images=images, feather=257)
    with pytest.raises(ValueError, match="sound_feather is nan: use 0 or more milliseconds"):
        run(SkyCanvasCompose, canvas=canvas, images=images, audio=audio, sound_feather=float("nan"))


@pytest.mark.parametrize("name, value", [("steps", 0), ("denoise", 2.0), ("denoise", -1.0), ("shift", -1.0)])
def test_numbers_of_the_sampler(model, clip, name, value):
    inputs = dict(model=model, positive=encode(clip, PROMPT), negative=encode(clip, ""), latent_image=empty_latent(5))
    with pytest.raises(ValueError, match=f"{name} is {value}: use"):
        run(SkyCanvasSampler, **inputs | {name: value})


def test_a_wave_without_a_step(model, clip):
    from comfy_extras import nodes_custom_sampler as custom

    guider = custom.BasicGuider.execute(model, encode(clip, PROMPT)).result[0]
    random = custom.RandomNoise.execute(0).result[0]
    with pytest.raises(ValueError, match="sigmas has 1 noise levels, which is no step: use 2 or more"):
        custom.SamplerCustomAdvanced.execute(random, guider, put(SkyCanvasWave), torch.tensor([1.0]), empty_latent(5))


@pytest.mark.parametrize("overlap", [-3, 0])
def test_overlaps_below_one(overlap):
    with pytest.raises(ValueError, match=f"overlap {overlap} is not 4n"):
        check_lengths(5, 21, 9, overlap, False)


@pytest.mark.parametrize("text", ["红色@image_1圆", "赤い@image_1が"])
def test_tags_end_where_other_scripts_begin(text):
    """Chinese and Japanese put no space after a tag."""
    assert "@image_1" in split_words(text)
