"""What a canvas on LTX-2 holds of single frames or parts of them, as core's keyframes: which tokens, and where."""

import random

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_lt
from comfy_tools import same
from ltx_canvas_tools import HEIGHT, LEFT, PATCH, SPANS, WIDTH, H, L, T, W, latent_of, places
from node_tools import noise
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.compile import compile_canvas
from skycanvas.canvas.document import Box
from skycanvas.canvas.pixels import Pixels
from skycanvas.carriers.carrier import FINISH, carrier_of, finish, noise_for
from skycanvas.carriers.ltx2 import Ltx2Carrier


def test_patch_stands_at_its_own_frame(ltx, canvas):
    """Core, all by itself, puts 6 clean tokens at frame 13 beside the 72 of the clip."""
    image = noise(1, 96, 64, 3)
    positive, negative, latent = ltx.encode(canvas.place_image(image, frame=13, box=PATCH))
    video, mask = latent["samples"].unbind()[0], latent["noise_mask"].unbind()[0]
    assert video.shape == (1, 128, T + 1, H, W) and (mask[:, :, :T] == 1).all()
    assert mask[0, 0, T].flatten().tolist() == 6 * [0] + 18 * [-1]
    crop = latent_of(ltx.vae, image)
    assert torch.equal(video[:, :, T].flatten(2)[..., :6], crop.flatten(2))
    ltx.sample(positive, negative, latent)
    expected = torch.cat([places(SPANS), places([(13, 14)], range(1, 4), range(4, 6))], dim=1)
    assert len(ltx.calls) == 2  # one evaluation per step, for both prompts
    for call in ltx.calls:
        assert call.batch == 2 and torch.equal(call.places, expected)
        assert not call.timesteps[-6:].any() and (call.timesteps[:-6] == call.timesteps[0]).all()
    assert ((expected[0] == torch.tensor([13, 14])).all(-1)).nonzero().flatten().tolist() == list(range(72, 78))


def test_moving_a_patch_changes_the_clip(ltx, canvas):
    image, moved = noise(1, 96, 64, 3), Box(x=96, y=32, width=64, height=96)
    plain = ltx.result(canvas)
    ways = (13, PATCH), (14, PATCH), (13, moved)
    results = [ltx.result(canvas.place_image(image, frame=frame, box=box)) for frame, box in ways]
    for i, one in enumerate(results):
        for other in (plain, *results[:i]):
            assert all((x - y).abs().max() > 1e-4 for x, y in zip(one, other, strict=True))


def test_what_lies_outside_a_patch_changes_nothing(ltx, canvas):
    """Pixels beyond the frame, and what dropped cells hold."""
    image, other = noise(1, 96, 96, 3), noise(1, 96, 96, 3, seed=2)
    other[:, :, :64] = image[:, :, :64]
    corner = Box(x=128, y=32, width=96, height=96)
    positive, negative, latent = ltx.encode(canvas.place_image(image, frame=13, box=corner))
    expected = finish(ltx.sample(positive, negative, latent))["samples"]
    others = ltx.encode(canvas.place_image(other, frame=13, box=corner))
    assert same(finish(ltx.sample(*others))["samples"], expected)
    video, audio = latent["samples"].unbind()
    video = video.masked_fill(latent["noise_mask"].unbind()[0] == -1, 3.0)
    filled = latent | {"samples": NestedTensor([video, audio])}
    assert same(finish(ltx.sample(positive, negative, filled))["samples"], expected)


def test_adding_a_patch_does_not_change_the_noise(ltx, canvas, crowded):
    plain, other = (noise_for(ltx.encode(one)[2], 7).unbind() for one in (canvas, crowded))
    assert other[0].shape[2] > T
    assert torch.equal(plain[0], other[0][:, :, :T]) and torch.equal(plain[1], other[1])


def test_patches_share_appended_frames(ltx, canvas):
    """6, 4 and 9 cells, of which none lies on a frame of its own, and a guide."""
    placed = canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH)
    placed = placed.place_image(noise(1, 64, 64, 3, seed=2), frame=5, box=Box(x=0, y=0, width=64, height=64))
    placed = placed.place_image(
        noise(1, 90, 90, 3, seed=3), frame=2, box=Box(x=66, y=33, width=90, height=90), role="guide"
    )
    values, latent = ltx.added(placed)
    assert latent["samples"].unbind()[0].shape[2] == T + 1
    assert latent["noise_mask"].unbind()[0][0, 0, T].flatten().tolist() == 19 * [0] + 5 * [-1]
    expected = [
        places([(2, 3)], range(1, 4), range(2, 5)),
        places([(5, 6)], range(2), range(2)),
        places([(13, 14)], range(1, 4), range(4, 6)),
    ]
    spans = values["keyframe_idxs"]
    assert spans.dtype == torch.int64 and torch.equal(spans[0, :, :19], torch.cat(expected, dim=1))
    assert values["guide_attention_entries"] == [
        {"pre_filter_count": 24, "strength": 1.0, "pixel_mask": None, "latent_shape": [1, 4, 6]}
    ]


