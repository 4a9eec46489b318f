"""From a joint latent to pictures and sound of one length; 'Create Video' and 'Save Video' do the rest."""

import torch
import torch.nn.functional as F
from comfy_api.latest import io

from ..carriers.skyreels_v4 import frame_rate_of
from .latent import split_latent


def fit_to_pictures(waveform: torch.Tensor, frames: int, frame_rate: float, sample_rate: int) -> torch.Tensor:
    """[B, channels, samples] -> [1, channels, n]: each clip's sound as long as its frames, one clip after the other.

    An audio latent is longer than a frame, so the decoded sound goes on a little after the last one.
    """
    ends = [round(clip * frames / frame_rate * sample_rate) for clip in range(len(waveform) + 1)]
    lengths = [end - start for start, end in zip(ends[:-1], ends[1:], strict=True)]
    clips = [F.pad(sound, (0, n - sound.shape[-1])) for sound, n in zip(waveform, lengths, strict=True)]  # or cut
    return torch.cat(clips, dim=-1)[None]


class SkyCanvasDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasDecode",
            display_name="SkyCanvas Decode",
            category="SkyCanvas/output",
            description="Turns a joint latent into pictures and the sound that belongs to them, exactly as long. "
            "Connect all three outputs to 'Create Video'. Clips of a batch follow one another. The loudness is what "
            "the model made: 'VAE Decode Audio' would turn loud clips down.",
            search_aliases=["vae decode", "decode audio video", "latent to video"],
            inputs=[
                io.Latent.Input("samples", tooltip="A joint latent, from the sampler."),
                io.Vae.Input("vae", tooltip="The VAE of the pictures."),
                io.Vae.Input("audio_vae", tooltip="The VAE of the sound."),
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(cls, samples, vae, audio_vae) -> io.NodeOutput:
        return io.NodeOutput(*decode(samples, vae, audio_vae))


def rate_of_latent(latent: dict) -> float:
    """Frames per second of a joint LATENT. ValueError if it has none, and none can be told from its lengths."""
    video, audio = (stream.shape for stream in latent["samples"].unbind()[:2])
    if not latent.get("frame_rate") and len(audio) != 3:
        raise ValueError(
            "the latent does not know its frame rate: make it with 'Encode Canvas' or 'Empty SkyCanvas Latent', or "
            "decode it with 'VAE Decode' and 'LTXV Audio VAE Decode'"
        )
    return latent.get("frame_rate") or frame_rate_of((video, audio))


def sample_rate_of(audio_vae) -> int:
    """Of what the VAE decodes; it may take another rate to encode."""
    return int(getattr(audio_vae, "audio_sample_rate_output", audio_vae.audio_sample_rate))


def decode_sound(audio: torch.Tensor, audio_vae) -> tuple[torch.Tensor, int]:
    """Waveform [B, channels, samples] of the latent of a sound, and its sample rate."""
    if audio_vae.latent_channels != audio.shape[1]:
        raise ValueError(
            f"audio_vae makes latents of {audio_vae.latent_channels} channels, the latent's sound has "
            f"{audio.shape[1]}: connect the audio VAE of the model that made it"
        )
    return audio_vae.decode(audio).movedim(-1, 1), sample_rate_of(audio_vae)


def decode(latent: dict, vae, audio_vae) -> tuple[torch.Tensor, dict, float]:
    """IMAGE, AUDIO and frame rate of a joint LATENT; see the node."""
    video, audio = (stream["samples"] for stream in split_latent(latent))
    if vae.latent_channels != video.shape[1]:
        raise ValueError(
            f"vae makes latents of {vae.latent_channels} channels, the latent's picture has {video.shape[1]}: connect "
            "the VAE of the model that made it"
        )
    frame_rate = rate_of_latent(latent)
    images = vae.decode(video)  # [B, F, H, W, 3]
    waveform, sample_rate = decode_sound(audio, audio_vae)
    waveform = fit_to_pictures(waveform, images.shape[1], frame_rate, sample_rate)
    return images.flatten(0, 1), {"waveform": waveform, "sample_rate": sample_rate}, frame_rate
