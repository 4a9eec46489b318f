"""After decoding: what the canvas gives goes back to its place, bit for bit, picture and sound.

A feather moves the generated side of a seam towards what is given there; what is given stays exact.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas
from .errors import CanvasError
from .pixels import Pixels
from .sound import mix, sample_count

WIDEST = 256  # pixels of a feather; its time grows with its width


def compose_video(canvas: Canvas, images: Tensor, feather: int = 0) -> Tensor:
    """Pastes what is kept onto generated frames [F, H, W, 3] of the canvas' size; float32, the same shape.

    What is partly transparent is blended with them. feather: pixels on the generated side of a seam over which the
    difference at the seam fades out. Works frame by frame. CanvasError if the sizes differ.
    """
    document = canvas.document
    needed = [document.frames, document.height, document.width, 3]
    if list(images.shape) != needed:
        raise CanvasError(f"images have the shape {list(images.shape)}, the canvas is {needed}: make them of its size")
    if not 0 <= feather <= WIDEST:
        raise CanvasError(f"feather is {feather}: use 0 to {WIDEST} pixels")
    pixels, seam = Pixels(canvas), None
    result = torch.empty(needed, device=images.device)
    for index, generated in enumerate(images):
        frame, generated = pixels.frame(index), generated.to("cpu", torch.float32)
        if feather:
            seam = seam if seam is not None and seam.given is frame.given else Seam(frame.given, feather)
            generated = seam.heal(generated, frame.picture)
        blended = frame.picture + (1 - frame.weight[..., None]) * generated
        result[index] = torch.where(frame.given[..., None], frame.picture, blended)
    return result


class Seam:
    """The surroundings of what is given [H, W] bool, up to `radius` pixels away."""

    def __init__(self, given: Tensor, radius: int):
        self.given, self.radius = given, radius
        self.fade = (1 - distance(given, radius) / radius).clamp(min=0)[..., None]  # 1 at the seam, 0 at the radius
        self.density = self._spread(given[..., None].float()).clamp(min=torch.finfo(torch.float32).tiny)

    def heal(self, generated: Tensor, source: Tensor) -> Tensor:
        """Adds source - generated [H, W, 3], known where it is given, to its surroundings by normalised convolution."""
        if self.given.all() or not self.given.any():
            return generated
        difference = torch.where(self.given[..., None], source - generated, 0.0)
        return (generated + self.fade * self._spread(difference) / self.density).clamp(0, 1)

    def _spread(self, field: Tensor) -> Tensor:
        """Blurs [H, W, C] with a pyramid that reaches just over `radius` pixels: a box, twice along each axis."""
        half = -(-self.radius // 2)
        field = field.movedim(-1, 0)[None]
        for _ in range(2):
            field = F.avg_pool2d(field, (2 * half + 1, 1), 1, (half, 0))
            field = F.avg_pool2d(field, (1, 2 * half + 1), 1, (0, half))
        return field[0].movedim(0, -1)


def distance(marked: Tensor, limit: int) -> Tensor:
    """Euclidean distance of each pixel to the nearest marked one, exact up to `limit`, `limit` beyond. [H, W]"""
    near = nearest(marked)
    column = torch.arange(marked.shape[1])
    along = (column - near).abs().masked_fill(near < 0, limit).clamp(max=limit).square()
    best = along
    padded = F.pad(along, (0, 0, limit, limit), value=limit**2)
    height = marked.shape[0]
    for rows in range(1, min(limit, height)):
        above, below = padded[limit - rows :][:height], padded[limit + rows :][:height]
        best = torch.minimum(best, torch.minimum(above, below) + rows**2)
    return best.float().sqrt()


def nearest(marked: Tensor) -> Tensor:
    """Index of the nearest marked element along the last axis, -1 where there is none. [..., N] bool -> long"""
    index, far = torch.arange(marked.shape[-1]), 2 * marked.shape[-1]
    before = torch.where(marked, index, -far).cummax(-1)[0]
    after = torch.where(marked, index, far).flip(-1).cummin(-1)[0].flip(-1)
    closest = torch.where(index - before <= after - index, before, after)
    return closest.masked_fill((closest < 0) | (closest >= far), -1)


def continued(picture: Tensor, shown: Tensor) -> Tensor:
    """A picture [H, W, 3] that goes on beside what is shown [H, W] bool with the nearest pixels along rows, and where
    a row has none, along columns. It stays as it is if nothing is shown.
    """
    if shown.all() or not shown.any():
        return picture
    along = nearest(shown)
    rows = nearest((along >= 0).any(1)[None])[0]
    along = along[rows]
    return picture[rows[:, None], along]


def compose_audio(canvas: Canvas, waveform: Tensor, sample_rate: int, feather_ms: float = 0.0) -> Tensor:
    """Pastes what is kept onto a generated sound [1, C, S] as long as the canvas; float32, stereo if either is.

    feather_ms: milliseconds on the generated side of a cut over which the jump at it fades out, so that it does not
    click. CanvasError if the length differs.
    """
    samples = sample_count(canvas.document, sample_rate)
    if waveform.ndim != 3 or waveform.shape[0] != 1 or waveform.shape[1] not in (1, 2) or waveform.shape[2] != samples:
        raise CanvasError(
            f"the sound has the shape {list(waveform.shape)}, the canvas lasts {samples} samples at {sample_rate} Hz: "
            f"use [1, 1 or 2, {samples}]"
        )
    if not 0 <= feather_ms < math.inf:
        raise CanvasError(f"feather_ms is {feather_ms:g}: use 0 or more milliseconds")
    source, given = mix(canvas, sample_rate)
    if not given.any():
        return waveform.float()
    generated = waveform[0].to("cpu", torch.float32)
    channels = max(len(source), len(generated))
    source, generated = source.expand(channels, -1), generated.expand(channels, -1)
    reach = round(feather_ms / 1000 * sample_rate)
    if reach:
        near = nearest(given)
        fade = (1 - (torch.arange(samples) - near).abs() / reach).clamp(min=0)
        generated = generated + fade * (source - generated)[:, near]
    return torch.where(given, source, generated)[None].to(waveform.device)
