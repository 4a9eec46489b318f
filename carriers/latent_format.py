"""Between what the VAEs emit and what the network sees: per-channel statistics of picture and sound."""

from collections.abc import Sequence
from functools import partial

import comfy.latent_formats
import comfy.nested_tensor
import comfy.utils
from torch import Tensor

from ..models.mmdit import TEMPORAL_SCALE
from .preview import picture

AUDIO_HOP = 1024  # samples per audio latent
# One shape per stream of a packed latent: [(B, C, T, H, W), (B, Ca, L)], and (B, C, K, sH, sW) of keyframes.
Shapes = Sequence[Sequence[int]]


class Statistics:
    """Mean and standard deviation of each channel of one stream; both [C]."""

    def __init__(self, mean: Tensor, std: Tensor):
        self.mean, self.std = mean.detach().float().cpu(), std.detach().float().cpu()

    def _like(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        if latent.shape[1] != len(self.mean):
            raise ValueError(f"latent of shape {list(latent.shape)}: this model's has {len(self.mean)} channels")
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        return self.mean.to(latent).view(shape), self.std.to(latent).view(shape)

    def normalise(self, latent: Tensor) -> Tensor:
        """[B, C, ...] as the VAE emits it -> zero mean, unit variance"""
        mean, std = self._like(latent)
        return (latent - mean) / std

    def restore(self, latent: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        mean, std = self._like(latent)
        return latent * std + mean


class VideoLatentFormat(comfy.latent_formats.LatentFormat):
    """Latent format of a model that makes the picture alone, [B, C, T, H, W]."""

    latent_dimensions = 3
    temporal_downscale_ratio = TEMPORAL_SCALE

    def __init__(self, video: Statistics):
        self.video = video
        self.latent_channels = len(video.mean)
        self.latent_rgb_factors_reshape = partial(picture, self)

    def process_in(self, latent, shapes: Shapes | None = None):
        """VAE's units -> network's units."""
        return self.video.normalise(latent)

    def process_out(self, latent, shapes: Shapes | None = None):
        """Network's units -> VAE's units."""
        return self.video.restore(latent)

    def set_preview(self, factors: Sequence[Sequence[float]]) -> None:
        """factors [C + 1, 3]: RGB in [-1, 1] as a linear function of a normalised video latent; the last row: bias."""
        *self.latent_rgb_factors, self.latent_rgb_factors_bias = [list(map(float, row)) for row in factors]

    def preview(self) -> list[list[float]]:
        """What `set_preview` took."""
        return [*self.latent_rgb_factors, self.latent_rgb_factors_bias]


class JointLatentFormat(VideoLatentFormat):
    """Latent format of a model that has a video [B, C, T, H, W] and an audio [B, Ca, L] stream.

    Keyframes [B, C, K, sH, sW], the third stream of a latent that has them, are pictures as the video's frames are.

    ComfyUI hands it a plain latent of either stream, a NestedTensor (final x0 of SamplerCustomAdvanced), or the flat
    pack [B, 1, N] on which samplers run. A pack does not know its shapes, so they have to come with it.

    What ComfyUI reads of a format to fit plain empty latents to a model describes the audio stream, since a plain
    latent that this model samples is a sound: stock 'Empty Latent Audio' makes one. EasyCache cuts both streams to
    `latent_channels`, so it needs an audio latent of at least as many channels as the video's.
    """

    temporal_downscale_ratio = AUDIO_HOP

    def __init__(self, video: Statistics, audio: Statistics):
        super().__init__(video)
        self.audio = audio
        self.latent_channels = len(audio.mean)

    def process_in(self, latent, shapes: Shapes | None = None):
        """VAE's units -> network's units. See `_each_stream` for the layouts."""
        return self._each_stream(latent, shapes, (self.video.normalise, self.audio.normalise))

    def process_out(self, latent, shapes: Shapes | None = None):
        """Network's units -> VAE's units. See `_each_stream` for the layouts."""
        return self._each_stream(latent, shapes, (self.video.restore, self.audio.restore))

    @staticmethod
    def _each_stream(latent, shapes, functions):
        """Applies the video's or the audio's function to each stream of a NestedTensor or of a pack with its shapes, or
        to a plain latent."""
        video, audio = functions

        def one(x: Tensor) -> Tensor:
            return video(x) if x.ndim == 5 else audio(x)

        if latent.is_nested:
            return comfy.nested_tensor.NestedTensor([one(x) for x in latent.unbind()])
        if shapes is not None and len(shapes) > 1:
            return comfy.utils.pack_latents([one(x) for x in comfy.utils.unpack_latents(latent, shapes)])[0]
        return one(latent)
