"""Keyframes as the third stream of a joint latent: the node, stock samplers, and what both say when it cannot be."""

import comfy.sample
import node_helpers
import numpy as np
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_audio import EmptyLatentAudio
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_extras.nodes_lt import LTXVConcatAVLatent
from comfy_tools import (
    PROMPT,
    advanced,
    distance,
    empty_latent,
    encode,
    finite,
    ksampler,
    plain_network,
    random_latent,
    same,
    schedule,
    streams,
)
from skycanvas.carriers.skyreels_v4 import load_model
from skycanvas.carriers.wave import wave_starts
from skycanvas.nodes.keyframes import SkyCanvasKeyframes
from skycanvas.nodes.latent import SkyCanvasSplitLatent
from skycanvas.nodes.output import SkyCanvasDecode
from skycanvas.nodes.sampling import SkyCanvasGuider, SkyCanvasSampler, SkyCanvasWave

import nodes
from models.mmdit import Keyframes


@pytest.fixture(scope="module")
def path(mini):
    return mini.keyframes


@pytest.fixture(scope="module")
def loaded_keyframes(path):
    return load_model(str(path))


@pytest.fixture
def maker(loaded_keyframes):
    """A MODEL that makes keyframes."""
    return loaded_keyframes.clone()


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


def add(prompts, latent, frames="0, 6", scale=2, **given):
    """Add Keyframes. -> (positive, negative), LATENT"""
    *prompts, latent = SkyCanvasKeyframes.execute(*prompts, latent, frames, scale, **given).result
    return prompts, latent


def pictures(count=2, size=64, seed=9):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


def filled(latent, seed=10) -> dict:
    """With random numbers in all streams."""
    generator = torch.Generator().manual_seed(seed)
    return latent | {
        "samples": NestedTensor([torch.randn(x.shape, generator=generator) for x in streams(latent["samples"])])
    }


def sample(model, prompts, latent, **settings):
    """SkyCanvas Sampler as a workflow would have it."""
    defaults = dict(seed=3, steps=3, video_guidance=2.0, audio_guidance=2.0, cross_modal=1.0, sampler_name="euler")
    defaults |= dict(scheduler="simple", schedule="ordinary", shift=0.0, denoise=1.0)
    return SkyCanvasSampler.execute(model, *prompts, latent, **defaults | settings).result[0]["samples"]


def spy(model) -> list[tuple]:
    """Timestep and times of the keyframes, of each evaluation of the network."""
    seen = []

    def wrapper(executor, x, timestep, context, transformer_options, **conditions):
        seen.append((timestep, conditions["keyframe_times"]))
        return executor(x, timestep, context, transformer_options, **conditions)

    model.add_wrapper_with_key("diffusion_model", "spy", wrapper)
    return seen


def euler(network, latent, noise, sigmas, prompts, cfg, times):
    """What KSampler does with euler, on the plain network. Latents are in the VAEs' units."""
    statistics = [
        (getattr(network, f"{n}_latent_mean"), getattr(network, f"{n}_latent_std")) for n in ("video", "audio")
    ]
    statistics = [
        [s.view(-1, *[1] * (x.ndim - 2)) for s in statistics[x.ndim == 3]] for x in streams(latent["samples"])
    ]
    masks = [torch.ones_like(x[:, :1]) for x in noise]
    if "noise_mask" in latent:
        masks = [mask.expand_as(one) for mask, one in zip(streams(latent["noise_mask"]), masks, strict=True)]
    given = [(x - mean) / std for x, (mean, std) in zip(streams(latent["samples"]), statistics, strict=True)]
    x = [torch.where(m > 0, n, g) for m, n, g in zip(masks, noise, given, strict=True)]
    batch = len(x[0])
    levels = [
        torch.nn.functional.max_pool3d(masks[0], (1, 2, 2))[:, 0],
        torch.nn.functional.max_pool1d(masks[1], 2, ceil_mode=True)[:, 0],
        masks[2].amax((1, 3, 4)),
    ]
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        video, audio, keyframes = (1000 * sigma * level for level in levels)
        yes, no = (
            network(
                *x[:2],
                video,
                prompt[0][0].expand(batch, -1, -1),
                pooled=prompt[0][1]["pooled_output"].expand(batch, -1),
                audio_timestep=audio,
                keyframes=Keyframes(x[2], times, keyframes),
            )
            for prompt in prompts
        )
        x = [
            a + (following - sigma) * (c + cfg * (b - c)) * mask
            for a, b, c, mask in zip(x, yes, no, masks, strict=True)
        ]
    return [one * std + mean for one, (mean, std) in zip(x, statistics, strict=True)]


