"""A canvas on tiny LTX-2 and LTX-2.3: what core's network gets of it, and what stock samplers and nodes make of it."""

import random
import re
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.ldm.modules.attention as attention
import comfy.model_management
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import pytest
import torch
from comfy.ldm.lightricks.av_model import LTXAVModel
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_context_windows, nodes_lt, nodes_lt_audio
from comfy_extras import nodes_custom_sampler as custom
from comfy_tools import same
from memory_tools import PeakMemory
from node_helpers import conditioning_set_values
from node_tools import noise, put, run
from safetensors import safe_open
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.compile import compile_canvas
from skycanvas.canvas.compose import compose_audio, compose_video
from skycanvas.canvas.cost import LATENT_COPIES, Ltx2Cost
from skycanvas.canvas.document import Box, CanvasError
from skycanvas.canvas.pixels import Pixels
from skycanvas.canvas.sound import sample_count
from skycanvas.carriers.carrier import FINISH, Way, carrier_of, finish, noise_for
from skycanvas.carriers.ltx2 import Ltx2Carrier
from skycanvas.nodes.encode import SkyCanvasEncode
from skycanvas.nodes.sampling import SkyCanvasSampler
from tiny_ltx import VERSIONS, TinyLtx, text_conditioning, transformer_config, write_tiny_ltx
from torch import Tensor

import nodes

WIDTH, HEIGHT, FRAMES = 192, 128, 17  # at 25 frames per second
T, H, W, L = 3, 4, 6, 17
TARGET = [(0, 1), (1, 9), (9, 17)]  # frames of its latent frames
FULL = Box(x=0, y=0, width=WIDTH, height=HEIGHT)
LEFT = Box(x=0, y=0, width=64, height=HEIGHT)
PATCH = Box(x=128, y=32, width=64, height=96)


@dataclass(frozen=True)
class Call:
    """What the network gets in one evaluation: places [3, tokens, 2] of the video, timesteps of both streams."""

    batch: int
    places: Tensor
    audio_places: Tensor
    timesteps: Tensor
    audio_timesteps: Tensor


@dataclass
class Ltx:
    """A tiny model with its VAEs and prompts, and what has been seen of it."""

    files: TinyLtx
    model: Any
    vae: comfy.sd.VAE
    audio_vae: comfy.sd.VAE
    calls: list[Call] = field(default_factory=list)

    @property
    def prompts(self) -> list[list]:
        return [text_conditioning(seed, self.files.version) for seed in (1, 2)]

    def encode(self, canvas: Canvas, **inputs) -> tuple[list, list, dict]:
        positive, negative = self.prompts
        inputs = {"vae": self.vae, "audio_vae": self.audio_vae, "positive": positive, "negative": negative} | inputs
        return run(SkyCanvasEncode, model=self.model, canvas=canvas, **inputs)

    def added(self, canvas: Canvas, **inputs) -> tuple[dict, dict]:
        """What the node adds to both prompts, and its LATENT."""
        positive, negative, latent = self.encode(canvas, **inputs)
        assert all(negative[0][1][key] is value for key, value in positive[0][1].items())
        return positive[0][1], latent

    def sample(self, positive, negative, latent, *, sampler="euler", steps=2, cfg=3.0, seed=4, model=None) -> dict:
        samples, noises = latent["samples"], noise_for(latent, seed)
        self.calls.clear()
        mask = latent.get("noise_mask")
        args = (steps, cfg, sampler, "simple", positive, negative, samples)
        return latent | {
            "samples": comfy.sample.sample(
                model or self.model, noises, *args, noise_mask=mask, seed=seed, disable_pbar=True
            )
        }

    def result(self, canvas: Canvas, **inputs) -> list[Tensor]:
        return list(finish(self.sample(*self.encode(canvas, **inputs)))["samples"].unbind())


@pytest.fixture(scope="module", params=VERSIONS)
def tiny(request, tmp_path_factory) -> Ltx:
    files = write_tiny_ltx(tmp_path_factory.mktemp("ltx"), request.param)

    def load_vae(path):
        sd, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
        return comfy.sd.VAE(sd=sd, metadata=metadata)

    with torch.inference_mode():
        model = comfy.sd.load_diffusion_model(str(files.model))
        return Ltx(files, model, load_vae(files.vae), load_vae(files.audio_vae))


@pytest.fixture
def ltx(tiny, monkeypatch) -> Ltx:
    """The model, whose evaluations are noted."""
    network = tiny.model.model.diffusion_model
    process, prepare, seen = network._process_input, network._prepare_timestep, {}

    def process_input(x, *args, **kwargs):
        result = process(x, *args, **kwargs)
        seen.update(batch=len(x[0]), places=result[1][0][0].clone(), audio_places=result[1][1][0].clone())
        return result

    def prepare_timestep(timestep, *args, grid_mask=None, a_timestep=None, **kwargs):
        result = prepare(timestep, *args, grid_mask=grid_mask, a_timestep=a_timestep, **kwargs)
        of_tokens = timestep if grid_mask is None else timestep[:, grid_mask]
        tiny.calls.append(Call(**seen, timesteps=of_tokens[0].flatten(), audio_timesteps=a_timestep[0].flatten()))
        return result

    monkeypatch.setattr(network, "_process_input", process_input)
    monkeypatch.setattr(network, "_prepare_timestep", prepare_timestep)
    return tiny


