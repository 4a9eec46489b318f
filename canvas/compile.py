"""From a canvas to what a model is given: exact masks on its latent grids, and the way that each pixel takes there.

A latent cell is given only if every pixel that it covers is given, on all of its frames; an audio latent likewise. What
is given but shares a cell with what is not is made again with it; the notes say so, and `compose` puts it back.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .canvas import Canvas
from .coverage import NOBODY, Coverage, Edges, Scene, Surveyor, bounding_box
from .document import Document
from .errors import CanvasError
from .grid import AudioGrid, VideoGrid
from .layers import Layer, Layers
from .notes import Findings, Note, Reach, listed, notes_of, span
from .sound import given_samples

Routing = Literal["auto", "concat", "in_context"]
ROUTINGS = ("auto", "concat", "in_context")
MOST_CELLS = 2**27  # 17 minutes of 1920 x 1088 pixels at 16 frames per second
MOST_SAMPLES = 2**28  # 101 minutes at 44100 Hz


@dataclass(frozen=True)
class Patch:
    """One frame that goes in context (VideoCanvas sec. 3.2); `Pixels.patch` draws it.

    time: in latent frames. placements: ids of those that it shows, guides among them. box: x, y, width, height around
    what it shows, in pixels.
    """

    frame: int
    time: float
    placements: tuple[str, ...]
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a model gets of a canvas: F frames as T latent frames of h x w cells, S samples as L audio latents.

    given [T, h, w] bool: cells of which every pixel is given. partial: some are, all are made again. concat: cells that
    go by channel concat (SkyReels-V4 eq. 7). given_pixels [F]: how many of each frame are given; lost_pixels [F]: those
    of them in partial cells. audio_given, audio_partial [L], given_samples, lost_samples: the same for sound.
    """

    document: Document
    video: VideoGrid
    audio: AudioGrid
    given: Tensor
    partial: Tensor
    concat: Tensor
    patches: tuple[Patch, ...]
    given_pixels: Tensor
    lost_pixels: Tensor
    audio_given: Tensor
    audio_partial: Tensor
    given_samples: int
    lost_samples: int
    notes: tuple[Note, ...]

    @property
    def empty(self) -> bool:
        """Whether the canvas asks for nothing: nothing is placed, masked or referenced."""
        d = self.document
        return not (d.placements or d.sounds or d.regions or d.references)

    def report(self) -> str:
        """What is kept, made again and lost to the grids, in frames, pixels and samples; then the notes."""
        return "\n".join([*_summary(self), *map(str, self.notes)])


def compile_canvas(
    canvas: Canvas, video: VideoGrid | None = None, audio: AudioGrid | None = None, *, routing: Routing = "auto"
) -> Plan:
    """Compiles a canvas for a pair of latent grids (default: Mini's).

    routing, for each placement and each latent frame:
        auto        channel concat, if its given pixels fill whole cells; also if it is no single frame, shows on all
                    frames and gives one whole cell at least (its edge is then lost to the grid). Else in context.
        concat      channel concat: whatever fills a cell on one frame takes it for the whole latent frame
        in_context  each frame that shows anything is a patch
    A frame has one patch for all that goes in context there. Guides always do. CanvasError if the canvas does not fit
    the grids, or routing is none of these.
    """
    if routing not in ROUTINGS:
        raise CanvasError(f"routing is '{routing}': use {listed(ROUTINGS)}")
    video, audio, document = video or VideoGrid(), audio or AudioGrid(), canvas.document
    latents = video.latent_frames(document.frames)
    cells = video.cells(document.height, document.width)
    if latents * cells[0] * cells[1] > MOST_CELLS:
        raise CanvasError(
            f"the canvas of {document.width}x{document.height} pixels and {document.frames} frames has "
            f"{latents * cells[0] * cells[1]} latent cells: use a smaller or shorter one, of at most {MOST_CELLS}"
        )
    if document.seconds * audio.sample_rate > MOST_SAMPLES:
        raise CanvasError(
            f"the canvas of {document.frames} frames at {document.fps:g} per second lasts {document.seconds:.0f} s: "
            f"use fewer frames or a higher fps, for {MOST_SAMPLES // audio.sample_rate} s at most"
        )
    given, partial, concat = (torch.zeros(latents, *cells, dtype=torch.bool) for _ in range(3))
    pixels: dict[str, list[int]] = {"given": [], "lost": []}
    patches = []
    compiler = _Compiler(canvas, video, routing)
    for t in range(latents):
        group = compiler.group(video.frames_of(t))
        given[t], partial[t], concat[t] = group.given, group.partial, group.concat
        for frame, shown in zip(video.frames_of(t), group.frames, strict=True):
            pixels["given"].append(sum(inside + outside for inside, outside in shown.pixels.values()))
            pixels["lost"].append(sum(outside for _, outside in shown.pixels.values()))
            patches += compiler.patch(frame, shown)

    samples = given_samples(document, audio.sample_rate)
    audio_given, audio_partial, lost_samples = _audio_masks(samples, audio, document.seconds)
    return Plan(
        document=document,
        video=video,
        audio=audio,
        given=given,
        partial=partial,
        concat=concat,
        patches=tuple(patches),
        given_pixels=torch.tensor(pixels["given"]),
        lost_pixels=torch.tensor(pixels["lost"]),
        audio_given=audio_given,
        audio_partial=audio_partial,
        given_samples=int(samples.sum()),
        lost_samples=lost_samples,
        notes=tuple(notes_of(canvas, video, audio, compiler.findings)),
    )


