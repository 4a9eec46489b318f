"""Our video and audio codecs as ComfyUI VAEs: VAEDecode, VAEEncode, VAEDecodeAudio, VAEEncodeAudio and the tiled ones.

ComfyUI's VAE recognises a fixed list of files in its constructor, so ours sets the attributes itself that the methods
of comfy.sd.VAE read. Latents are handed out as the codecs emit them: normalising is the latent format's work.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch import Tensor

from ..models.audio_vae import AudioVAE, AudioVAEConfig
from ..models.video_vae import VideoVAE, VideoVAEConfig
from .loading import naming, read_checkpoint


class _CodecVAE(comfy.sd.VAE):
    """What both have in common. Half precision is not offered: the codecs are small and their errors are audible."""

    codec_class: Any
    config_class: Any
    pad_channel_value = None
    extra_1d_channel = None
    format_encoded = None
    not_video = False
    handles_tiling = False
    disable_offload = True  # always whole on the device: the codecs use raw parameters, which are not streamed
    audio_sample_rate = 44100
    working_dtypes = [torch.float32]

    def __init__(self, sd: dict[str, Tensor], device: torch.device | None = None):
        management = comfy.model_management
        self.size = None
        self.device = management.vae_device() if device is None else device
        self.output_device = management.intermediate_device()
        self.vae_dtype = management.vae_dtype(self.device, self.working_dtypes)
        codec = self.codec_class(self.config_class.from_state_dict(sd), operations=comfy.ops.disable_weight_init)
        self.first_stage_model = codec.eval().requires_grad_(False).to(self.vae_dtype)
        management.archive_model_dtypes(codec)
        self.patcher = comfy.model_patcher.ModelPatcher(
            codec, load_device=self.device, offload_device=management.vae_offload_device()
        )
        codec.load_state_dict(sd)
        self.latent_channels = codec.channels
        self.model_size()

    def memory_used_encode(self, shape: Sequence[int], dtype: torch.dtype) -> float:
        """Bytes that encoding pixels of this shape takes, beside the weights."""
        raise NotImplementedError

    def memory_used_decode(self, shape: Sequence[int], dtype: torch.dtype) -> float:
        """Bytes that decoding a latent of this shape takes, beside the weights."""
        raise NotImplementedError


class SkyCanvasVideoVAE(_CodecVAE):
    """IMAGE [F, H, W, 3] in 0..1 <-> latent [1, C, 1 + (F-1)/4, H/8, W/8].

    VAEEncode takes a batch of images as one clip, whose length must be 4n+1 (ValueError with the nearest lengths), and
    crops sizes that are no multiple of 8 around the middle, as it does for every model.
    """

    codec_class, config_class = VideoVAE, VideoVAEConfig
    latent_dim = 3
    output_channels = 3
    crop_input = True

    def __init__(self, sd: dict[str, Tensor], device: torch.device | None = None):
        super().__init__(sd, device)
        time, space = self.first_stage_model.temporal_scale, self.first_stage_model.spatial_scale
        self.upscale_ratio = (lambda latent_frames: 1 + time * (latent_frames - 1), space, space)
        self.downscale_ratio = (lambda frames: 1 + (frames - 1) // time, space, space)
        self.upscale_index_formula = self.downscale_index_formula = (time, space, space)

    def process_input(self, image: Tensor) -> Tensor:
        return image * 2 - 1

    def process_output(self, image: Tensor) -> Tensor:
        return image.add_(1).div_(2)  # in place: core drops what VAE.decode gets back

    def memory_used_encode(self, shape: Sequence[int], dtype: torch.dtype) -> float:
        cells = shape[3] * shape[4] // self.first_stage_model.spatial_scale**2
        return self._memory(cells, math.prod(shape[1:]), self.first_stage_model.config.encoder_dim, dtype)

    def memory_used_decode(self, shape: Sequence[int], dtype: torch.dtype) -> float:
        codec, cells = self.first_stage_model, shape[3] * shape[4]
        numbers = 3 * codec.temporal_scale * shape[2] * codec.spatial_scale**2 * cells
        return self._memory(cells, numbers, codec.config.decoder_dim, dtype)

    def _memory(self, cells: int, numbers: int, dim: int, dtype: torch.dtype) -> float:
        """About 8 activations of a chunk are alive at once, and 4 copies of the clip on its way from or to patches."""
        return (8 * self.first_stage_model.chunk * cells * dim + 4 * numbers) * comfy.model_management.dtype_size(dtype)

    def decode_tiled(self, samples, **tiles):
        """VAEDecodeTiled passes joint latents on whole; the picture is their first stream."""
        return super().decode_tiled(samples.unbind()[0] if samples.is_nested else samples, **tiles)


class SkyCanvasAudioVAE(_CodecVAE):
    """Waveform [B, samples, channels] in -1..1 <-> latent [B, Ca, ceil(samples / hop)]; channels are averaged."""

    codec_class, config_class = AudioVAE, AudioVAEConfig
    latent_dim = 1
    output_channels = 1
    crop_input = False  # core would cut a part of a hop from the start, and shift the sound
    downscale_index_formula = upscale_index_formula = None

    def __init__(self, sd: dict[str, Tensor], device: torch.device | None = None):
        super().__init__(sd, device)
        self.audio_sample_rate = self.first_stage_model.sample_rate
        self.upscale_ratio = self.downscale_ratio = self.first_stage_model.hop

    def process_input(self, waveform: Tensor) -> Tensor:
        return waveform

    def process_output(self, waveform: Tensor) -> Tensor:
        return waveform

    def memory_used_encode(self, shape: Sequence[int], dtype: torch.dtype) -> float:
        return 32 * shape[2] * comfy.model_management.dtype_size(dtype)  # about 32 numbers per sample

    def memory_used_decode(self, shape: Sequence[int], dtype: torch.dtype) -> float:
        return self.memory_used_encode((1, 1, shape[2] * self.first_stage_model.hop), dtype)

    def vae_encode_crop_pixels(self, pixels: Tensor) -> Tensor:
        return pixels.mean(-1, keepdim=True)


Codec = TypeVar("Codec", bound=_CodecVAE)


def load_vae(kind: type[Codec], path: str, device: torch.device | None = None) -> Codec:
    """Loads a video or an audio codec. ValueError if the file is broken or of another architecture."""
    sd, _ = read_checkpoint(path)
    with naming(path, kind.__name__):
        vae = kind(sd, device)
    vae.patcher.cached_patcher_init = (_load_patcher, (kind, path, device))
    return vae


def _load_patcher(kind: type[Codec], path: str, device: torch.device | None, disable_dynamic: bool = False):
    return load_vae(kind, path, device).patcher
