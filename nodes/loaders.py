"""Loader nodes: Mini, which is part of the pack, and checkpoints of its architecture from ComfyUI's model folder."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..carriers.clip import load_clip
from ..carriers.preview import fit_preview
from ..carriers.skyreels_v4 import load_model
from ..carriers.vae import SkyCanvasAudioVAE, SkyCanvasVideoVAE, load_vae

WEIGHTS = Path(__file__).parent.parent / "models" / "weights"
MODEL, TEXT_ENCODER, VIDEO_VAE, AUDIO_VAE, REFINER = (
    f"mini{part}.safetensors" for part in ("", "_text_encoder", "_video_vae", "_audio_vae", "_refiner")
)
WEIGHT_DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}


def mini_file(name: str) -> str:
    return str(WEIGHTS / name)


def weight_dtype_input() -> io.Combo.Input:
    return io.Combo.Input(
        "weight_dtype",
        options=list(WEIGHT_DTYPES),
        default="default",
        optional=True,
        advanced=True,
        tooltip="How the model's weights are held. 'default' takes what suits this machine; fp8 needs a quarter of the "
        "memory of fp32 and costs some quality.",
    )


class SkyCanvasLoadMini(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasLoadMini",
            display_name="Load SkyCanvas Mini",
            category="SkyCanvas/loaders",
            description="Loads Mini, the small video-and-sound model that comes with SkyCanvas: nothing to download. "
            "It knows a toy world of bouncing shapes, and it runs on a laptop.",
            search_aliases=["skyreels", "audio video model", "checkpoint"],
            inputs=[weight_dtype_input()],
            outputs=[
                io.Model.Output(),
                io.Clip.Output(),
                io.Vae.Output(display_name="vae", tooltip="Decodes and encodes pictures."),
                io.Vae.Output(display_name="audio_vae", tooltip="Decodes and encodes sound."),
                io.Model.Output(display_name="refiner", tooltip="Makes a clip larger and smoother: see 'Refine Clip'."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        """Loads again after the weights were trained again."""
        return [path.stat().st_mtime for path in sorted(WEIGHTS.glob("*.safetensors"))]

    @classmethod
    def execute(cls, weight_dtype="default") -> io.NodeOutput:
        options = {"dtype": WEIGHT_DTYPES[weight_dtype]}
        model, refiner = (load_model(mini_file(name), options) for name in (MODEL, REFINER))
        clip = load_clip(mini_file(TEXT_ENCODER))
        vae = load_vae(SkyCanvasVideoVAE, mini_file(VIDEO_VAE))
        audio_vae = load_vae(SkyCanvasAudioVAE, mini_file(AUDIO_VAE))
        latent_format = model.model.latent_format
        if latent_format.latent_rgb_factors is None:
            fit_preview(latent_format, vae)
        refiner.model.latent_format.set_preview(latent_format.preview())
        return io.NodeOutput(model, clip, vae, audio_vae, refiner)


class SkyCanvasLoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasLoadModel",
            display_name="Load SkyCanvas Model",
            category="SkyCanvas/loaders",
            description="Loads a video-and-sound model of the SkyReels-V4 architecture, of any size, from "
            "models/diffusion_models. Float, fp8 and quantised safetensors files are read.",
            search_aliases=["skyreels", "load diffusion model", "unet loader", "audio video model"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=folder_paths.get_filename_list("diffusion_models"),
                    tooltip="A safetensors file in models/diffusion_models.",
                ),
                weight_dtype_input(),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype="default") -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        return io.NodeOutput(load_model(path, {"dtype": WEIGHT_DTYPES[weight_dtype]}))
