"""Guidance per stream, the wave, and the sampler node: against stock samplers and against the plain network."""

import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import node_helpers
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_audio import EmptyLatentAudio
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_extras.nodes_hooks import ConditioningSetProperties, CreateHookLoraModelOnly
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT
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
from safetensors.torch import load_file, save_file
from skycanvas.carriers.guidance import DualStreamGuider
from skycanvas.carriers.wave import Wave, wave_starts
from skycanvas.nodes.sampling import SkyCanvasGuider, SkyCanvasSampler, SkyCanvasWave

DIFFUSION_MODEL = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


def sample(model, positive, negative, latent, **settings) -> dict:
    """SkyCanvas Sampler as a workflow would have it."""
    defaults = {
        "seed": 3,
        "steps": 3,
        "video_guidance": 2.0,
        "audio_guidance": 2.0,
        "cross_modal": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "schedule": "ordinary",
        "shift": 0.0,
        "denoise": 1.0,
    }
    return SkyCanvasSampler.execute(model, positive, negative, latent, **defaults | settings).result[0]


def custom_advanced(model, guider, latent, sampler=None, steps=3, denoise=1.0, seed=3):
    """SamplerCustomAdvanced with any guider and sampler. -> output and denoised output"""
    sampler = sampler or custom.KSamplerSelect.execute("euler").result[0]
    sigmas = custom.BasicScheduler.execute(model, "simple", steps, denoise).result[0]
    noise = custom.RandomNoise.execute(seed).result[0]
    return [
        out["samples"] for out in custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result
    ]


def guider(model, prompts, video=2.0, audio=2.0, cross_modal=1.0) -> DualStreamGuider:
    return SkyCanvasGuider.execute(model, *prompts, video, audio, cross_modal).result[0]


def wave(delay=0.5, audio_lag=1.0):
    return SkyCanvasWave.execute(delay, audio_lag).result[0]


def spy(model) -> list[tuple]:
    """(rows of the batch, timestep, whether the streams are isolated) of each evaluation of the network."""
    seen = []

    def wrapper(executor, x, timestep, context, transformer_options, **conditions):
        seen.append((len(context), timestep, transformer_options.get("skycanvas_isolated", False)))
        return executor(x, timestep, context, transformer_options, **conditions)

    model.add_wrapper_with_key(DIFFUSION_MODEL, "spy", wrapper)
    return seen


def masked(latent: dict, video=None, audio=None) -> dict:
    """latent with a noise mask [B, 1, T, H, W], [B, 1, L]; None makes all anew."""
    picture, sound = streams(latent["samples"])
    video = torch.ones(len(picture), 1, *picture.shape[2:]) if video is None else video
    audio = torch.ones(len(sound), 1, sound.shape[2]) if audio is None else audio
    return latent | {"noise_mask": NestedTensor((video, audio))}


# --- equal settings, equal latents


@pytest.mark.parametrize("cfg", [1.0, 2.5])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "dpmpp_sde"])
def test_three_samplers_agree_bit_for_bit(model, prompts, sampler, cfg):
    latent, denoise = random_latent(model, batch=2), 0.8
    stock = ksampler(model, *prompts, latent, sampler=sampler, cfg=cfg, denoise=denoise)
    assert same(stock, advanced(model, *prompts, latent, sampler=sampler, cfg=cfg, denoise=denoise))
    ours = sample(
        model, *prompts, latent, sampler_name=sampler, video_guidance=cfg, audio_guidance=cfg, denoise=denoise
    )
    assert same(stock, ours["samples"])


def test_guider_in_sampler_custom_advanced_is_cfg_guider(model, prompts):
    latent = random_latent(model)
    assert same(custom_advanced(model, guider(model, prompts), latent)[0], advanced(model, *prompts, latent))


@pytest.mark.parametrize("sampler", ["uni_pc", "dpm_2"])
def test_samplers_that_leave_out_a_sigma_do_so_as_in_ksampler(model, prompts, sampler):
    stock = ksampler(model, *prompts, empty_latent(), sampler=sampler, scheduler="normal")
    assert same(stock, sample(model, *prompts, empty_latent(), sampler_name=sampler, scheduler="normal")["samples"])


