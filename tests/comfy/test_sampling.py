"""The network inside ComfyUI's samplers: against the same thing by hand, and with the stock nodes around it."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_audio import EmptyLatentAudio
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_tools import (
    PROMPT,
    advanced,
    distance,
    empty_latent,
    encode,
    euler_by_hand,
    finite,
    ksampler,
    plain_network,
    random_latent,
    same,
    schedule,
    streams,
)

import nodes


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


@pytest.mark.parametrize("batch, cfg", [(1, 1.0), (1, 2.5), (2, 2.5)])
def test_ksampler_is_euler_on_the_plain_network(mini, model, prompts, batch, cfg):
    latent = empty_latent(9, batch)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    expected = euler_by_hand(plain_network(mini.model), noise, schedule(model, 3), *prompts, cfg)
    result = ksampler(model, *prompts, latent, cfg=cfg)
    assert [x.shape for x in streams(result)] == [x.shape for x in streams(latent["samples"])]
    for got, wanted in zip(streams(result), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


def test_image_to_image_is_euler_from_the_given_latent(mini, model, prompts):
    latent = random_latent(model)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    sigmas = schedule(model, 4)[-3:]
    expected = euler_by_hand(plain_network(mini.model), noise, sigmas, *prompts, 2.0, latent["samples"].unbind())
    result = ksampler(model, *prompts, latent, steps=2, denoise=0.5)
    for got, wanted in zip(streams(result), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


def test_text_to_audio_runs_the_audio_stream_alone(mini, model, prompts):
    """Stock Empty Latent Audio is for another model; ComfyUI fits it: 1 s is 44 latents of 1024 samples."""
    latent = EmptyLatentAudio.execute(1.0, 1).result[0]
    assert latent["samples"].shape == (1, 64, 22)
    noise = comfy.sample.prepare_noise(torch.empty(1, model.model.config.audio_channels, 44), 3)
    expected = euler_by_hand(plain_network(mini.model), [None, noise], schedule(model, 3), *prompts, 2.0)
    result = ksampler(model, *prompts, latent)
    assert torch.is_tensor(result) and result.shape == noise.shape
    torch.testing.assert_close(result, expected[1], rtol=1e-3, atol=1e-3)
    assert same(result, advanced(model, *prompts, latent))


def test_text_to_image_is_a_clip_of_one_frame(model, vae, prompts):
    result = ksampler(model, *prompts, empty_latent(1))
    assert nodes.VAEDecode().decode(vae, {"samples": result})[0].shape == (1, 32, 32, 3)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
def test_ksampler_and_sampler_custom_advanced_agree_bit_for_bit(model, prompts, sampler):
    latent = random_latent(model)
    kwargs = {"sampler": sampler, "denoise": 0.8, "cfg": 3.0}
    assert same(ksampler(model, *prompts, latent, **kwargs), advanced(model, *prompts, latent, **kwargs))


def test_guidance_seed_and_prompt_matter(model, clip, prompts):
    latent = empty_latent()
    base = ksampler(model, *prompts, latent)
    assert same(base, ksampler(model, *prompts, latent))
    assert distance(ksampler(model, *prompts, latent, cfg=1.0), base) > 1e-3
    assert distance(ksampler(model, *prompts, latent, seed=4), base) > 1e-3
    assert distance(ksampler(model, encode(clip, "a blue square"), prompts[1], latent), base) > 1e-3


def test_pooled_text_enters(model, prompts):
    positive, negative = prompts
    swapped = [[positive[0][0], negative[0][1]]]
    assert (
        distance(ksampler(model, swapped, negative, empty_latent()), ksampler(model, *prompts, empty_latent())) > 1e-4
    )


SAMPLERS = ["euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_sde", "uni_pc", "res_multistep", "lcm"]


@pytest.mark.parametrize("scheduler", ["simple", "normal", "beta", "sgm_uniform"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_and_schedulers_stay_finite(model, prompts, sampler, scheduler):
    result = ksampler(model, *prompts, empty_latent(5), sampler=sampler, scheduler=scheduler, steps=4)
    assert finite(result) and all(x.std() > 1e-3 for x in streams(result))


def test_two_stages_equal_one(model, prompts):
    """SplitSigmas and DisableNoise are the way to sample in stages (KSamplerAdvanced cannot switch noise off here)."""
    latent, sigmas = empty_latent(), schedule(model, 4)
    guider = custom.CFGGuider.execute(model, *prompts, 2.0).result[0]
    euler = custom.KSamplerSelect.execute("euler").result[0]
    high, low = custom.SplitSigmas.execute(sigmas, 2).result
    noise, silence = custom.RandomNoise.execute(3).result[0], custom.DisableNoise.execute().result[0]
    half = custom.SamplerCustomAdvanced.execute(noise, guider, euler, high, latent).result[0]
    whole = custom.SamplerCustomAdvanced.execute(silence, guider, euler, low, half).result[0]["samples"]
    assert distance(whole, ksampler(model, *prompts, latent, steps=4)) < 1e-4


def test_denoised_output_is_in_the_units_of_the_vaes(model, prompts):
    """The second output of SamplerCustomAdvanced; after the last step it is the result."""
    noise = custom.RandomNoise.execute(3).result[0]
    guider = custom.CFGGuider.execute(model, *prompts, 2.0).result[0]
    euler = custom.KSamplerSelect.execute("euler").result[0]
    latent = empty_latent()
    out, denoised = custom.SamplerCustomAdvanced.execute(noise, guider, euler, schedule(model, 3), latent).result
    assert out["frame_rate"] == 16.0
    for a, b in zip(streams(out["samples"]), streams(denoised["samples"]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("node, name", [(EasyCacheNode, "EasyCache"), (LazyCacheNode, "LazyCache")])
def test_step_caches_skip_steps(model, prompts, node, name, caplog):
    cached = node.execute(model, 10.0, 0.1, 0.95, False).result[0]
    with caplog.at_level("INFO"):
        result = ksampler(cached, *prompts, empty_latent(), steps=8)
    skipped = [r.getMessage() for r in caplog.records if f"{name} - skipped" in r.getMessage()]
    assert skipped and not skipped[0].startswith(f"{name} - skipped 0/")
    assert finite(result) and not same(result, ksampler(model, *prompts, empty_latent(), steps=8))


def test_context_windows_cover_both_streams(model, prompts):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    windows = ContextWindowsManualNode.execute(
        model, 3, 1, "standard_static", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    latent = random_latent(model, frames=25)
    latent["noise_mask"] = torch.ones(1, 1, 32, 32)
    result = ksampler(windows, *prompts, latent, denoise=0.7)
    assert finite(result) and [x.shape for x in streams(result)] == [x.shape for x in streams(latent["samples"])]
    whole = ksampler(model, *prompts, latent, denoise=0.7)
    assert 1e-4 < distance(result, whole)


def test_context_window_of_the_sound_is_that_of_the_picture(model):
    """7 latent frames are 25 frames; 25 frames at 16/s are 68 audio latents, 2.72 per frame."""
    shapes = [(1, 4, 7, 4, 4), (1, 40, 68)]
    video, audio = model.model.map_context_window_to_modalities([0, 1], shapes, 2)
    assert video == [0, 1] and audio == list(range(0, 14))
    _, audio = model.model.map_context_window_to_modalities([6], shapes, 2)
    assert audio == list(range(57, 68))


def test_skip_layer_guidance_replaces_both_kinds_of_blocks(model, prompts):
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    plain = ksampler(model, *prompts, empty_latent())
    for layers in (("1", ""), ("", "0")):
        skipped = SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, *layers, 0.0).result[0]
        assert distance(ksampler(skipped, *prompts, empty_latent()), plain) > 1e-4


def test_attention_override_is_used(model, prompts):
    calls = []

    def override(kernel, *args, **kwargs):
        calls.append(args[0].shape)
        return kernel(*args, **kwargs)

    plain = ksampler(model, *prompts, empty_latent(), steps=1, cfg=1.0)
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    assert same(ksampler(model, *prompts, empty_latent(), steps=1, cfg=1.0), plain)
    assert len(calls) == 3 * 5  # per block: two self-attentions, text to video, audio to video and back


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_shift_of_the_checkpoint(model, prompts, shift):
    """The tiny checkpoint names 2.5 in its metadata; ModelSamplingSD3 can replace it."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    latent = empty_latent()
    patched = ksampler(ModelSamplingSD3().patch(model, shift)[0], *prompts, latent)
    assert same(patched, ksampler(model, *prompts, latent)) == (shift == 2.5)