@pytest.fixture
def canvas() -> Canvas:
    """192 x 128 pixels, 17 frames: 3 latent frames of 4 x 6 cells, 17 audio latents."""
    return Canvas.new(WIDTH, HEIGHT, FRAMES, 25.0)


@pytest.fixture
def crowded(canvas) -> Canvas:
    """Something of everything: kept cells, patches, a clip in context, sound, a reference and a voice."""
    canvas = canvas.place_image(noise(1, HEIGHT, WIDTH, 3)).place_clip(noise(17, HEIGHT, 64, 3, seed=2), 25.0, box=LEFT)
    canvas = canvas.place_image(noise(1, 96, 64, 3, seed=3), frame=13, box=PATCH)
    canvas = canvas.place_image(noise(1, 40, 50, 3, seed=4), frame=5, box=Box(x=90, y=11, width=50, height=40))
    canvas = canvas.place_sound(0.1 * noise(1, 11025, seed=5), 44100)
    return canvas.reference(noise(1, 128, 96, 3, seed=6), kind="image").reference(
        0.1 * noise(1, 5000, seed=7), kind="sound", sample_rate=44100
    )


def places(spans, rows=range(H), columns=range(W)) -> Tensor:
    """Where tokens of cells are, row by row: [3, n, 2]."""
    every = [
        [span, (32 * row, 32 * row + 32), (32 * column, 32 * column + 32)]
        for span in spans
        for row in rows
        for column in columns
    ]
    return torch.tensor(every).movedim(1, 0)


def latent_of(vae, pictures: Tensor) -> Tensor:
    return vae.encode(pictures).float()


# --- the model


def test_it_is_known_by_what_it_is(ltx):
    carrier = carrier_of(ltx.model)
    assert isinstance(carrier, Ltx2Carrier) and carrier.family == "LTX-2"
    assert carrier.version == ("LTX-2" if ltx.files.version == "2.0" else "LTX-2.3")
    assert carrier.isolated == {"a2v_cross_attn": False, "v2a_cross_attn": False}
    for file, known in ((ltx.files.model, True), (ltx.files.checkpoint, True), (ltx.files.vae, False)):
        with safe_open(file, "pt") as opened:
            assert Ltx2Carrier.knows(set(opened.keys())) == known


@pytest.mark.parametrize("frames, fps, sound", [(17, 25.0, 17), (121, 25.0, 121), (121, 24.0, 127), (9, 50.0, 5)])
def test_shapes_are_those_of_stock_empty_latents(ltx, frames, fps, sound):
    shapes = carrier_of(ltx.model).shapes(frames, HEIGHT, WIDTH, fps)
    video = nodes_lt.EmptyLTXVLatentVideo.execute(WIDTH, HEIGHT, frames).result[0]["samples"]
    audio = nodes_lt_audio.LTXVEmptyLatentAudio.execute(frames, fps, 1, ltx.audio_vae).result[0]["samples"]
    assert [tuple(shape) for shape in shapes] == [video.shape[1:], audio.shape[1:]] and shapes[1][1] == sound
    with pytest.raises(CanvasError, match="length 18 is not 8n.1: use 17 or 25"):
        carrier_of(ltx.model).shapes(18, HEIGHT, WIDTH, fps)
    with pytest.raises(CanvasError, match="width 100 is not a multiple of 32: use 96 or 128"):
        carrier_of(ltx.model).shapes(17, HEIGHT, 100, fps)


def test_an_empty_canvas_sets_the_frame_rate_alone(ltx):
    """Which core would take to be 25."""
    values, latent = ltx.added(Canvas.new(WIDTH, HEIGHT, FRAMES, 24.0), batch_size=2)
    assert values == {"frame_rate": 24.0} and latent.keys() == {"samples", "frame_rate", FINISH}
    assert [x.shape for x in latent["samples"].unbind()] == [(2, 128, T, H, W), (2, 8, 18, 16)]
    assert not any(x.any() for x in latent["samples"].unbind())


# --- what is kept


def test_first_frame(ltx, canvas):
    image = noise(1, HEIGHT, WIDTH, 3)
    values, latent = ltx.added(canvas.place_image(image))
    (video, audio), (mask, audio_mask) = latent["samples"].unbind(), latent["noise_mask"].unbind()
    assert torch.equal(video[:, :, :1], latent_of(ltx.vae, image)) and not video[:, :, 1:].any() and not audio.any()
    assert mask.shape == (1, 1, T, H, W) and not mask[:, :, 0].any() and (mask[:, :, 1:] == 1).all()
    assert audio_mask.shape == (1, 1, L, 16) and (audio_mask == 1).all()
    assert mask.dtype == audio_mask.dtype == torch.float32 and values == {"frame_rate": 25.0}


