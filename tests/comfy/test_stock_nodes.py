"""Stock nodes that change guidance, models or conditioning do to the joint model what they do to any other."""

import pytest
import torch
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_cfg import CFGNorm, CFGZeroStar
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_eps import EpsilonScaling, TemporalScoreRescaling
from comfy_extras.nodes_fresca import FreSca
from comfy_extras.nodes_hooks import ConditioningSetProperties, CreateHookLoraModelOnly
from comfy_extras.nodes_lumina2 import RenormCFG
from comfy_extras.nodes_mahiro import Mahiro
from comfy_extras.nodes_model_merging import ModelMergeSimple
from comfy_extras.nodes_perpneg import PerpNegGuider
from comfy_extras.nodes_tcfg import TCFG
from comfy_tools import (
    PROMPT,
    distance,
    empty_latent,
    encode,
    finite,
    ksampler,
    random_latent,
    same,
    schedule,
    streams,
)
from safetensors.torch import load_file, save_file
from skycanvas.nodes.loaders import SkyCanvasLoadMini

import nodes


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


def guided(guider, model, latent=None):
    noise, euler = custom.RandomNoise.execute(3).result[0], custom.KSamplerSelect.execute("euler").result[0]
    latent = latent or empty_latent()
    return custom.SamplerCustomAdvanced.execute(noise, guider, euler, schedule(model, 3), latent).result[0]["samples"]


PATCHES = {
    "APG": lambda model: APG.execute(model, 0.5, 5.0, 0.3),
    "CFGNorm": lambda model: CFGNorm.execute(model, 0.8),
    "CFGZeroStar": lambda model: CFGZeroStar.execute(model),
    "EpsilonScaling": lambda model: EpsilonScaling.execute(model, 1.05),
    "FreSca": lambda model: FreSca.execute(model, 1.0, 1.5, 2),
    "Mahiro": lambda model: Mahiro.execute(model),
    "RenormCFG": lambda model: RenormCFG.execute(model, 100.0, 0.5),
    "TCFG": lambda model: TCFG.execute(model),
    "TemporalScoreRescaling": lambda model: TemporalScoreRescaling.execute(model, 0.8, 1.0),
}


@pytest.mark.parametrize("name", PATCHES)
def test_patches_of_guidance_take_effect(model, prompts, name):
    patched = PATCHES[name](model).result[0]
    result = ksampler(patched, *prompts, empty_latent(), cfg=4.0)
    assert finite(result) and distance(result, ksampler(model, *prompts, empty_latent(), cfg=4.0)) > 1e-4


def test_guiders(model, clip, prompts):
    plain = ksampler(model, *prompts, empty_latent())
    basic = custom.BasicGuider.execute(model, prompts[0]).result[0]
    assert distance(guided(basic, model), ksampler(model, *prompts, empty_latent(), cfg=1.0)) < 1e-4
    perpendicular = PerpNegGuider.execute(model, prompts[0], encode(clip, "a blue square"), prompts[1], 2.0, 1.0)
    assert distance(guided(perpendicular.result[0], model), plain) > 1e-3
    for cfg, equal in (((2.0, 2.0), True), ((2.0, 3.0), False)):  # with one cfg for both the second prompt cancels out
        dual = custom.DualCFGGuider.execute(
            model, prompts[0], encode(clip, "a blue square"), prompts[1], *cfg, "regular"
        )
        assert (distance(guided(dual.result[0], model), plain) < 1e-4) == equal


def test_another_model_for_the_negative_prompt(model, prompts):
    other = SkyCanvasLoadMini.execute().result[0]
    guider = custom.DualModelGuider.execute(model, prompts[0], 2.0, other, prompts[1]).result[0]
    assert distance(guided(guider, model), ksampler(model, *prompts, empty_latent())) < 1e-4


def test_prompts_for_parts_of_the_schedule(model, clip, prompts):
    """One prompt for the first half of the steps, another for the second; and both at once."""
    other = encode(clip, "a blue square")
    early = nodes.ConditioningSetTimestepRange().set_range(prompts[0], 0.0, 0.5)[0]
    late = nodes.ConditioningSetTimestepRange().set_range(other, 0.5, 1.0)[0]
    parted = ksampler(model, early + late, prompts[1], empty_latent())
    combined = ksampler(model, prompts[0] + other, prompts[1], empty_latent())
    results = [parted, combined, *(ksampler(model, p, prompts[1], empty_latent()) for p in (prompts[0], other))]
    assert all(finite(r) for r in results)
    assert all(distance(a, b) > 1e-3 for i, a in enumerate(results) for b in results[:i])


def test_prompts_of_different_length_do_not_disturb_each_other(model, clip, prompts):
    long = encode(clip, " ".join(["a red circle bounces slowly"] * 4))
    assert long[0][0].shape[1] == 32 != prompts[1][0][0].shape[1]
    one = ksampler(model, long, prompts[1], empty_latent(), cfg=1.0)
    assert finite(ksampler(model, long, prompts[1], empty_latent(), cfg=2.0)) and finite(one)


def test_merging_models(model, prompts):
    other = SkyCanvasLoadMini.execute().result[0]
    with torch.inference_mode():
        key = "diffusion_model.dual_blocks.0.video.media.mlp_in.weight"
        delta = torch.randn(other.model.diffusion_model.dual_blocks[0].video.media.mlp_in.weight.shape)
        other.add_patches({key: (delta,)})
    half = ModelMergeSimple().merge(model, other, 0.5)[0]
    results = [ksampler(m, *prompts, empty_latent()) for m in (model, half, other)]
    assert distance(results[0], results[1]) > 1e-3 < distance(results[1], results[2])


def test_lora_as_a_hook_on_one_prompt(base, mini, model, prompts):
    name = "diffusion_model.single_blocks.0.audio.both.mlp_in"
    weight = load_file(mini.model)[f"{name.removeprefix('diffusion_model.')}.weight"]
    lora = {
        f"{name}.lora_A.weight": torch.randn(2, weight.shape[1]),
        f"{name}.lora_B.weight": torch.randn(len(weight), 2),
    }
    save_file(lora, base / "models" / "loras" / "hook.safetensors")
    hooks = CreateHookLoraModelOnly().create_hook_model_only("hook.safetensors", 1.0)[0]
    positive = ConditioningSetProperties().set_properties(prompts[0], 1.0, "default", hooks=hooks)[0]
    plain = ksampler(model, *prompts, empty_latent())
    assert distance(ksampler(model, positive, prompts[1], empty_latent()), plain) > 1e-3
    assert same(ksampler(model, *prompts, empty_latent()), plain)  # and the weights are themselves again


def test_differential_diffusion_follows_a_soft_mask(model, prompts):
    latent = random_latent(model)
    mask = torch.linspace(0, 1, 32).expand(1, 32, 32)
    masked = nodes.SetLatentNoiseMask().set_mask(latent, mask)[0]
    result = ksampler(DifferentialDiffusion.execute(model).result[0], *prompts, masked, steps=8)
    change = (streams(result)[0] - streams(latent["samples"])[0]).abs().mean(dim=(0, 1, 2, 3))
    assert finite(result) and change[0] < 0.5 * change[-1]