def test_noise_mask_keeps_the_given_part_and_tells_its_tokens(model, prompts):
    """Stock SetLatentNoiseMask: the left half is made again, the right one kept; the sound is made again."""
    latent = random_latent(model)
    mask = torch.zeros(1, 32, 32)
    mask[:, :, :16] = 1
    masked = nodes.SetLatentNoiseMask().set_mask(latent, mask)[0]
    seen = []

    def spy(executor, x, timestep, *args, **kwargs):
        seen.append(timestep)
        return executor(x, timestep, *args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "spy", spy)
    result, sigmas = ksampler(model, *prompts, masked), schedule(model, 3)
    (video, audio), (given, given_audio) = streams(result), streams(latent["samples"])
    torch.testing.assert_close(video[..., 2:], given[..., 2:], rtol=1e-5, atol=1e-5)
    assert (video[..., :2] - given[..., :2]).abs().mean() > 0.1 and (audio - given_audio).abs().mean() > 0.1
    for (video_timestep, audio_timestep), sigma in zip(seen, sigmas[:-1], strict=True):
        assert video_timestep.shape[1:] == (3, 2, 2) and audio_timestep.shape[1:] == (-(-given_audio.shape[2] // 2),)
        assert torch.all(video_timestep[..., 0] == 1000 * sigma) and torch.all(video_timestep[..., 1] == 0)
        assert torch.all(audio_timestep == 1000 * sigma)


def test_nested_noise_mask_reaches_both_streams(mini, model, prompts):
    latent = random_latent(model)
    video, audio = streams(latent["samples"])
    masks = torch.ones(1, 1, *video.shape[2:]), torch.zeros(1, 1, audio.shape[2])
    masks[0][:, :, 0] = 0
    masks[1][..., 7:] = 1
    latent["noise_mask"] = NestedTensor(masks)
    new_video, new_audio = streams(ksampler(model, *prompts, latent))
    torch.testing.assert_close(new_video[:, :, 0], video[:, :, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(new_audio[..., :7], audio[..., :7], rtol=1e-5, atol=1e-5)
    assert (new_video[:, :, 1:] - video[:, :, 1:]).abs().mean() > 0.1
    assert (new_audio[..., 7:] - audio[..., 7:]).abs().mean() > 0.1


def test_conditioning_of_the_canvas_reaches_the_network(mini, model, prompts):
    """Channel concat, references and frame rate: one step, against the plain network with the same arguments."""
    import node_helpers

    network, latent = plain_network(mini.model), empty_latent()
    shape = latent["samples"].unbind()[0].shape
    channels = network.config.video_channels, network.config.audio_channels
    generator = torch.Generator().manual_seed(1)
    condition, mask = torch.randn(shape, generator=generator), torch.zeros(1, 1, *shape[2:])
    mask[:, :, 0] = 1
    reference = {"latent": torch.randn(1, channels[0], 1, 4, 4, generator=generator), "times": (-1.0,)}
    voice = {"latent": torch.randn(1, channels[1], 4, generator=generator), "times": (-4.5, -4.1, -3.7, -3.3)}
    given = {
        "skycanvas_condition": condition,
        "skycanvas_mask": mask,
        "skycanvas_video_context": [reference],
        "skycanvas_audio_context": [voice],
        "frame_rate": 12.0,
    }
    conditioned = [node_helpers.conditioning_set_values(prompt, given) for prompt in prompts]

    def normalise(stream, x):
        mean, std = getattr(network, f"{stream}_latent_mean"), getattr(network, f"{stream}_latent_std")
        return (x - mean.view(1, -1, *[1] * (x.ndim - 2))) / std.view(1, -1, *[1] * (x.ndim - 2))

    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    expected = euler_by_hand(
        network,
        noise,
        schedule(model, 1),
        *prompts,
        2.0,
        condition=normalise("video", condition),
        mask=mask,
        video_context=[(normalise("video", reference["latent"]), reference["times"])],
        audio_context=[(normalise("audio", voice["latent"]), voice["times"])],
        frame_rate=12.0,
    )
    result = ksampler(model, *conditioned, latent, steps=1)
    for got, wanted in zip(streams(result), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    assert distance(result, ksampler(model, *prompts, latent, steps=1)) > 1e-3


@pytest.mark.parametrize("frame_rate", [8.0, 16.0, 24.0, 25.0])
def test_frame_rate_follows_the_lengths(frame_rate):
    """To within the one audio latent by which a sound is longer than its picture."""
    from skycanvas.carriers.skyreels_v4 import frame_rate_of

    found = frame_rate_of([x.shape for x in empty_latent(33, frame_rate=frame_rate)["samples"].unbind()])
    assert 0 <= 33 / found - 33 / frame_rate < 1024 / 44100 and (frame_rate != 16.0 or found == 16.0)


def test_latent_of_pictures_alone_is_refused_with_the_way_out(model, prompts):
    video = {"samples": torch.zeros(1, 4, 3, 4, 4)}
    with pytest.raises(ValueError, match="picture alone, of 4 x 4 cells.*'Empty SkyCanvas Latent'"):
        ksampler(model, *prompts, video)
    with pytest.raises(ValueError, match="'Empty SkyCanvas Latent'"):
        ksampler(model, *prompts, nodes.EmptyLatentImage().generate(64, 64)[0])


def test_latent_of_another_model_is_refused(model, prompts):
    video, audio = streams(empty_latent()["samples"])
    wide = {"samples": NestedTensor((torch.zeros(1, 16, *video.shape[2:]), audio))}
    with pytest.raises(ValueError, match=r"video latent \[1, 16, 3, 4, 4\] has 16 channels, this model's has 4"):
        ksampler(model, *prompts, wide)


def test_text_of_another_encoder_is_refused(model, prompts):
    with pytest.raises(ValueError, match="text of width 768, this model reads 32"):
        ksampler(model, [[torch.zeros(1, 77, 768), {}]], prompts[1], empty_latent())
    with pytest.raises(ValueError, match="no pooled text of width 32"):
        ksampler(model, [[prompts[0][0][0], {}]], prompts[1], empty_latent())