def test_tokens_of_what_is_kept_are_clean(ltx, canvas):
    """Places as core's own, timesteps 0 for the left third of the picture and the first 0.29 s of the sound."""
    canvas = canvas.place_clip(noise(17, HEIGHT, 64, 3), 25.0, box=LEFT)
    canvas = canvas.place_sound(0.1 * noise(1, 13000), 44100)
    ltx.sample(*ltx.encode(canvas))
    call = ltx.calls[0]
    assert torch.equal(call.places, places(TARGET))
    expected = torch.ones(T, H, W)
    expected[..., :2] = 0
    torch.testing.assert_close(call.timesteps, expected.flatten())  # the first step's, just under 1
    assert torch.equal(call.timesteps == 0, expected.flatten() == 0)
    ends = call.audio_places[0, :, 1]
    assert torch.equal(call.audio_timesteps == 0, ends <= 13000 / 44100 + 1e-6)
    assert int((call.audio_timesteps == 0).sum()) == 8


def test_beside_kept_cells_their_edge_goes_on(ltx, canvas):
    """So that the VAE sees nothing of what is made again, and nothing black."""
    clip = noise(17, HEIGHT, WIDTH, 3)
    right = Box(x=70, y=0, width=WIDTH - 70, height=HEIGHT)
    _, latent = ltx.added(canvas.place_clip(clip, 25.0).region_box("generate", right))
    video, _ = latent["samples"].unbind()
    goes_on = clip[:, :, :64].clone()
    goes_on = torch.cat([goes_on, goes_on[:, :, -1:].expand(-1, -1, WIDTH - 64, -1)], dim=2)
    torch.testing.assert_close(video[..., :2], latent_of(ltx.vae, goes_on)[..., :2])
    assert not video[..., 2:].any()


def test_kept_frames_in_the_middle_are_encoded_by_themselves(ltx):
    """Latent frames 2 and 4: what is encoded begins with one frame, as clips do, which stands for no latent here."""
    canvas, clips = Canvas.new(WIDTH, HEIGHT, 41, 25.0), [noise(8, HEIGHT, WIDTH, 3, seed=seed) for seed in (1, 2)]
    for clip, frame in zip(clips, (9, 25), strict=True):
        canvas = canvas.place_clip(clip, 25.0, frame=frame)
    values, latent = ltx.added(canvas)
    video = latent["samples"].unbind()[0]
    for clip, t in zip(clips, (2, 4), strict=True):
        expected = latent_of(ltx.vae, torch.cat([clip[:1], clip]))
        torch.testing.assert_close(video[:, :, t], expected[:, :, 1])
    assert not video[:, :, [0, 1, 3, 5]].any() and video.shape[2] == 6 and values == {"frame_rate": 25.0}


def test_sound_is_encoded_from_its_start(ltx, canvas):
    """Core would cut a sound to a multiple of 4096 samples, half of the rest at its start."""
    waveform = 0.1 * noise(2, 29988)
    _, latent = ltx.added(canvas.place_sound(waveform, 44100))
    padded = torch.cat([waveform, torch.zeros(2, -29988 % 4096)], dim=1)
    audio = latent["samples"].unbind()[1]
    assert torch.equal(audio, ltx.audio_vae.encode(padded.T[None])[:, :, :L]) and audio.std() > 0.01
    assert not latent["noise_mask"].unbind()[1].any() and latent["noise_mask"].unbind()[0].all()


@pytest.mark.parametrize("sampler", [name for name in comfy.samplers.SAMPLER_NAMES])
def test_kept_latents_are_exact_after_any_sampler(ltx, crowded, sampler):
    positive, negative, latent = ltx.encode(crowded)
    done = finish(ltx.sample(positive, negative, latent, sampler=sampler))
    assert done["samples"].unbind()[0].shape == (1, 128, T, H, W) and FINISH not in done and "noise_mask" not in done
    sources, masks = latent["samples"].unbind(), latent["noise_mask"].unbind()
    for stream, given, mask in zip(done["samples"].unbind(), sources, masks, strict=True):
        mask, given = (x[:, :, : stream.shape[2]] for x in (mask, given))
        kept = (mask == 0).expand_as(stream)
        assert kept.any() and torch.equal(stream[kept], given[kept]) and stream.isfinite().all()
        assert (stream != given)[~kept].all()


