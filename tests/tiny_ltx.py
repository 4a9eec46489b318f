"""LTX-2.0 and LTX-2.3 at a tiny size with random weights, as files that ComfyUI's own loaders read.

The networks are those of ComfyUI, their sizes stand in the files' metadata, as in Lightricks' files. What core fixes is
as large as ever: 128 channels of video latents, 8 x 16 of audio latents, 32 pixels and 8 frames per latent cell.

`LTXAVTextEncoderLoader` takes no small text encoder: Gemma 3 has 12B parameters whatever the file says
(comfy.text_encoders.llama.Gemma3_12B_Config; the projection in comfy.text_encoders.lt is 3840 * 49 wide). In its place
there are `text_conditioning` and the CLIP of `tiny_ltx_text.py`.

    COMFYUI_PATH=... python3 tests/tiny_ltx.py FOLDER

writes the files of both versions. ComfyUI is imported inside the functions only: the paths are known without it.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

Version = Literal["2.0", "2.3"]
VERSIONS: tuple[Version, ...] = ("2.0", "2.3")

HEADS, VIDEO_DIM, AUDIO_DIM = 2, 24, 16
CAPTION_DIM = VIDEO_DIM  # of 2.0; 3840 in the real one
SAMPLE_RATE, MEL_HOP, MEL_BINS = 16000, 160, 64  # 100 mel frames per second, 25 latents


@dataclass(frozen=True)
class TinyLtx:
    """Paths of the files of one version, and the widths of its text.

    checkpoint: model, video VAE and audio VAE in one file, for CheckpointLoaderSimple and LTXVAudioVAELoader. model,
    vae, audio_vae: each alone, for UNETLoader and VAELoader. upscaler: x2, for LatentUpscaleModelLoader.
    """

    folder: Path
    version: Version

    def _path(self, part: str) -> Path:
        return self.folder / f"tiny_ltx_{self.version}{part}.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self._path("")

    @property
    def model(self) -> Path:
        return self._path("_model")

    @property
    def vae(self) -> Path:
        return self._path("_vae")

    @property
    def audio_vae(self) -> Path:
        return self._path("_audio_vae")

    @property
    def upscaler(self) -> Path:
        return self._path("_upscaler")

    @property
    def text_encoder(self) -> Path:
        """For `tiny_ltx_text.py`, not for core's loader."""
        return self._path("_text_encoder")

    @property
    def text_width(self) -> int:
        """Channels of CONDITIONING that the blocks take as it is: video's and audio's, side by side."""
        return 2 * CAPTION_DIM if self.version == "2.0" else VIDEO_DIM + AUDIO_DIM

    @property
    def raw_text_width(self) -> int:
        """Channels of what a text encoder emits, `unprocessed_ltxav_embeds`, which the model's connectors take."""
        return CAPTION_DIM if self.version == "2.0" else VIDEO_DIM + AUDIO_DIM


def text_conditioning(seed: int = 0, version: Version = "2.3", tokens: int = 4) -> list[list]:
    """CONDITIONING in place of a prompt's: random, without keys such as frame_rate. Other seeds are other prompts."""
    width = TinyLtx(Path(), version).text_width
    return [[torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(seed)), {}]]


# --- sizes


def transformer_config(version: Version) -> dict[str, Any]:
    """metadata["config"]["transformer"], which goes over everything that core detects from the tensors."""
    config: dict[str, Any] = {
        "num_layers": 2,
        "num_attention_heads": HEADS,
        "attention_head_dim": VIDEO_DIM // HEADS,
        "cross_attention_dim": VIDEO_DIM,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": AUDIO_DIM // HEADS,
        "audio_cross_attention_dim": AUDIO_DIM,
        "caption_channels": CAPTION_DIM,
        "connector_num_layers": 1,
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": CAPTION_DIM // HEADS,
        "causal_temporal_positioning": True,
        "use_middle_indices_grid": True,
        "timestep_scale_multiplier": 1000.0,
        "av_ca_timestep_scale_multiplier": 1000.0,
        "rope_type": "split",
        "frequencies_precision": "float64",
        "positional_embedding_max_pos": [20, 2048, 2048],
        "audio_positional_embedding_max_pos": [20],
    }
    if version == "2.3":
        config |= {
            "apply_gated_attention": True,
            "cross_attention_adaln": True,
            "caption_proj_before_connector": True,
            "caption_projection_first_linear": False,
            "connector_apply_gated_attention": True,
            "audio_connector_attention_head_dim": AUDIO_DIM // HEADS,
        }
    return config


def vae_config() -> dict[str, Any]:
    """Patches of 4 pixels and three times 2 x 2 x 2: 32 pixels and 8 frames. Core knows the kind by a first res_x."""
    blocks = [["res_x", {"num_layers": 1}], *[["compress_all", {}]] * 3, ["res_x", {"num_layers": 1}]]
    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 128,
        "encoder_blocks": blocks,
        "decoder_blocks": blocks,
        "encoder_base_channels": 4,
        "decoder_base_channels": 4,
        "norm_layer": "pixel_norm",
        "patch_size": 4,
        "latent_log_var": "uniform",
        "use_quant_conv": False,
        "causal_decoder": False,
        "timestep_conditioning": False,
    }


def audio_vae_config() -> dict[str, Any]:
    autoencoder = {
        "double_z": True,
        "mel_bins": MEL_BINS,
        "z_channels": 8,
        "resolution": 256,
        "downsample_time": False,
        "in_channels": 2,
        "out_ch": 2,
        "ch": 8,
        "ch_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
        "mid_block_add_attention": False,
        "norm_type": "pixel",
        "causality_axis": "height",
    }
    return {
        "model": {"params": {"ddconfig": autoencoder, "sampling_rate": SAMPLE_RATE}},
        "preprocessing": {"stft": {"filter_length": 1024, "hop_length": MEL_HOP}},
    }


