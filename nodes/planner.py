"""The planner: what a clip will cost, made directly or by way of a Refiner, before anything runs."""

from comfy_api.latest import io

import nodes

from ..canvas.grid import AudioGrid
from ..canvas.planner import FRAME_FACTORS, SCALES, SCHEMES, Clip, Sampling, plan, report
from ..canvas.windows import tiles_of
from .cost import Network, network_of
from .latent import config_of
from .loaders import MODEL, REFINER
from .prompt import show
from .refine import TILE_FRAMES, TILE_OVERLAP, TILE_SIZE, tile_inputs
from .types import grid_of

TIMES = "Times are estimates: a small network of the same kind was timed on this machine."


class SkyCanvasPlan(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPlan",
            display_name="Plan Clip",
            category="SkyCanvas/latent",
            description="Says how many tokens, how much memory and how much time a clip of any size and length needs, "
            "made directly or small first and then refined, before anything is made.",
            search_aliases=["cost estimate", "memory", "vram", "how long", "cinema size", "refiner"],
            inputs=[
                io.Int.Input(
                    "width",
                    default=128,
                    min=16,
                    max=nodes.MAX_RESOLUTION,
                    step=16,
                    tooltip="Pixels of the finished clip, in steps of 16, or of 16 times scale if it is refined.",
                ),
                io.Int.Input(
                    "height",
                    default=128,
                    min=16,
                    max=nodes.MAX_RESOLUTION,
                    step=16,
                    tooltip="Pixels of the finished clip, in steps of 16, or of 16 times scale if it is refined.",
                ),
                io.Int.Input(
                    "length",
                    default=33,
                    min=1,
                    max=100_000,
                    step=4,
                    tooltip="Frames of the finished clip: 4n+1, or 8n+1 if frame_factor is 2.",
                ),
                io.Float.Input(
                    "frame_rate",
                    default=32.0,
                    min=1.0,
                    max=240.0,
                    step=1.0,
                    tooltip="Frames per second of the finished clip.",
                ),
                io.Combo.Input(
                    "scheme",
                    options=list(SCHEMES),
                    default="both",
                    tooltip="direct: the model makes every pixel of every frame. refined: it makes a small clip, and "
                    "the Refiner makes the finished one from it. both: side by side.",
                ),
                io.Int.Input(
                    "scale",
                    default=2,
                    min=SCALES[0],
                    max=SCALES[-1],
                    tooltip="How many times as wide and high the Refiner makes the clip.",
                ),
                io.Int.Input(
                    "frame_factor",
                    default=2,
                    min=FRAME_FACTORS[0],
                    max=FRAME_FACTORS[-1],
                    tooltip="How many times as many frames per second the Refiner makes.",
                ),
                io.Int.Input(
                    "keyframes",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="How many pictures of full size the model makes beside the small clip. They cost as much "
                    "as the same number of latent frames in full size.",
                ),
                io.Int.Input("steps", default=30, min=1, max=10_000, tooltip="Of the sampler that runs the model."),
                io.Int.Input(
                    "refiner_steps", default=2, min=1, max=10_000, tooltip="Of the sampler that runs the Refiner."
                ),
                io.Boolean.Input(
                    "guidance",
                    default=True,
                    tooltip="Whether the model is sampled with cfg above 1: each step then takes two passes. The "
                    "Refiner is sampled with cfg 1.",
                ),
                io.Model.Input("model", optional=True, tooltip="What makes the clip. Leave open for Mini."),
                io.Model.Input("refiner", optional=True, tooltip="What refines it. Leave open for Mini's Refiner."),
                *tile_inputs(),
            ],
            outputs=[io.String.Output(display_name="report")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        width,
        height,
        length,
        frame_rate,
        scheme,
        scale,
        frame_factor,
        keyframes,
        steps,
        refiner_steps,
        guidance,
        model=None,
        refiner=None,
        tile_size=TILE_SIZE,
        tile_frames=TILE_FRAMES,
        tile_overlap=TILE_OVERLAP,
    ) -> io.NodeOutput:
        base, second = networks_of(model, refiner if scheme != "direct" else None)
        video, _ = grid_of(model)
        clip = Clip(width, height, length, frame_rate)

        def planned(rates: tuple[float | None, float | None]):
            return plan(
                clip,
                scheme,
                Sampling(base.cost, steps, 2 if guidance else 1, rates[0]),
                Sampling(second.cost, refiner_steps, 1, rates[1]),
                scale=scale,
                frame_factor=frame_factor,
                keyframes=keyframes,
                tiles=tiles_of(tile_frames, tile_size, tile_overlap, video),
                video=video,
            )

        planned((None, None))  # what is wrong is said before anything is timed
        shape = (video.latent_frames(length), *video.cells(height, width))
        refined = None if scheme == "direct" else second.rate(shape, 0)
        text = f"{report(clip, planned((base.rate(shape, AudioGrid().latents(clip.seconds)), refined)))}\n{TIMES}"
        if refined is not None and refiner is None and model is not None:
            text += "\nThe Refiner is Mini's: connect the one that belongs to the model."
        return io.NodeOutput(text, ui=show(cls, text.splitlines()))


def networks_of(model, refiner) -> tuple[Network, Network]:
    """The base and the Refiner, Mini's where none is connected. ValueError if they are not what they should be."""
    for one in (model, refiner):
        if one is not None:
            config_of(one)
    base, second = network_of(model, MODEL), network_of(refiner, REFINER)
    if base.config.refines:
        raise ValueError(
            "model is a Refiner, which makes no clip by itself: connect it to refiner, and a base to model"
        )
    if not second.config.refines:
        raise ValueError("refiner is no Refiner: connect the output refiner of 'Load SkyCanvas Mini'")
    if refiner is not None and second.config.video_patch != base.config.video_patch:
        raise ValueError(
            f"refiner has tokens of {second.config.video_patch} x {second.config.video_patch} latent cells, model of "
            f"{base.config.video_patch} x {base.config.video_patch}: connect the Refiner that belongs to the model"
        )
    return base, second
