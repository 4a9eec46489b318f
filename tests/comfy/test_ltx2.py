"""A canvas on tiny LTX-2 and LTX-2.3: what core's network gets of it, and what stock samplers and nodes make of it.

What lies on single frames is in test_ltx2_patches.py, what does not fit and what all takes in test_ltx2_limits.py.
"""

from dataclasses import dataclass

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras import nodes_lt, nodes_lt_audio
from comfy_tools import same
from ltx_canvas_tools import FRAMES, HEIGHT, LEFT, SPANS, WIDTH, H, L, T, W, latent_of, places
from node_helpers import conditioning_set_values
from node_tools import noise, put
from safetensors import safe_open
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.compose import compose_audio, compose_video
from skycanvas.canvas.document import Box, CanvasError
from skycanvas.canvas.sound import sample_count
from skycanvas.carriers.carrier import FINISH, carrier_of, finish, noise_for
from skycanvas.carriers.ltx2 import Ltx2Carrier
from skycanvas.nodes.sampling import SkyCanvasSampler

import nodes

# --- the model


def test_it_is_known_by_what_it_is(ltx):
    carrier = carrier_of(ltx.model)
    assert isinstance(carrier, Ltx2Carrier) and carrier.family == "LTX-2"
    assert carrier.version == ("LTX-2" if ltx.files.version == "2.0" else "LTX-2.3")
    assert carrier.isolated == {"a2v_cross_attn": False, "v2a_cross_attn": False}
    for file, known in ((ltx.files.model, True), (ltx.files.checkpoint, True), (ltx.files.vae, False)):
        with safe_open(file, "pt") as opened:
            assert Ltx2Carrier.knows(set(opened.keys())) == known


@pytest.mark.parametrize("frames, fps, sound", [(17, 25.0, 17), (121, 25.0, 121), (121, 24.0, 127), (9, 50.0, 5)])
def test_shapes_are_those_of_stock_empty_latents(ltx, frames, fps, sound):
    shapes = carrier_of(ltx.model).shapes(frames, HEIGHT, WIDTH, fps)
    video = nodes_lt.EmptyLTXVLatentVideo.execute(WIDTH, HEIGHT, frames).result[0]["samples"]
    audio = nodes_lt_audio.LTXVEmptyLatentAudio.execute(frames, fps, 1, ltx.audio_vae).result[0]["samples"]
    assert [tuple(shape) for shape in shapes] == [video.shape[1:], audio.shape[1:]] and shapes[1][1] == sound
    with pytest.raises(CanvasError, match="length 18 is not 8n.1: use 17 or 25"):
        carrier_of(ltx.model).shapes(18, HEIGHT, WIDTH, fps)
    with pytest.raises(CanvasError, match="width 100 is not a multiple of 32: use 96 or 128"):
        carrier_of(ltx.model).shapes(17, HEIGHT, 100, fps)


def test_an_empty_canvas_sets_the_frame_rate_alone(ltx):
    """Which core would take to be 25."""
    values, latent = ltx.added(Canvas.new(WIDTH, HEIGHT, FRAMES, 24.0), batch_size=2)
    assert values == {"frame_rate": 24.0} and latent.keys() == {"samples", "frame_rate", FINISH}
    assert [x.shape for x in latent["samples"].unbind()] == [(2, 128, T, H, W), (2, 8, 18, 16)]
    assert not any(x.any() for x in latent["samples"].unbind())


# --- what is kept


def test_first_frame(ltx, canvas):
    image = noise(1, HEIGHT, WIDTH, 3)
    values, latent = ltx.added(canvas.place_image(image))
    (video, audio), (mask, audio_mask) = latent["samples"].unbind(), latent["noise_mask"].unbind()
    assert torch.equal(video[:, :, :1], latent_of(ltx.vae, image)) and not video[:, :, 1:].any() and not audio.any()
    assert mask.shape == (1, 1, T, H, W) and not mask[:, :, 0].any() and (mask[:, :, 1:] == 1).all()
    assert audio_mask.shape == (1, 1, L, 16) and (audio_mask == 1).all()
    assert mask.dtype == audio_mask.dtype == torch.float32 and values == {"frame_rate": 25.0}