def test_kept_pixels_and_samples_are_exact_after_composing(ltx, crowded):
    video, audio = ltx.result(crowded)
    images = compose_video(crowded, ltx.vae.decode(video)[0], feather=8)
    assert torch.equal(images[0], noise(1, HEIGHT, WIDTH, 3)[0].where(torch.arange(WIDTH)[:, None] >= 64, images[0]))
    assert torch.equal(images[:, :, :64], noise(17, HEIGHT, 64, 3, seed=2))
    assert torch.equal(images[13, 32:, 128:], noise(1, 96, 64, 3, seed=3)[0])
    assert torch.equal(images[5, 11:51, 90:140], noise(1, 40, 50, 3, seed=4)[0])
    waveform, rate = ltx.audio_vae.decode(audio).movedim(-1, 1), 44100
    samples = sample_count(crowded.document, rate)
    waveform = torch.nn.functional.interpolate(waveform, size=samples)
    composed = compose_audio(crowded, waveform, rate)
    assert torch.equal(composed[0, :, :11025], (0.1 * noise(1, 11025, seed=5)).expand(2, -1))


# --- patches


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
    expected = torch.cat([places(TARGET), places([(13, 14)], range(1, 4), range(4, 6))], dim=1)
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


# --- references


def test_references_come_before_the_clip(ltx, canvas):
    """A picture and a clip of 9 frames, each as far from the next as if a latent had 8 frames; without black bars."""
    image, clip = noise(1, HEIGHT, 64, 3), noise(9, 32, WIDTH, 3)
    values, latent = ltx.added(canvas.reference(image, kind="image").reference(clip, kind="clip", fps=25.0))
    expected = torch.cat(
        [places([(-24, -23)], range(H), range(2, 4)), places([(-16, -15), (-15, -7)], range(1, 3))], dim=1
    )
    assert torch.equal(values["keyframe_idxs"][0, :, : expected.shape[1]], expected)
    video = latent["samples"].unbind()[0][:, :, T:].flatten(2)
    assert torch.equal(video[..., :8], latent_of(ltx.vae, image).flatten(2))
    rows = torch.arange(32, 96).clamp(48, 79) - 48
    torch.testing.assert_close(video[..., 8:32], latent_of(ltx.vae, clip[:, rows]).flatten(2))
    ltx.sample(*ltx.encode(canvas.reference(image, kind="image")))
    assert ltx.calls[0].places[0, -1].tolist() == [-8, -7]


def test_voices_are_one_reference_of_core(ltx, canvas):
    low, high = 0.1 * noise(1, 5000), 0.1 * noise(2, 9000, seed=2)
    speaking = canvas.reference(low, kind="sound", sample_rate=44100).reference(high, kind="sound", sample_rate=44100)
    values, latent = ltx.added(speaking)
    tokens = values["ref_audio"]["tokens"]
    assert tokens.shape == (1, 3 + 6, 128) and latent.keys() == {"samples", "frame_rate", FINISH}
    padded = torch.cat([low, torch.zeros(1, 8192 - 5000)], dim=1)
    first = ltx.audio_vae.encode(padded.T[None])[:, :, :3]
    assert torch.equal(tokens[:, :3], first.movedim(2, 1).flatten(2))
    ltx.sample(*ltx.encode(speaking))
    ends = ltx.calls[0].audio_places[0, :, 1]
    torch.testing.assert_close(ends[8:10], torch.tensor([-0.04, 0.01]))
    assert len(ends) == L + 9 and len(ltx.calls) == 2


# --- stock nodes


def test_stock_samplers_pass_on_what_is_to_be_finished(ltx, crowded):
    encoded = ltx.encode(crowded)
    (sampled,) = nodes.KSampler().sample(ltx.model, 3, 2, 3.0, "euler", "simple", *encoded)
    guider = custom.CFGGuider.execute(ltx.model, *encoded[:2], 3.0).result[0]
    sampler = custom.KSamplerSelect.execute("euler").result[0]
    sigmas = custom.BasicScheduler.execute(ltx.model, "simple", 2, 1.0).result[0]
    other = custom.SamplerCustomAdvanced.execute(
        custom.RandomNoise.execute(3).result[0], guider, sampler, sigmas, encoded[2]
    ).result[0]
    ours, theirs = finish(sampled), finish(other)
    assert same(ours["samples"], theirs["samples"]) and ours.keys() == {"samples", "frame_rate"}
    assert torch.equal(ours["samples"].unbind()[0][:, :, 0], encoded[2]["samples"].unbind()[0][:, :, 0])


def test_latents_that_stay_on_the_gpu(ltx, crowded, monkeypatch):
    """As with ComfyUI's --gpu-only, here on a device without data: all lies there but noise, which core draws on the
    CPU.
    """
    device = torch.device("meta")
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: device)
    values, latent = ltx.added(crowded)
    tensors = [values["keyframe_idxs"], *latent["samples"].unbind(), *latent["noise_mask"].unbind()]
    assert {tensor.device for tensor in tensors} == {device}
    assert [x.device.type for x in noise_for(latent, 4).unbind()] == ["cpu", "cpu"]


