"""Random canvases for property tests, and what they must give, worked out pixel by pixel in the plainest way."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from canvas.canvas import Canvas
from canvas.document import Box, BoxRegion, MaskRegion, SpanRegion
from canvas.grid import AudioGrid

RATE = 1000  # samples per second, few enough to look at each
AUDIO = AudioGrid(hop=64, sample_rate=RATE)
MARGIN = 64  # boxes reach no further outside
SIDES = [16, 32, 48]


def noise(seed: int, *shape: int) -> Tensor:
    """Numbers in 0.55..1, so that nothing placed is black or mid grey."""
    return 0.55 + 0.45 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def opacity(seed: int, *shape: int) -> Tensor:
    """0, 0.4 and 1, mostly 1."""
    values = torch.tensor([0.0, 0.4, 1.0, 1.0, 1.0])
    return values[torch.randint(5, shape, generator=torch.Generator().manual_seed(seed))]


@st.composite
def boxes(draw, width: int, height: int, size: tuple[int, int] | None = None) -> Box:
    """A box that lies in the frame in part at least. size: its width and height."""
    box_width, box_height = size or (draw(st.integers(1, width + 8)), draw(st.integers(1, height + 8)))
    x, y = draw(st.integers(1 - box_width, width - 1)), draw(st.integers(1 - box_height, height - 1))
    step = draw(st.sampled_from([1, 1, 8]))  # some lie on the latent grid
    x, y = (
        value // step * step if value // step * step > -size else value
        for value, size in ((x, box_width), (y, box_height))
    )
    return Box(x=x, y=y, width=box_width, height=box_height)


@st.composite
def placed(draw, canvas: Canvas, zoom: bool, roles: list[str]) -> Canvas:
    document, seed = canvas.document, draw(st.integers(0, 2**31))
    size = draw(st.sampled_from([8, 16, 5, 13, document.width])), draw(st.sampled_from([8, 16, 7, document.height]))
    frame = draw(st.integers(0, document.frames - 1))
    if draw(st.booleans()):
        frame = 0
    frames = draw(st.sampled_from([1, document.frames - frame, draw(st.integers(1, document.frames - frame))]))
    boxes_of = boxes(document.width, document.height, None if zoom else size)
    box, to = draw(boxes_of), draw(st.none() | boxes_of) if frames > 1 else None
    clip = draw(st.booleans())
    media = noise(seed, frames if clip else 1, size[1], size[0], 3)
    alpha = None
    if not zoom and draw(st.integers(0, 3)) == 0:
        alpha = opacity(seed, draw(st.sampled_from([1, frames])), size[1], size[0])
    options = {
        "frame": frame,
        "frames": frames,
        "box": box,
        "to": to,
        "alpha": alpha,
        "role": draw(st.sampled_from(roles)),
    }
    return canvas.place_clip(media, document.fps, **options) if clip else canvas.place_image(media, **options)


@st.composite
def regioned(draw, canvas: Canvas) -> Canvas:
    document, action = canvas.document, draw(st.sampled_from(["generate", "keep"]))
    frame = draw(st.integers(0, document.frames - 1))
    frames = draw(st.integers(1, document.frames - frame))
    if draw(st.booleans()):
        box = draw(boxes(document.width, document.height))
        return canvas.region_box(action, box, frame=frame, frames=frames)
    mask = torch.zeros(draw(st.sampled_from([1, frames])), document.height, document.width)
    box = draw(boxes(document.width, document.height))
    seed, length = draw(st.integers(0, 2**31)), len(mask)
    if draw(st.booleans()):  # a mask of its own size, which may move
        x, y = draw(st.integers(1 - box.width, document.width - 1)), draw(st.integers(1 - box.height, 15))
        to = Box(x=x, y=y, width=box.width, height=box.height) if frames > 1 and draw(st.booleans()) else None
        small = opacity(seed, length, box.height, box.width)
        return canvas.region_mask(action, small, frame=frame, frames=frames, box=box, to=to)
    rows, columns = slice(max(box.y, 0), box.y + box.height), slice(max(box.x, 0), box.x + box.width)
    mask[:, rows, columns] = opacity(seed, *mask[:, rows, columns].shape)
    return canvas.region_mask(action, mask, frame=frame, frames=frames)


@st.composite
def sounding(draw, canvas: Canvas) -> Canvas:
    seconds = canvas.document.seconds
    waveform = noise(
        draw(st.integers(0, 2**31)), draw(st.sampled_from([1, 2])), draw(st.integers(1, int(seconds * RATE) + 200))
    )
    return canvas.place_sound(waveform, RATE, time=draw(st.floats(0, seconds * 0.99)))


@st.composite
def canvases(draw, zoom: bool = False, roles: tuple[str, ...] = ("keep",), most: int = 4) -> Canvas:
    """A small canvas with placements and regions. zoom: media is resized, else it is shown at its own size."""
    canvas = Canvas.new(
        draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES)), draw(st.sampled_from([1, 5, 9])), 16.0
    )
    for _ in range(draw(st.integers(0, most))):
        canvas = draw(placed(canvas, zoom, list(roles)))
    for _ in range(draw(st.integers(0, 3))):
        canvas = draw(regioned(canvas))
    return canvas


@st.composite
def sound_canvases(draw) -> Canvas:
    canvas = Canvas.new(16, 16, draw(st.sampled_from([1, 5, 9])), 16.0)
    for _ in range(draw(st.integers(0, 3))):
        canvas = draw(sounding(canvas))
    for _ in range(draw(st.integers(0, 3))):
        time = draw(st.floats(0, canvas.document.seconds * 0.99))
        duration = draw(st.floats(0.001, canvas.document.seconds))
        canvas = canvas.region_sound(draw(st.sampled_from(["generate", "keep"])), time, duration)
    return canvas


# --- what they give


def plain_frame(canvas: Canvas, frame: int) -> tuple[Tensor, Tensor]:
    """Colours [H, W, 3] of the topmost opaque pixels, and which placement gives each pixel [H, W], -1 for none.

    Of media at its own size, or without alpha; what translucent media adds to the colours is left out.
    """
    document = canvas.document
    size = (document.height + 2 * MARGIN, document.width + 2 * MARGIN)  # so large that no box need be cut
    colours, owner = torch.zeros(*size, 3), torch.full(size, -1)
    for index, placement in enumerate(document.placements):
        step = frame - placement.frame
        if placement.role != "keep" or not 0 <= step < placement.frames:
            continue
        box, media = placement.box_at(frame), canvas.media[placement.media]
        place = slice(MARGIN + box.y, MARGIN + box.y + box.height), slice(MARGIN + box.x, MARGIN + box.x + box.width)
        solid = torch.ones(box.height, box.width, dtype=torch.bool)
        if placement.alpha is not None:
            alpha = canvas.media[placement.alpha]
            solid = alpha[step if len(alpha) > 1 else 0] == 1
        if media.shape[1:3] == solid.shape:
            colours[place] = torch.where(solid[..., None], media[step if len(media) > 1 else 0], colours[place])
        owner[place] = torch.where(solid, index, owner[place])
    inner = slice(MARGIN, MARGIN + document.height), slice(MARGIN, MARGIN + document.width)
    colours, owner = colours[inner], owner[inner]
    again = torch.zeros_like(owner, dtype=torch.bool)
    for region in document.regions:
        if isinstance(region, SpanRegion) or not 0 <= frame - region.frame < region.frames:
            continue
        chosen = torch.zeros(size)
        box = region.box_at(frame)
        place = slice(MARGIN + box.y, MARGIN + box.y + box.height), slice(MARGIN + box.x, MARGIN + box.x + box.width)
        if isinstance(region, BoxRegion):
            chosen[place] = 1
        elif isinstance(region, MaskRegion):
            mask = canvas.media[region.media]
            chosen[place] = mask[frame - region.frame if len(mask) > 1 else 0]
        chosen = chosen[inner]
        again = again | (chosen > 0) if region.action == "generate" else again & (chosen < 1)
    return colours, owner.masked_fill(again, -1)


def plain_cells(canvas: Canvas, temporal: int = 4, spatial: int = 8) -> tuple[Tensor, Tensor]:
    """Cells [T, h, w] of which every pixel is given, and of which any is."""
    document = canvas.document
    given = torch.stack([plain_frame(canvas, frame)[1] >= 0 for frame in range(document.frames)])
    groups = [given[:1], *(given[first : first + temporal] for first in range(1, len(given), temporal))]
    rows, columns = document.height // spatial, document.width // spatial
    whole, some = (torch.zeros(len(groups), rows, columns, dtype=torch.bool) for _ in range(2))
    for t, group in enumerate(groups):
        for y in range(rows):
            for x in range(columns):
                cell = group[:, y * spatial : (y + 1) * spatial, x * spatial : (x + 1) * spatial]
                whole[t, y, x], some[t, y, x] = cell.all(), cell.any()
    return whole, some


def plain_samples(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """The sum of all sounds of RATE Hz in stereo [2, S], and which samples are given [S]."""
    document = canvas.document
    total = round(document.seconds * RATE)
    waveform, sounding = torch.zeros(2, total + 4000), torch.zeros(total + 4000, dtype=torch.bool)
    for sound in document.sounds:
        first = round(sound.time * RATE)
        length = min(round((sound.time + sound.duration) * RATE) - first, canvas.media[sound.media].shape[1])
        waveform[:, first : first + length] += canvas.media[sound.media][:, :length]
        sounding[first : first + length] = True
    waveform, sounding = waveform[:, :total], sounding[:total]
    given, sample = sounding.clone(), torch.arange(total).double()
    for region in document.regions:
        if isinstance(region, SpanRegion):
            begin, end = region.time * RATE, (region.time + region.duration) * RATE
            touched = (sample + 1 > begin + 1e-6) & (sample < end - 1e-6)
            given = given & ~touched if region.action == "generate" else given | (touched & sounding)
    return waveform, given
