"""Windows over something too large for one pass: they overlap, and together they cover all of it."""

from dataclasses import dataclass

from .errors import CanvasError
from .grid import VideoGrid

WHOLE = 2**31  # more latent frames or tokens than any clip has


def windows(length: int, size: int, overlap: int) -> list[int]:
    """Starts of as few windows of `size` cells as cover `length`, evenly spread: `windows(10, 4, 1)` -> `[0, 3, 6]`

    Neighbours share at least `overlap` cells, the last window ends where the cells end. One window if it holds all.
    CanvasError unless length and size are at least 1 and the overlap is from 0 to less than the size.
    """
    if length < 1 or size < 1:
        raise CanvasError(f"{length} cells and windows of {size} must both be at least 1")
    if not 0 <= overlap < size:
        raise CanvasError(f"overlap {overlap} does not fit windows of {size}: use 0 to {size - 1}")
    if size >= length:
        return [0]
    rest = length - size
    steps = -(-rest // (size - overlap))
    return [i * rest // steps for i in range(steps + 1)]


@dataclass(frozen=True)
class Tiles:
    """Windows of so many latent frames, and tokens in a row and a column; neighbours share at least `overlap` of them.

    size, overlap: over frames, rows and columns.
    """

    size: tuple[int, int, int] = (WHOLE, WHOLE, WHOLE)
    overlap: tuple[int, int, int] = (0, 0, 0)

    def over(self, grid: tuple[int, int, int]) -> list[list[int]]:
        """Starts of the windows over a grid of tokens, along each of its axes."""
        return [windows(*axis) for axis in zip(grid, self.size, self.overlap, strict=True)]


def tiles_of(frames: int, side: int, overlap: int, grid: VideoGrid) -> Tiles:
    """Windows given in frames and pixels; 0 frames, or a side of 0: as long, or as large, as the clip.

    frames: 4n+1; side: width and height, overlap: what neighbours share of them, both whole tokens of the grid. In time
    windows share a quarter, one latent frame at least. CanvasError names what does not fit.
    """
    token = grid.spatial * grid.token
    for name, value in (("tile_size", side), ("tile_overlap", overlap)):
        if value < 0 or value % token:
            low = max(0, value) // token * token
            raise CanvasError(f"{name} is {value}, no multiple of {token}: use {low} or {low + token}")
    if side and overlap >= side:
        raise CanvasError(f"tile_overlap is {overlap}: use less than tile_size, {side}")
    if frames and frames % grid.temporal != 1:
        low = max(0, frames - 1) // grid.temporal * grid.temporal + 1
        raise CanvasError(
            f"tile_frames is {frames}, not {grid.temporal}n+1: use {low} or {low + grid.temporal}, or 0 for all"
        )
    time = grid.latent_frames(frames) if frames else WHOLE
    tokens, shared = (side // token, overlap // token) if side else (WHOLE, 0)
    return Tiles((time, tokens, tokens), (min(time - 1, max(1, time // 4)) if frames else 0, shared, shared))