@pytest.mark.parametrize("settings", [{"shift": 1.0}, {"shift": 5.0}])
def test_shift_is_that_of_model_sampling(model, prompts, settings):
    shifted = ModelSamplingSD3().patch(model, settings["shift"])[0]
    ours = sample(model, *prompts, empty_latent(), **settings)["samples"]
    assert same(ours, ksampler(shifted, *prompts, empty_latent()))
    assert not same(ours, ksampler(model, *prompts, empty_latent()))


def test_sampler_agrees_with_stock_under_a_mask_and_a_patch(model, prompts):
    latent = random_latent(model)
    video = torch.ones(1, 1, 3, 4, 4)
    video[:, :, 0] = 0
    latent = masked(latent, video)
    patched = SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "1", "", 0.0).result[0]
    assert same(ksampler(patched, *prompts, latent), sample(patched, *prompts, latent)["samples"])


def test_sound_alone(model, prompts):
    latent = EmptyLatentAudio.execute(1.0, 1).result[0]
    settings = {"video_guidance": 9.0, "audio_guidance": 2.0, "cross_modal": 3.0}  # there is no picture to agree with
    ours = sample(model, *prompts, latent, **settings)
    assert same(ours["samples"], ksampler(model, *prompts, latent))
    assert "downscale_ratio_temporal" not in ours


def test_latent_keeps_what_else_it_holds(model, prompts):
    latent = empty_latent(frame_rate=24.0) | {"batch_index": [2]}
    ours = sample(model, *prompts, latent)
    assert ours["frame_rate"] == 24.0 and same(ours["samples"], ksampler(model, *prompts, latent))
    assert ours is not latent and streams(latent["samples"])[0].count_nonzero() == 0
    assert not same(ours["samples"], ksampler(model, *prompts, empty_latent(frame_rate=24.0)))  # other noise


def test_nothing_to_denoise_gives_the_latent_back(model, prompts):
    latent = random_latent(model)
    for name in ("ordinary", "wave"):
        assert same(sample(model, *prompts, latent, denoise=0.0, schedule=name)["samples"], latent["samples"])


@pytest.mark.parametrize("sampler, name", [("euler", "ordinary"), ("euler_ancestral", "ordinary"), ("euler", "wave")])
def test_noise_does_not_change_when_patches_are_added(model, prompts, sampler, name):
    seen = []

    def remember(executor, noise, *args, **kwargs):
        seen.append(noise)
        return executor(noise, *args, **kwargs)

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "noise", remember)
    patch = {"latent": torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(1)), "times": (1.25,)}
    patched = [node_helpers.conditioning_set_values(p, {"skycanvas_video_context": [patch]}) for p in prompts]
    results = [
        sample(model, *p, empty_latent(), sampler_name=sampler, schedule=name)["samples"] for p in (prompts, patched)
    ]
    assert torch.equal(*seen) and distance(*results) > 1e-4


# --- guidance


