"""Checkpoints in every form that people keep them in, and every way they can be wrong."""

import json
import os

import pytest
import torch
from comfy.quant_ops import QuantizedTensor
from comfy_extras.nodes_model_merging import ModelSave
from comfy_tools import PROMPT, distance, empty_latent, encode, finite, ksampler, same
from safetensors.torch import load_file, save_file
from skycanvas.carriers.skyreels_v4 import load_model
from skycanvas.nodes.loaders import SkyCanvasLoadMini, SkyCanvasLoadModel

import nodes


@pytest.fixture(scope="module")
def sampled(loaded):
    """Samples a MODEL always in the same way."""
    with torch.inference_mode():
        prompts = [encode(loaded[1], text) for text in (PROMPT, "")]
    return lambda model: ksampler(model, *prompts, empty_latent())


@pytest.fixture
def saved(base, mini):
    """Writes tensors (default: the checkpoint's own) to models/diffusion_models and loads them with the node."""

    def save(sd=None, metadata=None, weight_dtype="default", name="saved.safetensors"):
        path = base / "models" / "diffusion_models" / name
        save_file(sd or load_file(mini.model), path, metadata or {"sampling_shift": "2.5"})
        return SkyCanvasLoadModel.execute(name, weight_dtype).result[0]

    return save


def layers(sd):
    """Linear layers of the blocks, which is what quantisers touch."""
    return [name for name in sd if "blocks." in name and name.endswith(".weight") and sd[name].ndim == 2]


def fp8(weight):
    scale = weight.abs().max() / 448
    return (weight / scale).to(torch.float8_e4m3fn), scale


def test_both_loaders_give_the_same_model(model, saved, sampled):
    assert same(sampled(saved()), sampled(model))


@pytest.mark.parametrize("weight_dtype, error", [("fp32", 0.0), ("bf16", 0.03), ("fp16", 0.003), ("fp8_e4m3fn", 0.3)])
def test_weight_dtypes(mini, model, sampled, weight_dtype, error):
    cast = SkyCanvasLoadMini.execute(weight_dtype).result[0]
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8_e4m3fn": torch.float8_e4m3fn}
    network = cast.model.diffusion_model
    assert network.text_in.weight.dtype == wanted[weight_dtype]
    assert network.time_frequencies.dtype == network.video_latent_mean.dtype == torch.float32
    result, exact = sampled(cast), sampled(model)
    assert finite(result) and distance(result, exact) <= error
    assert weight_dtype == "fp32" or not same(result, exact)


def test_a_half_precision_file(mini, model, saved, sampled):
    sd = {k: v.bfloat16() if v.ndim > 1 else v for k, v in load_file(mini.model).items()}
    result = sampled(saved(sd))
    assert 0 < distance(result, sampled(model)) < 0.03


def test_scaled_fp8_and_comfy_quant_files(mini, model, saved, sampled):
    """Both formats hold the same numbers, so they give the same samples; the layers stay quantised in memory."""
    old, new = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}, {}
    sd = load_file(mini.model)
    for name, tensor in sd.items():
        old[name] = new[name] = tensor
        if name in layers(sd):
            layer = name.removesuffix(".weight")
            old[name], old[f"{layer}.scale_weight"] = fp8(tensor)
            new[name], new[f"{layer}.weight_scale"] = fp8(tensor)
            form = json.dumps({"format": "float8_e4m3fn"}).encode()
            new[f"{layer}.comfy_quant"] = torch.tensor(list(form), dtype=torch.uint8)
    results = []
    for file in (old, new):
        loaded = saved(file)
        assert isinstance(loaded.model.diffusion_model.dual_blocks[0].video.media.mlp_in.weight, QuantizedTensor)
        results.append(sampled(loaded))
    assert same(*results) and 0 < distance(results[0], sampled(model)) < 0.3


def test_model_save_and_reload_is_bit_identical(base, model, saved, sampled):
    """ModelSave keeps no metadata, yet the schedule's shift (2.5 here, not the default) and the previews survive."""
    ModelSave().save(model, "skycanvas/again")
    (file,) = (base / "output" / "skycanvas").glob("again*.safetensors")
    target = base / "models" / "diffusion_models" / "again.safetensors"
    os.replace(file, target)
    again = SkyCanvasLoadModel.execute("again.safetensors").result[0]
    assert same(sampled(again), sampled(model))
    assert again.get_model_object("model_sampling").shift == 2.5
    before, after = (m.get_model_object("latent_format") for m in (model, again))
    assert torch.allclose(torch.tensor(before.preview()), torch.tensor(after.preview()))


def test_model_with_a_lora_is_saved_merged(base, mini, model, sampled):
    with_lora = nodes.LoraLoaderModelOnly().load_lora_model_only(model, write_lora(base, mini, "peft"), 1.0)[0]
    ModelSave().save(with_lora, "skycanvas/merged")
    (file,) = (base / "output" / "skycanvas").glob("merged*.safetensors")
    assert distance(sampled(load_model(str(file))), sampled(with_lora)) < 1e-5


LAYER = "dual_blocks.0.video.media.mlp_in"
STYLES = {
    "peft": ("diffusion_model.{}", "lora_A.weight", "lora_B.weight"),
    "up_down": ("diffusion_model.{}", "lora_down.weight", "lora_up.weight"),
    "kohya": ("lora_unet_{}", "lora_down.weight", "lora_up.weight"),
    "bare": ("{}", "lora_A.weight", "lora_B.weight"),
}


