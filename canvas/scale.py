"""The same canvas in another size, as for the first of two stages of sampling, which makes a smaller clip."""

import math

import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas, content_id
from .document import Box, Key, MaskRegion, Media, Moving
from .errors import CanvasError
from .layers import OPAQUE


def scaled(canvas: Canvas, factor: float) -> Canvas:
    """A canvas of `factor` times the width and height, with all that lies on it in the same places.

    Edges are rounded to whole pixels; what then lies beside the frame is left out. Pictures and clips stay as they are,
    and are resized when they are drawn; masks of regions are resized here, for they have the size of their box.
    CanvasError if the factor makes no whole pixels.
    """
    document = canvas.document
    if not 0 < factor < math.inf:
        raise CanvasError(f"scale is {factor:g}: use a number above 0, 1 for the size as it is")
    size = {}
    for name in ("width", "height"):
        pixels = getattr(document, name) * factor
        if abs(pixels - round(pixels)) > 1e-6 or pixels < 1:
            raise CanvasError(f"scale {factor:g} makes the {name} {getattr(document, name)} to {pixels:g}: use another")
        size[name] = round(pixels)
    media, facts = dict(canvas.media), dict(document.media)

    def moved(item):
        if not isinstance(item, MaskRegion):
            return _moved(item, factor)
        mask, known = _mask(canvas, item, factor)
        name = content_id(mask, known)
        media[name], facts[name] = mask, known
        return _moved(item, factor, media=name)

    placements, regions = (
        tuple(item for item in map(moved, items) if not isinstance(item, Moving) or item.touches(**size))
        for items in (document.placements, document.regions)
    )
    used = {p.media for p in placements} | {p.alpha for p in placements} | {r.media for r in document.references}
    used |= {sound.media for sound in document.sounds}
    used |= {region.media for region in regions if isinstance(region, MaskRegion)}
    facts = {name: known for name, known in facts.items() if name in used}
    return Canvas(document.replace(**size, media=facts, placements=placements, regions=regions), media)


def _moved(item, factor: float, **changes):
    """A placement or region with its box and its path in other places; what has none, such as a span, as it is."""
    if not isinstance(item, Moving):
        return item
    box = _box(item.box, factor)
    path = tuple(Key(at=key.at, box=_box(key.box, factor)) for key in item.path)
    if isinstance(item, MaskRegion):  # a mask keeps its size, however its edges are rounded
        sides = {"width": box.width, "height": box.height}
        path = tuple(Key(at=key.at, box=Box(x=key.box.x, y=key.box.y, **sides)) for key in path)
    return type(item)(**{**dict(item), "box": box, "path": path, **changes})


def _box(box: Box, factor: float) -> Box:
    """Edges that were one stay one."""
    left, top, right, bottom = (
        math.floor(edge * factor + 0.5) for edge in (box.x, box.y, box.x + box.width, box.y + box.height)
    )
    return Box(x=left, y=top, width=max(1, right - left), height=max(1, bottom - top))


def _mask(canvas: Canvas, region: MaskRegion, factor: float) -> tuple[Tensor, Media]:
    box, mask = _box(region.box, factor), canvas.media[region.media]
    mask = F.interpolate(mask[:, None], (box.height, box.width), mode="bilinear", antialias=True)[:, 0]
    mask = mask.masked_fill(mask >= OPAQUE, 1).masked_fill(mask <= 1 - OPAQUE, 0)  # not a rounding error beside them
    facts = canvas.document.media[region.media]
    return mask, Media(kind="mask", width=box.width, height=box.height, frames=facts.frames)