@pytest.mark.parametrize("layout", ["auto", "packed_crops", "zero_padded"])
def test_whole_frames_are_guides_of_core(ltx, canvas, layout):
    image = noise(1, HEIGHT, WIDTH, 3)
    encoded = ltx.encode(canvas.place_image(image, frame=13), patch_layout=layout)
    ours = ltx.sample(*encoded)["samples"].unbind()
    *prompts, empty = ltx.encode(canvas)
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(empty).result
    *guided, video = nodes_lt.LTXVAddGuide.execute(*prompts, ltx.vae, video, image, 13, 1.0).result
    stock = nodes_lt.LTXVConcatAVLatent.execute(video, audio).result[0]
    given = encoded[2]["samples"].unbind()[0]
    assert torch.equal(given, video["samples"])
    assert torch.equal(encoded[0][0][1]["keyframe_idxs"], guided[0][0][1]["keyframe_idxs"])
    stock["noise_mask"] = NestedTensor([video["noise_mask"], torch.ones(1, 1, L, 16)])
    samples = stock | {FINISH: encoded[2][FINISH]}  # for the same noise
    theirs = ltx.sample(*guided, samples)["samples"].unbind()
    assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


def test_what_a_patch_shows_of_a_cell(ltx, canvas):
    """Beside it the nearest pixels go on; zero_padded: grey, as in VideoCanvas, on all of the frame."""
    image = noise(1, 70, 50, 3)
    placed = canvas.place_image(image, frame=13, box=Box(x=130, y=40, width=50, height=70))
    picture = torch.full((1, HEIGHT, WIDTH, 3), 0.5)
    picture[:, 40:110, 130:180] = image
    rows, columns = torch.arange(32, 128).clamp(40, 109), torch.arange(128, 192).clamp(130, 179)
    packed, padded = (ltx.added(placed, patch_layout=layout) for layout in ("packed_crops", "zero_padded"))
    assert torch.equal(packed[0]["keyframe_idxs"], padded[0]["keyframe_idxs"])
    cells = [latent["samples"].unbind()[0][:, :, T].flatten(2)[..., :6] for _, latent in (packed, padded)]
    assert torch.equal(cells[0], latent_of(ltx.vae, picture[:, rows][:, :, columns]).flatten(2))
    assert torch.equal(cells[1], latent_of(ltx.vae, picture)[..., 1:4, 4:6].flatten(2))


def test_cells_that_show_nothing_are_dropped(ltx, canvas):
    """A guide of which the upper right is transparent, and one that is nothing but mid grey."""
    alpha = torch.ones(1, 64, 64)
    alpha[:, :32, 32:] = 0
    box = Box(x=64, y=0, width=64, height=64)
    for image in (noise(1, 64, 64, 3), torch.full((1, 64, 64, 3), 0.5)):
        placed = canvas.place_image(image, frame=3, box=box, alpha=alpha, role="guide")
        spans = ltx.added(placed)[0]["keyframe_idxs"][0, :, :3]
        assert spans[:, :, 0].T.tolist() == [[3, 0, 64], [3, 32, 64], [3, 32, 96]]


def test_a_small_patch_is_encoded_with_its_surroundings(ltx, canvas):
    """The VAE is given 64 pixels a side at least; one cell of them is seen."""
    image = noise(1, 20, 20, 3)
    values, latent = ltx.added(canvas.place_image(image, frame=3, box=Box(x=170, y=4, width=20, height=20)))
    rows, columns = torch.arange(64).clamp(4, 23) - 4, torch.arange(128, 192).clamp(170, 189) - 170
    expected = latent_of(ltx.vae, image[:, rows][:, :, columns])[..., 0, 0, 1]
    assert torch.equal(latent["samples"].unbind()[0][:, :, T, 0, 0], expected)
    assert values["keyframe_idxs"][0, :, 0].tolist() == [[3, 4], [0, 32], [160, 192]]
    assert int((latent["noise_mask"].unbind()[0][:, :, T] == 0).sum()) == 1


def test_a_clip_in_context(ltx):
    """11 frames in one place: 9 are encoded together, the others each alone."""
    clip, box = noise(11, 64, 64, 3), Box(x=0, y=0, width=64, height=64)
    canvas = Canvas.new(WIDTH, HEIGHT, 25, 25.0).place_clip(clip, 25.0, frame=3, box=box, role="guide")
    values, latent = ltx.added(canvas)
    spans = [(3, 4), (4, 12), (12, 13), (13, 14)]
    assert torch.equal(values["keyframe_idxs"][0, :, :16], places(spans, range(2), range(2)))
    video = latent["samples"].unbind()[0]
    assert video.shape[2] == 4 + 1
    expected = torch.cat([latent_of(ltx.vae, part) for part in (clip[:9], clip[9:10], clip[10:])], dim=2)
    torch.testing.assert_close(video[:, :, 4].flatten(2)[..., :16], expected.flatten(2))


