"""What a preview says of a network that knows the answers, of one that does nothing, and of its own pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.mmdit import TIMESTEP_SCALE
from training import preview
from training.preview import CLIPS, SHOWN, Preview
from training.toybox import FRAME_SIZE
from training.worlds import WORLDS

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
NAMES = ("colour", "effect", "speech")


class Oracle:
    """A network whose flow ends at latents that it is told, whatever it is asked for."""

    class config:
        audio_channels = 16

    video_latent_mean = audio_latent_mean = torch.zeros(1)
    video_latent_std = audio_latent_std = torch.ones(1)

    def __init__(self, answers):
        self.answers, self.calls = iter(answers), 0

    def __call__(self, video, audio, timestep, text, *, pooled, video_context, audio_context, **given):
        if self.calls % 2 == 0:  # each clip is asked for twice in a step: with its prompt, and without
            self.asked = text, given, video_context, audio_context
        self.answer = next(self.answers) if self.calls % (2 * Oracle.steps) == 0 else self.answer
        self.calls += 1
        return (video - self.answer) / (timestep.view(-1, 1, 1, 1, 1) / TIMESTEP_SCALE), audio


Oracle.steps = 2


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "WORLDS", {name: WORLDS[name] for name in NAMES})
        yield Preview(WEIGHTS, steps=Oracle.steps)


def test_a_perfect_edit_leaves_nothing_and_an_idle_one_leaves_all(small):
    truth = [small.video_vae.encode(x.video) for x in small.examples.values()]
    _, left = small(Oracle(truth))
    assert set(left) == {"colour"}, "effects and speech edit no clip"
    assert left["colour"] < 0.1, "what the codec loses"
    sources = [small.video_vae.encode(x.video if x.source is None else x.source) for x in small.examples.values()]
    _, left = small(Oracle(sources))
    assert left["colour"] == pytest.approx(1, abs=0.1)


def test_a_row_shows_the_clip_the_truth_and_what_was_made(small):
    truth = [small.video_vae.encode(x.video) for x in small.examples.values()]
    sheet, _ = small(Oracle(truth))
    width = len(SHOWN) * FRAME_SIZE
    assert sheet.size == (3 * width, len(NAMES) * FRAME_SIZE)
    pixels = torch.from_numpy(np.asarray(sheet).copy()).float() / 127.5 - 1
    for row, example in enumerate(small.examples.values()):
        line = pixels[row * FRAME_SIZE : (row + 1) * FRAME_SIZE].permute(2, 0, 1)
        parts = torch.stack(line.split(FRAME_SIZE, dim=2)).unflatten(0, (3, len(SHOWN)))
        source = torch.zeros_like(example.video) if example.source is None else example.source
        for part, clip in zip(parts, (source, example.video), strict=False):
            assert (part - clip[0, :, SHOWN].transpose(0, 1)).abs().max() < 0.01
        assert (parts[2] - parts[1]).square().mean() < 0.01


def test_the_first_frame_of_an_effect_is_given(small):
    network = Oracle([small.video_vae.encode(small.examples["effect"].video)])
    made = small._generate(network, small.examples["effect"])
    _, given, context, _ = network.asked
    assert len(made) == CLIPS and given["mask"][:, :, 0].all() and not given["mask"][:, :, 1:].any()
    assert torch.equal(given["condition"], small.video_vae.encode(small.examples["effect"].video))
    assert [times for _, times in context] == [[-5.0, -4.0, -3.0, -2.0, -1.0]]
    network = Oracle([small.video_vae.encode(small.examples["speech"].video)])
    small._generate(network, small.examples["speech"])
    assert network.asked[1] == {} and network.asked[2] == []


def test_the_same_scenes_are_shown_again_and_again(small):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "WORLDS", {name: WORLDS[name] for name in NAMES})
        again = Preview(WEIGHTS, steps=1)
    for name, example in small.examples.items():
        assert (
            torch.equal(example.video, again.examples[name].video) and example.captions == again.examples[name].captions
        )