def test_each_stream_gets_its_own_scale(mini, model, prompts):
    latent = empty_latent(9)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    network, sigmas = plain_network(mini.model), schedule(model, 1)
    video = euler_by_hand(network, noise, sigmas, *prompts, 3.0)[0]
    audio = euler_by_hand(network, noise, sigmas, *prompts, 1.5)[1]
    result = streams(sample(model, *prompts, latent, steps=1, video_guidance=3.0, audio_guidance=1.5)["samples"])
    for got, wanted in zip(result, (video, audio), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("video, audio", [(1.0, 3.0), (3.0, 1.0), (4.0, 2.0)])
def test_first_step_of_each_stream_is_that_of_its_own_cfg(model, prompts, video, audio):
    """After one step neither stream has seen the other's guidance yet."""
    result = sample(model, *prompts, empty_latent(), steps=1, video_guidance=video, audio_guidance=audio)["samples"]
    for index, cfg in enumerate((video, audio)):
        stock = ksampler(model, *prompts, empty_latent(), steps=1, cfg=cfg)
        torch.testing.assert_close(streams(result)[index], streams(stock)[index], rtol=1e-5, atol=1e-5)
        assert distance(streams(result)[1 - index], streams(stock)[1 - index]) > 1e-3


def test_cross_modal_guidance_is_the_difference_from_isolated_streams(mini, model, prompts):
    latent = empty_latent(9)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    network, sigmas = plain_network(mini.model), schedule(model, 1)
    guided = euler_by_hand(network, noise, sigmas, *prompts, 2.0)
    together = euler_by_hand(network, noise, sigmas, *prompts, 1.0)  # only the positive prompt is left
    isolated = euler_by_hand(network, noise, sigmas, *prompts, 1.0, cross_modal=False)
    result = streams(sample(model, *prompts, latent, steps=1, cross_modal=2.5)["samples"])
    for got, a, b, c in zip(result, guided, together, isolated, strict=True):
        torch.testing.assert_close(got, a + 1.5 * (b - c), rtol=1e-3, atol=1e-3)
        assert (b - c).abs().mean() > 1e-3


@pytest.mark.parametrize(
    "video, audio, cross_modal, batches",
    [
        (1.0, 1.0, 1.0, [1]),  # the positive prompt alone
        (2.0, 2.0, 1.0, [2]),
        (2.0, 3.0, 1.0, [2]),  # two scales cost nothing
        (1.0, 3.0, 1.0, [2]),
        (1.0, 1.0, 2.0, [1, 1]),  # and once isolated
        (2.0, 3.0, 2.0, [2, 1]),
    ],
)
def test_evaluations_of_one_step(model, prompts, video, audio, cross_modal, batches):
    seen = spy(model)
    settings = {"video_guidance": video, "audio_guidance": audio, "cross_modal": cross_modal}
    sample(model, *prompts, empty_latent(), steps=1, **settings)
    assert [rows for rows, _, _ in seen] == batches
    assert [isolated for _, _, isolated in seen] == [False, True][: len(batches)]


def test_post_cfg_functions_and_attention_patches_are_respected(model, prompts):
    latent, settings = empty_latent(), {"video_guidance": 3.0, "audio_guidance": 2.0, "cross_modal": 1.5}
    plain = sample(model, *prompts, latent, **settings)["samples"]
    scales = []

    def half(args):
        scales.append(args["cond_scale"])
        return args["denoised"] * 0.5

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(half)
    assert distance(sample(patched, *prompts, latent, **settings)["samples"], plain) > 1e-2
    assert scales == [3.0, 2.0] * 3
    for node, args in ((APG, (0.5, 5.0, 0.0)), (SkipLayerGuidanceDiT, (3.0, 0.0, 1.0, "1", "", 0.0))):
        patched = node.execute(model, *args).result[0]
        result = sample(patched, *prompts, latent, **settings)["samples"]
        assert finite(result) and distance(result, plain) > 1e-4


def test_cfg_override_holds_for_both_streams(model, prompts):
    override = custom.CFGOverride.execute(model, 1.0, 0.0, 1.0).result[0]
    seen = spy(override)
    result = sample(override, *prompts, empty_latent(), video_guidance=3.0, audio_guidance=2.0)["samples"]
    assert same(result, ksampler(model, *prompts, empty_latent(), cfg=1.0)) and {rows for rows, _, _ in seen} == {1}


def test_hook_on_one_prompt(base, mini, model, prompts):
    """A LoRA on the positive prompt alone, of which the isolated pass is one more evaluation."""
    weights = load_file(mini.model)["dual_blocks.0.video.media.mlp_in.weight"]
    save_file(
        {"diffusion_model.dual_blocks.0.video.media.mlp_in.diff": weights}, base / "models/loras/twice.safetensors"
    )
    hooks = CreateHookLoraModelOnly().create_hook_model_only("twice.safetensors", 1.0)[0]
    positive = ConditioningSetProperties().set_properties(prompts[0], 1.0, "default", hooks=hooks)[0]
    hooked, latent = (positive, prompts[1]), empty_latent()
    assert same(sample(model, *hooked, latent)["samples"], ksampler(model, *hooked, latent))
    settings = {"video_guidance": 3.0, "cross_modal": 1.5}
    assert (
        distance(
            sample(model, *hooked, latent, **settings)["samples"],
            sample(model, *prompts, latent, **settings)["samples"],
        )
        > 1e-3
    )


@pytest.mark.parametrize("name", ["ordinary", "wave"])
@pytest.mark.parametrize("node", [EasyCacheNode, LazyCacheNode])
def test_step_caches_with_all_guidance(model, prompts, node, name):
    cached = node.execute(model, 10.0, 0.1, 0.95, False).result[0]
    settings = {"steps": 8, "schedule": name, "video_guidance": 3.0, "cross_modal": 1.5}
    seen, all_seen = spy(cached), spy(plain := model.clone())
    result = sample(cached, *prompts, empty_latent(), **settings)["samples"]
    sample(plain, *prompts, empty_latent(), **settings)
    assert finite(result) and len(seen) < len(all_seen)


# --- the wave


def test_places_in_the_queue():
    """Frames wait for those before them, sounds for their picture; what is kept holds nobody up."""
    made = torch.tensor([[True] * 4, [False, True, False, True], [False] * 4])
    times = torch.tensor([-0.1, 0.5, 3.0, 3.2])
    sound = torch.tensor([[True] * 4, [True, True, True, False], [True] * 4])
    video, audio = wave_starts(made, sound, times, 0.5, 1.0)
    inf = float("inf")
    assert video.tolist() == [[0.0, 0.5, 1.0, 1.5], [-inf, 0.0, -inf, 0.5], [-inf] * 4]
    assert audio.tolist() == [[0.5, 0.75, 2.0, 2.0], [0.5, 0.5, 1.0, -inf], [0.0] * 4]
    nothing = wave_starts(made[2:], ~sound[2:], times, 0.5, 1.0)
    assert nothing[0].tolist() == nothing[1].tolist() == [[-inf] * 4]


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 4, 12])
def test_every_token_goes_from_the_first_level_to_the_last(steps, delay):
    sigmas = torch.linspace(1, 0, steps + 1) ** 1.5
    made, times = torch.ones(1, 5, dtype=torch.bool), torch.arange(9) / 2
    plan = Wave(sigmas, wave_starts(made, torch.ones(1, 9, dtype=torch.bool), times, delay, 1.0))
    assert plan.length == -(-round(steps * (1 + 5 * delay) * 1000) // 1000)
    levels = [torch.cat(plan.levels(step), 1) for step in range(plan.length + 1)]
    assert torch.all(levels[0] == 1) and torch.all(levels[-1] == 0)
    for before, after in zip(levels[:-1], levels[1:], strict=True):
        assert torch.all(after <= before) and torch.any(after < before)
        assert torch.all(before[:, :4] <= before[:, 1:5])  # earlier frames are ahead
        assert torch.all(before[:, 5::2] >= before[:, :5])  # the sound is behind its picture
    clock = plan.clock()
    assert len(clock) == plan.length + 1 and clock[0] == 1 and clock[-1] == 0 and torch.all(clock[1:] < clock[:-1])


def test_rounding_leaves_no_noise_behind():
    plan = Wave(torch.tensor([1.0, 0.0]), (torch.tensor([[0.0, 5e-5]]), torch.tensor([[5e-5]])))
    assert plan.length == 1 and all(torch.all(level == 0) for level in plan.levels(1))


def wave_by_hand(network, noise, plan, positive, negative, cfg, patch=2):
    """Euler steps of each token between its own noise levels, on the plain network; the result is normalised."""
    x = list(noise)
    for step in range(plan.length):
        (video, audio), (next_video, next_audio) = plan.levels(step), plan.levels(step + 1)
        yes, no = (
            network(
                *x,
                1000 * video[:, :, None, None],
                c[0][0],
                pooled=c[0][1]["pooled_output"],
                audio_timestep=1000 * audio[:, ::patch],
            )
            for c in (positive, negative)
        )
        velocity = [n + cfg * (y - n) for y, n in zip(yes, no, strict=True)]
        x[0] = x[0] + (next_video - video)[:, None, :, None, None] * velocity[0]
        x[1] = x[1] + (next_audio - audio)[:, None] * velocity[1]
    return x


def test_wave_is_euler_per_token_on_the_plain_network(mini, model, prompts):
    latent = empty_latent(9)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    sound = 2 * torch.arange(13) + 1  # middles of the tokens, in audio latents
    times = (sound * 1024 / 44100 * 16 - 0.5) / 4
    starts = wave_starts(*(torch.ones(1, n, dtype=torch.bool) for n in (3, 13)), times, 0.4, 0.7)
    plan = Wave(schedule(model, 3), (starts[0], starts[1].repeat_interleave(2, 1)[:, : noise[1].shape[2]]))
    expected = NestedTensor(wave_by_hand(plain_network(mini.model), noise, plan, *prompts, 2.0))
    expected = model.model.latent_format.process_out(expected)
    seen = spy(model)
    result, denoised = custom_advanced(model, guider(model, prompts), latent, wave(0.4, 0.7))
    for got, wanted, last in zip(streams(result), streams(expected), streams(denoised), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(got, last, rtol=1e-4, atol=1e-4)
    assert len(seen) == plan.length
    for step, (_, (video, audio), _) in enumerate(seen):
        levels = plan.levels(step)
        torch.testing.assert_close(video[:1, :, 0, 0], 1000 * levels[0])
        torch.testing.assert_close(audio[:1], 1000 * levels[1][:, ::2])


def test_wave_without_delay_is_ordinary_euler(model, prompts):
    latent = masked(random_latent(model, batch=2), torch.rand(2, 1, 3, 4, 4))
    result = custom_advanced(model, guider(model, prompts), latent, wave(0.0, 0.0), denoise=0.6)[0]
    assert distance(result, advanced(model, *prompts, latent, denoise=0.6)) < 1e-4


def test_wave_of_the_sampler_node_is_that_of_the_custom_sampler(model, prompts):
    latent = random_latent(model)
    settings = {"video_guidance": 3.0, "audio_guidance": 1.5, "cross_modal": 2.0}
    ours = sample(model, *prompts, latent, schedule="wave", denoise=0.7, **settings)["samples"]
    result = custom_advanced(model, guider(model, prompts, 3.0, 1.5, 2.0), latent, wave(), denoise=0.7)[0]
    assert same(ours, result)
    assert distance(ours, sample(model, *prompts, latent, denoise=0.7, **settings)["samples"]) > 1e-3


def test_wave_goes_with_stock_guiders(model, prompts):
    stock = custom.CFGGuider.execute(model, *prompts, 2.0).result[0]
    ours = sample(model, *prompts, empty_latent(), schedule="wave")["samples"]
    assert same(custom_advanced(model, stock, empty_latent(), wave())[0], ours)
    basic = custom.BasicGuider.execute(model, prompts[0]).result[0]
    assert distance(custom_advanced(model, basic, empty_latent(), wave())[0], ours) > 1e-3


def test_image_to_image_starts_from_the_latent(model, prompts):
    """With little denoising little changes, and the first step sees the level of that denoising everywhere."""
    latent = random_latent(model)
    seen = spy(model)
    gentle = sample(model, *prompts, latent, schedule="wave", denoise=0.1, steps=2)["samples"]
    first = 1000 * float(custom.BasicScheduler.execute(model, "simple", 2, 0.1).result[0][0])
    assert all(torch.allclose(timestep, torch.tensor(first)) for timestep in seen[0][1])
    assert distance(gentle, latent["samples"]) < 0.7 * distance(
        sample(model, *prompts, latent, schedule="wave", steps=2)["samples"], latent["samples"]
    )


def test_wave_keeps_masked_frames_and_goes_on_at_once(model, prompts):
    """Frames 0 and 2 are kept: frame 1 starts at once, frame 3 after it; the rows of a batch have their own masks."""
    latent = random_latent(model, frames=13, batch=2)
    video = torch.ones(2, 1, 4, 4, 4)
    video[0, :, [0, 2]] = 0
    video[1, :, :, :, :2] = 0  # in part
    audio = torch.ones(2, 1, streams(latent["samples"])[1].shape[2])
    audio[0] = 0
    seen = spy(model)
    result = sample(model, *prompts, masked(latent, video, audio), schedule="wave", steps=4)["samples"]
    for got, given, mask in zip(streams(result), streams(latent["samples"]), (video, audio), strict=True):
        kept = (mask == 0).expand_as(given)
        torch.testing.assert_close(got[kept], given[kept], rtol=1e-5, atol=1e-5)
        assert (got[~kept] - given[~kept]).abs().mean() > 0.1
    first, third = (seen[step][1] for step in (0, 2))
    rows = slice(None, None, 2)  # of [batch, prompts]
    assert torch.all(first[0][0::2][:, [0, 2]] == 0) and torch.all(first[0][0::2][:, [1, 3]] == 1000)
    assert torch.all(first[1][rows] == 0)
    second = seen[1][1][0][0]
    assert torch.all(second[1] < 1000) and torch.all(second[3] == 1000)  # delay 0.5 of 4 steps is 2 of them
    assert torch.all(third[0][0][3] == 1000) and torch.all(seen[3][1][0][0][3] < 1000)
    assert torch.all(first[0][1, :, :, 0] == 0) and torch.all(first[0][1, :, :, 1] == 1000)


def test_foley_waits_for_nothing(model, prompts):
    """The picture is kept: its sound is made as the ordinary sampler makes it, in as many steps."""
    latent = masked(random_latent(model), torch.zeros(1, 1, 3, 4, 4))
    seen = spy(model)
    result = sample(model, *prompts, latent, schedule="wave")["samples"]
    assert len(seen) == 3 and distance(result, ksampler(model, *prompts, latent)) < 1e-4


def test_everything_kept_stays(model, prompts):
    latent = random_latent(model)
    sound = torch.zeros(1, 1, streams(latent["samples"])[1].shape[2])
    latent = masked(latent, torch.zeros(1, 1, 3, 4, 4), sound)
    assert distance(sample(model, *prompts, latent, schedule="wave")["samples"], latent["samples"]) < 1e-5


def test_wave_in_two_stages_is_finite_and_one_frame_is_a_picture(model, prompts):
    picture = sample(model, *prompts, empty_latent(1), schedule="wave")["samples"]
    assert finite(picture) and streams(picture)[0].shape[2] == 1
    high, low = custom.SplitSigmas.execute(schedule(model, 4), 2).result
    noise, silence = custom.RandomNoise.execute(3).result[0], custom.DisableNoise.execute().result[0]
    ours = guider(model, prompts)
    half = custom.SamplerCustomAdvanced.execute(noise, ours, wave(), high, empty_latent()).result[0]
    whole = custom.SamplerCustomAdvanced.execute(silence, ours, wave(), low, half).result[0]["samples"]
    assert finite(whole) and all(x.std() > 1e-3 for x in streams(whole))


def test_wave_in_context_windows(model, prompts):
    windows = ContextWindowsManualNode.execute(
        model, 3, 1, "standard_static", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    seen = spy(windows)
    latent = random_latent(model, frames=25)
    latent = masked(latent, torch.cat([torch.zeros(1, 1, 1, 4, 4), torch.ones(1, 1, 6, 4, 4)], 2))
    result = sample(windows, *prompts, latent, schedule="wave", steps=2)["samples"]
    assert finite(result) and {timestep[0].shape[1] for _, timestep, _ in seen} == {3}
    assert torch.all(seen[0][1][0][:, 0] == 0) and torch.all(seen[0][1][0][:, 1:] == 1000)
    assert 1e-4 < distance(result, sample(model, *prompts, latent, schedule="wave", steps=2)["samples"])


# --- progress, interrupt


@pytest.mark.parametrize("name, evaluations", [("ordinary", 4), ("wave", 10)])
def test_progress_counts_every_evaluation(model, prompts, monkeypatch, name, evaluations):
    seen, bars = spy(model), []
    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", lambda self, *values: bars.append(values))
    sample(model, *prompts, empty_latent(), steps=4, schedule=name)  # 3 latent frames and the sound's lag
    assert len(seen) == evaluations
    assert bars == [(step + 1, evaluations, None) for step in range(evaluations)]  # previews are off


def test_interrupt_stops_the_wave_and_leaves_the_model_as_it_was(model, prompts):
    before = sample(model, *prompts, empty_latent(), schedule="wave")["samples"]
    stopping, steps = model.clone(), []

    def stop(executor, *args, **kwargs):
        steps.append(len(steps))
        if len(steps) == 3:
            comfy.model_management.interrupt_current_processing()
        return executor(*args, **kwargs)

    stopping.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "stop", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(stopping, *prompts, empty_latent(), schedule="wave")
    assert len(steps) == 3
    assert same(before, sample(model, *prompts, empty_latent(), schedule="wave")["samples"])


# --- bad input


class Other:
    model = torch.nn.Linear(1, 1)


def refused(model, prompts, latent, message, **settings):
    seen = spy(model)
    with pytest.raises(ValueError, match=message):
        sample(model, *prompts, latent, **settings)
    assert not seen


@pytest.mark.parametrize("name", ["video_guidance", "audio_guidance", "cross_modal", "shift", "denoise"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(model, prompts, name, value):
    refused(model, prompts, empty_latent(), f"{name} is {value}: (give a finite number|use )", **{name: value})


@pytest.mark.parametrize("name", ["ordinary", "wave"])
def test_latents_of_another_kind(model, prompts, name):
    video, audio = streams(empty_latent()["samples"])
    refused(model, prompts, {"samples": video}, "picture alone.*'Empty SkyCanvas Latent'", schedule=name)
    wide = {"samples": NestedTensor((torch.zeros(1, 16, *video.shape[2:]), audio))}
    refused(model, prompts, wide, "video latent .* has 16 channels, this model's has 4", schedule=name)
    deep = {"samples": NestedTensor((video, audio.repeat(1, 2, 1)))}
    refused(model, prompts, deep, "audio latent .* has 12 channels, this model's has 6", schedule=name)
    with pytest.raises(ValueError, match="picture alone"):
        custom_advanced(model, guider(model, prompts), {"samples": video}, wave())


def test_wave_of_a_sound_alone(model, prompts):
    latent = EmptyLatentAudio.execute(1.0, 1).result[0]
    refused(model, prompts, latent, "has one of them alone: choose the ordinary", schedule="wave")
    seen = spy(model)
    with pytest.raises(ValueError, match="has one of them alone: take another sampler"):
        custom_advanced(model, guider(model, prompts), latent, wave())
    assert not seen


def test_wave_takes_euler(model, prompts):
    refused(
        model,
        prompts,
        empty_latent(),
        "euler steps, sampler_name is dpmpp_2m: choose euler",
        schedule="wave",
        sampler_name="dpmpp_2m",
    )


def test_model_of_another_family(prompts):
    for run in (
        lambda: sample(Other(), *prompts, empty_latent()),
        lambda: SkyCanvasGuider.execute(Other(), *prompts, 2.0, 2.0, 1.0),
    ):
        with pytest.raises(ValueError, match="the model is a Linear.*'Load SkyCanvas Mini'"):
            run()


@pytest.mark.parametrize(
    "delay, lag, message", [(1.5, 1.0, "delay 1.5 is not in 0..1"), (0.5, -1.0, "lag -1.0 is neg")]
)
def test_wave_out_of_range(delay, lag, message):
    with pytest.raises(ValueError, match=message):
        SkyCanvasWave.execute(delay, lag)
    with pytest.raises(ValueError, match="delay is nan"):
        SkyCanvasWave.execute(float("nan"), 1.0)


def test_wave_on_a_model_of_another_family(model, prompts):
    class Wrapped:
        inner_model = Other.model

    with pytest.raises(ValueError, match="this is a Linear"):
        wave().sample(Wrapped(), None, {}, None, None)


def test_inputs_and_their_order_are_for_ever():
    """Workflows hold them."""
    inputs = {node: node.define_schema().inputs for node in (SkyCanvasSampler, SkyCanvasGuider, SkyCanvasWave)}
    text = (
        "model positive negative latent_image seed steps video_guidance audio_guidance cross_modal "
        "sampler_name scheduler schedule shift denoise"
    )
    assert [i.id for i in inputs[SkyCanvasSampler]] == text.split()
    text = "model positive negative video_guidance audio_guidance cross_modal"
    assert [i.id for i in inputs[SkyCanvasGuider]] == text.split()
    assert [i.id for i in inputs[SkyCanvasWave]] == ["delay", "audio_lag"]
    assert all(i.tooltip for each in inputs.values() for i in each)
