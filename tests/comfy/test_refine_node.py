"""'Refine Clip': what the Refiner is given of a clip, of keyframes and of a canvas; and the windows it works in."""

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_tools import PROMPT, empty_latent, encode, finite, ksampler, random_latent
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box
from skycanvas.canvas.grid import VideoGrid
from skycanvas.canvas.windows import Tiles, tiles_of
from skycanvas.carriers import tiles as carrier_tiles
from skycanvas.carriers.refine import enlarged
from skycanvas.carriers.streaming import decode_frames
from skycanvas.carriers.tiles import ramps, slices, tile
from skycanvas.nodes.refine import SkyCanvasRefine

import nodes
from models.refiner import upsampled

SIZE, FRAMES = 32, 9  # of the small clip


@pytest.fixture
def refiner(loaded):
    return loaded[4].clone()


@pytest.fixture
def prompts(clip):
    return [encode(clip, text) for text in (PROMPT, "")]


@pytest.fixture
def small(model):
    return random_latent(model, FRAMES)


@pytest.fixture
def refine(refiner, prompts, vae, small):
    def run(samples=small, scale=2, frame_factor=2, **more):
        return SkyCanvasRefine.execute(refiner, *prompts, vae, samples, scale, frame_factor, **more).result

    return run


@pytest.fixture
def canvas():
    return Canvas.new(2 * SIZE, 2 * SIZE, 2 * FRAMES - 1, 32.0)


def values_of(result) -> dict:
    return result[1][0][1]


def pictures(seed, frames=2 * FRAMES - 1, size=2 * SIZE):
    return torch.rand(frames, size, size, 3, generator=torch.Generator().manual_seed(seed))


# -- what the Refiner is given ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "factor", "shape"), [(2, 2, (5, 8, 8)), (1, 2, (5, 4, 4)), (3, 1, (3, 12, 12))])
def test_the_clip_is_enlarged_as_a_picture_and_encoded(refine, small, vae, scale, factor, shape):
    result = refine(scale=scale, frame_factor=factor)
    latent, fps = result[3:]
    assert latent["samples"].shape == (1, 4, *shape) and fps == latent["frame_rate"] == 16.0 * factor
    pixels = vae.decode(small["samples"].unbind()[0])[0]
    large = upsampled(pixels.movedim(-1, 0)[None], scale, factor)[0].movedim(0, -1).clamp(0, 1)
    torch.testing.assert_close(latent["samples"], vae.encode(large), rtol=0, atol=1e-5)
    values = values_of(result)
    assert torch.equal(values["skycanvas_condition"], latent["samples"]) and values["frame_rate"] == fps
    assert not values["skycanvas_mask"].any() and "noise_mask" not in latent


def test_a_video_latent_alone_and_batches_are_refined(refine, model):
    joint = random_latent(model, FRAMES, batch=2)
    video = {"samples": joint["samples"].unbind()[0], "frame_rate": 12.0}
    plain, both = refine(video), refine(joint)
    assert plain[4] == 24.0 and torch.equal(plain[3]["samples"], both[3]["samples"]) and len(both[3]["samples"]) == 2
    assert not torch.equal(both[3]["samples"][0], both[3]["samples"][1])


def test_a_rate_may_be_told_and_a_canvas_need_not_have_all_its_digits(refine, small):
    video = {"samples": small["samples"].unbind()[0]}
    assert refine(video, frame_rate=12.5)[4] == 25.0
    ntsc = Canvas.new(2 * SIZE, 2 * SIZE, 2 * FRAMES - 1, 47.952)
    assert refine({**video, "frame_rate": 24000 / 1001}, canvas=ntsc)[4] == pytest.approx(47.952, abs=1e-3)


def test_no_large_piece_of_the_clip_is_in_memory(small, vae):
    pieces = list(enlarged(decode_frames(vae, small["samples"].unbind()[0]), 3, 2))
    assert [len(piece) for piece in pieces] == [1, *[2] * (FRAMES - 1)] and pieces[0].shape[1:] == (96, 96, 3)