def test_every_entry_of_a_prompt_sees_the_canvas(ltx, crowded):
    positive, negative = ltx.prompts
    both = nodes.ConditioningCombine().combine(positive, ltx.prompts[0])[0]
    before = conditioning_set_values(both, {"frame_rate": 30.0})
    result = ltx.encode(crowded, positive=before)[0]
    assert len(result) == 2 and all(entry["frame_rate"] == 25.0 and "keyframe_idxs" in entry for _, entry in result)


def test_batch(ltx, crowded):
    positive, negative, latent = ltx.encode(crowded, batch_size=2)
    done = finish(ltx.sample(positive, negative, latent))["samples"].unbind()
    one = finish(ltx.sample(*ltx.encode(crowded)))["samples"].unbind()
    for stream, alone, mask in zip(done, one, latent["noise_mask"].unbind(), strict=True):
        kept = (mask[:1, :, : stream.shape[2]] == 0).expand_as(alone)
        assert len(stream) == 2 and not torch.equal(stream[0], stream[1])
        assert torch.equal(stream[1:][kept], stream[:1][kept])


def test_stock_nodes_agree_with_finish(ltx, crowded):
    positive, negative, latent = ltx.encode(crowded)
    sampled = ltx.sample(positive, negative, latent, sampler="dpmpp_2m")  # which leaves what is kept exact
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(sampled).result
    *conditioning, video = nodes_lt.LTXVCropGuides.execute(positive, negative, video).result
    ours = finish(sampled)["samples"].unbind()
    assert torch.equal(video["samples"], ours[0]) and torch.equal(audio["samples"], ours[1])
    assert all(one[0][1]["keyframe_idxs"] is None for one in conditioning)


def test_the_picture_alone_can_be_sampled(ltx, crowded):
    """Behind 'Separate AV Latent', with its first noise as in the joint latent."""
    positive, negative, latent = ltx.encode(crowded)
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(latent).result
    joint, seen, heard = (noise_for(one, 4) for one in (latent, video, audio))
    assert torch.equal(seen, joint.unbind()[0]) and heard.shape == audio["samples"].shape
    sampled = put(
        SkyCanvasSampler, model=ltx.model, positive=positive, negative=negative, latent_image=video, seed=4, steps=2
    )
    done, given = finish(sampled)["samples"], latent[FINISH].given[0]
    assert done.shape == given.shape and done.isfinite().all() and torch.equal(done[:, :, 0], given[:, :, 0])


def test_stock_guides_can_follow(ltx, crowded):
    positive, negative, latent = ltx.encode(crowded)
    appended = latent["samples"].unbind()[0].shape[2]
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(latent).result
    image = noise(1, HEIGHT, WIDTH, 3, seed=8)
    *guided, video = nodes_lt.LTXVAddGuide.execute(positive, negative, ltx.vae, video, image, 7, 1.0).result
    joint = nodes_lt.LTXVConcatAVLatent.execute(video, audio).result[0]
    sampled = ltx.sample(*guided, joint)
    assert sampled["samples"].unbind()[0].shape[2] == appended + 1
    assert ltx.calls[0].places[0, -24:].unique(dim=0).tolist() == [[7, 8]]
    assert [x.shape[2] for x in finish(sampled)["samples"].unbind()] == [T, L]
    cropped = nodes_lt.LTXVCropGuides.execute(*guided, {"samples": sampled["samples"].unbind()[0]}).result[2]
    assert cropped["samples"].shape[2] == T


