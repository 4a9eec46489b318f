"""The nodes of the pack on whichever model is wired in: what they do with LTX-2, and with what no family carries."""

import re

import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras import nodes_hunyuan, nodes_lt, nodes_lt_upsampler
from comfy_tools import distance, random_latent, same
from node_tools import noise, put, run
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box
from skycanvas.canvas.scale import scaled
from skycanvas.carriers import ltx2_speed
from skycanvas.carriers.carrier import FINISH, Carrier, Finish, carrier_of, carriers, family_of_file, finish, noise_for
from skycanvas.nodes.compose import SkyCanvasCompose
from skycanvas.nodes.encode import SkyCanvasEncode
from skycanvas.nodes.extend import SkyCanvasExtend
from skycanvas.nodes.keyframes import SkyCanvasKeyframes
from skycanvas.nodes.latent import SkyCanvasEmptyLatent, SkyCanvasSplitLatent
from skycanvas.nodes.output import SkyCanvasDecode
from skycanvas.nodes.preview import SkyCanvasPreview
from skycanvas.nodes.refine import SkyCanvasRefine
from skycanvas.nodes.sampling import SkyCanvasGuider, SkyCanvasNoise, SkyCanvasSampler, SkyCanvasWave
from tiny_ltx import text_conditioning, write_tiny_ltx

import nodes

SIZE = {"width": 96, "height": 64, "length": 9, "frame_rate": 25.0}
PATCH = Box(x=32, y=0, width=32, height=32)


@pytest.fixture(scope="module")
def ltx(tmp_path_factory) -> dict:
    """Inputs of our nodes: model, vae, audio_vae, positive, negative."""
    files = write_tiny_ltx(tmp_path_factory.mktemp("ltx"), "2.3")

    def load_vae(path):
        sd, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
        return comfy.sd.VAE(sd=sd, metadata=metadata)

    with torch.inference_mode():
        model = comfy.sd.load_diffusion_model(str(files.model))
        positive, negative = (text_conditioning(seed, files.version) for seed in (1, 2))
        vaes = {"vae": load_vae(files.vae), "audio_vae": load_vae(files.audio_vae)}
        return {"model": model, "positive": positive, "negative": negative, **vaes}


@pytest.fixture
def canvas() -> Canvas:
    """Frame 0 is given, a patch lies on frame 5, and half of the sound is given."""
    placed = Canvas.new(96, 64, 9, 25.0).place_image(noise(1, 64, 96, 3)).place_sound(noise(2, 8000) - 0.5, 44100)
    return placed.place_image(noise(1, 32, 32, 3, seed=5), frame=5, box=PATCH)


def names(*inputs: str):
    return lambda given: {name: given[name] for name in inputs}


prompts, sampled, codecs = names("positive", "negative"), names("model"), names("vae", "audio_vae")


def sample(ltx, positive, negative, latent, **inputs):
    inputs = {"seed": 3, "steps": 2} | inputs
    return put(SkyCanvasSampler, **sampled(ltx), positive=positive, negative=negative, latent_image=latent, **inputs)


# --- families


def test_each_model_has_its_carrier(model, ltx):
    assert [carrier_of(one).family for one in (model, ltx["model"])] == ["SkyReels-V4", "LTX-2"]


def test_a_family_is_a_subclass_and_nothing_else():
    found = carriers()
    assert [carrier.family for carrier in found] == ["LTX-2", "SkyReels-V4"]
    assert len({carrier.__module__ for carrier in found}) == len(found)  # a file each
    missing = Carrier.__abstractmethods__
    assert all(not carrier.__abstractmethods__ for carrier in found) and len(missing) <= 9


def test_files_are_known_by_their_tensors(mini, tmp_path_factory):
    files = write_tiny_ltx(tmp_path_factory.mktemp("ltx"), "2.0")
    found = [
        family_of_file(str(path)) for path in (mini.model, files.checkpoint, files.model, files.vae, mini.video_vae)
    ]
    assert [family and family.family for family in found] == ["SkyReels-V4", "LTX-2", "LTX-2", None, None]
    assert family_of_file("nowhere.safetensors") is None and family_of_file(__file__) is None


def test_a_model_of_no_family():
    class Other:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="the model is a Linear, which cannot carry a canvas.*LTX-2, SkyReels-V4"):
        carrier_of(Other())


# --- one graph