def test_tokens_of_what_is_kept_are_clean(ltx, canvas):
    """Places as core's own, timesteps 0 for the left third of the picture and the first 0.29 s of the sound."""
    canvas = canvas.place_clip(noise(17, HEIGHT, 64, 3), 25.0, box=LEFT)
    canvas = canvas.place_sound(0.1 * noise(1, 13000), 44100)
    ltx.sample(*ltx.encode(canvas))
    call = ltx.calls[0]
    assert torch.equal(call.places, places(SPANS))
    expected = torch.ones(T, H, W)
    expected[..., :2] = 0
    torch.testing.assert_close(call.timesteps, expected.flatten())  # the first step's, just under 1
    assert torch.equal(call.timesteps == 0, expected.flatten() == 0)
    ends = call.audio_places[0, :, 1]
    assert torch.equal(call.audio_timesteps == 0, ends <= 13000 / 44100 + 1e-6)
    assert int((call.audio_timesteps == 0).sum()) == 8


def test_beside_kept_cells_their_edge_goes_on(ltx, canvas):
    """So that the VAE sees nothing of what is made again, and nothing black."""
    clip = noise(17, HEIGHT, WIDTH, 3)
    right = Box(x=70, y=0, width=WIDTH - 70, height=HEIGHT)
    _, latent = ltx.added(canvas.place_clip(clip, 25.0).region_box("generate", right))
    video, _ = latent["samples"].unbind()
    goes_on = clip[:, :, :64].clone()
    goes_on = torch.cat([goes_on, goes_on[:, :, -1:].expand(-1, -1, WIDTH - 64, -1)], dim=2)
    torch.testing.assert_close(video[..., :2], latent_of(ltx.vae, goes_on)[..., :2])
    assert not video[..., 2:].any()


def test_kept_frames_in_the_middle_are_encoded_by_themselves(ltx):
    """Latent frames 2 and 4: what is encoded begins with one frame, as clips do, which stands for no latent here."""
    canvas, clips = Canvas.new(WIDTH, HEIGHT, 41, 25.0), [noise(8, HEIGHT, WIDTH, 3, seed=seed) for seed in (1, 2)]
    for clip, frame in zip(clips, (9, 25), strict=True):
        canvas = canvas.place_clip(clip, 25.0, frame=frame)
    values, latent = ltx.added(canvas)
    video = latent["samples"].unbind()[0]
    for clip, t in zip(clips, (2, 4), strict=True):
        expected = latent_of(ltx.vae, torch.cat([clip[:1], clip]))
        torch.testing.assert_close(video[:, :, t], expected[:, :, 1])
    assert not video[:, :, [0, 1, 3, 5]].any() and video.shape[2] == 6 and values == {"frame_rate": 25.0}


def test_sound_is_encoded_from_its_start(ltx, canvas):
    """Core would cut a sound to a multiple of 4096 samples, half of the rest at its start."""
    waveform = 0.1 * noise(2, 29988)
    _, latent = ltx.added(canvas.place_sound(waveform, 44100))
    padded = torch.cat([waveform, torch.zeros(2, -29988 % 4096)], dim=1)
    audio = latent["samples"].unbind()[1]
    assert torch.equal(audio, ltx.audio_vae.encode(padded.T[None])[:, :, :L]) and audio.std() > 0.01
    assert not latent["noise_mask"].unbind()[1].any() and latent["noise_mask"].unbind()[0].all()


@pytest.mark.parametrize("sampler", [name for name in comfy.samplers.SAMPLER_NAMES])
def test_kept_latents_are_exact_after_any_sampler(ltx, crowded, sampler):
    positive, negative, latent = ltx.encode(crowded)
    done = finish(ltx.sample(positive, negative, latent, sampler=sampler))
    assert done["samples"].unbind()[0].shape == (1, 128, T, H, W) and FINISH not in done and "noise_mask" not in done
    sources, masks = latent["samples"].unbind(), latent["noise_mask"].unbind()
    for stream, given, mask in zip(done["samples"].unbind(), sources, masks, strict=True):
        mask, given = (x[:, :, : stream.shape[2]] for x in (mask, given))
        kept = (mask == 0).expand_as(stream)
        assert kept.any() and torch.equal(stream[kept], given[kept]) and stream.isfinite().all()
        assert (stream != given)[~kept].all()


def test_kept_pixels_and_samples_are_exact_after_composing(ltx, crowded):
    video, audio = ltx.result(crowded)
    images = compose_video(crowded, ltx.vae.decode(video)[0], feather=8)
    assert torch.equal(images[0], noise(1, HEIGHT, WIDTH, 3)[0].where(torch.arange(WIDTH)[:, None] >= 64, images[0]))
    assert torch.equal(images[:, :, :64], noise(17, HEIGHT, 64, 3, seed=2))
    assert torch.equal(images[13, 32:, 128:], noise(1, 96, 64, 3, seed=3)[0])
    assert torch.equal(images[5, 11:51, 90:140], noise(1, 40, 50, 3, seed=4)[0])
    waveform, rate = ltx.audio_vae.decode(audio).movedim(-1, 1), 44100
    samples = sample_count(crowded.document, rate)
    waveform = torch.nn.functional.interpolate(waveform, size=samples)
    composed = compose_audio(crowded, waveform, rate)
    assert torch.equal(composed[0, :, :11025], (0.1 * noise(1, 11025, seed=5)).expand(2, -1))


