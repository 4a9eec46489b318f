"""After the decoder: what was given goes back to its place, bit for bit."""

import torch
from comfy_api.latest import io
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compose import WIDEST, compose_audio, compose_video
from ..canvas.document import CanvasError
from ..canvas.grid import AudioGrid
from ..canvas.sound import sample_count
from .types import canvas_input, inputs_named, waveform_of


def compose_sound(canvas: Canvas, waveform: Tensor, sample_rate: int, clips: int, feather_ms: float) -> Tensor:
    """[1, C, samples]: the sounds of so many clips that follow one another, as 'SkyCanvas Decode' emits them."""
    edges = [round(clip * canvas.document.seconds * sample_rate) for clip in range(clips + 1)]
    if waveform.shape[-1] != edges[-1]:
        raise CanvasError(
            f"audio has {waveform.shape[-1]} samples, images last {edges[-1]} at {sample_rate} Hz on this canvas: "
            "connect the sound that was decoded with them"
        )
    samples, parts = sample_count(canvas.document, sample_rate), []
    for part in waveform[None].tensor_split(edges[1:-1], dim=-1):  # by rounding, one sample longer or shorter
        composed = compose_audio(canvas, longer(part)[..., :samples], sample_rate, feather_ms)
        parts.append(longer(composed)[..., : part.shape[-1]])
    return torch.cat(parts, dim=-1)


def longer(waveform: Tensor) -> Tensor:
    """With its last sample once more."""
    return torch.cat([waveform, waveform[..., -1:]], dim=-1)


class SkyCanvasCompose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasCompose",
            display_name="Compose Canvas",
            category="SkyCanvas/output",
            description="Puts what the canvas gives back onto the decoded clip: those pixels and samples are then "
            "exactly the ones that you placed, for the way through the VAE changes them a little.",
            search_aliases=["composite", "paste back", "stitch", "restore original"],
            inputs=[
                canvas_input(),
                io.Image.Input("images", tooltip="The decoded frames, from 'SkyCanvas Decode'."),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The decoded sound. Left open, you get what was placed, with silence around it.",
                ),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=WIDEST,
                    optional=True,
                    tooltip="So many pixels beside what is given are drawn towards its colours, to hide the seam. What "
                    "is given stays exact. 0: a hard edge.",
                ),
                io.Float.Input(
                    "sound_feather",
                    default=10.0,
                    min=0.0,
                    max=1000.0,
                    step=1.0,
                    optional=True,
                    advanced=True,
                    tooltip="So many milliseconds beside given sound are drawn towards it, so that nothing clicks. "
                    "What is given stays exact. 0: a hard edge.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images"), io.Audio.Output(display_name="audio")],
        )

    @classmethod
    def execute(cls, canvas, images, audio=None, feather=0, sound_feather=10.0) -> io.NodeOutput:
        frames = canvas.document.frames
        clips = max(1, len(images) // frames) if len(images) % frames == 0 else 1
        with inputs_named(feather_ms="sound_feather"):
            composed = [compose_video(canvas, clip, feather) for clip in images.tensor_split(clips)]
            if audio is None and canvas.document.sounds:
                sample_rate = AudioGrid().sample_rate
                silence = torch.zeros(1, 1, clips * sample_count(canvas.document, sample_rate))
                audio, sound_feather = {"waveform": silence, "sample_rate": sample_rate}, 0.0
            if audio is not None:
                waveform, sample_rate = waveform_of(audio)
                waveform = compose_sound(canvas, waveform, sample_rate, clips, sound_feather)
                audio = {"waveform": waveform, "sample_rate": sample_rate}
        return io.NodeOutput(composed[0] if clips == 1 else torch.cat(composed), audio)
