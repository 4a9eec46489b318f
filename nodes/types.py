"""What the canvas nodes share: the type of their wire, and the way from a node's inputs to the canvas and back."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from comfy_api.latest import io
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Plan, compile_canvas
from ..canvas.document import CanvasError
from ..canvas.grid import AudioGrid, VideoGrid
from ..carriers.carrier import USUAL_WAY, Way, carrier_of

CanvasType = io.Custom("SKYCANVAS_CANVAS")  # holds a canvas.canvas.Canvas

# What the canvas calls something, and what its nodes call it
INPUTS = {
    "box": "the box (x, y, width, height)",
    "to": "move",
    "alpha": "mask",
    "media": "mask",
    "the alpha": "mask",
    "the mask": "mask",
    "the image": "image",
    "the clip": "images",
    "the sound": "audio",
}


def canvas_input() -> io.Input:
    return CanvasType.Input("canvas", tooltip="From 'New Canvas', or from the node that put the last thing on it.")


def canvas_output() -> io.Output:
    return CanvasType.Output(display_name="canvas")


@contextmanager
def inputs_named(**names: str) -> Iterator[None]:
    """Errors of the canvas then speak of the node's inputs: `frame is 30`, not `placements[2].frame is 30`.

    names: of inputs that are called otherwise than on the canvas, beside INPUTS.
    """
    try:
        yield
    except CanvasError as error:
        message = re.sub(r"^\w+\[\d+\]\.", "", str(error))
        message = re.sub(r"^(the )?\w+", lambda match: (INPUTS | names).get(match[0], match[0]), message)
        raise CanvasError(message) from None


def frame_of(canvas: Canvas, frame: int) -> int:
    """A frame that may be counted from the end, -1 being the last one; CanvasError if it lies before the first."""
    frames = canvas.document.frames
    if frame < -frames:
        raise CanvasError(f"frame is {frame}, the canvas has {frames}: use {-frames} (the first) to {frames - 1}")
    return frame if frame >= 0 else frame + frames


def waveform_of(audio: dict, name: str = "audio") -> tuple[Tensor, int]:
    """Waveform [C, samples] and sample rate of an AUDIO that is no batch."""
    if audio is None:
        raise CanvasError(f"{name} is empty: the file has no sound")
    if audio["sample_rate"] < 1:
        raise CanvasError(f"{name} has a sample rate of {audio['sample_rate']} Hz: use 1 or more")
    batch = len(audio["waveform"])
    if batch != 1:
        raise CanvasError(f"{name} is a batch of {batch} sounds: connect one")
    return audio["waveform"][0], audio["sample_rate"]


def grid_of(model=None) -> tuple[VideoGrid, AudioGrid]:
    """Latent grids of a MODEL, or of Mini if there is none. ValueError if no canvas can be carried to it."""
    if model is None:
        return VideoGrid(), AudioGrid()
    carrier = carrier_of(model)
    return carrier.video, carrier.audio


def compiled(canvas: Canvas, model=None, *, routing: str = "auto", way: Way = USUAL_WAY) -> tuple[Plan, str]:
    """A canvas compiled for a MODEL, or for Mini if there is none, and a report of it.

    The report ends with what the model cannot honour, which goes to the log too. ValueError as for `grid_of`,
    CanvasError if the canvas does not fit the model's grids.
    """
    video, audio = grid_of(model)
    with inputs_named():
        plan = compile_canvas(canvas, video, audio, routing=routing)
    limits = () if model is None else carrier_of(model).limits(plan, way)
    for limit in limits:
        logging.log(logging.WARNING if limit.level == "warning" else logging.INFO, limit.text)
    return plan, "\n".join([plan.report(), *map(str, limits)])
