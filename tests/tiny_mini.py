"""A checkpoint of every kind that the pack loads, with the real classes at a tiny size and random weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.audio_vae import AudioVAE, AudioVAEConfig
from models.config import MMDiTConfig
from models.mmdit import MMDiT
from models.refiner import refiner_config, refiner_weights
from models.text_encoder import SPECIAL_TOKENS, TextEncoder, TextEncoderConfig
from models.video_vae import VideoVAE, VideoVAEConfig

VOCABULARY = "a red blue circle square bounces slowly quickly on navy background <sfx> low high ping </sfx>".split()
TEXT_DIM = 32
MODEL_CONFIG = MMDiTConfig(
    video_channels=4,
    audio_channels=6,
    text_dim=TEXT_DIM,
    pooled_dim=TEXT_DIM,
    dim=32,
    heads=2,
    dual_blocks=2,
    single_blocks=1,
    mlp_ratio=2.0,
    video_patch=2,
    audio_patch=2,
    stem_channels=8,
    head_blocks=1,
    rope_axes=(8, 4, 4),
    preconditioned=True,
)


@dataclass(frozen=True)
class TinyMini:
    """Paths of the six files."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "mini.safetensors"

    @property
    def text_encoder(self) -> Path:
        return self.folder / "mini_text_encoder.safetensors"

    @property
    def video_vae(self) -> Path:
        return self.folder / "mini_video_vae.safetensors"

    @property
    def audio_vae(self) -> Path:
        return self.folder / "mini_audio_vae.safetensors"

    @property
    def keyframes(self) -> Path:
        """The model, with what one that makes keyframes has beside."""
        return self.folder / "mini_keyframes.safetensors"

    @property
    def refiner(self) -> Path:
        return self.folder / "mini_refiner.safetensors"


def randomised(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """State dict in which every weight matters: unlike the initial values of training, no layer is silent."""
    sd = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            sd[name] = 1 + 0.1 * noise
        elif parameter.ndim == 1 or name.endswith(("modulation_table", "position")):
            sd[name] = 0.1 * noise
        else:
            sd[name] = noise * parameter[0].numel() ** -0.5
    return {name: tensor.contiguous() for name, tensor in sd.items()}


def write_tiny_mini(folder: Path) -> TinyMini:
    """Writes all six files to folder, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    files = TinyMini(folder)
    video_vae = VideoVAE(VideoVAEConfig(channels=4, encoder_dim=16, encoder_blocks=1, decoder_dim=16, decoder_blocks=1))
    save_file(randomised(video_vae, generator), files.video_vae)
    audio_vae = AudioVAE(AudioVAEConfig(channels=MODEL_CONFIG.audio_channels))  # its filters need no training
    save_file({name: tensor.contiguous() for name, tensor in audio_vae.state_dict().items()}, files.audio_vae)

    text = TextEncoder(
        TextEncoderConfig(len(SPECIAL_TOKENS) + len(VOCABULARY), TEXT_DIM, heads=2, blocks=1, mlp_dim=64)
    )
    save_file(randomised(text, generator), files.text_encoder, {"vocabulary": json.dumps(VOCABULARY)})

    sd = randomised(MMDiT(MODEL_CONFIG), generator)
    for stream, width in (("video", MODEL_CONFIG.video_channels), ("audio", MODEL_CONFIG.audio_channels)):
        sd[f"{stream}_latent_mean"] = torch.randn(width, generator=generator)
        sd[f"{stream}_latent_std"] = 0.5 + torch.rand(width, generator=generator)
    sd["black_latent"] = torch.randn(2, MODEL_CONFIG.video_channels, generator=generator)
    refiner = randomised(MMDiT(refiner_config(MODEL_CONFIG, sparsity=0.5)), generator)
    save_file(refiner_weights(sd, refiner), files.refiner, {"sampling_shift": "2.0"})
    save_file(sd, files.model, {"sampling_shift": "2.5"})
    sd["keyframe_marker"] = torch.randn(MODEL_CONFIG.dim, generator=generator)
    save_file(sd, files.keyframes, {"sampling_shift": "2.5"})
    return files
