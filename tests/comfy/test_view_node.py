"""What 'View Clip' hands to its player: videos that play, and numbers that are true of the clips."""

import json
import math
from pathlib import Path

import av
import folder_paths
import numpy as np
import pytest
import torch
from node_tools import noise, sound
from PIL import Image
from skycanvas.nodes.output import fit_to_pictures
from skycanvas.nodes.view import PEAKS, POSTER, SkyCanvasView, difference, peaks_of


def view_of(images, **inputs) -> dict:
    """What the player gets, as it comes out of the JSON."""
    output = SkyCanvasView.execute(images, **({"fps": 16.0} | inputs))
    assert not output.result  # nothing passes through
    shown = json.loads(json.dumps(output.ui, allow_nan=False))
    (view,) = shown["skycanvas_view"]
    assert shown["images"] == [track["video"] for track in view["clips"]] and shown["animated"] == [True]
    return view


def path_of(file: dict) -> Path:
    assert file["type"] == "temp"
    return Path(folder_paths.get_temp_directory(), file["subfolder"], file["filename"])


def pictures_of(file: dict) -> torch.Tensor:
    with av.open(str(path_of(file))) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return torch.from_numpy(np.stack(frames)) / 255


def sound_of(file: dict) -> torch.Tensor:
    with av.open(str(path_of(file))) as video:
        assert video.streams.audio[0].codec_context.name == "aac"
        return torch.from_numpy(np.concatenate([frame.to_ndarray() for frame in video.decode(audio=0)], axis=1))


def ramp(frames: int, height: int = 32, width: int = 48) -> torch.Tensor:
    """Pictures that a codec keeps: each of one gray, every frame a brighter one."""
    return torch.linspace(0.1, 0.9, frames)[:, None, None, None].expand(frames, height, width, 3).contiguous()


def tone(seconds: float, gains: tuple[float, ...] = (0.5,), sample_rate: int = 44100) -> dict:
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    wave = torch.sin(2 * math.pi * 440 * time)
    return {"waveform": torch.stack([gain * wave for gain in gains])[None], "sample_rate": sample_rate}


def test_a_clip_with_sound():
    images = ramp(17)
    view = view_of(images, audio=tone(17 / 16, (0.5, 0.25)))
    (track,) = view["clips"]
    assert (view["fps"], view["sources"]) == (16.0, []) and "differences" not in view
    assert (track["width"], track["height"], track["frames"], track["poster"]) == (48, 32, 17, None)
    heard = track["sound"]
    assert (heard["channels"], heard["sample_rate"]) == (2, 44100) and heard["seconds"] == pytest.approx(17 / 16, 1e-3)
    assert [len(channel) for channel in heard["peaks"]] == [PEAKS, PEAKS]
    left, right = (torch.tensor(channel) for channel in heard["peaks"])
    assert left.max() == pytest.approx(0.5, abs=1e-3) and right.max() == pytest.approx(0.25, abs=1e-3)
    assert torch.allclose(pictures_of(track["video"]), images, atol=0.02)
    loudness = sound_of(track["video"])[:, 10000:30000].square().mean(1).sqrt() * 2**0.5  # AAC rings at a hard start
    assert loudness.tolist() == pytest.approx([0.5, 0.25], abs=0.02)


def test_frame_rate_of_the_file():
    (track,) = view_of(ramp(5), fps=23.976)["clips"]
    with av.open(str(path_of(track["video"]))) as video:
        assert float(video.streams.video[0].average_rate) == pytest.approx(23.976, abs=1e-3)


def test_workflow_is_in_the_result(monkeypatch):
    class Hidden:
        prompt, extra_pnginfo = {"1": {}}, {"workflow": {"nodes": []}}

    monkeypatch.setattr(SkyCanvasView, "hidden", Hidden, raising=False)
    view = view_of(ramp(1), source=ramp(1))
    tags = []
    for track in view["clips"] + view["sources"]:
        with av.open(str(path_of(track["video"]))) as video:
            tags.append({key: video.metadata[key] for key in ("workflow", "prompt") if key in video.metadata})
    assert tags == [{"workflow": '{"nodes": []}', "prompt": '{"1": {}}'}, {}]


@pytest.mark.parametrize("height, width", [(33, 47), (1, 1), (32, 47)])
def test_odd_sizes(height, width):
    images = ramp(3, height, width)
    (track,) = view_of(images)["clips"]
    assert (track["width"], track["height"]) == (width, height)
    seen = pictures_of(track["video"])
    assert seen.shape[1:3] == (height + height % 2, width + width % 2)
    assert torch.allclose(seen[:, :height, :width], images, atol=0.02)


def test_alpha_is_left_out():
    images = torch.cat([ramp(2), torch.zeros(2, 32, 48, 1)], dim=-1)
    (track,) = view_of(images)["clips"]
    assert torch.allclose(pictures_of(track["video"]), images[..., :3], atol=0.02)


# --- batches


def test_batch_with_one_sound_along_it():
    images = torch.cat([ramp(9), ramp(9).flip(0)])
    audio = tone(18 / 16)
    audio["waveform"][..., round(9 / 16 * 44100) :] = 0
    first, second = view_of(images, audio=audio, clips=2)["clips"]
    assert torch.allclose(pictures_of(first["video"]), images[:9], atol=0.02)
    assert torch.allclose(pictures_of(second["video"]), images[9:], atol=0.02)
    assert max(first["sound"]["peaks"][0]) == pytest.approx(0.5, abs=1e-3) and not any(second["sound"]["peaks"][0])
    assert first["sound"]["seconds"] == pytest.approx(9 / 16, abs=1e-4)
    for track, middle in ((first, images[4]), (second, images[13])):
        picture = Image.open(path_of(track["poster"]))
        assert picture.size == (48, 32)
        assert np.allclose(np.asarray(picture) / 255, middle.numpy(), atol=0.02)


