"""For ComfyUI's own 'Train LoRA', which takes plain tensors alone."""

import comfy.utils
import node_helpers
from comfy_api.latest import io


class SkyCanvasPackForTraining(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPackForTraining",
            display_name="Pack for LoRA Training",
            category="SkyCanvas/training",
            description="Makes joint latents and their prompt ready for 'Train LoRA', which would refuse them as they "
            "are. All latents of one training must have the same length and size.",
            search_aliases=["train lora", "nested latent"],
            inputs=[
                io.Latent.Input("samples", tooltip="A joint latent of encoded picture and sound."),
                io.Conditioning.Input("positive", tooltip="The prompt that describes it."),
            ],
            outputs=[
                io.Latent.Output(display_name="latents"),
                io.Conditioning.Output(display_name="positive"),
            ],
        )

    @classmethod
    def execute(cls, samples, positive) -> io.NodeOutput:
        latent = samples["samples"]
        if not latent.is_nested:
            raise ValueError(f"the latent {list(latent.shape)} is not joint: connect it to 'Train LoRA' as it is")
        packed, shapes = comfy.utils.pack_latents(latent.unbind())
        shapes = tuple(tuple(shape) for shape in shapes)
        positive = node_helpers.conditioning_set_values(positive, {"skycanvas_latent_shapes": shapes})
        return io.NodeOutput({"samples": packed}, positive)
