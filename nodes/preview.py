"""The preview: a look at the canvas before anything is sampled, as a picture and in numbers."""

from comfy_api.latest import io, ui

from ..canvas.compile import ROUTINGS
from .cost import cost_of
from .sheet import contact_sheet
from .types import canvas_input, compiled


class SkyCanvasPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPreview",
            display_name="Preview Canvas",
            category="SkyCanvas/canvas",
            description="Shows what is given, what the model will make, and what it costs, before anything is made. "
            "Plain is given, hatched is made, orange falls through the latent grid, a box goes in context.",
            search_aliases=["show canvas", "contact sheet", "cost estimate", "debug mask"],
            inputs=[
                canvas_input(),
                io.Model.Input(
                    "model", optional=True, tooltip="The model that will fill the canvas. Leave open for Mini."
                ),
                io.Int.Input(
                    "thumbnails",
                    default=24,
                    min=1,
                    max=256,
                    optional=True,
                    advanced=True,
                    tooltip="How many frames are shown at most: those where something changes come first.",
                ),
                io.Combo.Input(
                    "routing",
                    options=list(ROUTINGS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="As in 'Encode Canvas', if you have set it there.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image"), io.String.Output(display_name="report")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, canvas, model=None, thumbnails=24, routing="auto") -> io.NodeOutput:
        plan, report = compiled(canvas, model, routing=routing)
        sheet, report = contact_sheet(canvas, plan, thumbnails), f"{report}\n{cost_of(plan, model)}"
        shown = ui.PreviewImage(sheet, cls=cls).as_dict() | ui.PreviewText(report).as_dict()
        return io.NodeOutput(sheet, report, ui=shown)