def test_batch_with_a_sound_for_each():
    audio = {"waveform": torch.cat([tone(2.0, (gain,))["waveform"] for gain in (0.2, 0.4)]), "sample_rate": 44100}
    tracks = view_of(ramp(18), audio=audio, clips=2)["clips"]
    assert [max(track["sound"]["peaks"][0]) for track in tracks] == pytest.approx([0.2, 0.4], abs=1e-3)
    assert [track["sound"]["seconds"] for track in tracks] == [2.0, 2.0]


def test_poster_is_small():
    track = view_of(noise(2, 400, 1000, 3), clips=2)["clips"][0]
    assert max(Image.open(path_of(track["poster"])).size) == POSTER


# --- what it is compared with


def test_difference_of_equal_sizes():
    result, source = noise(4, 16, 24, 3), noise(4, 16, 24, 3, seed=2)
    source[1] = result[1]
    found = difference(result, source)
    apart = (result - source).abs()
    assert found["mean"] == pytest.approx(apart.mean((1, 2, 3)).tolist(), abs=1e-5)
    assert found["largest"] == pytest.approx(apart.amax((1, 2, 3)).tolist(), abs=1e-5)
    assert found["mean"][1] == found["largest"][1] == 0


def test_source_of_another_size_and_length_is_compared_where_both_are():
    view = view_of(ramp(9), source=ramp(9, 64, 96)[:5])
    (track,) = view["sources"]
    assert (track["width"], track["height"], track["frames"]) == (96, 64, 5)
    (found,) = view["differences"]
    assert len(found["mean"]) == 5 and max(found["largest"]) < 1e-5


@pytest.mark.parametrize("own", [True, False])
def test_source_of_a_batch(own):
    """One source for each clip, or one for all."""
    images = ramp(8)
    view = view_of(images, source=images if own else images[:4], source_audio=tone(0.5 if own else 0.25), clips=2)
    assert len(view["clips"]) == 2 and len(view["sources"]) == (2 if own else 1)
    assert all(track["sound"]["seconds"] == pytest.approx(0.25, abs=1e-4) for track in view["sources"])
    first, second = view["differences"]
    assert not any(first["largest"]) and any(second["largest"]) != own


def test_pictures_that_are_no_numbers_are_wholly_different():
    images = ramp(2)
    images[1] = math.nan
    assert difference(images, ramp(2))["largest"] == [0, 1]


# --- sound


def test_sound_is_made_to_fit():
    images, audio = ramp(17), tone(3.0)
    for seconds in (3.0, 0.5):
        part = audio | {"waveform": audio["waveform"][..., : round(seconds * 44100)]}
        (track,) = view_of(images, audio=part)["clips"]
        peaks = track["sound"]["peaks"][0]
        assert track["sound"]["seconds"] == seconds
        fitted = fit_to_pictures(part["waveform"], 17, 16.0, 44100)[0]
        assert peaks == pytest.approx(peaks_of(fitted)[0]) and (peaks[-1] > 0) == (seconds == 3.0)


def test_peaks_of_few_samples():
    assert peaks_of(torch.tensor([[0.5, -1.5, 0.25]])) == [[0.5, 1.5, 0.25]]


# --- what is wrong


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"fps": 0.0}, "fps is 0: use 0.1 to 1000"),
        ({"fps": -16.0}, "fps is -16: use 0.1 to 1000"),
        ({"fps": math.nan}, "fps is nan: use 0.1 to 1000"),
        ({"clips": 5}, "clips is 5, images has 12 frames: use 1, 2, 3, 4, 6, 12"),
        ({"audio": sound(1.0, batch=3), "clips": 2}, "audio is a batch of 3 sounds, images is 2 clips: connect one "),
        ({"audio": sound(1.0, batch=2)}, "audio is a batch of 2 sounds, images is 1 clip: connect one sound"),
        ({"source_audio": sound()}, "source_audio is connected, and source is not: connect"),
        ({"audio": sound(sample_rate=23000)}, "audio has 23000 Hz, which AAC cannot hold: resample it to 22050 Hz"),
        ({"source": ramp(12), "source_audio": sound(channels=4)}, "source_audio has 4 channels: use 1, 2, 6"),
        (
            {"source": ramp(4), "source_audio": sound(batch=2), "clips": 2},
            "source_audio is a batch of 2 sounds, source is 1 clip: connect one sound",
        ),
        ({"audio": {"waveform": torch.full((1, 1, 9), math.inf), "sample_rate": 44100}}, "audio has samples that are"),
        ({"images": torch.zeros(0, 8, 8, 3)}, "images is empty, of shape"),
        ({"source": torch.zeros(0, 8, 8, 3)}, "source is empty, of shape"),
    ],
)
def test_what_is_wrong_is_said_before_a_file_is_written(inputs, message):
    folder = Path(folder_paths.get_temp_directory())
    before = set(folder.iterdir()) if folder.exists() else set()
    with pytest.raises(ValueError, match=f"^{message}"):
        SkyCanvasView.execute(**({"images": ramp(12), "fps": 16.0} | inputs))
    assert (set(folder.iterdir()) if folder.exists() else set()) == before