# --- the node


@pytest.mark.parametrize("frames, scale, batch", [("0, 8", 2, 1), ("3", 1, 2), (" 8,1 , 4", 3, 2)])
def test_keyframes_come_third(prompts, frames, scale, batch):
    latent = empty_latent(9, batch)
    conditioned, joined = add(prompts, latent, frames, scale)
    chosen = tuple(int(frame) for frame in frames.split(","))
    *both, keyframes = streams(joined["samples"])
    assert all(a is b for a, b in zip(both, streams(latent["samples"]), strict=True)) and joined["frame_rate"] == 16.0
    assert keyframes.shape == (batch, 4, len(chosen), 4 * scale, 4 * scale) and not keyframes.any()
    assert joined["keyframes"] == chosen and "noise_mask" not in joined and "keyframes" not in latent
    for prompt, plain in zip(conditioned, prompts, strict=True):
        assert prompt[0][1] == plain[0][1] | {"skycanvas_keyframes": chosen} and prompt[0][0] is plain[0][0]


@pytest.mark.parametrize("batch", [1, 2])
def test_pictures_that_are_given_are_encoded_each_alone(prompts, vae, batch):
    latent, images = empty_latent(9, batch), pictures()
    _, joined = add(prompts, latent, images=images, vae=vae)
    keyframes, masks = streams(joined["samples"])[2], streams(joined["noise_mask"])
    for i, picture in enumerate(images):
        assert torch.equal(keyframes[:, :, i : i + 1], vae.encode(picture[None]).repeat(batch, 1, 1, 1, 1))
    assert masks[0].all() and masks[1].all() and not masks[2].any()
    assert [mask.shape[2:] for mask in masks] == [x.shape[2:] for x in streams(joined["samples"])]


@pytest.mark.parametrize("given", [False, True])
def test_a_noise_mask_is_kept(prompts, model, vae, given):
    more = {"images": pictures(), "vae": vae} if given else {}
    plain = nodes.SetLatentNoiseMask().set_mask(random_latent(model), torch.rand(1, 32, 32))[0]
    masks = streams(add(prompts, plain, **more)[1]["noise_mask"])
    assert torch.equal(masks[0], plain["noise_mask"]) and masks[1].all()
    assert masks[2].shape == (1, 1, 2, 8, 8) and masks[2].unique().tolist() == [float(not given)]
    both = torch.rand(1, 1, 3, 4, 4), torch.rand(1, 1, 25)
    masks = streams(add(prompts, random_latent(model) | {"noise_mask": NestedTensor(both)}, **more)[1]["noise_mask"])
    assert same(NestedTensor(masks[:2]), NestedTensor(both)) and masks[2].unique().tolist() == [float(not given)]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": "0, two"}, 'frames is "0, two", in which "two" is no frame: use whole numbers with commas'),
        ({"frames": ""}, 'frames is "", in which "" is no frame'),
        ({"frames": "-1"}, 'in which "-1" is no frame'),
        ({"frames": "0 4"}, 'in which "0 4" is no frame'),
        ({"frames": "0, 4, 0"}, "frames has 0 twice"),
        ({"frames": "0, 9"}, "frames has 9, the clip has 9 frames: use 0 to 8"),
        ({"scale": 5}, "scale is 5: use 1 to 4"),
        ({"images": pictures()}, "images are given, and no vae"),
        ({"images": pictures(3), "vae": "video"}, "images has 3 pictures, frames has 2: give one for each"),
        ({"images": pictures(2, 32), "vae": "video"}, "images are of 32 x 32 pixels, the keyframes of 64 x 64"),
        ({"images": pictures(), "vae": "audio"}, "vae is no VAE for videos"),
    ],
)
def test_what_cannot_be_added(prompts, vae, audio_vae, change, message):
    given = change | {"vae": {"video": vae, "audio": audio_vae}[change["vae"]]} if "vae" in change else change
    with pytest.raises(ValueError, match=message):
        add(prompts, empty_latent(9), **given)