def _audio_masks(samples: Tensor, grid: AudioGrid, seconds: float) -> tuple[Tensor, Tensor, int]:
    """given [L], partial [L], and how many of the given samples [S] lie in partial latents."""
    latents = grid.latents(seconds)
    # what lies before the start or past the end does not count: it is as the first and the last sample
    rest = max(0, latents * grid.hop - grid.missing - len(samples))
    grouped = torch.cat([samples[:1].expand(grid.missing), samples, samples[-1:].expand(rest)])
    grouped, tail = grouped[: latents * grid.hop].view(latents, grid.hop), grouped[latents * grid.hop :]
    given, touched = grouped.all(1), grouped.any(1)
    if len(tail):  # past the last latent, which has to stand for it
        given[-1] &= tail.all()
        touched[-1] |= tail.any()
    partial = touched & ~given
    lost = partial.repeat_interleave(grid.hop)[grid.missing :]
    lost = samples & torch.cat([lost, partial[-1:].expand(len(tail))])[: len(samples)]
    return given, partial, int(lost.sum())


# --- one latent frame


@dataclass(frozen=True)
class _Shown:
    """What one frame shows, by the index of a placement.

    pixels: those that it gives in given cells, and in others. context: who goes in context here. box: edges around what
    these give. lost: pixels that go neither there nor by channel concat. covered: pixels that later placements cover.
    """

    pixels: dict[int, tuple[int, int]]
    context: tuple[int, ...]
    box: Edges
    lost: dict[int, int]
    covered: dict[int, int]
    translucent: dict[int, int]
    worked: frozenset[int]


@dataclass(frozen=True)
class _Group:
    """One latent frame: its cells [h, w], and what its frames show."""

    given: Tensor
    partial: Tensor
    concat: Tensor
    frames: tuple[_Shown, ...]


