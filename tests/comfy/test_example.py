"""The media that come with the pack: what they hold, that they are what the toybox draws, and what they do not hold."""

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from skycanvas.nodes import example
from skycanvas.nodes.example import EXAMPLES, FILES, SkyCanvasExample, decode

from benchmarks import examples as made


def test_the_node_offers_every_file_and_no_other():
    assert sorted(FILES) == sorted(path.name for path in EXAMPLES.iterdir())
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 300_000


@pytest.mark.parametrize("name", made.CLIPS)
def test_clip_is_the_scene_without_loss(name):
    scene = made.scene(**made.CLIPS[name])
    images, audio, mask, frame_rate = SkyCanvasExample.execute(f"{name}.mkv").result
    assert torch.equal((images * 255).round().byte(), torch.from_numpy(made.pixels(scene.render())))
    assert torch.equal((mask * 255).round().byte(), torch.from_numpy(made.mask(scene)))
    assert torch.equal((audio["waveform"] * 32768).short()[0], torch.from_numpy(made.pcm(scene)))
    assert (audio["sample_rate"], frame_rate) == (44100, 16.0)
    assert audio["waveform"].shape == (1, 1, round(len(images) / 16 * 44100)) and audio["waveform"].abs().max() > 0.1


@pytest.mark.parametrize("name", made.CLIPS)
def test_mask_is_how_much_of_a_pixel_the_object_covers(name):
    images, _, mask, _ = SkyCanvasExample.execute(f"{name}.mkv").result
    background, paint = images[mask == 0], images[mask == 1]
    assert len(background) and len(paint)
    assert torch.equal(background, background[:1].expand_as(background))
    assert torch.equal(paint, paint[:1].expand_as(paint))
    assert ((background[0] + mask[..., None] * (paint[0] - background[0])) - images).abs().max() < 1.5 / 255


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".png")])
def test_picture(name):
    images, audio, mask, frame_rate = SkyCanvasExample.execute(name).result
    assert images.shape == (1, 64, 64, 3) and 0 <= images.min() <= images.max() <= 1
    for missing in (audio, mask, frame_rate):
        assert isinstance(missing, ExecutionBlocker) and name in missing.message


def test_voice():
    images, audio, mask, frame_rate = SkyCanvasExample.execute("high_buzz.flac").result
    assert audio["sample_rate"] == 44100 and audio["waveform"].shape == (1, 1, 22050)
    assert audio["waveform"].abs().max() > 0.1
    assert images.message == "high_buzz.flac has no images: choose another example"
    assert mask.message and frame_rate.message


def test_only_the_files_of_the_pack_are_read(tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes((EXAMPLES / "white_circle.png").read_bytes())
    monkeypatch.setattr(example, "EXAMPLES", tmp_path / "example_media")
    with pytest.raises(ValueError, match="example '../secret.png' is not one of red_circle.mkv"):
        SkyCanvasExample.execute("../secret.png")
    assert decode(tmp_path / "secret.png")["images"].shape == (1, 64, 64, 3)  # it could have been read