def test_pictures_in_the_same_place_are_no_clip(ltx, canvas):
    box = Box(x=0, y=0, width=64, height=64)
    for frame in range(9):
        canvas = canvas.place_image(noise(1, 64, 64, 3, seed=frame), frame=frame, box=box, role="guide")
    spans = [(frame, frame + 1) for frame in range(9)]
    assert torch.equal(ltx.added(canvas)[0]["keyframe_idxs"][0, :, :36], places(spans, range(2), range(2)))


@pytest.mark.parametrize("seed", range(12))
def test_every_pixel_of_a_patch_has_one_token(ltx, seed):
    """Random placements, some of them clips, some that move, beyond the frame or on one another."""
    draw, frames = random.Random(seed), 17
    canvas = Canvas.new(draw.choice([32, 96, 192]), draw.choice([32, 128]), frames, 25.0)
    document = canvas.document
    for _ in range(draw.randint(1, 5)):
        width, height = draw.choice([1, 20, 32, 64, 90]), draw.choice([7, 32, 50, 128])
        box, to = (
            Box(x=draw.randint(1 - width, document.width - 1), y=0, width=width, height=height) for _ in range(2)
        )
        first, role, length = draw.randrange(frames), draw.choice(["keep", "guide"]), draw.choice([1, 3, 12])
        shown = min(length, frames - first)
        to = to if shown > 1 and draw.random() < 0.3 else None
        images = noise(shown, height, width, 3, seed=draw.randint(0, 999))
        canvas = canvas.place_clip(images, 25.0, frame=first, frames=shown, box=box, to=to, role=role)
    plan = compile_canvas(canvas, Ltx2Carrier.video, Ltx2Carrier.audio)
    pixels, shown = Pixels(canvas), torch.zeros(frames, *plan.given.shape[1:], dtype=torch.bool)
    for patch in plan.patches:
        of_frame = pixels.patch(patch.frame, patch.placements)[1]
        shown[patch.frame] = of_frame.unflatten(1, (-1, 32)).unflatten(0, (-1, 32)).any(3).any(1)

    positive, negative, latent = ltx.encode(canvas)
    done = finish(ltx.sample(positive, negative, latent, steps=1))["samples"].unbind()
    tokens = ltx.calls[0].places[:, plan.given.numel() :]
    covered = torch.zeros_like(shown, dtype=torch.int64)
    for (start, end), (top, bottom), (left, right) in tokens.movedim(1, 0).tolist():
        place = slice(start, end), slice(top // 32, bottom // 32), slice(left // 32, right // 32)
        covered[place] += 1
        assert shown[place].any()
    assert (covered[shown] == 1).all() and shown.any() == bool(plan.patches)
    assert tokens.shape[1] <= carrier_of(ltx.model).cost(plan).context_tokens
    assert done[0].shape[2:] == plan.given.shape and all(stream.isfinite().all() for stream in done)


@pytest.mark.parametrize("frame, span", [(3, (0, 1)), (4, (1, 9)), (11, (1, 9)), (13, (9, 17))])
def test_nearest_slot(ltx, canvas, frame, span):
    values, _ = ltx.added(canvas.place_image(noise(1, 96, 64, 3), frame=frame, box=PATCH), patch_method="nearest_slot")
    assert torch.equal(values["keyframe_idxs"][0, :, :6], places([span], range(1, 4), range(4, 6)))


def test_latent_replacement(ltx, canvas):
    """Cells that a patch fills are clean in the latent frame of its frame; the later of two patches wins."""
    image, other = noise(1, 90, 64, 3), noise(1, 64, 64, 3, seed=2)
    placed = canvas.place_image(image, frame=11, box=Box(x=128, y=32, width=64, height=90))
    placed = placed.place_image(other, frame=13, box=Box(x=64, y=32, width=96, height=64))
    values, latent = ltx.added(placed, patch_method="latent_replacement")
    video, mask = latent["samples"].unbind()[0], latent["noise_mask"].unbind()[0]
    expected = torch.ones(T, H, W)
    expected[2, 1:3, 2:] = 0
    assert values == {"frame_rate": 25.0} and torch.equal(mask[0, 0], expected)
    assert not (video * mask).any() and all(video[0, :, 2, 1, column].any() for column in range(2, 6))
    sampled = ltx.sample(*ltx.encode(placed, patch_method="latent_replacement"))
    assert torch.equal(finish(sampled)["samples"].unbind()[0][:, :, 2, 1:3, 2:], video[:, :, 2, 1:3, 2:])


def test_routing_concat_stands_still(ltx, canvas):
    """A single frame fills its cells for all of the latent frame."""
    image = noise(1, HEIGHT, 64, 3)
    values, latent = ltx.added(canvas.place_image(image, frame=13, box=LEFT), routing="concat")
    video, mask = latent["samples"].unbind()[0], latent["noise_mask"].unbind()[0]
    goes_on = torch.cat([image, image[:, :, -1:].expand(-1, -1, WIDTH - 64, -1)], dim=2)
    torch.testing.assert_close(video[:, :, 2, :, :2], latent_of(ltx.vae, goes_on)[:, :, 0, :, :2])
    assert values == {"frame_rate": 25.0} and not mask[:, :, 2, :, :2].any() and mask[:, :, :2].all()