def test_one_graph_runs_on_both(ltx, model, clip, vae, audio_vae):
    """64 x 64 pixels and 17 frames fit both grids."""
    mini = {"model": model, "vae": vae, "audio_vae": audio_vae}
    mini |= {name: nodes.CLIPTextEncode().encode(clip, "a red circle")[0] for name in ("positive", "negative")}
    placed = Canvas.new(64, 64, 17, 16.0).place_image(noise(1, 64, 64, 3))
    placed = placed.place_image(noise(1, 32, 32, 3, seed=5), frame=5, box=PATCH)
    for given in (mini, ltx):
        positive, negative, latent = run(SkyCanvasEncode, canvas=placed, **given)
        assert latent["frame_rate"] == 16.0
        result = sample(given, positive, negative, latent)
        images, audio, fps = run(SkyCanvasDecode, samples=result, **codecs(given))
        assert images.shape == (17, 64, 64, 3) and fps == 16.0
        assert audio["waveform"].shape[-1] == round(17 / 16 * audio["sample_rate"])
        composed, heard = run(SkyCanvasCompose, canvas=placed, images=images, audio=audio)
        assert torch.equal(composed[0], noise(1, 64, 64, 3)[0]) and composed.isfinite().all()
        assert torch.equal(composed[5, :32, 32:64], noise(1, 32, 32, 3, seed=5)[0])
        assert heard["waveform"].isfinite().all()


def test_preview_counts_the_cells_of_the_model(ltx, canvas):
    report = run(SkyCanvasPreview, canvas=canvas, **sampled(ltx))[1]
    assert "Kept: " in report and "12 of the picture" in report and "1 of patches in context" in report
    assert re.search(r"about [\d.]+ GiB, about [\d.]+ s\.$", report)


def test_timing_a_model_leaves_seeds_alone(ltx, canvas):
    ltx2_speed.measured_rate.cache_clear()
    before = torch.get_rng_state()
    run(SkyCanvasPreview, canvas=canvas, **sampled(ltx))
    assert torch.equal(torch.get_rng_state(), before)
    sizes = tuple((name, getattr(ltx["model"].model.diffusion_model, name)) for name in ltx2_speed.NAMES)
    assert ltx2_speed.measured_rate(sizes, (2, 2), torch.device("cpu"), torch.bfloat16, (1, 2, 2, 4)) > 0


def test_what_the_model_cannot_do_is_said_on_the_node_and_in_the_log(ltx, canvas, caplog):
    placed = canvas.reference(noise(1, 20, 20, 3), kind="image")
    output = SkyCanvasEncode.execute(canvas=placed, **ltx, patch_method="no_rope")
    (text,) = output.ui.as_dict()["text"]
    warnings = [line[2:] for line in text.splitlines() if line.startswith("! LTX")]
    assert len(warnings) == 2 and "no_rope" in warnings[0] and "@image_1" in warnings[1]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == warnings


def test_packed_crops_are_not_for_mini(model, vae, audio_vae, clip, caplog):
    text = nodes.CLIPTextEncode().encode(clip, "")[0]
    placed = Canvas.new(32, 32, 9, 16.0).place_image(noise(1, 8, 8, 3), frame=6, box=Box(x=3, y=3, width=8, height=8))
    given = {"model": model, "vae": vae, "audio_vae": audio_vae, "positive": text, "negative": text}
    packed, padded = (
        run(SkyCanvasEncode, canvas=placed, **given, patch_layout=layout)[0][0][1]["skycanvas_video_context"][0]
        for layout in ("packed_crops", "zero_padded")
    )
    assert torch.equal(packed["latent"], padded["latent"])
    assert "patch_layout is packed_crops" in caplog.text


def test_unknown_layout(ltx, canvas):
    with pytest.raises(ValueError, match="patch_layout is 'magic': use auto, zero_padded, packed_crops"):
        run(SkyCanvasEncode, canvas=canvas, **ltx, patch_layout="magic")


# --- sampling


def test_empty_latent_has_the_models_own_shapes(ltx):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=2, **sampled(ltx))
    assert [tuple(stream.shape) for stream in latent["samples"].unbind()] == [(2, 128, 2, 2, 3), (2, 8, 9, 16)]
    with pytest.raises(ValueError, match=r"width 80 is not a multiple of 32: use 64 or 96"):
        put(SkyCanvasEmptyLatent, **SIZE | {"width": 80}, batch_size=1, **sampled(ltx))


