"""From the canvas to the sampler: conditioning with all that lies on it, and the latent that is to be filled."""

from typing import get_args

from comfy_api.latest import io

from ..canvas.compile import ROUTINGS
from ..canvas.scale import scaled
from ..carriers.carrier import PatchLayout, PatchMethod, Way, carrier_of, started
from .prompt import show
from .types import canvas_input, compiled


class SkyCanvasEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasEncode",
            display_name="Encode Canvas",
            category="SkyCanvas/conditioning",
            description="Makes a canvas ready for the sampler: gives the model what lies on it, and keeps that part of "
            "the latent as it is. Says what is kept and what will be made. An empty canvas changes nothing.",
            search_aliases=["image to video", "inpaint", "outpaint", "vae encode", "video conditioning"],
            inputs=[
                io.Model.Input("model", tooltip="The model that will fill the canvas."),
                canvas_input(),
                io.Conditioning.Input("positive", tooltip="What should be there."),
                io.Conditioning.Input("negative", tooltip="What should not; often an empty prompt."),
                io.Vae.Input("vae", tooltip="The VAE of the pictures."),
                io.Vae.Input("audio_vae", tooltip="The VAE of the sound."),
                io.Combo.Input(
                    "routing",
                    options=list(ROUTINGS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="How given pixels reach the model. auto: whole latent cells by channel concat, the rest as "
                    "patches in context. concat, in_context: all of them in that one way, for comparison.",
                ),
                io.Combo.Input(
                    "patch_method",
                    options=list(get_args(PatchMethod)),
                    default="rope_interpolation",
                    optional=True,
                    advanced=True,
                    tooltip="How a patch reaches its place in time. rope_interpolation is the way of VideoCanvas, and "
                    "the one that Mini has learnt; the others are what it was compared with.",
                ),
                io.Int.Input(
                    "batch_size", default=1, min=1, max=4096, optional=True, tooltip="How many clips at once."
                ),
                io.Combo.Input(
                    "patch_layout",
                    options=list(get_args(PatchLayout)),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="What is encoded of a patch. zero_padded: the whole frame, grey beside the patch, as in "
                    "VideoCanvas; the way of Mini. packed_crops: what it shows alone; the way for LTX-2. auto: what "
                    "suits the model.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.0625,
                    max=16.0,
                    step=0.0625,
                    optional=True,
                    advanced=True,
                    tooltip="Size of the clip to be made, as a part of the canvas: 0.5 for the first of two stages, of "
                    "which the second has 1. Width and height must come out as whole tokens.",
                ),
                io.Latent.Input(
                    "start",
                    optional=True,
                    tooltip="A clip to begin with in place of noise alone, such as the upscaled one of a first stage. "
                    "Sample it with a denoise below 1. What the canvas gives stays as the canvas gives it.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        canvas,
        positive,
        negative,
        vae,
        audio_vae,
        routing="auto",
        patch_method="rope_interpolation",
        batch_size=1,
        patch_layout="auto",
        scale=1.0,
        start=None,
    ) -> io.NodeOutput:
        carrier, way = carrier_of(model), Way(patch_method, patch_layout)
        carrier.check_vaes(vae, audio_vae)
        if scale != 1:
            canvas = scaled(canvas, scale)
        plan, report = compiled(canvas, model, routing=routing, way=way)
        (positive, negative), latent = carrier.compile(
            canvas, plan, (positive, negative), vae, audio_vae, way=way, batch_size=batch_size
        )
        if start is not None:
            latent = started(latent, start)
        return io.NodeOutput(positive, negative, latent, ui=show(cls, report.splitlines()))
