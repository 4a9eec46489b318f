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


def decode(latent: dict, vae, audio_vae) -> tuple[torch.Tensor, dict, float]:
    """IMAGE, AUDIO and frame rate of a joint LATENT; see the node."""
    video, audio = (stream["samples"] for stream in split_latent(latent))
    frame_rate = latent.get("frame_rate") or frame_rate_of((video.shape, audio.shape))
    images = vae.decode(video)  # [B, F, H, W, 3]
    waveform = audio_vae.decode(audio).movedim(-1, 1)  # [B, 1, samples]
    sample_rate = audio_vae.audio_sample_rate
    waveform = fit_to_pictures(waveform, images.shape[1], frame_rate, sample_rate)
    return images.flatten(0, 1), {"waveform": waveform, "sample_rate": sample_rate}, frame_rate
