"""What a canvas becomes for the sampler, against the codecs and the compiler; and what samplers make of it."""

import gc
import re
from typing import get_args

import comfy.model_management
import comfy.sd
import comfy.utils
import pytest
import torch
from comfy.ldm.wan.vae import WanVAE
from comfy_tools import PROMPT, advanced, distance, empty_latent, encode, ksampler, same, streams
from node_tools import noise, run
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box, CanvasError
from skycanvas.canvas.grid import VideoGrid
from skycanvas.carriers import encoding
from skycanvas.carriers.carrier import PatchMethod
from skycanvas.carriers.vae import SkyCanvasVideoVAE, load_vae
from skycanvas.nodes.encode import SkyCanvasEncode

import nodes

FULL = Box(x=0, y=0, width=32, height=32)
LEFT = Box(x=0, y=0, width=16, height=32)
PATCH = Box(x=5, y=10, width=12, height=9)


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


@pytest.fixture
def canvas() -> Canvas:
    """32 x 32 pixels, 9 frames: 3 latent frames of 4 x 4 cells, 25 audio latents."""
    return Canvas.new(32, 32, 9, 16.0)


@pytest.fixture
def encode_canvas(model, vae, audio_vae, prompts):
    """The node on a canvas -> what it adds to positive conditioning, LATENT."""

    def call(canvas, **inputs):
        inputs = {"model": model, "vae": vae, "audio_vae": audio_vae} | inputs
        positive, negative, latent = run(
            SkyCanvasEncode, canvas=canvas, positive=prompts[0], negative=prompts[1], **inputs
        )
        added, also = (
            {key: value for key, value in given[0][1].items() if key not in prompt[0][1]}
            for given, prompt in zip((positive, negative), prompts, strict=True)
        )
        assert all(also[key] is value for key, value in added.items()) and added.keys() == also.keys()
        return added, latent

    return call


@pytest.fixture
def conditioned(prompts):
    """Positive and negative conditioning with what the node added."""
    from node_helpers import conditioning_set_values

    return lambda values: [conditioning_set_values(prompt, values) for prompt in prompts]


def codec(vae, pictures):
    """Latent of pictures in -1..1, [F, H, W, 3] -> [1, C, T, h, w], by the network alone."""
    return vae.first_stage_model.encode(pictures.movedim(-1, 0)[None])


def padded(picture, box, value=0.0):
    """A picture in its box on a canvas that is `value` elsewhere, in -1..1. [1, 32, 32, 3]"""
    full = torch.full((1, 32, 32, 3), value)
    full[:, box.y : box.y + box.height, box.x : box.x + box.width] = 2 * picture - 1
    return full


# --- nothing


def test_an_empty_canvas_changes_nothing(model, vae, audio_vae, prompts, canvas):
    result = run(
        SkyCanvasEncode,
        model=model,
        canvas=canvas,
        positive=prompts[0],
        negative=prompts[1],
        vae=vae,
        audio_vae=audio_vae,
        batch_size=2,
    )
    assert result[0] is prompts[0] and result[1] is prompts[1]
    plain = empty_latent(9, 2, model)
    assert result[2].keys() == plain.keys() and result[2]["frame_rate"] == plain["frame_rate"]
    assert same(result[2]["samples"], plain["samples"])
    assert same(ksampler(model, *result), ksampler(model, *prompts, plain))


# --- channel concat


def test_first_frame(encode_canvas, vae, canvas):
    image = noise(1, 32, 32, 3)
    values, latent = encode_canvas(canvas.place_image(image))
    expected = codec(vae, 2 * image - 1)
    video, audio = streams(latent["samples"])
    for given in (values["skycanvas_condition"], video):
        torch.testing.assert_close(given[:, :, :1], expected)
        assert given.shape == (1, 4, 3, 4, 4) and not given[:, :, 1:].any()
    assert not audio.any()
    assert values["skycanvas_mask"].shape == (1, 1, 3, 4, 4)
    assert torch.equal(values["skycanvas_mask"], 1 - latent["noise_mask"].unbind()[0])
    assert values["skycanvas_mask"].flatten(2).sum(2).item() == 16 and values["skycanvas_mask"][:, :, 0].all()
    assert latent["noise_mask"].unbind()[1].shape == (1, 1, 25) and latent["noise_mask"].unbind()[1].all()
    assert values.keys() == {"skycanvas_condition", "skycanvas_mask", "frame_rate"} and values["frame_rate"] == 16.0


