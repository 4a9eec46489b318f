"""What the page is shown while stock samplers sample: one picture per step, frames in a row over their sound."""

import comfy.model_management
import comfy.utils
import latent_preview
import node_helpers
import numpy as np
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as custom
from comfy_extras.nodes_audio import EmptyLatentAudio
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_tools import PROMPT, advanced, empty_latent, encode, ksampler, random_latent, same, schedule, streams
from skycanvas.carriers import preview
from skycanvas.nodes.latent import SkyCanvasEmptyLatent
from skycanvas.nodes.sampling import SkyCanvasSampler, SkyCanvasWave

LIMIT, STRIP = 256, 32  # of a picture of few cells, which the server enlarges to twice that


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


@pytest.fixture
def progress():
    """(value, total, preview) of all that the page is told."""
    told, before = [], comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview, node_id=None: told.append((value, total, preview))
    )
    yield told
    comfy.utils.set_progress_bar_global_hook(before)


@pytest.fixture
def shown(progress, monkeypatch):
    """Switches previews on."""
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.Latent2RGB)
    return progress


def ours(schedule):
    def sample(model, positive, negative, latent, *, steps):
        settings = (3, steps, 2.0, 2.0, 1.0, "euler", "simple", schedule, 0.0, 1.0)
        return SkyCanvasSampler.execute(model, positive, negative, latent, *settings).result[0]["samples"]

    return sample


SAMPLERS = {"KSampler": ksampler, "SamplerCustomAdvanced": advanced, "ours": ours("ordinary")}


def pixels(told) -> np.ndarray:
    """The picture of one step, [H, W, 3]."""
    kind, picture, limit = told[2]
    assert kind == "JPEG" and limit == latent_preview.MAX_PREVIEW_RESOLUTION == 512
    return np.asarray(picture).astype(int)


def bars(picture) -> np.ndarray:
    """Where a strip of sound is filled, bool [h, W]; it has our two colours alone."""
    filled, empty = (np.abs(picture - colour).max(-1) <= 1 for colour in (preview.SOUND_COLOUR, preview.SOUND_GROUND))
    assert np.all(filled ^ empty)
    return filled


def kept(latent) -> dict:
    """A latent of which nothing is made anew, so that each step shows it as it is."""
    mask = [torch.zeros_like(x[:, :1]) for x in streams(latent["samples"])]
    return latent | {"noise_mask": NestedTensor(mask)}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("frames, count", [(1, 1), (9, 3), (25, 4)])
def test_each_step_shows_frames_in_a_row_over_their_sound(model, prompts, shown, sampler, frames, count):
    SAMPLERS[sampler](model, *prompts, empty_latent(frames), steps=3)
    assert [told[:2] for told in shown] == [(1, 3), (2, 3), (3, 3)]
    side = min(LIMIT // count, LIMIT - STRIP)
    for told in shown:
        picture = pixels(told)
        assert picture.shape == (side + STRIP, side * count, 3)
        assert bars(picture[side:]).any()
        tiles = np.split(picture[:side], count, axis=1)
        assert all(np.abs(a - b).mean() > 1 for a, b in zip(tiles[:-1], tiles[1:], strict=True))


@pytest.mark.parametrize("stock", [True, False])
def test_a_wave_shows_each_of_its_own_steps(model, prompts, shown, stock):
    """5 frames are two latent frames, whose wave with its sound takes twice the steps of one."""
    latent = empty_latent(5)
    if stock:
        noise, guider = (
            custom.RandomNoise.execute(3).result[0],
            custom.CFGGuider.execute(model, *prompts, 2.0).result[0],
        )
        wave = SkyCanvasWave.execute(0.5, 1.0).result[0]
        custom.SamplerCustomAdvanced.execute(noise, guider, wave, schedule(model, 2), latent)
    else:
        ours("wave")(model, *prompts, latent, steps=2)
    assert [told[:2] for told in shown] == [(step, 4) for step in (1, 2, 3, 4)]
    assert all(pixels(told).shape == (128 + STRIP, 256, 3) for told in shown)


def test_the_strip_is_flat_in_silence_and_high_where_the_sound_is_loud(model, prompts, shown):
    latent = kept(random_latent(model))
    video, audio = streams(latent["samples"])
    middle = audio.shape[2] // 2
    for loudness in (0.0, 4.0):
        audio[...], audio[..., middle:] = 0, loudness
        ksampler(model, *prompts, latent, steps=1)
    (quiet, loud) = (pixels(told) for told in shown)
    assert np.array_equal(quiet[:-STRIP], loud[:-STRIP]) and quiet[:-STRIP].std() > 1
    assert not bars(quiet[-STRIP:]).any()
    heights, middle = bars(loud[-STRIP:]).sum(0), loud.shape[1] // 2
    assert np.all(heights[: middle - 12] == 0) and np.all(heights[middle + 12 :] == STRIP)


def test_envelope_ends_where_the_sound_does(model):
    statistics = model.model.latent_format.audio
    silent = statistics.normalise(torch.zeros(1, 6, 40))
    loud = statistics.normalise(torch.full((1, 6, 10), 4.0))
    latent = torch.cat([silent[..., :20], loud, silent[..., :10]], dim=-1)
    heights = preview.envelope(latent, statistics, 80, 32).sum(0)  # 2 pixels per latent
    assert torch.all(heights[42:58] == 32) and torch.all(heights[:38] == 0) and torch.all(heights[62:] == 0)
    faint = statistics.normalise(torch.full((1, 6, 10), 0.01))
    assert not preview.envelope(faint, statistics, 80, 32).any()


def test_a_batch_shows_its_first_clip(model, prompts, shown):
    both = random_latent(model, batch=2)["samples"].unbind()
    for part in (slice(0, 2), slice(0, 1), slice(1, 2)):
        latent = {"samples": NestedTensor([x[part].clone() for x in both])}
        ksampler(model, *prompts, kept(latent), steps=1)
    batch, first, second = (pixels(told) for told in shown)
    assert np.array_equal(batch, first)
    assert all(not np.array_equal(batch[rows], second[rows]) for rows in (slice(-STRIP), slice(-STRIP, None)))


def test_a_sound_alone_shows_its_envelope(model, prompts, shown):
    ksampler(model, *prompts, EmptyLatentAudio.execute(1.0, 1).result[0], steps=2)
    assert [told[:2] for told in shown] == [(1, 2), (2, 2)]
    for told in shown:
        picture = pixels(told)
        assert picture.shape == (64, 512, 3) and bars(picture).any(0).mean() > 0.5


def test_a_refiner_shows_frames_without_a_sound(loaded, prompts, shown):
    source = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(5))
    given = {"skycanvas_condition": source, "skycanvas_mask": torch.zeros_like(source[:, :1])}
    conditioned = [node_helpers.conditioning_set_values(prompt, given) for prompt in prompts]
    ksampler(loaded[4], *conditioned, {"samples": torch.zeros_like(source)}, steps=2)
    assert [pixels(told).shape for told in shown] == [(64, 256, 3)] * 2