class _Compiler:
    """Compiles one latent frame after the other; what looks the same is worked out once."""

    def __init__(self, canvas: Canvas, grid: VideoGrid, routing: Routing):
        self.document, self.grid, self.routing = canvas.document, grid, routing
        self.layers, self.findings = Layers(canvas), Findings()
        self._surveyor = Surveyor(self.layers, step=grid.spatial)
        self._coverages: dict[Scene, Coverage] = {}  # of the latent frame at hand
        self._groups: dict[tuple[Scene, ...], _Group] = {}
        self._under: Collection[int] = ()  # who is covered on the frame worked out last

    def group(self, frames: range) -> _Group:
        scenes = tuple(self._surveyor.scene(frame) for frame in frames)
        if scenes not in self._groups:
            known = self._coverages
            self._coverages = {
                scene: known.get(scene) or self._surveyor.survey(scene) for scene in dict.fromkeys(scenes)
            }
            self._groups[scenes] = self._compile(scenes)
        for frame, scene, shown in zip(frames, scenes, self._groups[scenes].frames, strict=True):
            self._note(frame, scene, shown)
        return self._groups[scenes]

    def _compile(self, scenes: tuple[Scene, ...]) -> _Group:
        coverages = self._coverages
        filled = [coverage.in_cells(coverage.owner != NOBODY) for coverage in coverages.values()]
        whole, touched = (torch.stack(cells) for cells in zip(*filled, strict=True))
        given = whole.all(0)
        pixels = {scene: coverage.count(given) for scene, coverage in coverages.items()}
        placements = {index for counts in pixels.values() for index in counts}
        in_context = {index for index in placements if self._goes_in_context(index, pixels.values())}

        if self.routing == "concat":
            concat = whole.any(0)
            lost = {
                scene: {index: outside for index, (_, outside) in coverage.count(concat).items() if outside}
                for scene, coverage in coverages.items()
            }
        else:
            concat = given
            if in_context:
                direct = [c.in_cells(c.given_by(placements - in_context))[1] for c in coverages.values()]
                concat = given & torch.stack(direct).any(0)
            lost = {
                scene: {index: outside for index, (_, outside) in counts.items() if outside and index not in in_context}
                for scene, counts in pixels.items()
            }
        shown = {}
        for scene, coverage in coverages.items():
            context = tuple(index for index in pixels[scene] if index in in_context)
            shown[scene] = _Shown(
                pixels[scene],
                context,
                coverage.edges_of(context) if context else (0, 0, 0, 0),
                lost[scene],
                self._covered(scene, coverage),
                coverage.translucent,
                coverage.worked,
            )
        return _Group(given, touched.any(0) & ~given, concat, tuple(shown[scene] for scene in scenes))

    def _goes_in_context(self, index: int, pixels: Collection[dict[int, tuple[int, int]]]) -> bool:
        if self.routing != "auto":
            return self.routing == "in_context"
        inside, outside = (sum(counts.get(index, (0, 0))[i] for counts in pixels) for i in (0, 1))
        lasting = self.document.placements[index].frames > 1 and all(index in counts for counts in pixels)
        return outside > 0 and not (lasting and inside > 0)

    def _covered(self, scene: Scene, coverage: Coverage) -> dict[int, int]:
        """Placement -> opaque pixels of it that later ones cover. Remembers by whom, when that begins."""
        uncovered = coverage.uncovered()
        covered = {i: pixels - left for i, pixels in coverage.opaque.items() if pixels > (left := uncovered.get(i, 0))}
        for layer in scene.layers:
            if layer.placement in covered and layer.placement not in self._under:
                tiles, opacity = coverage.painted[coverage.place_of(layer)], self.layers.opacity(layer)
                owners = (tiles if opacity is None else tiles[opacity == 1]).unique().tolist()
                self.findings.coverers.setdefault(layer.placement, set()).update(
                    i for i in owners if i > layer.placement
                )
        self._under = covered.keys()
        return covered

    def _note(self, frame: int, scene: Scene, shown: _Shown) -> None:
        notes, layers = self.findings, (*scene.layers, *self.layers.of(frame, "guide"))
        for found, pixels in (
            (notes.lost, shown.lost),
            (notes.covered, shown.covered),
            (notes.translucent, shown.translucent),
            (notes.outside, {layer.placement: layer.outside for layer in layers if layer.outside}),
        ):
            for index, count in pixels.items():
                found.setdefault(index, {})[frame] = count
        notes.given.update(shown.pixels)
        notes.worked.update(shown.worked)
        for area in scene.areas:
            reach = Reach((frame, frame), (area.top, area.bottom - 1), (area.left, area.right - 1))
            notes.reach[area.region] = reach.joined(notes.reach.get(area.region, reach))

    def patch(self, frame: int, shown: _Shown) -> list[Patch]:
        """The patch of a frame, if it has one."""
        guides = {layer.placement: self._edges_of(layer) for layer in self.layers.of(frame, "guide")}
        guides = {index: edges for index, edges in guides.items() if edges[0] < edges[2]}  # some of it can be seen
        if not guides and not shown.context:
            return []
        edges = [*guides.values(), *[shown.box] * bool(shown.context)]
        top, left = (min(edge[i] for edge in edges) for i in (0, 1))
        bottom, right = (max(edge[i] for edge in edges) for i in (2, 3))
        indices = sorted([*shown.context, *guides])
        names = tuple(self.document.placements[index].id for index in indices)
        return [Patch(frame, self.grid.time_of(frame), names, (left, top, right - left, bottom - top))]

    def _edges_of(self, layer: Layer) -> Edges:
        """Edges around what is not invisible of a guide."""
        opacity = self.layers.opacity(layer)
        if opacity is None:
            return layer.top, layer.left, layer.bottom, layer.right
        top, left, bottom, right = bounding_box(opacity > 0)
        return layer.top + top, layer.left + left, layer.top + bottom, layer.left + right