def test_clip_is_encoded_as_a_whole_on_black(encode_canvas, vae, canvas):
    """Latent frame by latent frame, to the same latents as all at once."""
    clip = noise(9, 32, 16, 3)
    values, latent = encode_canvas(canvas.place_clip(clip, 16.0, box=LEFT))
    black = torch.full((9, 32, 32, 3), -1.0)
    black[:, :, :16] = 2 * clip - 1
    expected = codec(vae, black)
    torch.testing.assert_close(values["skycanvas_condition"][..., :2], expected[..., :2])
    assert not values["skycanvas_condition"][..., 2:].any()
    assert values["skycanvas_mask"][..., :2].all() and not values["skycanvas_mask"][..., 2:].any()
    assert same(latent["samples"].unbind()[0], values["skycanvas_condition"])


def test_what_is_made_again_does_not_shine_through(encode_canvas, canvas):
    """Neither the pixels under a region nor what lies over the edge of a cell reach the latents that are kept."""
    clip, other = noise(9, 32, 32, 3), noise(9, 32, 32, 3, seed=2)
    other[:, :, :13] = clip[:, :, :13]
    right = Box(x=13, y=0, width=19, height=32)
    values, other_values = (
        encode_canvas(canvas.place_clip(images, 16.0).region_box("generate", right))[0] for images in (clip, other)
    )
    assert torch.equal(values["skycanvas_condition"], other_values["skycanvas_condition"])
    assert values["skycanvas_mask"][..., :1].all() and not values["skycanvas_mask"][..., 1:].any()


def test_pictures_are_encoded_few_at_a_time(encode_canvas, vae, canvas, monkeypatch):
    seen, original = [], vae.encode
    monkeypatch.setattr(vae, "encode", lambda pictures: seen.append(len(pictures)) or original(pictures))
    long = Canvas.new(32, 32, 33, 16.0).place_clip(noise(33, 32, 32, 3, seed=5), 16.0)
    encode_canvas(long)
    assert seen == [1] + 8 * [5]


def test_other_codecs_see_the_clip_up_to_what_is_wanted():
    """Wan 2.1's, as stock VAELoader would load it: its latents depend on all frames before."""
    network = WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True])
    generator = torch.Generator().manual_seed(0)
    sd = {name: 0.2 * torch.randn(x.shape, generator=generator) for name, x in network.state_dict().items()}
    wan = comfy.sd.VAE(sd=sd)
    clip = noise(13, 16, 16, 3)
    encoder = encoding.Encoder(wan, VideoGrid(), comfy.utils.ProgressBar(2))
    shown = []
    latent = encoder.clip([1, 2], lambda f: shown.append(f) or clip[f])
    assert shown == list(range(9)) and latent.shape == (1, 16, 2, 2, 2) and latent.std() > 0.01
    torch.testing.assert_close(latent, wan.encode(clip[:9])[:, :, 1:])
    assert (latent - wan.encode(clip)[:, :, 1:3]).abs().max() < 1e-4 * latent.abs().max()


# --- patches


def test_patch_goes_in_context_at_its_frame(encode_canvas, vae, canvas):
    image = noise(1, 9, 12, 3)
    values, latent = encode_canvas(canvas.place_image(image, frame=6, box=PATCH))
    (entry,) = values["skycanvas_video_context"]
    assert entry["times"] == (1.5,)
    torch.testing.assert_close(entry["latent"], codec(vae, padded(image, PATCH)))
    assert values.keys() == {"skycanvas_video_context", "frame_rate"}
    assert same(latent["samples"], empty_latent(9)["samples"]) and "noise_mask" not in latent


def test_what_lies_outside_a_patch_changes_nothing(encode_canvas, canvas):
    """Pixels beyond the frame, pixels of other frames, and what else is on the canvas."""
    image, other = noise(1, 20, 20, 3), noise(1, 20, 20, 3, seed=2)
    other[:, :12, :12] = image[:, :12, :12]
    corner = Box(x=20, y=20, width=20, height=20)
    (patch,) = encode_canvas(canvas.place_image(image, frame=6, box=corner))[0]["skycanvas_video_context"]
    more = canvas.place_image(noise(1, 32, 32, 3)).place_image(other, frame=6, box=corner)
    (same_patch,) = encode_canvas(more)[0]["skycanvas_video_context"]
    assert torch.equal(patch["latent"], same_patch["latent"]) and patch["times"] == same_patch["times"]