def test_an_ic_lora_with_a_small_reference_can_follow(ltx, crowded):
    """Its reference clip has half the size: core spreads its tokens over the frame, and drops those in between."""
    positive, negative, latent = ltx.encode(crowded)
    appended = latent["samples"].unbind()[0].shape[2] - T
    video, audio = nodes_lt.LTXVSeparateAVLatent.execute(latent).result
    (parameters,) = nodes_lt.GetICLoRAParameters.execute(Lora({"reference_downscale_factor": "2"})).result
    clip = noise(9, HEIGHT, WIDTH, 3, seed=8)
    guide = (ltx.vae, video, clip, 0, 1.0, None, parameters)
    *guided, video = nodes_lt.LTXVAddGuide.execute(positive, negative, *guide).result
    assert video["samples"].shape[2] == T + appended + 2
    sampled = ltx.sample(*guided, nodes_lt.LTXVConcatAVLatent.execute(video, audio).result[0])
    reference = 2 * (H // 2) * (W // 2)
    assert ltx.calls[0].places[0, -reference:].unique(dim=0).tolist() == [[0, 1], [1, 9]]
    done, given = finish(sampled)["samples"].unbind(), latent[FINISH]
    for stream, clean, kept in zip(done, given.given, given.kept, strict=True):
        assert (
            stream.shape[1:] == clean.shape[1:]
            and kept.any()
            and torch.equal(stream[kept.expand_as(stream)], clean[kept.expand_as(clean)])
        )


@dataclass
class Lora:
    """What a LoRA loader gives, as far as 'Get IC-LoRA Parameters' looks at it."""

    metadata: dict[str, str]

    def get_attachment(self, name: str) -> dict[str, str]:
        return {"lora_metadata": self.metadata}[name]


# --- errors


def test_vaes_that_do_not_fit(ltx, canvas, vae, audio_vae):
    for inputs, message in (
        ({"vae": ltx.audio_vae, "audio_vae": ltx.vae}, "vae encodes sound and audio_vae encodes pictures: swap them"),
        ({"vae": vae}, "vae makes latents of 4 channels, LTX-2.* takes videos of 128 channels.*'Load Checkpoint'"),
        ({"vae": ltx.audio_vae}, "vae makes no videos, LTX-2.* takes videos of 128 channels"),
        ({"audio_vae": audio_vae}, "audio_vae is no audio VAE of LTX-2: connect 'Load LTXV Audio VAE'"),
        ({"audio_vae": ltx.vae}, "audio_vae is no audio VAE of LTX-2: connect 'Load LTXV Audio VAE'"),
    ):
        with pytest.raises(ValueError, match=message):
            ltx.encode(canvas, **inputs)


def test_guides_before_the_canvas_are_refused(ltx, canvas):
    guided = [conditioning_set_values(one, {"keyframe_idxs": torch.zeros(1, 3, 24, 2)}) for one in ltx.prompts]
    encoded = ltx.encode(canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH))
    for negative in (guided[1], encoded[1]):
        with pytest.raises(ValueError, match="of 'LTXVAddGuide' or of another 'Encode Canvas'.*the prompts themselves"):
            ltx.encode(canvas, negative=negative)
    cropped = [conditioning_set_values(one, {"keyframe_idxs": None}) for one in ltx.prompts]
    ltx.encode(canvas, positive=cropped[0], negative=cropped[1])


def test_a_second_voice_is_refused(ltx, canvas):
    heard = [conditioning_set_values(one, {"ref_audio": {"tokens": torch.zeros(1, 3, 128)}}) for one in ltx.prompts]
    speaking = canvas.reference(0.1 * noise(1, 5000), kind="sound", sample_rate=44100)
    with pytest.raises(ValueError, match="'LTXV Reference Audio' or of another.* so has the canvas.*take one"):
        ltx.encode(speaking, positive=heard[0], negative=heard[1])
    positive, *_ = ltx.encode(canvas, positive=heard[0], negative=heard[1])
    assert positive[0][1]["ref_audio"] is heard[0][0][1]["ref_audio"]


@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(1, 4, 3, 4, 6), (1, 8, 17, 16)], r"latent \[1, 4, 3, 4, 6\] is no video of LTX-2.*'Empty SkyCanvas Latent'"),
        ([(1, 8, 17, 16)], r"latent \[1, 8, 17, 16\] is no video of LTX-2"),
        ([(1, 128, 3, 4, 6), (1, 4, 25)], r"has \[1, 4, 25\] beside the video, LTX-2 has a sound \[B, 8, L, 16\]"),
        ([(1, 128, 3, 4, 6), (1, 8, 17, 16), (1, 128, 1, 4, 6)], "and .* beside the video"),
    ],
)
def test_latents_that_do_not_fit(ltx, shapes, message):
    for good in ([(2, 128, 3, 4, 6)], [(1, 128, 3, 4, 6), (1, 8, 17, 16)]):
        Ltx2Carrier.check_latent(ltx.model, good)
    with pytest.raises(ValueError, match=message):
        Ltx2Carrier.check_latent(ltx.model, shapes)


def test_an_audio_vae_of_other_sizes(ltx, canvas, monkeypatch):
    monkeypatch.setattr(ltx.audio_vae.first_stage_model.autoencoder, "mel_bins", 128)
    with pytest.raises(ValueError, match="8 channels of 32 bins, 25 per second, the model takes 8 channels of 16 bins"):
        ltx.encode(canvas)


# --- limits and cost


@pytest.fixture
def limits(ltx):
    def call(canvas: Canvas, routing="auto", **way) -> list[str]:
        carrier = carrier_of(ltx.model)
        plan = compile_canvas(canvas, carrier.video, carrier.audio, routing=routing)
        return [f"{note.level}: {note.text}" for note in carrier.limits(plan, Way(**way))]

    return call


def test_nothing_to_say(limits, canvas):
    clip, image = noise(17, HEIGHT, WIDTH, 3), noise(1, HEIGHT, WIDTH, 3)
    placed = canvas.place_clip(clip, 25.0, box=LEFT).place_sound(0.1 * noise(1, 5000), 44100)
    for plain in (canvas, placed, canvas.place_image(image), canvas.place_image(image, frame=13)):
        assert limits(plain) == []
    assert limits(Canvas.new(WIDTH, HEIGHT, FRAMES, 23.976)) == []