def test_context_windows_show_the_whole_clip(model, prompts, shown):
    windows = ContextWindowsManualNode.execute(
        model, 3, 1, "standard_static", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    ksampler(windows, *prompts, empty_latent(25), steps=2)
    assert [pixels(told).shape for told in shown] == [(64 + STRIP, 256, 3)] * 2


def test_wide_clips_keep_their_shape_and_large_ones_their_cells(model, prompts, shown):
    ksampler(model, *prompts, SkyCanvasEmptyLatent.execute(128, 32, 5, 16.0, 1, model).result[0], steps=1)
    assert pixels(shown[0]).shape == (32 + STRIP, 256, 3)
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    sizes = {(60, 100): (400, 60), (90, 160): (512, 72), (300, 100): (400, 300), (900, 10): (20, 448)}
    for cells, size in sizes.items():  # rows and columns; width and height
        assert previewer.decode_latent_to_preview(torch.zeros(1, 4, 9, *cells)).size == size


def test_both_outputs_are_what_they_are_without_previews(model, prompts, shown, monkeypatch):
    noise, guider = custom.RandomNoise.execute(3).result[0], custom.CFGGuider.execute(model, *prompts, 2.0).result[0]
    euler, sigmas = custom.KSamplerSelect.execute("euler").result[0], schedule(model, 4)[:3]

    def sample():
        outputs = custom.SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, empty_latent()).result
        return [latent["samples"] for latent in outputs]

    output, denoised = sample()
    assert len(shown) == 2 and not same(output, denoised)
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.NoPreviews)
    assert all(same(a, b) for a, b in zip((output, denoised), sample(), strict=True))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_previews_where_they_are_switched_off(model, prompts, progress, monkeypatch, sampler):
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.NoPreviews)
    SAMPLERS[sampler](model, *prompts, empty_latent(), steps=3)
    assert progress[-1] == (3, 3, None) and all(told[2] is None for told in progress)


def test_a_picture_that_fails_is_blank_and_does_not_stop_sampling(model, prompts, shown, monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("no such colours")

    with monkeypatch.context() as patch:
        patch.setattr(preview, "_picture", broken)
        result = ksampler(model, *prompts, empty_latent(), steps=3)
    assert [told[:2] for told in shown] == [(1, 3), (2, 3), (3, 3)]
    assert all(pixels(told).shape == (1, 1, 3) for told in shown)
    assert [r.getMessage() for r in caplog.records].count("the previews are blank: no such colours") == 1
    assert same(result, ksampler(model, *prompts, empty_latent(), steps=3)) and pixels(shown[-1]).std() > 1


def test_interrupting_goes_through(model, prompts, shown, monkeypatch):
    """ComfyUI's hook raises it, inside the callback; no sound is left behind for the next preview."""

    def interrupt(*args, **kwargs):
        assert preview._sound.get() is not None
        raise comfy.model_management.InterruptProcessingException

    comfy.utils.set_progress_bar_global_hook(interrupt)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        ksampler(model, *prompts, empty_latent())
    assert preview._sound.get() is None