def test_keyframes_take_the_place_of_their_frames(refine, small, vae):
    stills = torch.randn(1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    samples = {**small, "samples": NestedTensor((*small["samples"].unbind(), stills)), "keyframes": (0, 5)}
    made = refine(samples)[3]["samples"]
    pixels = vae.decode(small["samples"].unbind()[0])[0]
    large = upsampled(pixels.movedim(-1, 0)[None], 2, 2)[0].movedim(0, -1).clamp(0, 1)
    large[0], large[10] = (vae.decode(stills[:, :, i : i + 1])[0, 0] for i in range(2))
    torch.testing.assert_close(made, vae.encode(large), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="8 x 8 latent cells, 2 times those of the clip, and scale is 3"):
        refine(samples, scale=3)
    with pytest.raises(ValueError, match="keyframe 9 is outside the clip: use 0 to 8"):
        refine({**samples, "keyframes": (0, 9)})


def test_what_a_canvas_gives_is_taken_from_it(refine, canvas, vae):
    source = pictures(2)
    placed = canvas.place_clip(source, 32.0).region_box("generate", Box(x=16, y=0, width=32, height=64))
    result = refine(canvas=placed)
    mask, latent = values_of(result)["skycanvas_mask"], result[3]
    given = torch.ones(8, 8, dtype=torch.bool)
    given[:, 2:6] = False
    assert torch.equal(mask[0, 0].bool(), given.expand(5, -1, -1)) and torch.equal(latent["noise_mask"], 1 - mask)
    whole, made = vae.encode(source), latent["samples"]
    inner = torch.zeros(8, 8, dtype=torch.bool)
    inner[:, [0, 7]] = True  # cells whose neighbours are given too
    assert torch.allclose(made[..., inner], whole[..., inner], atol=1e-5)
    plain = refine()[3]["samples"]
    assert torch.allclose(made[..., 3:5], plain[..., 3:5], atol=1e-5)


@pytest.mark.parametrize("role", ["keep", "guide"])
def test_a_single_picture_replaces_its_frame_or_a_part_of_it(refine, canvas, vae, role):
    picture, plain = pictures(3, 1), refine()[3]["samples"]
    result = refine(canvas=canvas.place_image(picture, frame=6, role=role))
    made = result[3]["samples"]
    assert not torch.allclose(made[:, :, 2], plain[:, :, 2], atol=0.1) and not values_of(result)["skycanvas_mask"].any()
    assert torch.equal(made[:, :, [0, 1, 3, 4]], plain[:, :, [0, 1, 3, 4]])
    corner = refine(canvas=canvas.place_image(picture[:, :16, :16], frame=6, role=role))[3]["samples"]
    assert not torch.allclose(corner[:, :, 2, :2, :2], plain[:, :, 2, :2, :2], atol=0.1)
    assert torch.allclose(corner[:, :, 2, 4:, 4:], plain[:, :, 2, 4:, 4:], atol=1e-5)


def test_a_guide_of_mid_grey_is_no_hole(refine, canvas):
    grey, plain = torch.full((1, 64, 64, 3), 0.5), refine()[3]["samples"]
    kept, guide = (
        refine(canvas=canvas.place_image(grey, frame=6, role=role))[3]["samples"] for role in ("keep", "guide")
    )
    assert torch.equal(guide, kept) and not torch.allclose(guide[:, :, 2], plain[:, :, 2], atol=0.1)


def test_references_stay_and_the_small_clips_own_patches_go(refine, refiner, prompts, vae, small):
    entries = [{"latent": torch.zeros(1, 4, 1, 4, 4), "times": (time,)} for time in (-1.0, 0.5)]
    values = {"skycanvas_video_context": entries, "skycanvas_audio_context": [{"latent": None, "times": (0.0,)}]}
    prompts = [[[text, options | values]] for ((text, options),) in prompts]
    result = SkyCanvasRefine.execute(refiner, *prompts, vae, small, 2, 1).result
    kept = values_of(result)
    assert [entry["times"] for entry in kept["skycanvas_video_context"]] == [(-1.0,)]
    assert "skycanvas_audio_context" not in kept
    assert finite(ksampler(*result[:3], result[3], steps=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(canvas=Canvas.new(48, 64, 17, 32.0)), "the canvas is 48 x 64 pixels, the refined clip 64 x 64"),
        (dict(canvas=Canvas.new(64, 64, 9, 32.0)), "the canvas has 9 frames at 32 per second, the refined clip 17"),
        (dict(canvas=Canvas.new(64, 64, 17, 16.0)), "17 frames at 16 per second, the refined clip 17 at 32"),
        (dict(scale=5), "scale 5 is not one of 1, 2, 3, 4"),
        (dict(frame_factor=3), "frame factor 3 is not one of 1, 2"),
        (dict(tile_size=40), "tile_size is 40, no multiple of 16: use 32 or 48"),
        (dict(tile_size=32, tile_overlap=32), "tile_overlap is 32: use less than tile_size, 32"),
        (dict(tile_frames=10), r"tile_frames is 10, not 4n\+1: use 9 or 13, or 0"),
        (dict(samples={"samples": torch.zeros(1, 6, 20)}), r"samples \[1, 6, 20\] are no clip"),
        (
            dict(samples={"samples": torch.zeros(1, 8, 3, 4, 4), "frame_rate": 8.0}),
            "samples have 8 channels",
        ),
        (dict(samples={"samples": torch.zeros(1, 4, 3, 4, 4)}), "frame_rate is 0, and the latent has none of its own"),
    ],
)
def test_what_does_not_fit_is_refused(refine, change, message):
    with pytest.raises(ValueError, match=message):
        refine(**change)


