"""What training.finetune writes, in ComfyUI's own LoRA loader, on the MODEL of our own loader node."""

import logging
from dataclasses import replace

import comfy.sample
import folder_paths
import pytest
import torch
from comfy_tools import PROMPT, distance, empty_latent, encode, euler_by_hand, ksampler, plain_network, same, schedule
from comfy_tools import streams as streams_of
from safetensors.torch import load_file, save_file
from skycanvas.nodes.loaders import SkyCanvasLoadModel
from tiny_mini import MODEL_CONFIG

import nodes
from benchmarks.finetuning import write_clip
from models.mmdit import MMDiT
from training.finetune import main
from training.lora import add_lora, lora_tensors, merge_lora

FRAMES = 9
REFUSALS = ("lora key not loaded", "NOT LOADED", "ERROR")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What an artist has: four clips of something that moves and sounds, with a caption each."""
    path = tmp_path_factory.mktemp("clips")
    generator = torch.Generator().manual_seed(1)
    for i, colour in enumerate(("red", "blue", "red", "blue")):
        texture = torch.rand(3, 1, 64, 64 + 20 * 2, generator=generator) * 2 - 1
        video = torch.cat([texture[..., 2 * frame : 2 * frame + 64] for frame in range(20)], dim=1)
        sound = 0.1 * torch.randn(1, round(20 / 16 * 44100), generator=generator)
        write_clip(path / f"{i}.mp4", video, sound)
        (path / f"{i}.txt").write_text(f"a {colour} circle bounces <sfx> low ping </sfx>")
    return path


def train(mini, folder, out, *options):
    """The command of docs/finetuning.md, as far as a test has time for it."""
    files = [f"--model={mini.model}", f"--text-encoder={mini.text_encoder}"]
    files += [f"--video-vae={mini.video_vae}", f"--audio-vae={mini.audio_vae}"]
    size = ["--frames", str(FRAMES), "--size", "32x32", "--steps", "6", "--batch", "2", "--lr", "0.02"]
    with torch.inference_mode(False):  # a node's mode, in which nothing learns
        main([str(folder), "--out", str(out), *files, *size, *options])
    return out


@pytest.fixture(scope="module")
def trained(mini, folder, base):
    """A LoRA of a folder, in ComfyUI's models/loras."""
    return train(mini, folder, base / "models" / "loras" / "own.safetensors", "--rank", "3", "--alpha", "6")


@pytest.fixture(scope="module")
def full(mini, folder, base):
    """A whole checkpoint, in ComfyUI's models/diffusion_models."""
    return train(mini, folder, base / "models" / "diffusion_models" / "own.safetensors", "--full")


@pytest.fixture(scope="module")
def every_layer(mini, base):
    """A LoRA of all linear and convolution layers, with random factors."""
    generator = torch.Generator().manual_seed(2)
    adapters = add_lora(plain_network(mini.model), rank=2, alpha=1.0, layers=["*"], generator=generator)
    for adapter in adapters.values():
        torch.nn.init.normal_(adapter.lora_B.weight, std=0.2, generator=generator)
    file = base / "models" / "loras" / "every_layer.safetensors"
    save_file(lora_tensors(adapters), file)
    return file


def with_lora(model, file, strength=1.0):
    return nodes.LoraLoaderModelOnly().load_lora_model_only(model, file.name, strength)[0]


def sample(model, clip, latent=None, steps=1):
    """One step from noise to the end, without guidance: what comes out is the noise minus the velocity."""
    prompts = encode(clip, PROMPT), encode(clip, "")
    return ksampler(model, *prompts, latent or empty_latent(FRAMES), steps=steps, cfg=1.0)


@pytest.mark.parametrize("lora, strength", [("trained", 1.0), ("trained", -0.5), ("every_layer", 1.0)])
def test_the_velocity_is_that_of_the_network_with_merged_weights(request, caplog, mini, model, clip, lora, strength):
    """To one part in a thousand, the tolerance within which MODEL and plain network agree without a LoRA."""
    file, latent = request.getfixturevalue(lora), empty_latent(FRAMES)
    with caplog.at_level(logging.WARNING):
        result = sample(with_lora(model, file, strength), clip)
    assert not [line for line in caplog.messages if line.startswith(REFUSALS)]

    network = plain_network(mini.model)
    merge_lora(network, load_file(file), strength)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    prompts = encode(clip, PROMPT), encode(clip, "")
    expected = euler_by_hand(network, noise, schedule(model, 1), *prompts, 1.0)
    for got, wanted in zip(streams_of(result), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    assert distance(result, sample(model, clip)) > 0.02


def test_the_list_of_loras_has_the_lora_alone(trained):
    """And nothing of the folder beside it, in which a stopped training goes on."""
    assert trained.with_suffix(".work").is_dir()
    names = folder_paths.get_filename_list("loras")
    assert [name for name in names if name.startswith("own")] == ["own.safetensors"]


def test_every_layer_gets_its_patch(model, trained, every_layer):
    for file in (trained, every_layer):
        layers = {name.rsplit(".lora_A")[0] for name in load_file(file) if ".lora_A" in name}
        patched = with_lora(model, file)
        assert patched.patches.keys() == {f"{layer}.weight" for layer in layers}
    assert any(".conv_in." in name for name in patched.patches), "convolutions too"


def test_strength_0_is_the_base_model_bit_for_bit(model, clip, trained):
    base = sample(model, clip, steps=2)
    assert same(sample(with_lora(model, trained, 0.0), clip, steps=2), base)
    assert same(sample(model, clip, steps=2), base), "the model that came in is as it was"


def test_a_lora_of_another_architecture_is_reported(base, caplog, model, clip):
    """ComfyUI names what fits nowhere, and the rest of a deeper network's LoRA does what it can."""
    deeper = MMDiT(replace(MODEL_CONFIG, dual_blocks=3))
    adapters = add_lora(deeper, rank=2, alpha=2.0, generator=torch.Generator().manual_seed(0))
    deep = lora_tensors(adapters)
    foreign = {name.replace("diffusion_model.", "transformer."): tensor for name, tensor in deep.items()}
    for tensors, unknown in (
        (deep, {name for name in deep if name.startswith("diffusion_model.dual_blocks.2.")}),
        (foreign, set(foreign)),
    ):
        file = base / "models" / "loras" / "other.safetensors"
        save_file(tensors, file)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            patched = with_lora(model, file)
        assert unknown and set(caplog.messages) == {f"lora key not loaded: {name}" for name in unknown}
    assert not patched.patches and same(sample(patched, clip), sample(model, clip))


def test_a_full_checkpoint_loads_as_a_model(mini, clip, full):
    """`--full` writes what 'Load SkyCanvas Model' reads."""
    own = SkyCanvasLoadModel.execute(full.name).result[0]
    noise = comfy.sample.prepare_noise(empty_latent(FRAMES)["samples"], 3).unbind()
    prompts = encode(clip, PROMPT), encode(clip, "")
    expected = euler_by_hand(plain_network(full), noise, schedule(own, 1), *prompts, 1.0)
    for got, wanted in zip(streams_of(sample(own, clip)), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    base = euler_by_hand(plain_network(mini.model), noise, schedule(own, 1), *prompts, 1.0)
    assert (expected[0] - base[0]).abs().max() > 0.1