def test_guides_are_followed_not_kept(encode_canvas, vae, canvas):
    image = noise(1, 32, 32, 3)
    values, latent = encode_canvas(canvas.place_image(image, frame=8, role="guide"))
    (entry,) = values["skycanvas_video_context"]
    assert entry["times"] == (2.0,) and "skycanvas_condition" not in values and "noise_mask" not in latent
    torch.testing.assert_close(entry["latent"], codec(vae, 2 * image - 1))


@pytest.mark.parametrize(
    "method, frame, times",
    [
        ("rope_interpolation", 6, (1.5,)),
        ("nearest_slot", 5, (1.0,)),
        ("nearest_slot", 6, (2.0,)),
        ("no_rope", 6, None),
        ("pixel_padding", 6, (2.0,)),
        ("latent_slice", 5, (2.0,)),
    ],
)
def test_alternatives_of_videocanvas(encode_canvas, vae, canvas, method, frame, times):
    image = noise(1, 9, 12, 3)
    values, latent = encode_canvas(canvas.place_image(image, frame=frame, box=PATCH), patch_method=method)
    (entry,) = values["skycanvas_video_context"]
    assert entry["times"] == times and "noise_mask" not in latent
    picture = padded(image, PATCH)
    if method == "pixel_padding":
        clip = torch.zeros(9, 32, 32, 3)
        clip[frame] = picture[0]
        expected = codec(vae, clip)[:, :, 2:]
    elif method == "latent_slice":
        expected = codec(vae, picture.expand(9, -1, -1, -1))[:, :, 2:]
    else:
        expected = codec(vae, picture)
    torch.testing.assert_close(entry["latent"], expected)


@pytest.mark.parametrize("method", ["pixel_padding", "latent_slice"])
def test_video_alternatives_encode_the_frames_of_a_slot_together(encode_canvas, vae, canvas, method):
    """A clip on frames 5 to 7 of latent frame 2: one entry for the three patches."""
    clip = noise(3, 9, 12, 3)
    values, _ = encode_canvas(canvas.place_clip(clip, 16.0, frame=5, box=PATCH), patch_method=method)
    (entry,) = values["skycanvas_video_context"]
    pictures = torch.zeros(9, 32, 32, 3)
    pictures[5:8, 10:19, 5:17] = 2 * clip - 1
    if method == "latent_slice":
        pictures[8] = pictures[7]
    torch.testing.assert_close(entry["latent"], codec(vae, pictures)[:, :, 2:])


def test_latent_replacement(encode_canvas, vae, canvas):
    """Cells that the patch fills, in the latent frame of its frame; not those that it fills in part."""
    image, box = noise(1, 20, 24, 3), Box(x=4, y=8, width=24, height=20)
    values, latent = encode_canvas(canvas.place_image(image, frame=6, box=box), patch_method="latent_replacement")
    video, mask = latent["samples"].unbind()[0], latent["noise_mask"].unbind()[0]
    inside = torch.zeros(1, 1, 3, 4, 4, dtype=torch.bool)
    inside[:, :, 2, 1:3, 1:3] = True
    assert torch.equal(mask == 0, inside) and not (video * ~inside).any()
    torch.testing.assert_close(video[:, :, 2, 1:3, 1:3], codec(vae, padded(image, box))[:, :, 0, 1:3, 1:3])
    assert values == {"frame_rate": 16.0}


# --- routing


def test_routing_in_context(encode_canvas, vae, canvas):
    """Even a whole first frame is a patch then, and is made again."""
    image = noise(1, 32, 32, 3)
    values, latent = encode_canvas(canvas.place_image(image), routing="in_context")
    (entry,) = values["skycanvas_video_context"]
    assert entry["times"] == (0.0,) and "skycanvas_mask" not in values and "noise_mask" not in latent
    torch.testing.assert_close(entry["latent"], codec(vae, 2 * image - 1))