def test_vae_of_another_model(prompts, vae):
    wide = {"samples": NestedTensor((torch.zeros(1, 16, 3, 4, 4), torch.zeros(1, 6, 25)))}
    with pytest.raises(ValueError, match=r"vae makes latents \[4, 2, 8, 8\].* the keyframes are \[16, 2, 8, 8\]"):
        add(prompts, wide, images=pictures(), vae=vae)


def test_latents_that_take_no_keyframes(prompts):
    for latent in (EmptyLatentAudio.execute(1.0, 1).result[0], {"samples": torch.zeros(1, 4, 3, 4, 4)}):
        with pytest.raises(ValueError, match="is not one of picture and sound: connect 'Empty SkyCanvas Latent'"):
            add(prompts, latent)
    with pytest.raises(ValueError, match="has keyframes already"):
        add(*add(prompts, empty_latent()))


# --- sampling


def test_a_checkpoint_that_makes_them_says_so(maker, model):
    assert maker.model.config.keyframes and not model.model.config.keyframes


@pytest.mark.parametrize("batch, cfg", [(1, 1.0), (1, 2.5), (2, 2.5)])
def test_ksampler_is_euler_on_the_plain_network(path, maker, prompts, batch, cfg):
    conditioned, latent = add(prompts, empty_latent(9, batch))
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    expected = euler(plain_network(path), latent, noise, schedule(maker, 3), prompts, cfg, [0.0, 1.5])
    result = streams(ksampler(maker, *conditioned, latent, cfg=cfg))
    assert [x.shape for x in result] == [x.shape for x in streams(latent["samples"])]
    for got, wanted in zip(result, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 2])
