"""What a server without weights of 40 GB needs to run our workflows for LTX-2.3: tiny files under the same names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from server_tools import LTX_WORKFLOWS, ROOT, read_workflow
from tiny_ltx import VIDEO_DIM, TinyLtx

RANK = 2


class ModelFile(NamedTuple):
    """A file that a loader asks for, as ComfyUI's dialog for missing models reads it."""

    name: str
    url: str
    directory: str


def model_files(nodes: list[dict[str, Any]]) -> set[ModelFile]:
    """All that these nodes of a workflow name in their properties."""
    models = [model for node in nodes for model in node.get("properties", {}).get("models", [])]
    return {ModelFile(model["name"], model["url"], model["directory"]) for model in models}


def write_lora(path: Path) -> None:
    """A LoRA of one layer of the tiny LTX-2.3."""
    generator, key = torch.Generator().manual_seed(0), "diffusion_model.transformer_blocks.0.attn1.to_q"
    down, up = (torch.randn(*shape, generator=generator) for shape in ((RANK, VIDEO_DIM), (VIDEO_DIM, RANK)))
    save_file({f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}, path)


def add_tiny_ltx(base: Path, comfyui: Path) -> None:
    """Puts tiny models into the folders of a server that is not started yet, and the text encoder's node."""
    folder = base / "tiny_ltx"
    command = [sys.executable, str(ROOT / "tests" / "tiny_ltx.py"), str(folder)]
    subprocess.run(command, env={**os.environ, "COMFYUI_PATH": str(comfyui)}, check=True, capture_output=True)
    tiny = TinyLtx(folder, "2.3")
    files = {"checkpoints": tiny.checkpoint, "text_encoders": tiny.text_encoder, "loras": folder / "lora.safetensors"}
    write_lora(files["loras"])
    for name in LTX_WORKFLOWS:
        for model in model_files(read_workflow(name)["nodes"]):
            target = base / "models" / model.directory
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(files[model.directory], target / model.name)
    (base / "custom_nodes").mkdir()
    shutil.copy(ROOT / "tests" / "tiny_ltx_text.py", base / "custom_nodes")