def test_routing_concat(encode_canvas, vae, canvas):
    """Single frames go to slot ceil(frame / 4); the later of two wins. The slot is not kept: it has four frames."""
    image, part, box = noise(1, 32, 32, 3), noise(1, 16, 16, 3, seed=2), Box(x=8, y=8, width=16, height=16)
    placed = canvas.place_image(image, frame=5).place_image(part, frame=7, box=box)
    values, latent = encode_canvas(placed, routing="concat")
    condition, mask = values["skycanvas_condition"], values["skycanvas_mask"]
    assert mask[:, :, 2].all() and not mask[:, :, :2].any()
    assert "noise_mask" not in latent and not latent["samples"].unbind()[0].any()
    assert values.keys() == {"skycanvas_condition", "skycanvas_mask", "frame_rate"}
    inner = codec(vae, padded(part, box, -1.0))[:, :, 0, 1:3, 1:3]
    torch.testing.assert_close(condition[:, :, 2, 1:3, 1:3], inner)
    background = 2 * image - 1
    background[:, 8:24, 8:24] = -1
    expected = codec(vae, background)[:, :, 0]
    torch.testing.assert_close(condition[:, :, 2, 0], expected[:, :, 0])


def test_routing_concat_keeps_what_is_given(encode_canvas, canvas):
    """Beside a clip that fills its cells on all frames, a single frame has cells of its own."""
    placed = canvas.place_clip(noise(9, 32, 16, 3), 16.0, box=LEFT)
    auto, kept = encode_canvas(placed)
    placed = placed.place_image(noise(1, 32, 16, 3), frame=6, box=Box(x=16, y=0, width=16, height=32))
    values, latent = encode_canvas(placed, routing="concat")
    assert torch.equal(values["skycanvas_condition"][..., :2], auto["skycanvas_condition"][..., :2])
    assert values["skycanvas_mask"][:, :, 2].all() and not values["skycanvas_mask"][:, :, :2, :, 2:].any()
    assert same(latent["samples"], kept["samples"]) and same(latent["noise_mask"], kept["noise_mask"])


# --- references


def test_references_come_before_the_clip(encode_canvas, vae, canvas):
    """Whole, in the middle of black; a clip of 8 fps and 6 frames is 12 canvas frames, of which 9 fill latents."""
    image, clip = noise(1, 16, 32, 3), noise(6, 32, 16, 3)
    referring = canvas.reference(image, kind="image").reference(clip, kind="clip", fps=8.0)
    values, latent = encode_canvas(referring)
    first, second = values["skycanvas_video_context"]
    assert first["times"] == (-4.0,) and second["times"] == (-3.0, -2.0, -1.0)
    torch.testing.assert_close(first["latent"], codec(vae, padded(image, Box(x=0, y=8, width=32, height=16), -1.0)))
    pictures = torch.full((9, 32, 32, 3), -1.0)
    pictures[:, :, 8:24] = 2 * clip[[0, 0, 1, 1, 2, 2, 3, 3, 4]] - 1
    torch.testing.assert_close(second["latent"], codec(vae, pictures))
    assert values.keys() == {"skycanvas_video_context", "frame_rate"} and "noise_mask" not in latent


def test_references_of_another_size_are_scaled(encode_canvas, canvas):
    (entry,) = encode_canvas(canvas.reference(noise(1, 50, 70, 3), kind="image"))[0]["skycanvas_video_context"]
    assert entry["latent"].shape == (1, 4, 1, 4, 4)


def test_voices_end_where_the_clip_begins(encode_canvas, audio_vae, canvas):
    """Two voices, one of them at another rate and in stereo: 2 and 3 latents, one after the other."""
    low, high = 0.1 * noise(1, 2000), 0.1 * noise(2, 1500, seed=2)
    values, _ = encode_canvas(
        canvas.reference(low, kind="sound", sample_rate=44100).reference(high, kind="sound", sample_rate=22050)
    )
    first, second = values["skycanvas_audio_context"]
    times = [((i + 0.5 - 5) * 1024 / 44100 * 16 - 0.5) / 4 for i in range(5)]
    assert first["times"] == pytest.approx(times[:2]) and second["times"] == pytest.approx(times[2:])
    torch.testing.assert_close(first["latent"], audio_vae.first_stage_model.encode(low[None]))
    assert second["latent"].shape == (1, audio_vae.latent_channels, 3)
    mono = encode_canvas(canvas.reference(high.mean(0, keepdim=True), kind="sound", sample_rate=22050))[0]
    torch.testing.assert_close(second["latent"], mono["skycanvas_audio_context"][0]["latent"])
    assert values.keys() == {"skycanvas_audio_context", "frame_rate"}