def vocoder_config(version: Version) -> dict[str, Any]:
    """2.0: HiFi-GAN to 24 kHz. 2.3: BigVGAN to 16 kHz, and a second one that widens its band to 48 kHz."""
    small = {"stereo": True, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]]}
    small |= {"upsample_initial_channel": 32}
    to_24k = {"upsample_rates": [10, 6, 4], "upsample_kernel_sizes": [20, 12, 8]}
    to_16k = {"upsample_rates": [10, 4, 4], "upsample_kernel_sizes": [20, 8, 8]}
    if version == "2.0":
        return {**small, **to_24k, "resblock": "1"}
    big_vgan = {**small, "resblock": "AMP1", "activation": "snakebeta", "use_tanh_at_final": False}
    rates = {"input_sampling_rate": SAMPLE_RATE, "output_sampling_rate": 48000}
    mel = {"n_fft": 512, "hop_length": 80, "num_mels": MEL_BINS}
    return {"vocoder": {**big_vgan, **to_16k}, "bwe": {**big_vgan, **to_24k, **rates, **mel}}  # 80 * 3 = 10 * 6 * 4


def upscaler_config() -> dict[str, Any]:
    return {
        "_class_name": "LatentUpsampler",
        "in_channels": 128,
        "mid_channels": 32,  # its norms have 32 groups
        "num_blocks_per_stage": 1,
        "dims": 3,
        "spatial_upsample": True,
        "temporal_upsample": False,
    }


# --- weights


def filled(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """State dict with every weight drawn: core leaves those of a new module as the memory had them.

    Filters and other fixed buffers stay as the module made them.
    """
    parameters = dict(module.named_parameters())
    sd = {}
    for name, tensor in module.state_dict().items():
        kind = name.rpartition(".")[2]
        noise = torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        if kind == "std-of-means":
            sd[name] = 1 + 0.1 * noise.tanh()
        elif kind == "mean-of-means":
            sd[name] = 0.1 * noise
        elif name not in parameters:
            sd[name] = tensor
        elif "norm" in name and kind == "weight":
            sd[name] = 1 + 0.1 * noise
        elif "table" in kind:
            sd[name] = 0.5 * noise
        elif tensor.ndim == 1:
            sd[name] = 0.1 * noise
        elif "conv_post" in name:
            sd[name] = 0.003 * noise  # a vocoder's last: no sample is to be clipped
        else:
            sd[name] = noise * tensor[0].numel() ** -0.5
    return {name: tensor.contiguous() for name, tensor in sd.items()}


def fill_stft(sd: dict[str, Tensor], config: dict[str, Any]) -> None:
    """The bases of the second vocoder's spectrogram, which a checkpoint carries beside its weights."""
    import torchaudio

    size, bins = config["n_fft"], config["n_fft"] // 2 + 1
    basis = torch.fft.rfft(torch.eye(size, dtype=torch.float64)).T * torch.hann_window(size, dtype=torch.float64)
    prefix = "vocoder.mel_stft."
    sd[f"{prefix}stft_fn.forward_basis"] = torch.cat([basis.real, basis.imag])[:, None].float().contiguous()
    high = config["input_sampling_rate"] / 2
    filters = torchaudio.functional.melscale_fbanks(bins, 0.0, high, config["num_mels"], 2 * round(high), "slaney")
    sd[f"{prefix}mel_basis"] = filters.T.contiguous()


def write_tiny_ltx(folder: Path, version: Version = "2.3", seed: int = 0) -> TinyLtx:
    """Writes the files of one version to folder: the same bytes for the same seed."""
    import comfy.ops
    from comfy.ldm.lightricks.av_model import LTXAVModel
    from comfy.ldm.lightricks.latent_upsampler import LatentUpsampler
    from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
    from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE

    generator = torch.Generator().manual_seed(seed)
    files = TinyLtx(folder, version)
    transformer, vae = {"transformer": transformer_config(version)}, {"vae": vae_config()}
    audio = {"audio_vae": audio_vae_config(), "vocoder": vocoder_config(version)}

    operations = comfy.ops.disable_weight_init
    network = LTXAVModel(**transformer["transformer"], dtype=torch.float32, device="cpu", operations=operations)
    model_sd = filled(network, generator)
    vae_sd = filled(VideoVAE(config=vae["vae"]), generator)
    audio_sd = filled(AudioVAE(metadata={"config": json.dumps(audio)}), generator)
    if version == "2.3":
        fill_stft(audio_sd, audio["vocoder"]["bwe"])
    audio_sd = {name.replace("autoencoder.", "audio_vae.", 1): tensor for name, tensor in audio_sd.items()}

    def write(path: Path, sd: dict[str, Tensor], config: dict[str, Any]) -> None:
        save_file(sd, path, {"config": json.dumps(config)})

    write(files.model, model_sd, transformer)
    write(files.vae, vae_sd, vae)
    write(files.audio_vae, audio_sd, audio)
    parts = {"model.diffusion_model.": model_sd, "vae.": vae_sd, "": audio_sd}
    whole = {prefix + name: tensor for prefix, sd in parts.items() for name, tensor in sd.items()}
    write(files.checkpoint, whole, transformer | vae | audio)
    write(
        files.upscaler, filled(LatentUpsampler.from_config(upscaler_config(), operations), generator), upscaler_config()
    )
    save_file({"embedding": torch.randn(256, files.raw_text_width, generator=generator)}, files.text_encoder)
    return files


def main(folder: str) -> None:
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    from comfy.cli_args import args

    args.cpu = True
    Path(folder).mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        print(write_tiny_ltx(Path(folder), version))


if __name__ == "__main__":
    main(*sys.argv[1:])