def test_noise_masks_of_all_streams(path, maker, prompts, batch):
    """One keyframe is given, half of another one, and parts of picture and sound."""
    conditioned, latent = add(prompts, empty_latent(9, batch), "0, 6, 8")
    latent = filled(latent)
    masks = [torch.ones_like(x[:, :1]) for x in streams(latent["samples"])]
    masks[0][:, :, 0], masks[0][:, :, 1, :3, :3], masks[1][..., :5], masks[2][:, :, 0] = 0, 0, 0, 0
    masks[2][:, :, 2, :4] = 0
    latent["noise_mask"] = NestedTensor(masks)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    expected = euler(plain_network(path), latent, noise, schedule(maker, 3), prompts, 2.0, [0.0, 1.5, 2.0])
    result = ksampler(maker, *conditioned, latent)
    for got, wanted, x, mask in zip(streams(result), expected, streams(latent["samples"]), masks, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
        kept = mask.expand_as(x) == 0
        assert torch.equal(got[kept], x[kept]), "what is kept comes out bit for bit"
    assert same(result, advanced(maker, *conditioned, latent))


@pytest.mark.parametrize("schedule", ["ordinary", "wave"])
def test_given_pictures_are_clean_from_the_start_and_stay(maker, prompts, vae, schedule):
    conditioned, latent = add(prompts, empty_latent(9, 2), images=pictures(), vae=vae)
    seen, given = spy(maker), streams(latent["samples"])[2]
    result = sample(maker, conditioned, latent, schedule=schedule)
    assert finite(result) and torch.equal(streams(result)[2], given)
    assert all(not timestep[2].any() and timestep[2].shape == (4, 2) for timestep, _ in seen)
    other_prompts, other = add(prompts, empty_latent(9, 2), images=pictures(seed=11), vae=vae)
    changed = sample(maker, other_prompts, other, schedule=schedule)
    assert all(distance(a, b) > 1e-4 for a, b in zip(streams(changed), streams(result), strict=True))


def test_stock_noise_mask_leaves_the_keyframes_to_be_made(maker, prompts):
    conditioned, latent = add(prompts, empty_latent())
    mask = torch.zeros(1, 32, 32)
    mask[:, :, :16] = 1
    latent = nodes.SetLatentNoiseMask().set_mask(filled(latent), mask)[0]
    video, audio, keyframes = streams(ksampler(maker, *conditioned, latent))
    given, given_audio, given_keyframes = streams(latent["samples"])
    assert torch.equal(video[..., 2:], given[..., 2:])
    assert (audio - given_audio).abs().mean() > 0.1 and (keyframes - given_keyframes).abs().mean() > 0.1


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
def test_three_samplers_agree_bit_for_bit(maker, prompts, sampler):
    conditioned, latent = add(prompts, empty_latent(9, 2))
    latent, denoise = filled(latent), 0.8
    stock = ksampler(maker, *conditioned, latent, sampler=sampler, denoise=denoise)
    assert finite(stock) and all(x.std() > 1e-3 for x in streams(stock))
    assert same(stock, advanced(maker, *conditioned, latent, sampler=sampler, denoise=denoise))
    assert same(stock, sample(maker, conditioned, latent, sampler_name=sampler, denoise=denoise))


def test_denoised_output_is_in_the_units_of_the_vaes(maker, prompts):
    conditioned, latent = add(prompts, empty_latent())
    guider = custom.CFGGuider.execute(maker, *conditioned, 2.0).result[0]
    chosen, noise = custom.KSamplerSelect.execute("euler").result[0], custom.RandomNoise.execute(3).result[0]
    out, denoised = custom.SamplerCustomAdvanced.execute(noise, guider, chosen, schedule(maker, 3), latent).result
    assert out["keyframes"] == denoised["keyframes"] == (0, 6)
    for a, b in zip(streams(out["samples"]), streams(denoised["samples"]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_their_frames_and_the_clip_matter(maker, prompts):
    results = [ksampler(maker, *c, x) for c, x in (add(prompts, empty_latent(), f) for f in ("0, 6", "0, 8"))]
    assert all(distance(a, b) > 1e-4 for a, b in zip(*map(streams, results), strict=True))


def test_keyframes_follow_the_guidance_of_the_picture(maker, prompts):
    conditioned, latent = add(prompts, empty_latent())
    result = streams(sample(maker, conditioned, latent, steps=1, video_guidance=3.0, audio_guidance=1.5))
    for index, cfg in enumerate((3.0, 1.5, 3.0)):
        stock = streams(ksampler(maker, *conditioned, latent, steps=1, cfg=cfg))[index]
        torch.testing.assert_close(result[index], stock, rtol=1e-5, atol=1e-5)
    isolating = sample(maker, conditioned, latent, steps=1, video_guidance=3.0, audio_guidance=1.5, cross_modal=2.0)
    assert finite(isolating) and distance(streams(isolating)[2], result[2]) > 1e-4


def test_latents_of_two_streams_and_sounds_are_as_without(maker, model, prompts):
    """Bit for bit, in all that a checkpoint without keyframes can do; the conditioning may speak of keyframes."""
    conditioned, _ = add(prompts, empty_latent())
    latent = random_latent(model, batch=2)
    mask = torch.ones(1, 32, 32)
    mask[:, :16] = 0
    for one in (
        latent,
        nodes.SetLatentNoiseMask().set_mask(latent, mask)[0],
        EmptyLatentAudio.execute(1.0, 1).result[0],
    ):
        wanted = ksampler(model, *prompts, one, denoise=0.8)
        assert same(ksampler(maker, *prompts, one, denoise=0.8), wanted)
        assert same(ksampler(maker, *conditioned, one, denoise=0.8), wanted)
    settings = {"video_guidance": 3.0, "audio_guidance": 2.0, "cross_modal": 1.5}
    for name in ("ordinary", "wave"):
        wanted = sample(model, prompts, latent, schedule=name, **settings)
        assert same(sample(maker, conditioned, latent, schedule=name, **settings), wanted)


def test_lazy_cache_skips_steps(maker, prompts):
    conditioned, latent = add(prompts, empty_latent())
    cached = LazyCacheNode.execute(maker, 10.0, 0.1, 0.95, False).result[0]
    seen = spy(cached)
    assert finite(ksampler(cached, *conditioned, latent, steps=8)) and len(seen) < 8


def test_previews_show_the_clip(maker, vae, prompts, monkeypatch):
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod
    from skycanvas.carriers.preview import fit_preview

    fit_preview(maker.model.latent_format, vae)
    shown = []
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(
        latent_preview.comfy.utils.ProgressBar, "update_absolute", lambda self, value, total, image: shown.append(image)
    )
    conditioned, latent = add(prompts, empty_latent())
    ksampler(maker, *conditioned, latent, steps=1)
    sample(maker, conditioned, latent, steps=1)
    (_, stock, _), (_, ours, _) = shown
    assert stock.size == ours.size == (255, 85 + 32) and np.asarray(stock).std() > 1


# --- the wave


def test_places_of_keyframes_are_those_of_their_times():
    made, sound = torch.tensor([[True] * 4, [False, True, False, True]]), torch.ones(2, 1, dtype=torch.bool)
    keyframes = torch.tensor([[True, True, True], [True, False, True]]), torch.tensor([0.0, 1.5, 3.0])
    *_, starts = wave_starts(made, sound, torch.zeros(1), 0.5, 1.0, keyframes)
    assert starts.tolist() == [[0.0, 0.75, 1.5], [0.0, -float("inf"), 0.5]]


def test_in_a_wave_a_keyframe_is_as_noisy_as_the_frame_of_its_time(maker, prompts):
    conditioned, latent = add(prompts, empty_latent(17, 2), "0, 4, 10, 16")
    seen = spy(maker)
    result = sample(maker, conditioned, latent, schedule="wave", steps=4)
    assert finite(result) and len(seen) == 4 * (1 + 0.5 * 5)
    for (video, _, keyframes), times in seen:
        assert times == (0.0, 1.0, 2.5, 4.0) and keyframes.shape == (4, 4)
        torch.testing.assert_close(keyframes[:, [0, 1, 3]], video[:, [0, 1, 4], 0, 0])
        assert torch.all(video[:, 2, 0, 0] <= keyframes[:, 2]) and torch.all(keyframes[:, 2] <= video[:, 3, 0, 0])
    assert any(timestep[2].std() > 1 for timestep, _ in seen)


def test_a_wave_without_delay_is_euler(maker, prompts):
    conditioned, latent = add(prompts, empty_latent(9, 2))
    guider = SkyCanvasGuider.execute(maker, *conditioned, 2.0, 2.0, 1.0).result[0]
    noise, wave = custom.RandomNoise.execute(3).result[0], SkyCanvasWave.execute(0.0, 0.0).result[0]
    out = custom.SamplerCustomAdvanced.execute(noise, guider, wave, schedule(maker, 3), latent).result[0]["samples"]
    for got, wanted in zip(streams(out), streams(ksampler(maker, *conditioned, latent)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


# --- context windows


def windows(model, causal=False):
    return ContextWindowsManualNode.execute(
        model, 3, 1, "standard_static", 1, False, "pyramid", 2, True, causal_window_fix=causal
    ).result[0]


@pytest.mark.parametrize("causal, second", [(False, (0.5, 2.0)), (True, (1.5, 3.0))])
def test_keyframes_go_with_the_window_of_their_time(maker, prompts, causal, second):
    """5 latent frames: the windows are 0 to 2 and 2 to 4; ComfyUI may put a frame before a window."""
    conditioned, latent = add(prompts, empty_latent(17), "0, 10, 16")
    seen = spy(windowed := windows(maker, causal))
    latent["noise_mask"] = NestedTensor([torch.ones_like(x[:, :1]) for x in streams(latent["samples"])])
    result = ksampler(windowed, *conditioned, latent, steps=1, cfg=1.0)
    assert finite(result) and [x.shape for x in streams(result)] == [x.shape for x in streams(latent["samples"])]
    assert [times for _, times in seen] == [(0.0,), second]
    assert distance(result, ksampler(maker, *conditioned, latent, steps=1, cfg=1.0)) > 1e-4


def test_waves_go_through_windows(maker, prompts):
    conditioned, latent = add(prompts, empty_latent(17), "0, 10, 16")
    result = sample(windows(maker), conditioned, latent, schedule="wave", steps=2)
    assert finite(result) and all(x.std() > 1e-3 for x in streams(result))


def test_each_window_needs_a_keyframe(maker, prompts):
    conditioned, latent = add(prompts, empty_latent(17), "0, 4")
    with pytest.raises(ValueError, match="a context window over frames 5 to 16 has no keyframe"):
        ksampler(windows(maker), *conditioned, latent)


# --- what samplers refuse


def test_what_does_not_fit_is_said_before_sampling(maker, model, prompts):
    conditioned, latent = add(prompts, empty_latent())
    seen = spy(maker)
    with pytest.raises(ValueError, match="was not trained to make them: leave out 'Add Keyframes'"):
        ksampler(model, *conditioned, latent)
    with pytest.raises(ValueError, match="was not trained to make them: leave out 'Add Keyframes'"):
        sample(model, conditioned, latent)
    for some in (prompts, (conditioned[0], prompts[1])):
        with pytest.raises(ValueError, match="does not say of which frames: connect positive and negative"):
            ksampler(maker, *some, latent)
    others = add(prompts, empty_latent(), "0, 3")[0]
    with pytest.raises(ValueError, match=r"name different keyframes, \[0, 3\] and \[0, 6\]"):
        ksampler(maker, conditioned[0], others[1], latent)
    with pytest.raises(ValueError, match=r"names 1 keyframes \[3\], the latent has 2"):
        ksampler(maker, *add(prompts, empty_latent(), "3")[0], latent)
    with pytest.raises(ValueError, match=r"keyframes \[16\] lie outside the clip: its frames are 0 to 8"):
        ksampler(maker, *add(prompts, empty_latent(17), "0, 16")[0], latent)
    outside = [node_helpers.conditioning_set_values(p, {"skycanvas_keyframes": (-1, 0)}) for p in prompts]
    with pytest.raises(ValueError, match=r"keyframes \[-1\] lie outside the clip"):
        ksampler(maker, *outside, latent)
    *both, keyframes = streams(latent["samples"])
    wide = {"samples": NestedTensor([*both, keyframes.repeat(1, 2, 1, 1, 1)])}
    with pytest.raises(ValueError, match=r"keyframes latent \[1, 8, 2, 8, 8\] has 8 channels, this model's has 4"):
        ksampler(maker, *conditioned, wide)
    with pytest.raises(ValueError, match="EasyCache needs picture and sound"):
        ksampler(EasyCacheNode.execute(maker, 10.0, 0.1, 0.95, False).result[0], *conditioned, latent)
    assert not seen


# --- after the sampler


def test_split_gives_pictures_for_vae_decode(maker, vae, prompts):
    latent = filled(add(prompts, empty_latent(9, 2))[1])
    video, audio, keyframes = SkyCanvasSplitLatent.execute(latent).result
    third = streams(latent["samples"])[2]
    assert keyframes["samples"].shape == (4, 4, 1, 8, 8)
    assert torch.equal(keyframes["samples"][1, :, 0], third[0, :, 1])
    assert torch.equal(keyframes["samples"][2, :, 0], third[1, :, 0])
    images = nodes.VAEDecode().decode(vae, keyframes)[0]
    assert images.shape == (4, 64, 64, 3)
    torch.testing.assert_close(images[3], vae.decode(third[1:, :, 1:])[0, 0], rtol=1e-4, atol=1e-4)
    joined = LTXVConcatAVLatent.execute(video, audio).result[0]
    assert same(joined["samples"], NestedTensor(streams(latent["samples"])[:2])) and "keyframes" not in joined


def test_without_keyframes_their_output_is_blocked_with_the_reason(model):
    latent = random_latent(model)
    video, audio, nothing = SkyCanvasSplitLatent.execute(latent).result
    assert same(NestedTensor((video["samples"], audio["samples"])), latent["samples"])
    assert isinstance(nothing, ExecutionBlocker) and "put 'Add Keyframes' before the sampler" in nothing.message


def test_decode_shows_the_clip(prompts, vae, audio_vae):
    latent = filled(add(prompts, empty_latent(9, 2))[1])
    plain = latent | {"samples": NestedTensor(streams(latent["samples"])[:2])}
    (images, audio, rate), (wanted, wanted_audio, _) = (
        SkyCanvasDecode.execute(one, vae, audio_vae).result for one in (latent, plain)
    )
    assert torch.equal(images, wanted) and torch.equal(audio["waveform"], wanted_audio["waveform"]) and rate == 16.0