def write_lora(base, mini, style):
    prefix, down, up = STYLES[style]
    weight = load_file(mini.model)[f"{LAYER}.weight"]
    generator = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, weight.shape[1], generator=generator), torch.randn(weight.shape[0], 2, generator=generator)
    name = prefix.format(LAYER.replace(".", "_") if style == "kohya" else LAYER)
    save_file({f"{name}.{down}": a, f"{name}.{up}": b}, base / "models" / "loras" / f"{style}.safetensors")
    return f"{style}.safetensors"


@pytest.mark.parametrize("style", ["peft", "up_down", "kohya"])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_lora_is_added_to_the_weights(base, mini, model, saved, sampled, style, strength):
    name = write_lora(base, mini, style)
    with_lora = nodes.LoraLoaderModelOnly().load_lora_model_only(model, name, strength)[0]
    sd, lora = load_file(mini.model), load_file(base / "models" / "loras" / name)
    a, b = (next(v for k, v in lora.items() if k.endswith(STYLES[style][i])) for i in (1, 2))
    sd[f"{LAYER}.weight"] = sd[f"{LAYER}.weight"] + strength * b @ a
    result = sampled(with_lora)
    assert distance(result, sampled(saved(sd))) < 1e-4 and distance(result, sampled(model)) > 1e-3


def test_lora_under_an_unknown_prefix_says_so(base, mini, model, sampled, caplog):
    name = write_lora(base, mini, "bare")
    with caplog.at_level("WARNING"):
        with_lora = nodes.LoraLoaderModelOnly().load_lora_model_only(model, name, 1.0)[0]
    assert f"lora key not loaded: {LAYER}" in caplog.text and same(sampled(with_lora), sampled(model))


def test_lora_on_fp8_weights(base, mini, sampled):
    cast = SkyCanvasLoadMini.execute("fp8_e4m3fn").result[0]
    with_lora = nodes.LoraLoaderModelOnly().load_lora_model_only(cast, write_lora(base, mini, "peft"), 1.0)[0]
    assert distance(sampled(with_lora), sampled(cast)) > 1e-3


def test_a_fresh_copy_for_another_device(model, sampled):
    """MultiGPU and LoRA hooks on streamed weights make their own copy from the file."""
    make, args = model.cached_patcher_init
    copy = make(*args, disable_dynamic=True)
    assert copy.model is not model.model and same(sampled(copy), sampled(model))


def test_memory_estimate_counts_references(model):
    latent, context = [1, 1, 10_000], [{"latent": torch.zeros(1, 4, 1, 10, 10), "times": (-1.0,)}]
    shapes = model.model.extra_conds_shapes(skycanvas_video_context=context)
    plain = model.model.memory_required(latent)
    assert model.model.memory_required(latent, {k: [v] for k, v in shapes.items()}) == pytest.approx(plain * 1.04)


# --- files that are wrong


def broken(base, name, data):
    path = base / "models" / "diffusion_models" / name
    path.write_bytes(data)
    return path


def test_truncated_file_is_named_with_its_sizes(base, mini):
    data = mini.model.read_bytes()
    broken(base, "cut.safetensors", data[:-1000])
    with pytest.raises(
        ValueError, match=f"cut.safetensors is broken: it has {len(data) - 1000} bytes instead of {len(data)}"
    ):
        SkyCanvasLoadModel.execute("cut.safetensors")
    broken(base, "cut.safetensors", data[:100])
    with pytest.raises(ValueError, match="cut.safetensors is broken: it has 100 bytes"):
        SkyCanvasLoadModel.execute("cut.safetensors")


@pytest.mark.parametrize("data", [b"", b"not a safetensors file at all", bytes(8), (2).to_bytes(8, "little") + b"[]"])
def test_file_that_is_no_safetensors(base, data):
    broken(base, "noise.safetensors", data)
    with pytest.raises(ValueError, match="noise.safetensors"):
        SkyCanvasLoadModel.execute("noise.safetensors")


def test_pickles_are_refused(base):
    broken(base, "model.ckpt", b"\x80\x02.")
    with pytest.raises(ValueError, match="model.ckpt is no safetensors file"):
        SkyCanvasLoadModel.execute("model.ckpt")


def test_another_architecture(saved):
    with pytest.raises(
        ValueError, match="saved.safetensors cannot be loaded as SkyReels-V4: tensor 'video_latent_mean' is missing"
    ):
        saved({"input_blocks.0.0.weight": torch.zeros(3)})


def test_missing_and_misshapen_tensors_are_named(mini, saved):
    sd = load_file(mini.model)
    name = "dual_blocks.1.audio.text.mlp_out.weight"
    with pytest.raises(ValueError, match=f"tensor '{name}' is missing"):
        saved({k: v for k, v in sd.items() if k != name})
    with pytest.raises(ValueError, match=rf"tensor '{name}' has shape \[32, 60\], expected \[32, 64\]"):
        saved(sd | {name: sd[name][:, :60].contiguous()})


def test_text_encoder_and_vaes_of_another_kind(mini):
    from skycanvas.carriers.clip import load_clip
    from skycanvas.carriers.vae import SkyCanvasAudioVAE, SkyCanvasVideoVAE, load_vae

    for load in (
        load_clip,
        lambda path: load_vae(SkyCanvasVideoVAE, path),
        lambda path: load_vae(SkyCanvasAudioVAE, path),
    ):
        with pytest.raises(ValueError, match="mini.safetensors cannot be loaded as .* missing"):
            load(str(mini.model))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="mini.safetensors is missing"):
        load_model(str(tmp_path / "mini.safetensors"))
