"""Which placement gives each pixel of a frame: exact, and cheap because rectangles stay rectangles.

A frame is cut into tiles along the edges of all that lies on it; the pixels of a tile share their fate. Only where a
mask lies, tiles are single pixels.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .document import BoxRegion, MaskRegion
from .layers import Layer, Layers

NOBODY = -1
Edges = tuple[int, int, int, int]  # top, left, bottom, right, in pixels; the last two not included


class Area(NamedTuple):
    """A region on one frame, by its index in the document.

    part: which frame of its mask, and the row and column of it that lie at top and left; None for a box.
    """

    region: int
    generate: bool
    part: tuple[int, int, int] | None
    top: int
    left: int
    bottom: int
    right: int


class Scene(NamedTuple):
    """All that decides what is given on a frame. Equal scenes of a canvas give the same."""

    layers: tuple[Layer, ...]
    areas: tuple[Area, ...]


@dataclass(frozen=True)
class Coverage:
    """Tiles of one frame, and who gives them. By the index of a placement:

    painted [R, C]: the topmost opaque one, or NOBODY; owner: the same, NOBODY where regions have the pixels made again.
    rows [R + 1], columns [C + 1]: edges of the tiles, in pixels, along cells of `step` pixels too if that is not 0.
    opaque, translucent: pixels that each one claims, and those of it that are neither opaque nor invisible.
    worked: indices of the regions that changed, or kept, something.
    """

    rows: Tensor
    columns: Tensor
    step: int
    painted: Tensor
    owner: Tensor
    opaque: dict[int, int]
    translucent: dict[int, int]
    worked: frozenset[int]

    def each_pixel(self, tiles: Tensor) -> Tensor:
        """Values of tiles [R, C] for the pixels [H, W]."""
        return tiles.repeat_interleave(self.rows.diff(), 0).repeat_interleave(self.columns.diff(), 1)

    def in_cells(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of which all, and cells of which any of the tiles are true. [h, w] each"""
        rows, columns = (
            torch.searchsorted(edges, torch.arange(0, int(edges[-1]) + 1, self.step))
            for edges in (self.rows, self.columns)
        )
        counts = F.pad(tiles.cumsum(1, dtype=torch.int32), (1, 0))[:, columns].diff(dim=1)
        counts = F.pad(counts.cumsum(0, dtype=torch.int32), (0, 0, 1, 0))[rows].diff(dim=0)
        return counts == rows.diff()[:, None] * columns.diff(), counts > 0

    def count(self, cells: Tensor) -> dict[int, tuple[int, int]]:
        """Placement -> pixels that it gives inside and outside of cells [h, w]."""
        rows, columns = (torch.bincount(edges[:-1] // self.step) for edges in (self.rows, self.columns))
        inside = cells.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
        counts = self._count(2 * (self.owner + 1) + ~inside)[2:]
        pairs = zip_longest(counts[::2], counts[1::2], fillvalue=0)
        return {index: pair for index, pair in enumerate(pairs) if any(pair)}

    def uncovered(self) -> dict[int, int]:
        """Placement -> opaque pixels of it that no later placement covers."""
        return dict(enumerate(self._count(self.painted + 1)[1:]))

    def _count(self, values: Tensor) -> list[int]:
        """How many pixels have the value 0, 1, ..."""
        areas = self.rows.diff().double()[:, None] * self.columns.diff()
        return torch.bincount(values.flatten(), areas.flatten()).long().tolist()

    def given_by(self, placements: Collection[int]) -> Tensor:
        """Tiles [R, C] that any of them gives."""
        chosen = torch.zeros(max(placements, default=0) + 2, dtype=torch.bool)
        chosen[torch.tensor(list(placements), dtype=torch.long)] = True
        return chosen[self.owner.clamp(max=len(chosen) - 1).long()]  # NOBODY is the last one, and so is who is larger

    def edges_of(self, placements: Collection[int]) -> Edges:
        """Edges around what they give."""
        top, left, bottom, right = bounding_box(self.given_by(placements))
        return int(self.rows[top]), int(self.columns[left]), int(self.rows[bottom]), int(self.columns[right])

    def place_of(self, layer: Layer) -> tuple[slice, slice]:
        """Tiles of a layer; those of one that has an opacity are its single pixels."""
        rows, columns = (
            torch.searchsorted(edges, torch.tensor(span)).tolist()
            for edges, span in ((self.rows, (layer.top, layer.bottom)), (self.columns, (layer.left, layer.right)))
        )
        return slice(*rows), slice(*columns)


class Surveyor:
    """Surveys the frames of a canvas one by one. step: also cuts along multiples of it, 0: only where needed."""

    def __init__(self, layers: Layers, step: int = 0):
        self.layers, self.document, self.step = layers, layers.document, step
        self._boxes: dict[tuple[str, int], Edges] = {}

    def scene(self, frame: int) -> Scene:
        return Scene(self.layers.of(frame, "keep"), tuple(self._areas(frame)))

    def _areas(self, frame: int) -> Iterator[Area]:
        for index, region in enumerate(self.document.regions):
            if not isinstance(region, BoxRegion | MaskRegion) or not 0 <= frame - region.frame < region.frames:
                continue
            box, mask_frame = region.box_at(frame), None
            top, left, bottom, right = 0, 0, box.height, box.width
            if isinstance(region, MaskRegion):
                mask_frame = min(frame - region.frame, len(self.layers.canvas.media[region.media]) - 1)
                top, left, bottom, right = self._box_of(region.media, mask_frame)
            top, bottom = max(box.y + top, 0), min(box.y + bottom, self.document.height)
            left, right = max(box.x + left, 0), min(box.x + right, self.document.width)
            if top < bottom and left < right:
                part = None if mask_frame is None else (mask_frame, top - box.y, left - box.x)
                yield Area(index, region.action == "generate", part, top, left, bottom, right)

    def _box_of(self, media: str, frame: int) -> Edges:
        """Edges of the part of a mask that is not 0: top, left, bottom, right."""
        if (media, frame) not in self._boxes:
            self._boxes[media, frame] = bounding_box(self.layers.canvas.media[media][frame] > 0)
        return self._boxes[media, frame]

    def mask(self, area: Area) -> Tensor | None:
        """A region's mask within its edges, None for a box."""
        region = self.document.regions[area.region]
        if not isinstance(region, MaskRegion) or area.part is None:
            return None
        frame, row, column = area.part
        mask = self.layers.canvas.media[region.media][frame]
        return mask[row : row + area.bottom - area.top, column : column + area.right - area.left]

    def survey(self, scene: Scene) -> Coverage:
        """Paints the opaque part of all layers in order, then applies the regions in order."""
        opacities = [self.layers.opacity(layer) for layer in scene.layers]
        masks = [self.mask(area) for area in scene.areas]
        items: list[tuple[Layer | Area, Tensor | None]] = [
            *zip(scene.layers, opacities, strict=True),
            *zip(scene.areas, masks, strict=True),
        ]
        row_of = self._cuts(self.document.height, ((i.top, i.bottom, m is not None) for i, m in items))
        column_of = self._cuts(self.document.width, ((i.left, i.right, m is not None) for i, m in items))

        def tiles_of(item: Layer | Area) -> tuple[slice, slice]:
            return slice(row_of[item.top], row_of[item.bottom]), slice(column_of[item.left], column_of[item.right])

        painted = torch.full((len(row_of) - 1, len(column_of) - 1), NOBODY, dtype=torch.int16)
        opaque, translucent = {}, {}
        for layer, opacity in zip(scene.layers, opacities, strict=True):
            tiles = painted[tiles_of(layer)]
            if opacity is None:
                tiles.fill_(layer.placement)
                opaque[layer.placement] = layer.pixels
            else:
                solid = opacity == 1
                tiles.masked_fill_(solid, layer.placement)
                opaque[layer.placement] = int(solid.sum())
                if rest := int((opacity > 0).sum()) - opaque[layer.placement]:
                    translucent[layer.placement] = rest
        again, worked = torch.zeros_like(painted, dtype=torch.bool), set()
        for area, mask in zip(scene.areas, masks, strict=True):
            place = tiles_of(area)
            chosen = torch.ones_like(again[place]) if mask is None else (mask > 0 if area.generate else mask == 1)
            shown = chosen & (painted[place] != NOBODY)
            if (shown & ~again[place] if area.generate else shown).any():
                worked.add(area.region)
            again[place] = again[place] | chosen if area.generate else again[place] & ~chosen
        return Coverage(
            torch.tensor(list(row_of)),
            torch.tensor(list(column_of)),
            self.step,
            painted,
            painted.masked_fill(again, NOBODY) if scene.areas else painted,
            opaque,
            translucent,
            frozenset(worked),
        )

    def _cuts(self, length: int, spans: Iterable[tuple[int, int, bool]]) -> dict[int, int]:
        """Edges of tiles along one axis, in order -> their place in that order. Masks are cut into single pixels."""
        edges = {0, length, *(range(0, length, self.step) if self.step else ())}
        for begin, end, masked in spans:
            edges.update(range(begin, end + 1) if masked else (begin, end))
        return {edge: place for place, edge in enumerate(sorted(edges))}


def bounding_box(mask: Tensor) -> Edges:
    """Edges of what is true in a mask [H, W]: top, left, bottom, right; all 0 if nothing is."""
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
