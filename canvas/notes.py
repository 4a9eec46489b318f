"""What an artist should know about a compiled canvas before anything is sampled, in sentences with numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .canvas import Canvas
from .document import Action, Placement, SpanRegion
from .grid import AudioGrid, VideoGrid
from .sound import region_samples, sample_count, spans


class Note(NamedTuple):
    level: Literal["info", "warning"]
    text: str

    def __str__(self) -> str:
        """As a line of a report."""
        return f"{'!' if self.level == 'warning' else '-'} {self.text}"


@dataclass
class Findings:
    """What compiling comes across. By the index of a placement, frame -> pixels:

    lost: what it gives, but neither in context nor in cells of the channel concat. covered: what later ones cover.
    translucent: what is neither opaque nor invisible. outside: what the frame does not show.

    given: placements that give anything. coverers: placement -> those that cover it. worked: indices of the regions
    that changed or kept something. reach: region -> what it touches.
    """

    given: set[int] = field(default_factory=set)
    lost: dict[int, dict[int, int]] = field(default_factory=dict)
    covered: dict[int, dict[int, int]] = field(default_factory=dict)
    translucent: dict[int, dict[int, int]] = field(default_factory=dict)
    outside: dict[int, dict[int, int]] = field(default_factory=dict)
    coverers: dict[int, set[int]] = field(default_factory=dict)
    worked: set[int] = field(default_factory=set)
    reach: dict[int, "Reach"] = field(default_factory=dict)


@dataclass
class Reach:
    """Frames, rows and columns that a region touches; first and last of each."""

    frames: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    def joined(self, other: "Reach") -> "Reach":
        def join(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
            return min(a[0], b[0]), max(a[1], b[1])

        return Reach(join(self.frames, other.frames), join(self.rows, other.rows), join(self.columns, other.columns))

    def in_cells(self, grid: VideoGrid) -> "Reach":
        """What is made again with it."""

        def whole(span: tuple[int, int]) -> tuple[int, int]:
            return span[0] // grid.spatial * grid.spatial, (span[1] // grid.spatial + 1) * grid.spatial - 1

        frames = [grid.frames_of(grid.latent_of(frame)) for frame in self.frames]
        return Reach((frames[0][0], frames[1][-1]), whole(self.rows), whole(self.columns))

    def thin(self, whole: "Reach", grid: VideoGrid) -> bool:
        """Whether it is smaller than a cell along any axis. whole: what is made again with it."""
        sizes = grid.temporal, grid.spatial, grid.spatial
        spans = zip(self._spans, whole._spans, sizes, strict=True)
        return any(last - first < end - begin < size for (first, last), (begin, end), size in spans)

    @property
    def _spans(self) -> tuple[tuple[int, int], ...]:
        return self.frames, self.rows, self.columns

    def __str__(self) -> str:
        parts = [(self.frames, "frame"), (self.columns, "column"), (self.rows, "row")]
        return ", ".join(span(range(first, last + 1), name) for (first, last), name in parts)


def notes_of(canvas: Canvas, video: VideoGrid, audio: AudioGrid, findings: Findings) -> Iterator[Note]:
    """Notes on placements, regions, sounds and references, in the order of the document."""
    for index, placement in enumerate(canvas.document.placements):
        yield from _of_placement(canvas, video, findings, index, placement)
    for index in range(len(canvas.document.regions)):
        yield from _of_region(canvas, video, audio, findings, index)
    yield from _of_sounds(canvas, audio)
    yield from _of_references(canvas, video)


def _of_placement(
    canvas: Canvas, grid: VideoGrid, findings: Findings, index: int, placement: Placement
) -> Iterator[Note]:
    document, name = canvas.document, f"'{placement.id}'"
    media = document.media[placement.media]
    if media.fps is not None and media.fps != document.fps:
        effect = "some of its frames are left out" if media.fps > document.fps else "some of its frames are held"
        yield Note(
            "info", f"{name} has {media.fps:g} fps, the canvas {document.fps:g}: it is resampled by time, {effect}."
        )
    if pixels := findings.outside.get(index):
        yield Note("info", f"{name} reaches outside the frame on {span(pixels)}: {_count(pixels)} are cut off.")
    if pixels := findings.covered.get(index):
        by = listed(f"'{document.placements[i].id}'" for i in sorted(findings.coverers[index]))
        yield Note(
            "warning",
            f"{name} lies under {by} on {span(pixels)}, with {_count(pixels)}: where two placements overlap, the later "
            "one wins.",
        )
    if pixels := findings.translucent.get(index):
        yield Note(
            "info",
            f"{name} is partly transparent on {span(pixels)}: {_count(pixels)} are blended with what lies below. Where "
            "that is not opaque, the model does not see them, and they are blended with what it makes.",
        )
    if placement.role == "keep" and index not in findings.given:
        yield Note("warning", f"{name} gives nothing: it is transparent, covered or taken away wherever it lies.")
    if pixels := findings.lost.get(index):
        yield Note(
            "info",
            f"{name} does not fill whole latent cells ({grid.temporal} frames of {grid.spatial}x{grid.spatial} pixels) "
            f"on {span(pixels)}: {_count(pixels)} are made again, and put back by composing.",
        )


def _of_region(canvas: Canvas, video: VideoGrid, audio: AudioGrid, findings: Findings, index: int) -> Iterator[Note]:
    region, name = canvas.document.regions[index], f"Region {index + 1}"
    if isinstance(region, SpanRegion):
        place, rate = region_samples(region, audio.sample_rate), audio.sample_rate
        end = min(place.stop, sample_count(canvas.document, rate))
        if not any(s.first < end and s.end > place.start for s in spans(canvas.document, rate)):
            yield Note("warning", f"{name} {_useless(region.action)}: no sound plays there.")
            return
        total, final = sample_count(canvas.document, rate), audio.latents(canvas.document.seconds) - 1
        latents = (min(audio.latent_of(sample), final) for sample in (place.start, end - 1))
        first, last = (audio.span_of(latent)[edge] for edge, latent in enumerate(latents))
        if end > last or last > total:  # the last latent stands for all that is left
            last = total
        if region.action == "generate" and (first, last) != (place.start, end):
            yield Note(
                "info",
                f"{name} takes {end - place.start} samples away; in whole latents of {audio.hop} samples, "
                f"{last - first} are made again, from {first / rate:.3f} s to {last / rate:.3f} s. Composing puts "
                "back what is kept of them.",
            )
    elif index not in findings.worked:
        yield Note("warning", f"{name} {_useless(region.action)}: no placement gives anything there.")
    elif region.action == "generate":
        own = findings.reach[index]
        whole = own.in_cells(video)
        if whole != own:
            yield Note(
                "warning" if own.thin(whole, video) else "info",
                f"{name} takes {own} away; in whole latent cells, {whole} are made again. Composing puts back what is "
                "kept of them.",
            )


def _useless(action: Action) -> str:
    return "has nothing to make again" if action == "generate" else "has nothing to keep"


def _of_sounds(canvas: Canvas, audio: AudioGrid) -> Iterator[Note]:
    document, rate = canvas.document, audio.sample_rate
    heard = {s.sound.id: s.end - s.first for s in spans(document, rate)}
    for sound in document.sounds:
        media, name = document.media[sound.media], f"'{sound.id}'"
        if media.sample_rate != rate:
            yield Note("info", f"{name} is resampled from {media.sample_rate} to {rate} Hz.")
        if media.channels is not None and media.channels > 2:
            yield Note("info", f"{name} has {media.channels} channels: it is mixed down to 2.")
        seconds = heard.get(sound.id, 0) / rate
        if sound.duration - seconds > 2 / rate:
            yield Note("info", f"{name} goes on past the end: {seconds:.3f} s of its {sound.duration:.3f} s are heard.")


def _of_references(canvas: Canvas, grid: VideoGrid) -> Iterator[Note]:
    document = canvas.document
    for reference in document.references:
        media, name = document.media[reference.media], f"'{reference.tag}'"
        if media.width and media.height and media.width * document.height != media.height * document.width:
            yield Note(
                "info",
                f"{name} is {media.width}x{media.height} pixels, the canvas {document.width}x{document.height}: the "
                "model sees it with black bars.",
            )
        if media.kind != "clip" or media.frames is None:
            continue
        if media.fps not in (None, document.fps):
            yield Note("info", f"{name} has {media.fps:g} fps, the canvas {document.fps:g}: it is resampled by time.")
        frames = media.frames_at(document.fps)
        seen = frames - (frames - 1) % grid.temporal
        if seen != frames:
            yield Note(
                "info",
                f"{name} lasts {frames} frames of the canvas: the model sees the first {seen}, which fill whole latent "
                "frames.",
            )
        if seen != document.frames:
            yield Note(
                "info",
                f"{name} lasts {seen} frames, the canvas {document.frames}. To edit it ('remove the logo from "
                f"{reference.tag}'), make both equally long.",
            )


# --- words


def span(numbers: Iterable[int], name: str = "frame", most: int = 6) -> str:
    """Whole numbers as runs: `frame 3`, `frames 0 to 4, 8 and 10 to 12`. Of more than `most` runs, the first ones."""
    numbers = sorted(numbers)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"{first}" if first == last else f"{first} to {last}" for first, last in runs]
    if len(words) > most:
        words = [*words[:most], f"{len(words) - most} more"]
    return f"{name}{'s' if len(numbers) > 1 else ''} {listed(words)}"


def listed(words: Iterable[str]) -> str:
    *rest, last = [*words] or [""]
    return f"{', '.join(rest)} and {last}" if rest else last


def _count(pixels: dict[int, int]) -> str:
    """How many pixels it is, on each of some frames."""
    most = max(pixels.values())
    return f"{'up to ' if most > min(pixels.values()) else ''}{most} pixel{'s' if most > 1 else ''}"