# --- references


def test_references_come_before_the_clip(ltx, canvas):
    """A picture and a clip of 9 frames, each as far from the next as if a latent had 8 frames; without black bars."""
    image, clip = noise(1, HEIGHT, 64, 3), noise(9, 32, WIDTH, 3)
    values, latent = ltx.added(canvas.reference(image, kind="image").reference(clip, kind="clip", fps=25.0))
    expected = torch.cat(
        [places([(-24, -23)], range(H), range(2, 4)), places([(-16, -15), (-15, -7)], range(1, 3))], dim=1
    )
    assert torch.equal(values["keyframe_idxs"][0, :, : expected.shape[1]], expected)
    video = latent["samples"].unbind()[0][:, :, T:].flatten(2)
    assert torch.equal(video[..., :8], latent_of(ltx.vae, image).flatten(2))
    rows = torch.arange(32, 96).clamp(48, 79) - 48
    torch.testing.assert_close(video[..., 8:32], latent_of(ltx.vae, clip[:, rows]).flatten(2))
    ltx.sample(*ltx.encode(canvas.reference(image, kind="image")))
    assert ltx.calls[0].places[0, -1].tolist() == [-8, -7]


def test_voices_are_one_reference_of_core(ltx, canvas):
    low, high = 0.1 * noise(1, 5000), 0.1 * noise(2, 9000, seed=2)
    speaking = canvas.reference(low, kind="sound", sample_rate=44100).reference(high, kind="sound", sample_rate=44100)
    values, latent = ltx.added(speaking)
    tokens = values["ref_audio"]["tokens"]
    assert tokens.shape == (1, 3 + 6, 128) and latent.keys() == {"samples", "frame_rate", FINISH}
    padded = torch.cat([low, torch.zeros(1, 8192 - 5000)], dim=1)
    first = ltx.audio_vae.encode(padded.T[None])[:, :, :3]
    assert torch.equal(tokens[:, :3], first.movedim(2, 1).flatten(2))
    ltx.sample(*ltx.encode(speaking))
    ends = ltx.calls[0].audio_places[0, :, 1]
    torch.testing.assert_close(ends[8:10], torch.tensor([-0.04, 0.01]))
    assert len(ends) == L + 9 and len(ltx.calls) == 2


# --- stock nodes


def test_stock_samplers_pass_on_what_is_to_be_finished(ltx, crowded):
    encoded = ltx.encode(crowded)
    (sampled,) = nodes.KSampler().sample(ltx.model, 3, 2, 3.0, "euler", "simple", *encoded)
    guider = custom.CFGGuider.execute(ltx.model, *encoded[:2], 3.0).result[0]
    sampler = custom.KSamplerSelect.execute("euler").result[0]
    sigmas = custom.BasicScheduler.execute(ltx.model, "simple", 2, 1.0).result[0]
    other = custom.SamplerCustomAdvanced.execute(
        custom.RandomNoise.execute(3).result[0], guider, sampler, sigmas, encoded[2]
    ).result[0]
    ours, theirs = finish(sampled), finish(other)
    assert same(ours["samples"], theirs["samples"]) and ours.keys() == {"samples", "frame_rate"}
    assert torch.equal(ours["samples"].unbind()[0][:, :, 0], encoded[2]["samples"].unbind()[0][:, :, 0])


def test_latents_that_stay_on_the_gpu(ltx, crowded, monkeypatch):
    """As with ComfyUI's --gpu-only, here on a device without data: all lies there but noise, which core draws on the
    CPU.
    """
    device = torch.device("meta")
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: device)
    values, latent = ltx.added(crowded)
    tensors = [values["keyframe_idxs"], *latent["samples"].unbind(), *latent["noise_mask"].unbind()]
    assert {tensor.device for tensor in tensors} == {device}
    assert [x.device.type for x in noise_for(latent, 4).unbind()] == ["cpu", "cpu"]


def test_every_entry_of_a_prompt_sees_the_canvas(ltx, crowded):
    positive, negative = ltx.prompts
    both = nodes.ConditioningCombine().combine(positive, ltx.prompts[0])[0]
    before = conditioning_set_values(both, {"frame_rate": 30.0})
    result = ltx.encode(crowded, positive=before)[0]
    assert len(result) == 2 and all(entry["frame_rate"] == 25.0 and "keyframe_idxs" in entry for _, entry in result)