# --- sound


def test_given_sound_is_kept(encode_canvas, audio_vae, canvas):
    """From sample 2500 on: latents 3 to 9 are whole."""
    waveform = 0.1 * noise(1, 7740)
    values, latent = encode_canvas(canvas.place_sound(waveform, 44100, time=2500 / 44100))
    audio, mask = latent["samples"].unbind()[1], latent["noise_mask"].unbind()[1]
    assert mask.shape == (1, 1, 25) and (mask[0, 0] == 0).nonzero()[:, 0].tolist() == list(range(3, 10))
    whole = torch.zeros(1, 1, 25 * 1024)
    whole[..., 2500 : 2500 + 7740] = waveform
    torch.testing.assert_close(audio[..., 3:10], audio_vae.first_stage_model.encode(whole)[..., 3:10])
    assert not audio[..., :3].any() and not audio[..., 10:].any()
    assert latent["noise_mask"].unbind()[0].all() and values == {"frame_rate": 16.0}


def test_sound_to_the_end_is_kept_to_the_last_latent(encode_canvas, canvas):
    """9 frames are 24806 samples: the last latent reaches over them."""
    _, latent = encode_canvas(canvas.place_sound(noise(1, 44100), 44100))
    assert not latent["noise_mask"].unbind()[1].any()


# --- sampling


@pytest.mark.parametrize("sample", [ksampler, advanced])
def test_what_is_kept_comes_out_as_it_went_in(model, encode_canvas, conditioned, canvas, sample):
    placed = canvas.place_clip(noise(9, 32, 16, 3), 16.0, box=LEFT).place_sound(0.1 * noise(1, 9000), 44100)
    values, latent = encode_canvas(placed)
    result = sample(model, *conditioned(values), latent)
    for out, given, mask in zip(
        streams(result), streams(latent["samples"]), streams(latent["noise_mask"]), strict=True
    ):
        kept = (mask == 0).expand_as(out)
        assert torch.equal(out[kept], given[kept]) and kept.any()
        assert (out[~kept] - given[~kept]).abs().mean() > 0.1 and out.isfinite().all()


def test_every_part_of_a_canvas_reaches_the_network(model, encode_canvas, conditioned, prompts, canvas):
    """By both samplers alike."""
    plain = ksampler(model, *prompts, empty_latent(9))
    parts = {
        "image": canvas.place_image(noise(1, 32, 32, 3)),
        "patch": canvas.place_image(noise(1, 9, 12, 3), frame=6, box=PATCH),
        "reference": canvas.reference(noise(1, 32, 32, 3), kind="image"),
        "voice": canvas.reference(0.1 * noise(1, 5000), kind="sound", sample_rate=44100),
    }
    for placed in parts.values():
        values, latent = encode_canvas(placed)
        result = ksampler(model, *conditioned(values), latent)
        assert distance(result, plain) > 1e-3 and same(result, advanced(model, *conditioned(values), latent))


def test_methods_and_routings_differ(model, encode_canvas, conditioned, canvas):
    placed = canvas.place_image(noise(1, 24, 24, 3), frame=6, box=Box(x=8, y=8, width=24, height=24))
    ways = [{"patch_method": method} for method in get_args(PatchMethod)] + [{"routing": "concat"}]
    results = []
    for way in ways:
        values, latent = encode_canvas(placed, **way)
        results.append(ksampler(model, *conditioned(values), latent))
    for i, result in enumerate(results):
        assert all(distance(result, other) > 1e-4 for other in results[:i]), ways[i]


def test_batch(model, encode_canvas, conditioned, canvas):
    """Two clips of different noise, both with the same first frame, the same patch, reference and sound."""
    placed = (
        canvas.place_image(noise(1, 32, 32, 3))
        .place_image(noise(1, 9, 12, 3), frame=6, box=PATCH)
        .place_sound(0.1 * noise(1, 9000), 44100)
        .reference(noise(1, 32, 32, 3), kind="image")
    )
    values, latent = encode_canvas(placed, batch_size=2)
    assert [len(x) for x in (*streams(latent["samples"]), *streams(latent["noise_mask"]))] == 4 * [2]
    video, audio = streams(ksampler(model, *conditioned(values), latent))
    (given, given_audio), (_, audio_mask) = streams(latent["samples"]), streams(latent["noise_mask"])
    assert torch.equal(video[:, :, 0], given[:, :, 0]) and torch.equal(given[0], given[1])
    heard = (audio_mask == 0).expand_as(audio)
    assert torch.equal(audio[heard], given_audio[heard]) and heard.any()
    assert (video[0, :, 1:] - video[1, :, 1:]).abs().mean() > 0.1


