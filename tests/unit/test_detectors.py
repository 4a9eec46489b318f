"""The benchmark's detectors on clips whose truth is known, and on clips that are wrong in one respect each."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.quality.detectors import (
    NONE,
    TELEPORT,
    WALL_NEAR,
    Bounce,
    bounce_window,
    count_parts,
    find_bounces,
    jitter_of,
    listen,
    look,
    speed_of,
    steps_of,
)
from training.toybox import LEVELS, SAMPLE_RATE, SHAPES, Scenes, sample_scenes

EASY = LEVELS["easy"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scenes_of(count: int = 24, **settings) -> Scenes:
    return sample_scenes(count, generator=torch.Generator().manual_seed(5), **settings)


def true_bounces(scenes: Scenes) -> list[np.ndarray]:
    clip, when, _ = (x.numpy() for x in scenes.bounces())
    return [when[clip == index] for index in range(len(scenes))]


def found_bounces(scenes: Scenes, video: Tensor) -> list[list[Bounce]]:
    return find_bounces(look(video, scenes.level).track, scenes.radius().double().numpy(), scenes.fps)


def every(read: Tensor, truth: Tensor) -> bool:
    return bool((read == truth[:, None]).all())


# -- real clips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "frames"), [("easy", 17), ("easy", 33), ("medium", 9)])
def test_real_clips_are_read_without_error(level, frames):
    scenes = scenes_of(48, level=level, frames=frames)
    sight = look(scenes.render(), scenes.level)
    for attribute in ("colour", "background", "shape", "size"):
        assert every(getattr(sight, attribute), getattr(scenes, attribute)), attribute
    assert sight.present.all() and (sight.parts == 1).all()
    assert sight.fit.min() > 0.85  # a small star; 0.9 for the large shapes
    assert np.abs(sight.track - scenes.positions().numpy()).max() < 0.1


def test_textured_backgrounds_do_not_hide_the_object():
    scenes = scenes_of(48, level="hard", frames=5)
    sight = look(scenes.render(), scenes.level)
    assert every(sight.colour, scenes.colour) and every(sight.shape, scenes.shape)
    assert (sight.parts == 1).all()
    assert np.linalg.norm(sight.track - scenes.positions().numpy(), axis=2).max() < 1.0


def test_the_batch_size_changes_nothing():
    scenes = scenes_of(5, frames=5)
    whole, parts = look(scenes.render(), EASY), look(scenes.render(), EASY, batch=2)
    np.testing.assert_array_equal(whole.track, parts.track)
    assert torch.equal(whole.shape, parts.shape)


def test_speeds_of_real_clips():
    scenes = scenes_of(48)
    sight = look(scenes.render(), EASY)
    true = scenes.velocity.norm(dim=1).numpy()
    np.testing.assert_allclose(speed_of(sight.track), true, rtol=0.05)
    assert steps_of(sight.track).max() < TELEPORT
    assert jitter_of(sight.track).max() < 0.3


@pytest.mark.parametrize("frames", [17, 33])
def test_bounces_of_real_clips(frames):
    scenes = scenes_of(48, frames=frames)
    low, high = bounce_window(frames)
    seen, errors = 0, []
    for found, true in zip(found_bounces(scenes, scenes.render()), true_bounces(scenes), strict=True):
        for bounce in found:
            errors.append(np.abs(true - bounce.seconds).min())
            assert bounce.wall < 2
        visible = true[(true > low) & (true < high)]
        seen += len(visible)
        assert len(found) >= len(visible) - 1  # a wall that is only grazed shows no turn
    assert seen > 40
    assert max(errors) < 0.03 and np.median(errors) < 0.001  # half a frame at the very ends, exact between them


@pytest.mark.parametrize("frames", [17, 33])
def test_onsets_of_real_clips(frames):
    scenes = scenes_of(48, frames=frames)
    missed = true_all = 0
    for found, true in zip(listen(scenes.sound(), EASY).onsets, true_bounces(scenes), strict=True):
        assert all(np.abs(true - onset).min() < 0.005 for onset in found)
        missed += sum(np.abs(found - bounce).min() > 0.025 for bounce in true)
        true_all += len(true)
    assert missed <= 0.01 * true_all and true_all > 40


@pytest.mark.parametrize("velocity", [(40.0, 40.0), (40.0, 25.0), (25.0, 40.0)])
@pytest.mark.parametrize(("milliseconds", "notes"), [(10, 1), (30, 2), (60, 2)])
def test_two_bounces_of_a_corner_are_one_note_only_if_they_rise_as_one(milliseconds, notes, velocity):
    scenes = scenes_of(frames=9)
    when = torch.tensor([0.2, 0.2 + milliseconds / 1000])
    scenes.velocity[:] = torch.tensor(velocity)
    scenes.start[:] = 64 - scenes.radius()[:, None] - scenes.velocity * when
    for onsets in listen(scenes.sound(), EASY).onsets:
        assert onsets.tolist() == pytest.approx(when.tolist()[:notes], abs=0.01)


def test_notes_of_real_clips():
    scenes = scenes_of(48, level="medium", frames=33)
    hearing = listen(scenes.sound(), scenes.level)
    assert hearing.sounds.all()
    assert torch.equal(hearing.pitch, scenes.colour) and torch.equal(hearing.timbre, scenes.shape)


# -- wrong pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [name for name in SHAPES if name in EASY.shapes])
def test_another_shape_is_told_apart(shape):
    scenes = scenes_of(frames=5, shape=shape)
    read = look(scenes.render(), EASY).shape
    for other, name in enumerate(EASY.shapes):
        assert (read == other).all() == (name == shape)


def test_what_is_no_shape_fits_nothing():
    bar = torch.full((1, 3, 1, 64, 64), -1.0)
    bar[..., 30:35, 5:60] = 1
    sight = look(bar, EASY)
    assert sight.present.all() and (sight.shape == NONE).all() and sight.fit.max() < 0.5


def test_two_objects_are_two():
    one, two = scenes_of(frames=5), scenes_of(frames=5)
    one.start[:], one.velocity[:] = torch.tensor([14.0, 14.0]), 0
    two.start[:], two.velocity[:] = torch.tensor([48.0, 48.0]), 0
    both = torch.maximum(one.render(), two.render())
    assert (look(both, EASY).parts == 2).all()


def test_parts_are_counted_frame_by_frame_and_dirt_is_not():
    masks = torch.zeros(4, 64, 64, dtype=torch.bool)
    masks[1, 10:20, 10:20] = masks[2, 10:20, 10:20] = masks[2, 30:40, 30:40] = True
    masks[3, 10:20, 10:20] = masks[3, 50:53, 50:53] = True  # nine pixels of dirt
    assert count_parts(masks).tolist() == [0, 1, 2, 1]


def test_an_empty_box_has_no_object():
    scenes = scenes_of(frames=5)
    video = scenes.render()
    empty = video[..., :1, :1].expand_as(video)  # the corner pixel of each frame is background
    sight = look(empty, EASY)
    assert not sight.present.any() and (sight.parts == 0).all()
    assert (sight.colour == NONE).all() and (sight.shape == NONE).all() and (sight.fit == 0).all()
    assert np.isnan(sight.track).all() and every(sight.background, scenes.background)
    assert found_bounces(scenes, empty) == [[]] * len(scenes)
    assert np.isnan(speed_of(sight.track)).all() and np.isnan(jitter_of(sight.track)).all()


def test_a_colour_between_two_is_neither():
    scenes = scenes_of(2, frames=1, colour=["red", "yellow"], background="black")
    scenes.start[:], scenes.shape[:] = 32.0, 0
    between = scenes.render().mean(0, keepdim=True)
    assert (look(between, EASY).colour == NONE).all()


def test_a_background_between_two_is_neither():
    scenes = scenes_of(2, frames=1, background=["gray", "navy"])
    for part in (scenes.shape, scenes.colour, scenes.start):
        part[:] = part[:1].clone()
    assert (look(scenes.render().mean(0, keepdim=True), EASY).background == NONE).all()


def test_a_jump_is_a_teleport():
    scenes = scenes_of(4, frames=9)
    scenes.start[:], scenes.velocity[:] = 20.0, 8.0
    video = scenes.render()
    video[:, :, 5:] = video[:, :, 5:].roll((20, 20), (-2, -1))
    steps = steps_of(look(video, EASY).track)
    assert ((steps > TELEPORT) == (np.arange(8) == 4)).all()


def test_a_shaking_object_jitters():
    scenes = scenes_of(8)
    shaken = scenes.render()
    for frame in range(0, 17, 2):
        shaken[:, :, frame] = shaken[:, :, frame].roll(1, -1)
    assert jitter_of(look(shaken, EASY).track).min() > 1


def test_a_turn_far_from_the_walls_is_seen_as_such():
    there = np.linspace(20, 32, 9)
    x = np.concatenate([there, there[-2::-1]])
    track = np.stack([x, np.full_like(x, 30.0)], -1)[None]
    ((bounce,),) = find_bounces(track, np.array([12.0]))
    assert (bounce.seconds, bounce.axis) == (0.5, 0)
    assert bounce.wall == pytest.approx(20)
    assert bounce.wall > WALL_NEAR


def test_a_turn_between_frames_is_placed_between_them():
    seconds = np.arange(17) / 16
    x = 52 - 40 * np.abs(seconds - 0.47)
    track = np.stack([np.full_like(x, 30.0), x], -1)[None]
    ((bounce,),) = find_bounces(track, np.array([12.0]))
    assert bounce.seconds == pytest.approx(0.47) and bounce.axis == 1 and bounce.wall == pytest.approx(0)


def test_a_lost_frame_is_no_bounce():
    seconds = np.arange(17) / 16
    track = np.stack([15 + 30 * seconds, 50 - 30 * seconds], -1)[None]
    track[:, 8] = np.nan
    assert find_bounces(track, np.array([12.0])) == [[]]


# -- wrong sounds ------------------------------------------------------------------------------------------------------


def test_silence_is_heard_as_silence():
    hearing = listen(torch.zeros(3, 1, 46 * 1024), EASY)
    assert not hearing.sounds.any() and (hearing.pitch == NONE).all() and (hearing.timbre == NONE).all()
    assert [len(onsets) for onsets in hearing.onsets] == [0, 0, 0]


def test_noise_is_no_note():
    noise = 0.1 * torch.randn(3, 1, 46 * 1024, generator=torch.Generator().manual_seed(0))
    hearing = listen(noise, EASY)
    assert hearing.sounds.all() and (hearing.pitch == NONE).all()


@pytest.mark.parametrize("milliseconds", [30, 200])
def test_a_late_sound_is_late(milliseconds):
    scenes = scenes_of(16)
    sound = scenes.sound()
    delay = round(milliseconds / 1000 * SAMPLE_RATE)
    late = torch.nn.functional.pad(sound, (delay, 0))[..., : sound.shape[-1]]
    end = sound.shape[-1] / SAMPLE_RATE - milliseconds / 1000 - 0.05
    for before, after in zip(listen(sound, EASY).onsets, listen(late, EASY).onsets, strict=True):
        for onset in before[before < end]:
            assert np.abs(after - onset - milliseconds / 1000).min() < 0.005


def test_a_held_note_begins_once():
    seconds = torch.arange(46 * 1024) / SAMPLE_RATE
    pitch = EASY.colours["yellow"].harmonic * SAMPLE_RATE / 1024
    tone = 0.2 * torch.sin(2 * torch.pi * pitch * seconds) * (seconds > 0.3)
    hearing = listen(tone[None, None], EASY)
    assert hearing.onsets[0].tolist() == pytest.approx([0.3], abs=0.005)
    assert list(EASY.colours)[int(hearing.pitch[0])] == "yellow"


@pytest.mark.parametrize("harmonic", [3, 12, 30])
def test_a_note_of_another_pitch_is_none_of_the_level(harmonic):
    seconds = torch.arange(46 * 1024) / SAMPLE_RATE
    pitch = harmonic * SAMPLE_RATE / 1024
    hearing = listen(0.2 * torch.sin(2 * torch.pi * pitch * seconds)[None, None], EASY)
    assert hearing.sounds.all() and (hearing.pitch == NONE).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"video has shape \[1, 3, 5, 32, 32\]"):
        look(torch.zeros(1, 3, 5, 32, 32), EASY)
    with pytest.raises(ValueError, match=r"sound has shape \[1, 2, 1024\]"):
        listen(torch.zeros(1, 2, 1024), EASY)