def test_batch(ltx, crowded):
    positive, negative, latent = ltx.encode(crowded, batch_size=2)
    done = finish(ltx.sample(positive, negative, latent))["samples"].unbind()
    one = finish(ltx.sample(*ltx.encode(crowded)))["samples"].unbind()
    for stream, alone, mask in zip(done, one, latent["noise_mask"].unbind(), strict=True):
        kept = (mask[:1, :, : stream.shape[2]] == 0).expand_as(alone)
        assert len(stream) == 2 and not torch.equal(stream[0], stream[1])
        assert torch.equal(stream[1:][kept], stream[:1][kept])


def test_stock_nodes_agree_with_finish(ltx, crowded):
    positive, negative, latent = ltx.encode(crowded)
    sampled = ltx.sample(positive, negative, latent, sampler="dpmpp_2m")  # which leaves what is kept exact
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(sampled).result
    *conditioning, video = nodes_lt.LTXVCropGuides.execute(positive, negative, video).result
    ours = finish(sampled)["samples"].unbind()
    assert torch.equal(video["samples"], ours[0]) and torch.equal(audio["samples"], ours[1])
    assert all(one[0][1]["keyframe_idxs"] is None for one in conditioning)


def test_the_picture_alone_can_be_sampled(ltx, crowded):
    """Behind 'Separate AV Latent', with its first noise as in the joint latent."""
    positive, negative, latent = ltx.encode(crowded)
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(latent).result
    joint, seen, heard = (noise_for(one, 4) for one in (latent, video, audio))
    assert torch.equal(seen, joint.unbind()[0]) and heard.shape == audio["samples"].shape
    sampled = put(
        SkyCanvasSampler, model=ltx.model, positive=positive, negative=negative, latent_image=video, seed=4, steps=2
    )
    done, given = finish(sampled)["samples"], latent[FINISH].given[0]
    assert done.shape == given.shape and done.isfinite().all() and torch.equal(done[:, :, 0], given[:, :, 0])


def test_stock_guides_can_follow(ltx, crowded):
    positive, negative, latent = ltx.encode(crowded)
    appended = latent["samples"].unbind()[0].shape[2]
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(latent).result
    image = noise(1, HEIGHT, WIDTH, 3, seed=8)
    *guided, video = nodes_lt.LTXVAddGuide.execute(positive, negative, ltx.vae, video, image, 7, 1.0).result
    joint = nodes_lt.LTXVConcatAVLatent.execute(video, audio).result[0]
    sampled = ltx.sample(*guided, joint)
    assert sampled["samples"].unbind()[0].shape[2] == appended + 1
    assert ltx.calls[0].places[0, -24:].unique(dim=0).tolist() == [[7, 8]]
    assert [x.shape[2] for x in finish(sampled)["samples"].unbind()] == [T, L]
    cropped = nodes_lt.LTXVCropGuides.execute(*guided, {"samples": sampled["samples"].unbind()[0]}).result[2]
    assert cropped["samples"].shape[2] == T


def test_an_ic_lora_with_a_small_reference_can_follow(ltx, crowded):
    """Its reference clip has half the size: core spreads its tokens over the frame, and drops those in between."""
    positive, negative, latent = ltx.encode(crowded)
    appended = latent["samples"].unbind()[0].shape[2] - T
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(latent).result
    (parameters,) = nodes_lt.GetICLoRAParameters.execute(Lora({"reference_downscale_factor": "2"})).result
    clip = noise(9, HEIGHT, WIDTH, 3, seed=8)
    guide = (ltx.vae, video, clip, 0, 1.0, None, parameters)
    *guided, video = nodes_lt.LTXVAddGuide.execute(positive, negative, *guide).result
    assert video["samples"].shape[2] == T + appended + 2
    sampled = ltx.sample(*guided, nodes_lt.LTXVConcatAVLatent.execute(video, audio).result[0])
    reference = 2 * (H // 2) * (W // 2)
    assert ltx.calls[0].places[0, -reference:].unique(dim=0).tolist() == [[0, 1], [1, 9]]
    done, given = finish(sampled)["samples"].unbind(), latent[FINISH]
    for stream, clean, kept in zip(done, given.given, given.kept, strict=True):
        assert (
            stream.shape[1:] == clean.shape[1:]
            and kept.any()
            and torch.equal(stream[kept.expand_as(stream)], clean[kept.expand_as(clean)])
        )


@dataclass
class Lora:
    """What a LoRA loader gives, as far as 'Get IC-LoRA Parameters' looks at it."""

    metadata: dict[str, str]

    def get_attachment(self, name: str) -> dict[str, str]:
        return {"lora_metadata": self.metadata}[name]