def test_another_model_or_vae_is_refused(model, refiner, prompts, vae, audio_vae, small):
    with pytest.raises(ValueError, match="model is no Refiner: connect the output refiner"):
        SkyCanvasRefine.execute(model, *prompts, vae, small, 2, 2)
    with pytest.raises(ValueError, match="6 channels and 1 dimensions, this Refiner takes 4 and 3"):
        SkyCanvasRefine.execute(refiner, *prompts, audio_vae, small, 2, 2)


# -- sampling --------------------------------------------------------------------------------------------------------


def test_it_is_sampled_and_decoded_by_stock_nodes(refine, vae):
    result = refine()
    made = ksampler(*result[:3], result[3], steps=2, cfg=1.0)
    images = nodes.VAEDecode().decode(vae, {"samples": made})[0]
    assert images.shape == (17, 64, 64, 3) and finite(made)


def test_given_cells_come_out_bit_for_bit(refine, canvas):
    placed = canvas.place_clip(pictures(2), 32.0).region_box("generate", Box(x=16, y=0, width=32, height=64))
    result = refine(canvas=placed)
    made = ksampler(*result[:3], result[3], steps=2, cfg=1.0)
    given = values_of(result)["skycanvas_mask"].bool().expand_as(made)
    assert torch.equal(made[given], result[3]["samples"][given]) and not torch.equal(made, result[3]["samples"])


# -- windows ---------------------------------------------------------------------------------------------------------


def test_windows_share_what_they_overlap_and_together_weigh_one():
    for length, size, overlap in ((10, 4, 1), (30, 16, 4), (9, 9, 2), (33, 8, 6)):
        parts = slices(Tiles((size, 1, 1), (overlap, 0, 0)), (length, 1, 1), 1)[0]
        total = torch.zeros(length)
        for part, weight in zip(parts, ramps(parts, length), strict=True):
            assert (weight > 0).all() and len(weight) == part.stop - part.start
            total[part] += weight
        assert torch.allclose(total, torch.ones(length))
        steps = [abs(float(w)) for row in ramps(parts, length) for w in row.diff()]
        assert not steps or max(steps) < 1 / (1 + overlap) + 0.26, "no window begins or ends at once"