def test_our_sampler_with_equal_scales_is_ksampler(ltx):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    scales = {"video_guidance": 3.0, "audio_guidance": 3.0}
    ours = sample(ltx, *prompts(ltx).values(), latent, **scales)["samples"]
    args = (ltx["model"], 3, 2, 3.0, "euler", "simple", *prompts(ltx).values(), latent)
    assert same(ours, nodes.KSampler().sample(*args)[0]["samples"])


def test_each_stream_has_its_own_scale(ltx):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    guided = {
        scales: run(SkyCanvasGuider, **sampled(ltx), **prompts(ltx), video_guidance=scales[0], audio_guidance=scales[1])
        for scales in ((1.0, 1.0), (4.0, 1.0), (1.0, 4.0))
    }
    sigmas = torch.tensor([1.0, 0.0])  # one step, in which streams have not seen one another's guidance yet
    plain, video, audio = (
        custom.SamplerCustomAdvanced.execute(
            *run(SkyCanvasNoise, noise_seed=3),
            guider[0],
            *custom.KSamplerSelect.execute("euler").result,
            sigmas,
            latent,
        )
        .result[0]["samples"]
        .unbind()
        for guider in guided.values()
    )
    changed = [[distance(one, before) > 1e-3 for one, before in zip(x, plain, strict=True)] for x in (video, audio)]
    assert changed == [[True, False], [False, True]]


def test_guidance_of_how_they_agree(ltx):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    plain, pushed = (sample(ltx, *prompts(ltx).values(), latent, cross_modal=c)["samples"] for c in (1.0, 3.0))
    assert not any(torch.equal(a, b) for a, b in zip(plain.unbind(), pushed.unbind(), strict=True))


