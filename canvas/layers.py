"""Placements as layers: where each one lies on a frame, and its pixels there, resized to its box."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas
from .document import Box, Placement
from .errors import CanvasError

CACHE_FRAMES = 4  # of resized pictures and masks, in frames of the canvas
LARGEST = 2**16  # pixels of a side that a picture is enlarged to, of which a part is then shown
OPAQUE = 1 - 1e-4  # a resized mask that was 1 all around may miss 1 by rounding


class Layer(NamedTuple):
    """What is visible of a placement on one frame. Equal layers of a canvas look the same on any frame.

    placement: its index in the document. media_frame, alpha_frame: which frame of its media and of its mask is shown.
    size: height and width that they are resized to; crop: row and column of that which lies at (top, left).
    top, left, bottom, right: pixels of the canvas, bottom and right not included. outside: pixels beyond its borders.
    """

    placement: int
    media_frame: int
    alpha_frame: int
    size: tuple[int, int]
    crop: tuple[int, int]
    top: int
    left: int
    bottom: int
    right: int
    outside: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def visible(self) -> tuple[slice, slice]:
        """Rows and columns of the resized media."""
        row, column = self.crop
        return slice(row, row + self.bottom - self.top), slice(column, column + self.right - self.left)

    @property
    def pixels(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


class Layers:
    """The layers of a canvas. Pixels are resized when they are asked for; a few frames of them are kept."""

    def __init__(self, canvas: Canvas):
        self.canvas, self.document = canvas, canvas.document
        self._recent = _Recent(CACHE_FRAMES * 3 * self.document.height * self.document.width)

    def of(self, frame: int, role: str) -> tuple[Layer, ...]:
        """Layers of the placements of a role that are visible on a frame, the lowest first."""
        layers = []
        for index, placement in enumerate(self.document.placements):
            if placement.role == role and 0 <= frame - placement.frame < placement.frames:
                layer = self._layer(index, placement, frame)
                if layer.top < layer.bottom and layer.left < layer.right:
                    layers.append(layer)
        return tuple(layers)

    def _layer(self, index: int, placement: Placement, frame: int) -> Layer:
        media, pictures = self.document.media[placement.media], self.canvas.media[placement.media]
        step = frame - placement.frame
        media_frame = self.document.clip_frame(placement, frame)
        alpha_frame = 0
        if placement.alpha is not None and len(self.canvas.media[placement.alpha]) > 1:
            alpha_frame = media_frame if media.kind == "clip" else step
        box = placement.box_at(frame)
        height, width = fitted_size(pictures.shape[1], pictures.shape[2], box, placement.fit)
        if max(height, width) > LARGEST:
            raise CanvasError(
                f"placements[{index}].fit is {placement.fit}: it would enlarge {pictures.shape[2]}x{pictures.shape[1]} "
                f"to {width}x{height} pixels, more than {LARGEST}: crop the picture first, or use a smaller box"
            )
        y, x = box.y + (box.height - height) // 2, box.x + (box.width - width) // 2
        rows = max(y, box.y), min(y + height, box.y + box.height)
        columns = max(x, box.x), min(x + width, box.x + box.width)
        (top, bottom), (left, right) = (
            (max(first, 0), min(end, side))
            for (first, end), side in ((rows, self.document.height), (columns, self.document.width))
        )
        outside = (rows[1] - rows[0]) * (columns[1] - columns[0]) - max(bottom - top, 0) * max(right - left, 0)
        crop = (top - y, left - x)
        return Layer(index, media_frame, alpha_frame, (height, width), crop, top, left, bottom, right, outside)

    def colours(self, layer: Layer) -> Tensor:
        """[h, w, 3], 0..1; bit for bit the media's own where it is shown at its own size."""
        media = self.document.placements[layer.placement].media
        picture = self.canvas.media[media][layer.media_frame]
        if picture.shape[:2] == layer.size:
            return picture[layer.visible]
        return self._recent.get((media, layer.media_frame, *_look(layer)), lambda: resized(picture, layer, "bicubic"))

    def opacity(self, layer: Layer) -> Tensor | None:
        """[h, w], 0..1; None if the whole layer is opaque."""
        alpha = self.document.placements[layer.placement].alpha
        if alpha is None:
            return None
        mask = self.canvas.media[alpha][layer.alpha_frame]
        if mask.shape == layer.size:
            return mask[layer.visible]

        def resize() -> Tensor:
            # not bicubic: that rings, and what rings around 1 is not opaque
            opacity = resized(mask[..., None], layer, "bilinear")[..., 0]
            return opacity.masked_fill_(opacity >= OPAQUE, 1).masked_fill_(opacity <= 1 - OPAQUE, 0)

        return self._recent.get((alpha, layer.alpha_frame, *_look(layer)), resize)


def fitted_size(height: int, width: int, box: Box, fit: str) -> tuple[int, int]:
    """Height and width of a picture that is fitted into a box."""
    if fit == "stretch":
        return box.height, box.width
    scale = (min if fit == "contain" else max)(box.height / height, box.width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(picture: Tensor, layer: Layer, mode: str) -> Tensor:
    """The visible part of a picture [H, W, C] that is resized with antialiasing. 0..1, [h, w, C]"""
    pixels = picture.movedim(-1, 0)[None]
    rows, columns = layer.visible
    # One axis at a time, and cut in between: a far zoom never exists as a whole.
    pixels = F.interpolate(pixels, (layer.size[0], pixels.shape[3]), mode=mode, antialias=True)[:, :, rows]
    pixels = F.interpolate(pixels, (pixels.shape[2], layer.size[1]), mode=mode, antialias=True)[..., columns]
    return pixels[0].movedim(0, -1).clamp(0, 1).contiguous()


def _look(layer: Layer) -> tuple:
    """What of a layer decides how it is resized; not where it lies."""
    return layer.size, layer.crop, layer.bottom - layer.top, layer.right - layer.left


class _Recent:
    """The tensors that were worked out last, up to `limit` numbers in all."""

    def __init__(self, limit: int):
        self.limit, self.held = limit, 0
        self.tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        if key in self.tensors:
            self.tensors.move_to_end(key)
            return self.tensors[key]
        tensor = make()
        self.held += tensor.numel()
        self.tensors[key] = tensor
        while self.held > self.limit:
            self.held -= self.tensors.popitem(last=False)[1].numel()
        return tensor