def test_stock_noise_mask_still_works(model, encode_canvas, conditioned, canvas):
    """SetLatentNoiseMask replaces what the canvas kept: the lower half is made again, of all frames."""
    values, latent = encode_canvas(canvas.place_clip(noise(9, 32, 32, 3), 16.0))
    mask = torch.zeros(1, 32, 32)
    mask[:, 16:] = 1
    masked = nodes.SetLatentNoiseMask().set_mask(latent, mask)[0]
    video, _ = streams(ksampler(model, *conditioned(values), masked))
    given = latent["samples"].unbind()[0]
    assert torch.equal(video[..., :2, :], given[..., :2, :])
    assert (video[..., 2:, :] - given[..., 2:, :]).abs().mean() > 0.1


# --- the cache


@pytest.fixture
def counted(mini, monkeypatch):
    """A video VAE of its own, which has encoded nothing yet, and the shapes of what it encodes."""
    vae, calls = load_vae(SkyCanvasVideoVAE, str(mini.video_vae)), []
    original = vae.encode
    monkeypatch.setattr(vae, "encode", lambda pictures: calls.append(tuple(pictures.shape)) or original(pictures))
    return vae, calls


def test_moving_one_patch_encodes_one_patch(encode_canvas, canvas, counted):
    vae, calls = counted
    base = canvas.place_clip(noise(9, 32, 16, 3), 16.0, box=LEFT).reference(noise(5, 32, 32, 3), kind="clip")
    base = base.place_image(noise(1, 6, 6, 3, seed=3), frame=3, box=Box(x=18, y=1, width=6, height=6))
    image = noise(1, 6, 6, 3, seed=4)

    def place(x):
        return encode_canvas(base.place_image(image, frame=6, box=Box(x=x, y=20, width=6, height=6)), vae=vae)

    place(18)
    assert len(calls) == 3 + 2 + 2
    calls.clear()
    place(19)
    assert calls == [(1, 32, 32, 3)]
    calls.clear()
    values, _ = place(18)
    assert not calls and values["skycanvas_video_context"][-1]["times"] == (1.5,)
    # a patch keeps its latent when it only moves in time
    encode_canvas(base.place_image(image, frame=7, box=Box(x=18, y=20, width=6, height=6)), vae=vae)
    assert not calls


def test_each_vae_remembers_its_own_and_is_forgotten(encode_canvas, canvas, mini, counted):
    vae, calls = counted
    placed = canvas.place_image(noise(1, 32, 32, 3))
    gc.collect()
    before = len(encoding.caches)
    encode_canvas(placed, vae=vae)
    other = load_vae(SkyCanvasVideoVAE, str(mini.video_vae))
    encode_canvas(placed, vae=other)
    assert len(calls) == 1 and len(encoding.caches) == before + 2
    del other
    gc.collect()
    assert len(encoding.caches) == before + 1


def test_cache_is_bounded():
    cache, made = encoding.LatentCache(limit=100), []

    def latent(value, size=10):
        return cache.get(torch.full((2,), float(value)), lambda x: made.append(value) or torch.zeros(size))

    latent(1), latent(2), latent(1), latent(3)  # 40 bytes each: the third is one too many, 2 is the oldest
    assert made == [1, 2, 3] and cache.held == 80
    latent(1), latent(2)
    assert made == [1, 2, 3, 2]
    latent(4, size=1000)  # larger than all
    assert cache.held == 0 and not cache.latents


def test_what_was_encoded_is_told_apart_by_shape(vae):
    cache = encoding.LatentCache()
    shapes = [cache.get(torch.zeros(shape), lambda x: x).shape for shape in ((4,), (2, 2), (4, 1))]
    assert shapes == [(4,), (2, 2), (4, 1)]


# --- progress, interrupt, words