def test_shift_means_the_same_as_for_ltx_itself(ltx):
    """exp(mu) of 'ModelSamplingLTXV' is the shift."""
    shift = float(torch.tensor(1.7).exp())
    theirs = put(nodes_lt.ModelSamplingLTXV, model=ltx["model"], max_shift=1.7, base_shift=1.7)
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    ours = sample(ltx, *prompts(ltx).values(), latent, shift=shift)["samples"].unbind()
    other = sample({**ltx, "model": theirs}, *prompts(ltx).values(), latent)["samples"].unbind()
    for a, b in zip(ours, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_the_noise_does_not_know_of_patches(ltx, canvas):
    """Of our sampler and of our NOISE; that of 'Random Noise' does, which is why they are there."""
    latents = [run(SkyCanvasEncode, canvas=one, **ltx)[2] for one in (Canvas.new(96, 64, 9, 25.0), canvas)]
    ours = [put(SkyCanvasNoise, noise_seed=7).generate_noise(latent).unbind() for latent in latents]
    assert torch.equal(ours[0][0], ours[1][0][:, :, :2]) and torch.equal(ours[0][1], ours[1][1])
    assert torch.equal(ours[1][0], noise_for(latents[1], 7).unbind()[0])
    (random,) = custom.RandomNoise.execute(7).result
    assert not torch.equal(random.generate_noise(latents[1]).unbind()[1], ours[0][1])
    assert same(random.generate_noise(latents[0]), NestedTensor(list(ours[0])))


def test_keyframes_and_the_refiner_are_not_for_it(ltx):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    with pytest.raises(ValueError, match="none of SkyReels-V4: no other model makes keyframes"):
        run(SkyCanvasKeyframes, samples=latent, **prompts(ltx))
    with pytest.raises(ValueError, match="model is no Refiner"):
        run(SkyCanvasRefine, samples=latent, **sampled(ltx), **prompts(ltx), vae=ltx["vae"])


def test_the_wave_is_not_for_it(ltx):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    with pytest.raises(ValueError, match="the wave needs a model with a noise level per token, this is a LTXAV"):
        sample(ltx, *prompts(ltx).values(), latent, schedule="wave")
    with pytest.raises(ValueError, match="the wave needs"):
        guider = put(SkyCanvasGuider, **sampled(ltx), **prompts(ltx))
        (noises,) = run(SkyCanvasNoise)
        custom.SamplerCustomAdvanced.execute(noises, guider, put(SkyCanvasWave), torch.tensor([1.0, 0.0]), latent)


def test_a_latent_of_the_other_family(ltx, model):
    ours, theirs = (
        put(SkyCanvasEmptyLatent, width=64, height=64, length=9, frame_rate=16.0, batch_size=1, model=one)
        for one in (model, ltx["model"])
    )
    with pytest.raises(ValueError, match="is no video of LTX-2.*'Empty SkyCanvas Latent'"):
        sample(ltx, *prompts(ltx).values(), ours)
    with pytest.raises(ValueError, match="has 128 channels, this model's has 4: connect the model to 'Empty"):
        sample({"model": model}, *prompts(ltx).values(), theirs)


# --- afterwards


def test_what_was_appended_is_gone_after_decoding_and_splitting(ltx, canvas):
    positive, negative, latent = run(SkyCanvasEncode, canvas=canvas, **ltx)
    assert latent["samples"].unbind()[0].shape[2] == 3  # one latent frame of patches
    result = sample(ltx, positive, negative, latent)
    video, audio, _ = run(SkyCanvasSplitLatent, samples=result)
    assert video["samples"].shape == (1, 128, 2, 2, 3) and audio["samples"].shape == (1, 8, 9, 16)
    assert FINISH not in video and "noise_mask" not in video
    images, heard, fps = run(SkyCanvasDecode, samples=result, **codecs(ltx))
    assert images.shape == (9, 64, 96, 3) and fps == 25.0 and heard["waveform"].shape[:2] == (1, 2)
    composed, sound = run(SkyCanvasCompose, canvas=canvas, images=images, audio=heard)
    assert torch.equal(composed[0], noise(1, 64, 96, 3)[0])
    assert torch.equal(composed[5, :32, 32:64], noise(1, 32, 32, 3, seed=5)[0])
    assert sound["waveform"].shape == heard["waveform"].shape


def test_a_latent_that_was_resized_in_between(ltx, canvas):
    latent = run(SkyCanvasEncode, canvas=canvas, **ltx)[2]
    streams = latent["samples"].unbind()
    larger = {**latent, "samples": NestedTensor([streams[0].repeat(1, 1, 1, 2, 2), streams[1]])}
    with pytest.raises(ValueError, match="no longer of the size.*'Split SkyCanvas Latent'"):
        run(SkyCanvasSplitLatent, samples=larger)


def test_finishing_puts_back_what_is_kept_and_nothing_else():
    given, kept = torch.randn(1, 2, 3, 4, 4), torch.rand(1, 1, 3, 4, 4) < 0.5
    sound, heard = torch.randn(1, 2, 5), torch.zeros(1, 1, 5, dtype=torch.bool)
    made = torch.randn(2, 2, 4, 4, 4), torch.randn(2, 2, 5)  # with a latent frame more, and a batch
    latent = {"samples": NestedTensor(made), FINISH: Finish((given, sound), (kept, heard)), "frame_rate": 25.0}
    done = finish(latent)
    video, audio = done["samples"].unbind()
    assert torch.equal(video, torch.where(kept, given, made[0][:, :, :3])) and torch.equal(audio, made[1])
    assert done["frame_rate"] == 25.0 and finish(done) is done
    # 'Separate AV Latent' copies the rest of a LATENT into both halves
    halves = [finish({**latent, "samples": stream})["samples"] for stream in made]
    assert torch.equal(halves[0], video) and torch.equal(halves[1], audio)


def test_wrong_vaes_are_named_when_decoding(ltx, vae, audio_vae):
    latent = put(SkyCanvasEmptyLatent, **SIZE, batch_size=1, **sampled(ltx))
    with pytest.raises(ValueError, match="vae makes latents of 4 channels, the latent's picture has 128"):
        run(SkyCanvasDecode, samples=latent, vae=vae, audio_vae=ltx["audio_vae"])
    with pytest.raises(ValueError, match=r"audio_vae makes latents of \d+ channels, the latent's sound has 8"):
        run(SkyCanvasDecode, samples=latent, vae=ltx["vae"], audio_vae=audio_vae)
    latent.pop("frame_rate")
    with pytest.raises(ValueError, match="does not know its frame rate"):
        run(SkyCanvasDecode, samples=latent, **codecs(ltx))


# --- long clips


def test_a_clip_goes_on(ltx):
    clip, sound = noise(9, 64, 64, 3), {"waveform": noise(1, 1, 5000) - 0.5, "sample_rate": 24000}
    settings = {"frame_rate": 25.0, "length": 25, "window": 17, "overlap": 9, "loop": False, "seed": 0, "steps": 1}
    guidance = {"video_guidance": 1.0, "audio_guidance": 1.0, "cross_modal": 1.0, "schedule": "ordinary"}
    images, audio = run(SkyCanvasExtend, **ltx, images=clip, audio=sound, **settings, **guidance)
    assert images.shape == (25, 64, 64, 3) and torch.equal(images[:9], clip)
    assert audio["waveform"].shape == (1, 2, audio["sample_rate"])  # one second in stereo
    with pytest.raises(ValueError, match=r"window 13 is not 8n\+1: use 9 or 17"):
        run(SkyCanvasExtend, **ltx, images=clip, **settings | {"window": 13}, **guidance)


# --- two stages


def test_two_stages(ltx, canvas, tmp_path, monkeypatch):
    """Half the size first, upscaled by core's node, and once more with what the canvas gives in full size."""
    path = str(write_tiny_ltx(tmp_path, "2.3").upscaler)
    monkeypatch.setattr(folder_paths, "get_full_path_or_raise", lambda folder, name: path)
    (upscaler,) = nodes_hunyuan.LatentUpscaleModelLoader.execute("a file").result
    large = scaled(canvas, 2.0)
    first = run(SkyCanvasEncode, canvas=large, **ltx, scale=0.5)
    small = sample(ltx, *first)
    video, audio, _ = run(SkyCanvasSplitLatent, samples=small)
    (upscaled,) = nodes_lt_upsampler.LTXVLatentUpsampler.execute(video, upscaler, ltx["vae"]).result
    assert upscaled["samples"].shape == (1, 128, 2, 4, 6)
    start = put(nodes_lt.LTXVConcatAVLatent, video_latent=upscaled, audio_latent=audio)
    positive, negative, latent = run(SkyCanvasEncode, canvas=large, **ltx, start=start)
    kept = latent[FINISH].kept
    begun = [stream[:, :, : part.shape[2]] for stream, part in zip(latent["samples"].unbind(), kept, strict=True)]
    for stream, part, given, wanted in zip(begun, kept, latent[FINISH].given, start["samples"].unbind(), strict=True):
        assert part.any() and torch.equal(stream, torch.where(part, given, wanted))
    images, heard, _ = run(SkyCanvasDecode, samples=sample(ltx, positive, negative, latent, denoise=0.5), **codecs(ltx))
    composed, _ = run(SkyCanvasCompose, canvas=large, images=images, audio=heard)
    assert composed.shape == (9, 128, 192, 3) and composed.isfinite().all()


def test_a_start_right_from_the_sampler(ltx, canvas):
    """Without what was appended to it."""
    first = run(SkyCanvasEncode, canvas=canvas, **ltx)
    sampled = sample(ltx, *first)
    starts = [run(SkyCanvasEncode, canvas=canvas, **ltx, start=one)[2] for one in (sampled, finish(sampled))]
    assert same(*[one["samples"] for one in starts]) and not same(starts[0]["samples"], first[2]["samples"])


def test_a_start_of_another_size(ltx, canvas):
    start = put(SkyCanvasEmptyLatent, **SIZE | {"length": 17}, batch_size=1, **sampled(ltx))
    with pytest.raises(ValueError, match=r"start is \[1, 128, 3, 2, 3\], the picture of the canvas is \[1, 128, 2, 2"):
        run(SkyCanvasEncode, canvas=canvas, **ltx, start=start)


def test_a_start_without_a_mask_is_the_latent(model, vae, audio_vae, clip):
    text = nodes.CLIPTextEncode().encode(clip, "")[0]
    start = random_latent(model)
    given = {"model": model, "vae": vae, "audio_vae": audio_vae, "positive": text, "negative": text}
    latent = run(SkyCanvasEncode, canvas=Canvas.new(32, 32, 9, 16.0), **given, start=start)[2]
    assert same(latent["samples"], start["samples"])
    alone = {"samples": start["samples"].unbind()[0]}
    video, audio = run(SkyCanvasEncode, canvas=Canvas.new(32, 32, 9, 16.0), **given, start=alone)[2]["samples"].unbind()
    assert torch.equal(video, alone["samples"]) and not audio.any()
