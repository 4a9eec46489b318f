"""The media that come with the pack: what they hold, that they are what the toybox draws, and what they do not hold."""

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from skycanvas.nodes import example
from skycanvas.nodes.example import EXAMPLES, FILES, SkyCanvasExample, decode

from benchmarks import examples as made

CLIPS, PICTURES, VOICES = made.clips(), made.pictures(), made.voices()


def test_the_node_offers_every_file_and_no_other():
    assert sorted(FILES) == sorted(path.name for path in EXAMPLES.iterdir())
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 400_000
    drawn = [f"{n}.mkv" for n in CLIPS] + [f"{n}.png" for n in PICTURES] + [f"{n}.flac" for n in VOICES]
    assert sorted(FILES) == sorted(drawn)


def test_choices_of_saved_workflows_keep_their_place():
    """An example that an older workflow names may be followed by others, and by nothing else."""
    first = ["red_circle.mkv", "green_square.mkv", "blue_triangle.mkv", "yellow_square.png", "magenta_triangle.png"]
    first += ["white_circle.png", "navy_background.png", "maroon_background.png", "high_buzz.flac"]
    assert list(FILES[: len(first)]) == first


@pytest.mark.parametrize("name", CLIPS)
def test_clip_is_what_is_drawn_without_loss(name):
    clip, seconds = CLIPS[name], CLIPS[name].seconds
    images, audio, mask, frame_rate = SkyCanvasExample.execute(f"{name}.mkv").result
    assert torch.equal((images * 255).round().byte(), torch.from_numpy(made.pixels(clip.video)))
    assert torch.equal((mask * 255).round().byte(), torch.from_numpy(made.pixels(clip.mask)[..., 0]))
    assert torch.equal((audio["waveform"] * 32768).short()[0], torch.from_numpy(made.pcm(clip.sound, seconds)))
    assert (audio["sample_rate"], frame_rate) == (44100, clip.fps)
    assert audio["waveform"].shape == (1, 1, round(seconds * 44100))
    assert (audio["waveform"].abs().max() > 0.1) == (name != "shrinking_square")


def test_the_large_clip_is_the_small_one_with_more_pixels_and_frames():
    small, large = (SkyCanvasExample.execute(f"green_square{name}.mkv").result[0] for name in ("", "_large"))
    assert large.shape == (33, 128, 128, 3) and len(small) == 17
    assert (torch.nn.functional.avg_pool2d(large[::2].movedim(-1, 1), 2).movedim(1, -1) - small).abs().mean() < 0.003


@pytest.mark.parametrize("name", made.CLIPS)
def test_mask_is_how_much_of_a_pixel_the_object_covers(name):
    images, _, mask, _ = SkyCanvasExample.execute(f"{name}.mkv").result
    background, paint = images[mask == 0], images[mask == 1]
    assert len(background) and len(paint)
    assert torch.equal(background, background[:1].expand_as(background))
    assert torch.equal(paint, paint[:1].expand_as(paint))
    assert ((background[0] + mask[..., None] * (paint[0] - background[0])) - images).abs().max() < 1.5 / 255


@pytest.mark.parametrize("name", ["logo", "subtitle", "watermark", "yellow_square"])
def test_what_lies_over_the_red_circle_leaves_most_of_its_clip_alone(name):
    """So that the clip without it is known."""
    plain, _, mask, _ = SkyCanvasExample.execute("red_circle.mkv").result
    images, _, also, _ = SkyCanvasExample.execute(f"red_circle_{name}.mkv").result
    changed = (images != plain).any(-1).float().mean((1, 2))
    assert torch.equal(mask, also) and 0.005 < changed.min() and changed.max() < 0.4


def test_mouth_is_open_while_the_voice_is_heard():
    images, audio, mask, _ = SkyCanvasExample.execute("talking_face.mkv").result
    dark = ((images.amax(-1) < 0.15) & (mask == 1)).sum((1, 2)).float()
    frames = audio["waveform"][0, 0, : 16 * 2756].view(16, 2756).abs().amax(1)
    assert torch.corrcoef(torch.stack([dark[:16], frames]))[0, 1] > 0.7
    ((still,), *_) = SkyCanvasExample.execute("face.png").result
    assert (still.amax(-1) < 0.15).sum() < dark.max() - 50  # its mouth is closed


def test_square_shrinks():
    _, _, mask, _ = SkyCanvasExample.execute("shrinking_square.mkv").result
    areas = mask.sum((1, 2))
    assert (areas.diff() < 0).all() and areas[-1] < 0.1 * areas[0]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".png")])
def test_picture(name):
    images, audio, mask, frame_rate = SkyCanvasExample.execute(name).result
    side = 28 if "patch" in name else 64
    assert images.shape == (1, side, side, 3) and 0 <= images.min() <= images.max() <= 1
    for missing in (audio, mask, frame_rate):
        assert isinstance(missing, ExecutionBlocker) and name in missing.message


@pytest.mark.parametrize("name", VOICES)
def test_voice(name):
    images, audio, mask, frame_rate = SkyCanvasExample.execute(f"{name}.flac").result
    assert audio["sample_rate"] == 44100 and audio["waveform"].shape == (1, 1, 22050)
    assert torch.equal((audio["waveform"] * 32768).short()[0], torch.from_numpy(made.pcm(VOICES[name], 0.5)))
    assert audio["waveform"].abs().max() > 0.1
    assert images.message == f"{name}.flac has no images: choose another example"
    assert mask.message and frame_rate.message


def test_only_the_files_of_the_pack_are_read(tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes((EXAMPLES / "white_circle.png").read_bytes())
    monkeypatch.setattr(example, "EXAMPLES", tmp_path / "example_media")
    with pytest.raises(ValueError, match="example '../secret.png' is not one of red_circle.mkv"):
        SkyCanvasExample.execute("../secret.png")
    assert decode(tmp_path / "secret.png")["images"].shape == (1, 64, 64, 3)  # it could have been read