def test_progress_runs_to_its_end(encode_canvas, canvas, monkeypatch):
    bars = []

    class Bar(comfy.utils.ProgressBar):
        def __init__(self, total):
            super().__init__(total)
            bars.append(self)

    monkeypatch.setattr(comfy.utils, "ProgressBar", Bar)
    placed = canvas.place_clip(noise(5, 32, 32, 3), 16.0).place_image(noise(1, 9, 12, 3), frame=6, box=PATCH)
    placed = placed.place_sound(noise(1, 5000), 44100).reference(noise(6, 32, 16, 3), kind="clip")
    encode_canvas(placed.reference(noise(1, 2000), kind="sound", sample_rate=44100))
    assert [(bar.current, bar.total) for bar in bars] == [(2 + 1 + 1 + 2 + 1, 7)]


def test_interrupt(encode_canvas, canvas, counted):
    vae, calls = counted
    placed = canvas.place_clip(noise(9, 32, 32, 3), 16.0)
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        encode_canvas(placed, vae=vae)
    assert not calls
    encode_canvas(placed, vae=vae)
    assert len(calls) == 3


def test_node_shows_the_report(model, vae, audio_vae, prompts, canvas):
    output = SkyCanvasEncode.execute(
        model, canvas.place_image(noise(1, 32, 32, 3)), prompts[0], prompts[1], vae, audio_vae
    )
    (text,) = output.ui.as_dict()["text"]
    assert text.startswith("Canvas: 32x32 pixels, 9 frames at 16 fps") and "16 cells in latent frame 0" in text


# --- errors, all before anything is encoded


@pytest.mark.parametrize(
    "size, message",
    [
        ((40, 32, 9), "width 40 is not a multiple of 16: use 32 or 48"),
        ((32, 8, 9), "height 8 is not a multiple of 16: use 16"),
        ((32, 32, 30), r"length 30 is not 4n\+1: use 29 or 33"),
    ],
)
def test_canvas_that_the_grid_cannot_hold(encode_canvas, size, message):
    with pytest.raises(CanvasError, match=message):
        encode_canvas(Canvas.new(*size, 16.0).place_image(noise(1, 8, 8, 3)))


def test_model_of_another_family(encode_canvas, canvas):
    class Other:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="the model is a Linear.*'Load SkyCanvas Mini'"):
        encode_canvas(canvas, model=Other())


def test_wrong_vaes(encode_canvas, canvas, vae, audio_vae, monkeypatch):
    def message(**inputs) -> str:
        with pytest.raises(ValueError) as error:
            encode_canvas(canvas, **inputs)
        return str(error.value)

    assert message(vae=audio_vae, audio_vae=vae) == "vae encodes sound and audio_vae encodes pictures: swap them"
    assert message(vae=audio_vae).startswith("vae is no VAE for videos: connect")
    assert message(audio_vae=vae).startswith("audio_vae is no VAE for sounds: connect")
    monkeypatch.setattr(audio_vae, "audio_sample_rate", 16000)
    assert message().startswith("audio_vae works at 16000 Hz, this model at 44100 Hz: ")
    monkeypatch.setattr(vae, "downscale_ratio", (lambda frames: frames, 16, 16))
    assert message().startswith("vae makes latents of 4 frames and 16 x 16 pixels, this model takes 4 and 8 x 8: ")
    monkeypatch.setattr(vae, "latent_channels", 16)
    assert message().startswith("vae makes latents of 16 channels, this model takes 4: connect")


def test_voice_that_cannot_be_resampled(encode_canvas, canvas):
    odd = canvas.reference(noise(1, 500), kind="sound", sample_rate=44101, tag="@Actor-0")
    with pytest.raises(CanvasError, match="'@Actor-0' has 44101 Hz.*use"):
        encode_canvas(odd)


def test_unknown_ways(encode_canvas, canvas):
    with pytest.raises(ValueError, match="patch_method is 'magic': use rope_interpolation, nearest_slot"):
        encode_canvas(canvas, patch_method="magic")
    with pytest.raises(CanvasError, match="routing is 'magic': use auto, concat and in_context"):
        encode_canvas(canvas, routing="magic")


def test_every_input_says_what_it_is():
    schema = SkyCanvasEncode.GET_SCHEMA()
    assert schema.node_id == "SkyCanvasEncode" and all(i.tooltip for i in schema.inputs)
    assert re.search("empty canvas changes nothing", schema.description)
