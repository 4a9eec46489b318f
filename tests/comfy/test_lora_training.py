"""ComfyUI's own Train LoRA on the joint model."""

import pytest
import torch
from comfy_extras.nodes_train import TrainLoraNode
from comfy_tools import PROMPT, distance, empty_latent, encode, ksampler, random_latent
from safetensors.torch import save_file
from skycanvas.nodes.training import SkyCanvasPackForTraining

import nodes

SETTINGS = {
    "batch_size": 1,
    "steps": 6,
    "grad_accumulation_steps": 1,
    "learning_rate": 0.01,
    "rank": 2,
    "optimizer": "AdamW",
    "loss_function": "MSE",
    "seed": 0,
    "training_dtype": "fp32",
    "lora_dtype": "fp32",
    "quantized_backward": False,
    "algorithm": "LoRA",
    "gradient_checkpointing": True,
    "checkpoint_depth": 1,
    "offloading": False,
    "existing_lora": "[None]",
    "bucket_mode": False,
    "bypass_mode": False,
}


@pytest.mark.parametrize("bypass_mode", [False, True])
def test_train_lora(base, model, clip, bypass_mode):
    packed, positive = SkyCanvasPackForTraining.execute(random_latent(model, frames=5), encode(clip, PROMPT)).result
    assert packed["samples"].shape[1] == 1
    settings = {name: [value] for name, value in (SETTINGS | {"bypass_mode": bypass_mode}).items()}
    lora, losses, steps = TrainLoraNode.execute(model=[model], latents=[packed], positive=[positive], **settings).result
    assert steps == 6 and len(losses["loss"]) == 6 and all(torch.isfinite(torch.tensor(losses["loss"])))

    file = base / "models" / "loras" / "trained.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in lora.items()}, file)
    trained = nodes.LoraLoaderModelOnly().load_lora_model_only(model, file.name, 1.0)[0]
    prompts = encode(clip, PROMPT), encode(clip, "")
    assert distance(ksampler(trained, *prompts, empty_latent(5)), ksampler(model, *prompts, empty_latent(5))) > 1e-3


def test_a_plain_latent_needs_no_packing(clip):
    with pytest.raises(ValueError, match=r"\[1, 6, 9\] is not joint"):
        SkyCanvasPackForTraining.execute({"samples": torch.zeros(1, 6, 9)}, encode(clip, PROMPT))