def test_windows_are_whole_tokens():
    tiles = tiles_of(9, 32, 16, VideoGrid())
    assert tiles == Tiles((3, 2, 2), (1, 1, 1))
    time, rows, columns = slices(tiles, (7, 8, 9), 2)
    assert time == [slice(0, 3), slice(2, 5), slice(4, 7)] and tiles_of(1, 0, 0, VideoGrid()).overlap[0] == 0
    assert rows == [slice(0, 4), slice(2, 6), slice(4, 8)] and columns[-1] == slice(6, 9)
    assert all(part.start % 2 == 0 for part in columns)


def test_windows_see_their_part_alone(refiner, refine, monkeypatch):
    """Each is the same as a clip that was never larger, and the largest pass has the window's size."""
    result = refine(tile_size=32, tile_frames=9, tile_overlap=16)
    shapes = []
    network = refiner.model.diffusion_model
    original = type(network)._velocity

    def spy(self, x, *more, **conditions):
        shapes.append(tuple(x[0].shape[2:]))
        assert conditions["condition"].shape[2:] == conditions["mask"].shape[2:] == x[0].shape[2:]
        return original(self, x, *more, **conditions)

    monkeypatch.setattr(type(network), "_velocity", spy)
    made = ksampler(*result[:3], result[3], steps=1, cfg=1.0)
    assert set(shapes) == {(3, 4, 4)} and len(shapes) == 2 * 3 * 3 and finite(made)
    whole = ksampler(*refine(tile_size=0, tile_frames=0)[:3], result[3], steps=1, cfg=1.0)
    assert shapes[-1] == (5, 8, 8) and not torch.equal(made, whole)


def test_windows_of_a_network_that_looks_at_nothing_else_leave_no_trace(refiner, refine, monkeypatch):
    """If every token's velocity depends on that token alone, windows must give bit for bit what one pass gives."""

    def alone(self, x, timestep, *_, condition, mask, **more):
        level = (
            timestep.reshape(-1, 1, 1, 1, 1)
            if timestep.ndim == 1
            else timestep[:, None].repeat_interleave(2, 3).repeat_interleave(2, 4)
        )
        return torch.sin(3 * x[0]) + condition * level / 1000 + mask

    monkeypatch.setattr(type(refiner.model.diffusion_model), "_velocity", alone)
    noise_mask = torch.ones(1, 1, 5, 8, 8)
    noise_mask[..., :2] = 0
    for mask in ({}, {"noise_mask": noise_mask}):
        parts, whole = (
            ksampler(*result[:3], {**result[3], **mask}, steps=3, cfg=1.0)
            for result in (refine(tile_size=32, tile_frames=9, tile_overlap=16), refine(tile_size=0, tile_frames=0))
        )
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


def test_room_is_made_for_one_window(refiner, refine, monkeypatch):
    asked = []
    memory = refiner.model.memory_required

    def spy(shape, *more, **named):
        asked.append(list(shape))
        return memory(shape, *more, **named)

    monkeypatch.setattr(refiner.model, "memory_required", spy)
    for tiles, largest in ((dict(tile_size=32, tile_overlap=16, tile_frames=9), [3, 4, 4]), ({}, [5, 8, 8])):
        result = refine(**tiles)
        asked.clear()
        ksampler(*result[:3], result[3], steps=1, cfg=1.0)
        assert asked[0][2:] == largest


def test_windows_replace_those_that_there_were_and_stop_when_asked(refiner, refine, monkeypatch):
    again = tile(tile(refiner, Tiles((3, 2, 2), (0, 0, 0))), Tiles((9, 9, 9), (0, 0, 0)))
    kind = carrier_tiles.comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    assert len(again.get_wrappers(kind, carrier_tiles.KEY)) == 1 and not refiner.get_wrappers(kind, carrier_tiles.KEY)

    class Stopped(Exception):
        pass

    def stop():
        raise Stopped

    result = refine(tile_size=32, tile_overlap=0)
    monkeypatch.setattr(carrier_tiles.comfy.model_management, "throw_exception_if_processing_interrupted", stop)
    with pytest.raises(Stopped):
        ksampler(*result[:3], result[3], steps=1, cfg=1.0)


def test_an_empty_latent_has_nothing_to_refine_but_runs(refine, model):
    assert finite(refine(empty_latent(FRAMES, model=model, size=SIZE))[3]["samples"])