# --- words


def _summary(plan: Plan) -> list[str]:
    document, frames = plan.document, plan.document.frames
    size = document.width * document.height
    counts = plan.given_pixels.tolist()
    whole = [frame for frame, count in enumerate(counts) if count == size]
    some = [frame for frame, count in enumerate(counts) if 0 < count < size]
    lines = [
        f"Canvas: {document.width}x{document.height} pixels, {frames} frames at {document.fps:g} fps "
        f"({document.seconds:.2f} s).",
        f"Kept: {_share(sum(counts), frames * size)} of all pixels{_in_full(whole, some)}.",
        f"Made again: {_made_again(plan)}",
    ]
    lost = plan.lost_pixels.nonzero()[:, 0].tolist()
    if lost:
        lines.append(
            f"Lost to the latent grid: {int(plan.lost_pixels.sum())} given pixels on {span(lost)} share a cell with "
            "what is made again. They are made again too, and put back by composing."
        )
    ways = []
    if plan.concat.any():
        latents = plan.concat.flatten(1).any(1).nonzero()[:, 0].tolist()
        ways.append(f"{int(plan.concat.sum())} cells in latent {span(latents)} by channel concat")
    if plan.patches:
        ways.append(f"{span([patch.frame for patch in plan.patches])} in context")
    if ways:
        lines.append(f"The model sees {' and '.join(ways)}.")
    lines.append(_sound_summary(plan))
    if document.references:
        lines.append(f"References: {listed(reference.tag for reference in document.references)}.")
    return lines


def _made_again(plan: Plan) -> str:
    wholly: list[int] = []
    partly: list[int] = []
    for latent, kept in enumerate(plan.given.flatten(1)):
        if not kept.all():
            (partly if kept.any() else wholly).extend(plan.video.frames_of(latent))
    return f"{_share(int((~plan.given).sum()), plan.given.numel())} of all latent cells{_in_full(wholly, partly)}."


def _in_full(wholly: list[int], partly: list[int]) -> str:
    parts = [f"{span(frames)} {how}" for frames, how in ((wholly, "as a whole"), (partly, "in part")) if frames]
    return f", {' and '.join(parts)}" if parts else ""


def _sound_summary(plan: Plan) -> str:
    rate = plan.audio.sample_rate
    if not plan.given_samples:
        return f"Sound: all {len(plan.audio_given)} latents are made."
    kept = f"{plan.given_samples} samples ({plan.given_samples / rate:.3f} s)"
    latents = f"{int(plan.audio_given.sum())} of {len(plan.audio_given)} latents"
    lost = f"; {plan.lost_samples} of them are made again with the rest of their latents, and put back by composing"
    return f"Sound: {latents} and {kept} are kept{lost if plan.lost_samples else ''}."


def _share(part: int, whole: int) -> str:
    """Per cent that are 0 or 100 only if nothing or all is meant."""
    if 0 < part < whole:
        return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"
    return "100 %" if part else "0 %"