def test_limits(limits, canvas):
    patch = canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH)
    rugged = canvas.place_image(noise(1, 90, 64, 3), frame=5, box=Box(x=130, y=32, width=60, height=90))
    referring = canvas.reference(noise(1, 64, 64, 3), kind="image")
    voice = {"kind": "sound", "sample_rate": 44100}
    speaking = canvas.reference(0.1 * noise(1, 5000), **voice).reference(0.1 * noise(1, 5000, seed=2), **voice)
    for canvas, way, *messages in (
        (patch, {}, "info: .* Parts of frames, here on frame 13,"),
        (rugged, {}, "info: .* Parts of frames", "info: Patches on frame 5 end inside .* filled with the nearest"),
        (rugged, {"patch_layout": "zero_padded"}, "info: .* Parts of frames", "info: Patches on frame 5 .* grey"),
        (patch, {"patch_method": "no_rope"}, "warning: .* no no_rope .*rope_interpolation", "info: .* Parts"),
        (patch, {"patch_method": "latent_replacement"}, "warning: latent_replacement: patches on frame 13 stand still"),
        (patch, {"routing": "concat"}, "warning: What fills cells .* latent frame 2: .* routing auto"),
        (referring, {}, "warning: .* @image_1 .* IC-LoRA .* place the picture on the canvas"),
        (speaking, {}, "warning: .* hears one voice: @.* and @", "info: .* ID-LoRA"),
        (Canvas.new(WIDTH, HEIGHT, FRAMES, 12.0), {}, "info: The canvas has 12 fps"),
        (Canvas.new(64, 64, 601, 25.0), {}, "info: The canvas lasts 24.0 s, .* 20 s"),
        (Canvas.new(2560, 64, 9, 25.0), {}, "info: The canvas is 2560x64 pixels, .* 2048"),
        (Canvas.new(64, 32, 9, 25.0), {}, "warning: The canvas is 64x32 pixels, .* 64 at least: the VAE may fail"),
    ):
        found = limits(canvas, **way)
        assert len(found) == len(messages), found
        for note, message in zip(found, messages, strict=True):
            assert re.match(message, note), note


def test_context_windows_lose_places(ltx):
    """Why there is a warning: core numbers the appended frames as if they were a clip of their own."""
    canvas = Canvas.new(WIDTH, HEIGHT, 73, 25.0)
    placed = canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH)
    windows = {"model": ltx.model, "context_length": 5, "context_overlap": 2, "dim": 2}
    carrier = carrier_of(put(nodes_context_windows.ContextWindowsManualNode, **windows))
    for one, expected in ((canvas, 0), (placed, 1)):
        plan = compile_canvas(one, carrier.video, carrier.audio)
        warnings = [note.text for note in carrier.limits(plan, Way()) if note.level == "warning"]
        assert len(warnings) == expected and all(re.search("Context windows .* 'Extend Clip'", x) for x in warnings)
    ltx.sample(*ltx.encode(placed), model=carrier.model)
    assert not any((call.places[0] == torch.tensor([13, 14])).all(-1).any() for call in ltx.calls)


def test_tokens_of_cost_are_those_that_the_network_gets(ltx, crowded):
    carrier = carrier_of(ltx.model)
    plan = compile_canvas(crowded, carrier.video, carrier.audio)
    ltx.sample(*ltx.encode(crowded))
    cost, call = carrier.cost(plan, text_tokens=4), ltx.calls[0]
    voice = plan.audio.latents(5000 / 44100)
    assert cost.video_tokens == T * H * W and cost.audio_tokens == L and cost.text_tokens == 4
    beside = cost.context_tokens + cost.reference_tokens - voice
    assert call.places.shape[1] == cost.video_tokens + beside and cost.context_tokens == 6 + 6
    assert call.audio_places.shape[1] == L + voice
    assert cost.seconds and cost.bytes > ltx.model.model_size()
    plain = carrier.cost(compile_canvas(Canvas.new(WIDTH, HEIGHT, FRAMES, 25.0), carrier.video, carrier.audio))
    assert plain.operations < cost.operations and plain.bytes < cost.bytes


def test_what_is_between_two_patches_costs_nothing(ltx, canvas):
    """On one frame they are one patch, whose box is as large as the canvas."""
    for box in (Box(x=0, y=0, width=40, height=32), Box(x=160, y=64, width=64, height=64)):
        canvas = canvas.place_image(noise(1, box.height, box.width, 3, seed=box.x), frame=5, box=box)
    carrier = carrier_of(ltx.model)
    plan = compile_canvas(canvas, carrier.video, carrier.audio)
    ltx.sample(*ltx.encode(canvas))
    tokens = ltx.calls[0].places.shape[1] - T * H * W
    assert len(plan.patches) == 1 and carrier.cost(plan).context_tokens == tokens == 2 + 2


