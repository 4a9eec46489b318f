"""What a canvas shows on each frame, in pixels. One frame at a time, so memory does not grow with the clip."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import Canvas
from .coverage import NOBODY, Area, Scene, Surveyor
from .layers import Layers


@dataclass(frozen=True)
class Frame:
    """picture [H, W, 3]: the placements that are kept, on black, 0..1. weight [H, W]: their opacity, 0..1.

    given [H, W] bool: pixels that are known for sure, where the weight is 1. owner [H, W]: which placement gives them
    (its index in the document), NOBODY elsewhere.
    """

    picture: Tensor
    weight: Tensor
    given: Tensor
    owner: Tensor


class Pixels:
    """Draws the frames of a canvas.

    Media that is shown at its own size is copied bit for bit, other media resized (bicubic, antialiased). A region that
    makes pixels again takes them away, one that keeps gives back what placements show there; soft masks do so in part.
    """

    def __init__(self, canvas: Canvas):
        self.document, self._layers = canvas.document, Layers(canvas)
        self._surveyor = Surveyor(self._layers)
        self._last: tuple[Scene, Frame] | None = None

    def frame(self, frame: int) -> Frame:
        """What is kept on a frame. While nothing moves it is the same object: do not write to it."""
        scene = self._surveyor.scene(frame)
        if self._last is None or self._last[0] != scene:
            self._last = scene, self._draw(scene)
        return self._last[1]

    def _draw(self, scene: Scene) -> Frame:
        size = (self.document.height, self.document.width)
        picture, weight = torch.zeros(*size, 3), torch.zeros(size)
        for layer in scene.layers:
            colours, opacity = self._layers.colours(layer), self._layers.opacity(layer)
            if opacity is None:
                picture[layer.place], weight[layer.place] = colours, 1
            else:
                below = 1 - opacity
                picture[layer.place] = opacity[..., None] * colours + below[..., None] * picture[layer.place]
                weight[layer.place] = opacity + below * weight[layer.place]
        if scene.areas:
            kept = self._kept(scene.areas)
            picture *= kept[..., None]
            weight *= kept
        coverage = self._surveyor.survey(scene)
        owner = coverage.each_pixel(coverage.owner)
        given = owner != NOBODY
        return Frame(picture, weight, given, owner)

    def _kept(self, areas: Iterable[Area]) -> Tensor:
        """What regions leave of a frame, [H, W]: 0 is made again, 1 is kept."""
        kept = torch.ones(self.document.height, self.document.width)
        for area in areas:
            part, mask = kept[area.top : area.bottom, area.left : area.right], self._surveyor.mask(area)
            end = torch.full_like(part, 0 if area.generate else 1)
            part.copy_(end if mask is None else torch.lerp(part, end, mask))
        return kept

    def patch(self, frame: int, placements: Iterable[str], ground: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What some placements (their ids) show on a frame, [H, W, 3] in 0..1, and where they do, [H, W] bool.

        All else is the `ground`, [H, W, 3] in 0..1: mid grey in context (VideoCanvas sec. 3.2). Of what is kept it
        shows the given pixels, above all guides.
        """
        wanted = set(placements)
        size = self.document.height, self.document.width, 3
        picture = torch.full(size, 0.5) if ground is None else ground.clone()
        shown = torch.zeros(self.document.height, self.document.width, dtype=torch.bool)
        for layer in self._layers.of(frame, "guide"):
            if self.document.placements[layer.placement].id in wanted:
                colours, opacity = self._layers.colours(layer), self._layers.opacity(layer)
                if opacity is None:
                    picture[layer.place], shown[layer.place] = colours, True
                else:
                    picture[layer.place] = torch.lerp(picture[layer.place], colours, opacity[..., None])
                    shown[layer.place] |= opacity > 0
        kept = [i for i, p in enumerate(self.document.placements) if p.id in wanted and p.role == "keep"]
        if kept:
            drawn = self.frame(frame)
            owned = torch.isin(drawn.owner, torch.tensor(kept, dtype=drawn.owner.dtype))
            picture, shown = torch.where(owned[..., None], drawn.picture, picture), shown | owned
        return picture, shown
