"""The compiler: a cell is given only if all that it covers is, each pixel goes one way, and the notes tell the rest."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.canvas import Canvas
from canvas.compile import ROUTINGS, compile_canvas
from canvas.coverage import Surveyor, bounding_box
from canvas.document import Box
from canvas.errors import CanvasError
from canvas.grid import AudioGrid, VideoGrid
from canvas.notes import span
from canvas.pixels import Pixels

sys.path.append(str(Path(__file__).parents[1]))
from random_canvases import AUDIO, canvases, noise, plain_cells, plain_frame, plain_samples, sound_canvases  # noqa: E402

SETTINGS = settings(max_examples=80, deadline=None)
WHOLE = Box(x=0, y=0, width=32, height=32)
CLIP = noise(0, 17, 32, 32, 3)
IMAGE = noise(1, 1, 32, 32, 3)


def box(x, y, width, height):
    return Box(x=x, y=y, width=width, height=height)


@pytest.fixture
def canvas():
    """17 frames: latent frames of 0, 1-4, 5-8, 9-12 and 13-16; 4 x 4 cells."""
    return Canvas.new(32, 32, 17, 16.0)


def latents(cells) -> list[int]:
    """Latent frames [T, h, w] with any cell."""
    return cells.flatten(1).any(1).nonzero()[:, 0].tolist()


def notes(canvas, **options) -> list[str]:
    return [f"{note.level}: {note.text}" for note in compile_canvas(canvas, **options).notes]


# --- coverage


@SETTINGS
@given(canvases() | canvases(zoom=True))
def test_a_cell_is_given_if_all_its_pixels_are(canvas):
    plan = compile_canvas(canvas)
    whole, some = plain_cells(canvas)
    assert torch.equal(plan.given, whole)
    assert torch.equal(plan.partial, some & ~whole)
    cells = whole.repeat_interleave(8, 1).repeat_interleave(8, 2)
    for frame in range(canvas.document.frames):
        pixels = plain_frame(canvas, frame)[1] >= 0
        assert plan.given_pixels[frame] == pixels.sum()
        assert plan.lost_pixels[frame] == (pixels & ~cells[plan.video.latent_of(frame)]).sum()


@SETTINGS
@given(canvases(most=2), st.sampled_from([1, 2, 4]), st.sampled_from([2, 4, 16]))
def test_on_other_grids_too(canvas, temporal, spatial):
    plan = compile_canvas(canvas, VideoGrid(temporal=temporal, spatial=spatial, token=1))
    whole, some = plain_cells(canvas, temporal, spatial)
    assert torch.equal(plan.given, whole) and torch.equal(plan.partial, some & ~whole)


def test_on_a_grid_without_a_frame_of_its_own():
    canvas = Canvas.new(16, 16, 8, 16.0).place_image(noise(1, 1, 16, 16, 3), frame=4, frames=4)
    plan = compile_canvas(canvas, VideoGrid(causal=False))
    assert plan.given.flatten(1).all(1).tolist() == [False, True] and plan.patches == ()


@SETTINGS
@given(sound_canvases(), st.sampled_from([AUDIO, AudioGrid(AUDIO.hop, AUDIO.sample_rate, first=10)]))
def test_an_audio_latent_is_given_if_all_its_samples_are(canvas, grid):
    plan = compile_canvas(canvas, audio=grid)
    _, samples = plain_samples(canvas)
    assert plan.given_samples == samples.sum()
    lost, final = 0, len(plan.audio_given) - 1
    for latent in range(final + 1):
        first, end = grid.span_of(latent)
        covered = samples[first : None if latent == final else end]  # the last one stands for all that is left
        if len(covered):
            assert plan.audio_given[latent] == covered.all()
            assert plan.audio_partial[latent] == (covered.any() and not covered.all())
            lost += int(covered.sum()) if not covered.all() else 0
    assert plan.lost_samples == lost
    assert len(plan.audio_given) == grid.latents(canvas.document.seconds)


def test_a_sound_as_long_as_the_canvas_gives_every_latent():
    for frames in range(1, 82, 4):
        canvas = Canvas.new(16, 16, frames, 16.0)
        samples = round(frames / 16 * 44100)
        assert compile_canvas(canvas.place_sound(noise(1, 1, samples), 44100)).audio_given.all()


def test_half_of_33_frames_are_made_again_and_no_other():
    """The stock mask resize takes one latent frame too many here, and none for a mask of one frame."""
    canvas = Canvas.new(32, 32, 33, 16.0).place_clip(noise(1, 33, 32, 32, 3), 16.0)
    plan = compile_canvas(canvas.region_mask("generate", torch.ones(16, 32, 32), frame=17))
    assert latents(~plan.given) == [5, 6, 7, 8] and not plan.partial.any()
    assert plan.given_pixels.tolist() == [1024] * 17 + [0] * 16


@pytest.mark.parametrize("frame", range(17))
def test_a_mask_of_one_frame_is_not_lost(canvas, frame):
    mask = torch.zeros(17, 32, 32)
    mask[frame, 9, 30] = 1
    plan = compile_canvas(canvas.place_clip(CLIP, 16.0).region_mask("generate", mask))
    assert (~plan.given).nonzero().tolist() == [[VideoGrid().latent_of(frame), 1, 3]]
    assert plan.partial.sum() == 1


@SETTINGS
@given(st.permutations(range(4)))
def test_order_does_not_matter_where_nothing_overlaps(order):
    quarters = [box(0, 0, 13, 9), box(13, 0, 19, 9), box(0, 9, 13, 23), box(13, 9, 19, 23)]

    def build(order):
        canvas = Canvas.new(32, 32, 9, 16.0)
        for i in order:
            canvas = canvas.place_image(noise(i, 1, 4, 4, 3), box=quarters[i], frames=(9, 1, 5, 9)[i])
        return compile_canvas(canvas)

    one, other = build(range(4)), build(order)
    for name in ("given", "partial", "concat", "given_pixels", "lost_pixels"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert [(patch.frame, patch.box) for patch in one.patches] == [(patch.frame, patch.box) for patch in other.patches]


# --- routing


@SETTINGS
@given(canvases(roles=("keep", "guide")) | canvases(zoom=True, roles=("keep", "guide")), st.sampled_from(ROUTINGS))
def test_everything_shown_goes_one_way(canvas, routing):
    """Into a cell of the channel concat, into the patch of its frame, or into the notes."""
    plan, pixels, document = compile_canvas(canvas, routing=routing), Pixels(canvas), canvas.document
    patches = {patch.frame: patch for patch in plan.patches}
    assert len(patches) == len(plan.patches)
    assert routing == "concat" or not (plan.concat & ~plan.given).any()
    lost = [note.text for note in plan.notes if "does not fill whole latent cells" in note.text]
    concat = plan.concat.repeat_interleave(8, 1).repeat_interleave(8, 2)
    routes: dict[tuple[int, int], set[str]] = {}
    for frame in range(document.frames):
        owner, latent = pixels.frame(frame).owner, plan.video.latent_of(frame)
        for index, placement in enumerate(document.placements):
            mine = owner == index
            in_patch = frame in patches and placement.id in patches[frame].placements
            if placement.role == "keep" and mine.any():
                routes.setdefault((index, latent), set()).add("patch" if in_patch else "concat")
                falls = bool((mine & ~concat[latent]).any()) and not in_patch
                assert not falls or any(f"'{placement.id}'" in text for text in lost)
            elif placement.role == "keep":
                assert not in_patch
    assert all(len(ways) == 1 for ways in routes.values())
    for (index, latent), ways in routes.items():
        if ways == {"patch"}:  # then no cell of its own goes by concat too
            owners = torch.stack([pixels.frame(frame).owner for frame in plan.video.frames_of(latent)])
            alone = owners.eq(index).all(0).unflatten(1, (-1, 8)).unflatten(0, (-1, 8)).all(3).all(1)
            assert not (plan.concat[latent] & alone).any()


@SETTINGS
@given(canvases(roles=("keep", "guide")), st.sampled_from(ROUTINGS))
def test_a_patch_names_its_place(canvas, routing):
    pixels = Pixels(canvas)
    for patch in compile_canvas(canvas, routing=routing).patches:
        x, y, width, height = patch.box
        _, shown = pixels.patch(patch.frame, patch.placements)
        assert bounding_box(shown) == (y, x, y + height, x + width)
        assert patch.time == patch.frame / 4


@pytest.mark.parametrize(
    ("placed", "concat", "patches"),
    [
        pytest.param({"frame": 0}, [0], [], id="the first frame fills its latent frame"),
        pytest.param({"frame": 16}, [], [16], id="the last one does not"),
        pytest.param({"frame": 0, "box": box(8, 0, 16, 24)}, [0], [], id="a patch of whole cells on the first frame"),
        pytest.param({"frame": 0, "box": box(5, 0, 16, 24)}, [], [0], id="one that cuts cells"),
        pytest.param({"frame": 1, "frames": 4}, [1], [], id="a whole latent frame"),
        pytest.param({"frame": 2, "frames": 4}, [], [2, 3, 4, 5], id="across two latent frames"),
        pytest.param({"frame": 2, "frames": 7}, [2], [2, 3, 4], id="half of one, and a whole one"),
        pytest.param({"frame": 0, "frames": 17, "box": box(5, 3, 16, 16)}, [0, 1, 2, 3, 4], [], id="its edge is lost"),
        pytest.param({"frame": 1, "frames": 4, "box": box(5, 3, 7, 7)}, [], [1, 2, 3, 4], id="no whole cell"),
        pytest.param({"frame": 0, "box": box(-8, -16, 32, 32)}, [0], [], id="whole cells of what is in the frame"),
    ],
)
def test_auto_routing(canvas, placed, concat, patches):
    plan = compile_canvas(canvas.place_image(IMAGE, **placed))
    assert latents(plan.concat) == concat
    assert [patch.frame for patch in plan.patches] == patches
    assert torch.equal(plan.concat, plan.given) or not concat


def test_a_moving_clip_goes_by_concat_with_the_cells_that_it_never_leaves(canvas):
    plan = compile_canvas(canvas.place_clip(CLIP, 16.0, box=box(0, 0, 24, 24), to=box(8, 8, 24, 24)))
    assert plan.patches == ()
    whole, _ = plain_cells(canvas.place_image(noise(1, 1, 24, 24, 3), frames=17, to=box(8, 8, 24, 24)))
    assert torch.equal(plan.concat, whole) and (plan.concat.flatten(1).sum(1) >= 4).all()


def test_placements_of_one_frame_share_a_patch(canvas):
    canvas = canvas.place_image(noise(1, 1, 5, 5, 3), frame=7, box=box(1, 2, 5, 5))
    canvas = canvas.place_image(noise(2, 1, 5, 5, 3), frame=7, box=box(20, 22, 5, 5), role="guide")
    canvas = canvas.place_image(noise(3, 1, 5, 5, 3), frame=9, box=box(20, 2, 5, 5))
    first, second = compile_canvas(canvas).patches
    assert first.placements == ("placement_1", "placement_2") and first.box == (1, 2, 24, 25) and first.time == 1.75
    assert second.placements == ("placement_3",) and second.frame == 9


@pytest.mark.parametrize("routing", ROUTINGS)
def test_guides_go_in_context_and_are_never_given(canvas, routing):
    plan = compile_canvas(canvas.place_clip(CLIP[:5], 16.0, role="guide"), routing=routing)
    assert not plan.given.any() and not plan.concat.any() and not plan.given_pixels.any()
    assert [patch.frame for patch in plan.patches] == [0, 1, 2, 3, 4]


def test_in_context_routing_makes_a_patch_of_every_frame(canvas):
    plan = compile_canvas(canvas.place_clip(CLIP[:5], 16.0), routing="in_context")
    assert not plan.concat.any() and plan.given[:2].all()
    assert [patch.frame for patch in plan.patches] == [0, 1, 2, 3, 4]


def test_concat_routing_takes_the_slot_of_the_frame(canvas):
    canvas = canvas.place_image(noise(1, 1, 16, 16, 3), frame=6, box=box(8, 8, 16, 16))
    plan = compile_canvas(canvas, routing="concat")
    assert not plan.given.any() and plan.patches == ()
    assert plan.concat.nonzero().tolist() == [[2, 1, 1], [2, 1, 2], [2, 2, 1], [2, 2, 2]]


# --- notes


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        pytest.param(
            lambda c: c.place_image(IMAGE, box=box(-8, 24, 32, 32)),
            ["info: 'placement_1' reaches outside the frame on frame 0: 832 pixels are cut off."],
            id="partly outside",
        ),
        pytest.param(
            lambda c: c.place_image(IMAGE, frames=5).place_image(IMAGE, box=box(8, 8, 8, 8), frames=2),
            [
                "warning: 'placement_1' lies under 'placement_2' on frames 0 to 1, with 64 pixels: where two "
                "placements overlap, the later one wins."
            ],
            id="overlap",
        ),
        pytest.param(
            lambda c: c.place_image(IMAGE).place_image(IMAGE),
            [
                "warning: 'placement_1' lies under 'placement_2' on frame 0, with 1024 pixels: where two placements "
                "overlap, the later one wins.",
                "warning: 'placement_1' gives nothing: it is transparent, covered or taken away wherever it lies.",
            ],
            id="covered",
        ),
        pytest.param(
            lambda c: c.place_clip(CLIP, 16.0, box=box(0, 0, 20, 32)),
            [
                "info: 'placement_1' does not fill whole latent cells (4 frames of 8x8 pixels) on frames 0 to 16: "
                "128 pixels are made again, and put back by composing."
            ],
            id="edge",
        ),
        pytest.param(
            lambda c: c.place_image(IMAGE, alpha=torch.cat([torch.ones(1, 32, 24), torch.full((1, 32, 8), 0.5)], 2)),
            [
                "info: 'placement_1' is partly transparent on frame 0: 256 pixels are blended with what lies below. "
                "Where that is not opaque, the model does not see them, and they are blended with what it makes."
            ],
            id="alpha",
        ),
        pytest.param(
            lambda c: c.place_clip(noise(1, 26, 32, 32, 3), 24.0),
            [
                "info: 'placement_1' has 24 fps, the canvas 16: it is resampled by time, some of its frames are "
                "left out."
            ],
            id="quicker clip",
        ),
        pytest.param(
            lambda c: c.place_clip(CLIP[:9], 8.0),
            ["info: 'placement_1' has 8 fps, the canvas 16: it is resampled by time, some of its frames are held."],
            id="slower clip",
        ),
        pytest.param(
            lambda c: c.place_clip(CLIP, 16.0).region_box("generate", box(10, 9, 3, 7), frame=6, frames=1),
            [
                "info: 'placement_1' does not fill whole latent cells (4 frames of 8x8 pixels) on frames 5 to 8: "
                "up to 64 pixels are made again, and put back by composing.",
                "warning: Region 1 takes frame 6, columns 10 to 12, rows 9 to 15 away; in whole latent cells, frames 5 "
                "to 8, columns 8 to 15, rows 8 to 15 are made again. Composing puts back what is kept of them.",
            ],
            id="thin region",
        ),
        pytest.param(
            lambda c: c.place_clip(CLIP, 16.0).region_box("generate", box(8, 8, 16, 8), frame=5, frames=4),
            [],
            id="region of whole cells",
        ),
        pytest.param(
            lambda c: c.place_image(IMAGE).region_box("generate", box(0, 0, 8, 8), frame=3, frames=2),
            ["warning: Region 1 has nothing to make again: no placement gives anything there."],
            id="idle region",
        ),
        pytest.param(
            lambda c: c.place_image(IMAGE).region_box("keep", box(0, 0, 8, 8), frame=3, frames=2),
            ["warning: Region 1 has nothing to keep: no placement gives anything there."],
            id="nothing to keep",
        ),
        pytest.param(
            lambda c: c.region_sound("generate", 0.5, 0.1),
            ["warning: Region 1 has nothing to make again: no sound plays there."],
            id="no sound there",
        ),
        pytest.param(
            lambda c: c.place_sound(noise(1, 1, 44100), 44100).region_sound("generate", 0.5, 0.1),
            [
                "info: Region 1 takes 4410 samples away; in whole latents of 1024 samples, 5120 are made again, from "
                "0.488 s to 0.604 s. Composing puts back what is kept of them."
            ],
            id="thin sound region",
        ),
        pytest.param(
            lambda c: c.place_sound(noise(1, 1, 46856), 44100).region_sound("generate", 0.0, 17 / 16),
            [],
            id="all of the sound",
        ),
        pytest.param(
            lambda c: c.place_image(IMAGE).region_box("generate", box(0, 0, 32, 9), frame=0, frames=1),
            [
                "info: Region 1 takes frame 0, columns 0 to 31, rows 0 to 8 away; in whole latent cells, frame 0, "
                "columns 0 to 31, rows 0 to 15 are made again. Composing puts back what is kept of them.",
            ],
            id="no thin region",
        ),
        pytest.param(
            lambda c: c.place_sound(noise(1, 6, 48000), 48000),
            [
                "info: 'sound_1' is resampled from 48000 to 44100 Hz.",
                "info: 'sound_1' has 6 channels: it is mixed down to 2.",
            ],
            id="sound of another kind",
        ),
        pytest.param(
            lambda c: c.place_sound(noise(1, 1, 44100), 44100, time=0.5, duration=1.0),
            ["info: 'sound_1' goes on past the end: 0.562 s of its 1.000 s are heard."],
            id="sound past the end",
        ),
        pytest.param(
            lambda c: c.reference(CLIP[:17], kind="clip", fps=16.0),
            [],
            id="clip to edit",
        ),
        pytest.param(
            lambda c: c.reference(CLIP[:15, :, :24], kind="clip", fps=8.0),
            [
                "info: '@video_1' is 24x32 pixels, the canvas 32x32: the model sees it with black bars.",
                "info: '@video_1' has 8 fps, the canvas 16: it is resampled by time.",
                "info: '@video_1' lasts 30 frames of the canvas: the model sees the first 29, which fill whole latent "
                "frames.",
                "info: '@video_1' lasts 29 frames, the canvas 17. To edit it ('remove the logo from @video_1'), make "
                "both equally long.",
            ],
            id="clip of another size, rate and length",
        ),
    ],
)
def test_notes(canvas, build, expected):
    assert notes(build(canvas)) == expected


def test_every_placement_that_comes_to_lie_above_is_named(canvas):
    canvas = canvas.place_image(IMAGE, frames=17).place_image(IMAGE, box=box(0, 0, 8, 8), frame=2, frames=3)
    (note,) = [text for text in notes(canvas.place_image(IMAGE, box=box(16, 0, 8, 16), frame=9)) if "wins" in text]
    assert "under 'placement_2' and 'placement_3' on frames 2 to 4 and 9, with up to 128 pixels" in note


def test_alpha_keeps_placements_from_covering(canvas):
    left = torch.cat([torch.ones(1, 32, 16), torch.zeros(1, 32, 16)], 2)
    assert notes(canvas.place_image(IMAGE, alpha=left).place_image(IMAGE, alpha=1 - left)) == []


def test_concat_routing_says_what_it_loses(canvas):
    (note,) = notes(canvas.place_image(IMAGE, frame=6, box=box(4, 8, 16, 16)), routing="concat")
    assert "'placement_1' does not fill whole latent cells" in note and "on frame 6: 128 pixels" in note


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([3], "frame 3"),
        ([0, 1, 2], "frames 0 to 2"),
        ([9, 0, 1, 4], "frames 0 to 1, 4 and 9"),
        (range(0, 40, 2), "frames 0, 2, 4, 6, 8, 10 and 14 more"),
    ],
)
def test_spans(numbers, words):
    assert span(numbers) == words


def test_the_report_tells_all_in_numbers(canvas):
    canvas = canvas.place_clip(CLIP[:5], 16.0).place_image(IMAGE, frame=10, box=box(2, 2, 10, 10))
    canvas = canvas.region_box("generate", box(0, 0, 4, 8), frame=1, frames=1)
    canvas = canvas.place_sound(noise(1, 1, 22050), 44100).reference(IMAGE, kind="image")
    assert compile_canvas(canvas).report().splitlines()[:7] == [
        "Canvas: 32x32 pixels, 17 frames at 16 fps (1.06 s).",
        "Kept: 29.8 % of all pixels, frames 0 and 2 to 4 as a whole and frames 1 and 10 in part.",
        "Made again: 61.2 % of all latent cells, frames 5 to 16 as a whole and frames 1 to 4 in part.",
        "Lost to the latent grid: 324 given pixels on frames 1 to 4 and 10 share a cell with what is made again. They "
        "are made again too, and put back by composing.",
        "The model sees 31 cells in latent frames 0 to 1 by channel concat and frame 10 in context.",
        "Sound: 21 of 46 latents and 22050 samples (0.500 s) are kept; 546 of them are made again with the rest of "
        "their latents, and put back by composing.",
        "References: @image_1.",
    ]


# --- the rest


@pytest.mark.parametrize("routing", ROUTINGS)
def test_an_empty_canvas(canvas, routing):
    plan = compile_canvas(canvas, routing=routing)
    assert plan.empty and plan.patches == () and plan.notes == ()
    assert not (plan.given.any() or plan.partial.any() or plan.concat.any() or plan.audio_given.any())
    assert plan.report().splitlines() == [
        "Canvas: 32x32 pixels, 17 frames at 16 fps (1.06 s).",
        "Kept: 0 % of all pixels.",
        "Made again: 100 % of all latent cells, frames 0 to 16 as a whole.",
        "Sound: all 46 latents are made.",
    ]


@pytest.mark.parametrize(
    "build",
    [
        lambda c: c.place_image(IMAGE),
        lambda c: c.place_sound(noise(1, 1, 99), 44100),
        lambda c: c.region_box("keep", WHOLE),
        lambda c: c.reference(IMAGE, kind="image"),
    ],
)
def test_a_canvas_that_asks_for_something_is_not_empty(canvas, build):
    assert not compile_canvas(build(canvas)).empty


@pytest.mark.parametrize(
    ("canvas", "options", "message"),
    [
        (Canvas.new(32, 32, 30, 16.0), {}, "length 30 is not 4n+1: use 29 or 33"),
        (Canvas.new(100, 32, 17, 16.0), {}, "width 100 is not a multiple of 16: use 96 or 112"),
        (Canvas.new(32, 32, 17, 16.0), {"routing": "best"}, "routing is 'best': use auto, concat and in_context"),
        (
            Canvas.new(32, 32, 17, 16.0).place_sound(noise(1, 1, 99), 44101),
            {},
            "sound 'sound_1' has 44101 Hz, too odd a rate to resample to 44100 Hz: use a sound of 44100 Hz",
        ),
    ],
)
def test_what_does_not_fit_is_refused(canvas, options, message):
    with pytest.raises(CanvasError) as error:
        compile_canvas(canvas, **options)
    assert str(error.value) == message


def test_frames_that_look_the_same_are_worked_out_once(canvas, monkeypatch):
    surveyed = []
    survey = Surveyor.survey
    monkeypatch.setattr(Surveyor, "survey", lambda self, scene: surveyed.append(scene) or survey(self, scene))
    canvas = Canvas.new(32, 32, 241, 16.0).place_image(IMAGE, frames=241, box=box(1, 1, 9, 9))
    compile_canvas(canvas.place_image(IMAGE, frame=6, box=box(3, 3, 9, 9)))
    assert len(surveyed) == 2  # with the patch, and without it


def test_the_audio_grid_counts_past_the_end():
    canvas = Canvas.new(16, 16, 1, 16.0).place_sound(noise(1, 1, 50), 1000)
    plan = compile_canvas(canvas, audio=AudioGrid(hop=64, sample_rate=1000))  # 62 samples in one latent of 64
    assert plan.audio_given.tolist() == [False] and plan.audio_partial.tolist() == [True]
    assert plan.given_samples == plan.lost_samples == 50