def test_own_timesteps_cost_memory(ltx, canvas):
    """Where some cells of a latent frame are clean and others are not, core modulates token by token."""
    carrier = carrier_of(ltx.model)
    whole, part = (
        carrier.cost(compile_canvas(placed, carrier.video, carrier.audio))
        for placed in (
            canvas.place_clip(noise(17, HEIGHT, WIDTH, 3), 25.0),
            canvas.place_clip(noise(17, HEIGHT, 64, 3), 25.0, box=LEFT),
        )
    )
    vectors = (9 if ltx.files.version == "2.3" else 6) + 4 + 1 + 1
    assert part.bytes - whole.bytes == (T * H * W - T) * vectors * 24 * 4


def test_cost_of_the_real_size():
    """LTX-2.3 at 1280 x 704 pixels, 121 frames: 14080 tokens, 1.7 GB of AdaLN if each token has its own."""
    real = Ltx2Cost(video=4096, audio=2048, crossing=2048, blocks=48, modulations=9, weights=0)
    plan = compile_canvas(Canvas.new(1280, 704, 121, 25.0), Ltx2Carrier.video, Ltx2Carrier.audio)
    tokens = plan.given.numel()
    assert tokens == 14080 and len(plan.audio_given) == 121
    assert real.modulation(tokens) == 14080 * 15 * 4096 * 2 == 1_730_150_400
    assert real.modulation(16) == 16 * 15 * 4096 * 2


@pytest.mark.parametrize("kept", [0, 3], ids=["as a whole", "in part"])
@pytest.mark.parametrize("version, modulations", [("2.0", 6), ("2.3", 9)])
def test_memory_is_what_the_network_takes(monkeypatch, version, modulations, kept):
    """Of a larger one, with an attention that does not write down its scores, as on a GPU."""
    dim, audio_dim, sizes, latents, words = 512, 256, (4, 10, 16), 40, 16
    config = transformer_config(version) | {"num_layers": 1, "cross_attention_dim": dim, "attention_head_dim": dim // 2}
    config |= {"audio_cross_attention_dim": audio_dim, "audio_attention_head_dim": audio_dim // 2}
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    network = LTXAVModel(**config, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    for weights in network.parameters():
        weights.normal_(std=0.02)
    mask = torch.ones(1, 1, *sizes)
    mask[..., :kept] = 0
    streams = [torch.randn(1, 128, *sizes), torch.randn(1, 8, latents, 16)]
    text = torch.randn(1, words, 2 * 24 if version == "2.0" else dim + audio_dim)
    timesteps = 0.7 * mask.view(1, -1, 1), torch.full((1, latents, 1), 0.7)
    with PeakMemory() as memory:
        network(streams, timesteps, text, None, 25.0, {}, None, denoise_mask=mask)
    numbers = Ltx2Cost(dim, audio_dim, audio_dim, 1, modulations, weights=0, bytes_per_number=4)
    tokens = mask.numel()
    estimate = numbers.bytes(tokens, latents, words, tokens if kept else sizes[0])
    estimate -= 4 * LATENT_COPIES * 128 * (tokens + latents)  # those of the sampler
    assert 0.95 < estimate / memory.peak < 1.05


def test_operations_are_those_of_the_network(ltx):
    """Counted by hand: matrices of one block, applied to one token of each kind."""
    network = ltx.model.model.diffusion_model
    block = network.transformer_blocks[0]

    def products(module) -> int:
        return sum(x.numel() for name, x in module.named_parameters() if x.ndim == 2 and "gate" not in name)

    def rows(attention) -> tuple[int, int]:
        inside = products(attention.to_k) + products(attention.to_v)
        return products(attention) - inside, inside

    (video_q, video_k), (audio_q, audio_k) = rows(block.audio_to_video_attn), rows(block.video_to_audio_attn)
    (video_words, video_text), (audio_words, audio_text) = rows(block.attn2), rows(block.audio_attn2)
    video = products(block.attn1) + products(block.ff) + video_words + video_q + audio_k
    audio = products(block.audio_attn1) + products(block.audio_ff) + audio_words + audio_q + video_k
    numbers = Ltx2Cost(video=24, audio=16, crossing=16, blocks=2, modulations=6, weights=0)
    pairs = 7 * (7 + 3) * 24 + 5 * (5 + 3) * 16 + 2 * 7 * 5 * 16
    expected = 2 * 2 * (7 * video + 5 * audio + 3 * (video_text + audio_text) + 2 * pairs)
    assert numbers.operations(7, 5, 3, 0) == expected
    shared = network.adaln_single, network.av_ca_video_scale_shift_adaln_single, network.av_ca_a2v_gate_adaln_single
    numbers = replace(numbers, modulations=len(block.scale_shift_table))
    assert numbers.operations(7, 5, 3, 1) - expected == 2 * sum(products(module.linear) for module in shared)
