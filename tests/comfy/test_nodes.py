"""What the nodes promise, and what they say when they cannot keep it."""

import math

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_lt import LTXVConcatAVLatent
from comfy_tools import empty_latent, random_latent, same, streams
from skycanvas.nodes.latent import SkyCanvasEmptyLatent, SkyCanvasSplitLatent
from skycanvas.nodes.output import SkyCanvasDecode

import nodes


@pytest.mark.parametrize("frames, frame_rate", [(1, 16.0), (17, 16.0), (33, 16.0), (17, 24.0)])
def test_empty_latent(model, frames, frame_rate):
    latent = SkyCanvasEmptyLatent.execute(64, 32, frames, frame_rate, 2, model).result[0]
    video, audio = streams(latent["samples"])
    assert video.shape == (2, 4, 1 + (frames - 1) // 4, 4, 8)
    assert audio.shape == (2, model.model.config.audio_channels, math.ceil(frames / frame_rate * 44100 / 1024))
    assert video.count_nonzero() == audio.count_nonzero() == 0 and latent["frame_rate"] == frame_rate


def test_empty_latent_fits_mini_when_no_model_is_connected(model):
    assert [x.shape for x in streams(empty_latent()["samples"])] == [
        x.shape for x in streams(empty_latent(model=model)["samples"])
    ]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"length": 30}, r"length 30 is not 4n\+1: use 29 or 33"),
        ({"length": 0}, r"length 0 is not 4n\+1: use 1"),
        ({"width": 100}, "width 100 is not a multiple of 16: use 96 or 112"),
        ({"height": 8}, "height 8 is not a multiple of 16: use 16"),
    ],
)
def test_empty_latent_names_the_nearest_right_values(change, message):
    with pytest.raises(ValueError, match=message):
        SkyCanvasEmptyLatent.execute(
            **{"width": 64, "height": 64, "length": 17, "frame_rate": 16.0, "batch_size": 1} | change
        )


def test_empty_latent_for_a_model_of_another_family():
    class Other:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="the model is a Linear.*'Load SkyCanvas Mini'"):
        empty_latent(model=Other())


def test_split_and_join(model):
    latent = random_latent(model)
    video, audio, _ = SkyCanvasSplitLatent.execute(latent | {"frame_rate": 16.0}).result
    assert video["frame_rate"] == 16.0 and "noise_mask" not in video
    assert same(LTXVConcatAVLatent.execute(video, audio).result[0]["samples"], latent["samples"])


def test_split_parts_masks_as_the_sampler_reads_them(model):
    latent = random_latent(model)
    plain = nodes.SetLatentNoiseMask().set_mask(latent, torch.rand(1, 32, 32))[0]
    video, audio, _ = SkyCanvasSplitLatent.execute(plain).result
    assert torch.equal(video["noise_mask"], plain["noise_mask"]) and "noise_mask" not in audio
    masks = torch.rand(1, 1, 3, 4, 4), torch.rand(1, 1, 25)
    video, audio, _ = SkyCanvasSplitLatent.execute(latent | {"noise_mask": NestedTensor(masks)}).result
    assert torch.equal(video["noise_mask"], masks[0]) and torch.equal(audio["noise_mask"], masks[1])


def test_split_and_decode_of_a_latent_that_is_not_joint(vae, audio_vae):
    plain = {"samples": torch.zeros(1, 4, 1, 4, 4)}
    for run in (lambda: SkyCanvasSplitLatent.execute(plain), lambda: SkyCanvasDecode.execute(plain, vae, audio_vae)):
        with pytest.raises(ValueError, match=r"\[1, 4, 1, 4, 4\] is not joint.*'VAE Decode'"):
            run()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", [1, 9, 17])
def test_decode_gives_picture_and_sound_of_one_length(model, vae, audio_vae, frames, batch):
    latent = random_latent(model, frames, batch) | {"frame_rate": 16.0}
    images, audio, frame_rate = SkyCanvasDecode.execute(latent, vae, audio_vae).result
    assert images.shape == (batch * frames, 32, 32, 3) and frame_rate == 16.0
    assert audio["waveform"].shape == (1, 1, round(batch * frames / 16 * 44100)) and audio["sample_rate"] == 44100
    video_latent, audio_latent = streams(latent["samples"])
    assert torch.equal(images, vae.decode(video_latent).flatten(0, 1))
    start = round((batch - 1) * frames / 16 * 44100)  # of the last clip
    last = audio_vae.decode(audio_latent).movedim(-1, 1)[-1]
    assert torch.equal(audio["waveform"][0, :, start:], last[:, : audio["waveform"].shape[-1] - start])


def test_decode_does_not_touch_the_loudness(model, vae, audio_vae, monkeypatch):
    loud = torch.full((1, 26 * 1024, 1), 0.9)
    loud[:, ::2] *= -1
    monkeypatch.setattr(audio_vae, "decode", lambda samples: loud)
    _, audio, _ = SkyCanvasDecode.execute(random_latent(model), vae, audio_vae).result
    assert audio["waveform"].abs().min() == pytest.approx(0.9)


def test_decode_of_a_latent_that_names_no_frame_rate(model, vae, audio_vae):
    latent = SkyCanvasEmptyLatent.execute(32, 32, 17, 24.0, 1, model).result[0]
    del latent["frame_rate"]
    images, audio, frame_rate = SkyCanvasDecode.execute(latent, vae, audio_vae).result
    assert frame_rate == pytest.approx(24.0, rel=0.03)
    assert abs(len(images) / frame_rate - audio["waveform"].shape[-1] / 44100) < 1e-4
