"""The toybox keeps its own laws: seeds, walls, bounces, colours, and sounds that begin when the shape hits a wall."""

import math

import pytest
import torch

from training.codecs import matched, onset_times
from training.toybox import (
    ATTACK,
    FRAME_RATE,
    HOP,
    LEVELS,
    SAMPLE_RATE,
    Scenes,
    sample_scenes,
    samples_of,
)


def scenes(batch: int = 16, *, seed: int = 0, **options) -> Scenes:
    return sample_scenes(batch, generator=torch.Generator().manual_seed(seed), **options)


def one_scene(start, velocity, *, frames: int = 33, **fixed) -> Scenes:
    scene = scenes(1, frames=frames, **fixed)
    scene.start, scene.velocity = torch.tensor([start]), torch.tensor([velocity])
    return scene


def test_a_seed_gives_the_same_video_and_sound_again():
    first, again, other = scenes(seed=3), scenes(seed=3), scenes(seed=4)
    assert torch.equal(first.render(), again.render())
    assert torch.equal(first.sound(), again.sound())
    assert not torch.equal(first.render(), other.render())


def test_fixing_an_attribute_changes_nothing_else():
    free, fixed = scenes(level="hard"), scenes(level="hard", colour="blue", shape=1, texture=["plain"] * 16)
    assert torch.equal(free.start, fixed.start)
    assert torch.equal(free.velocity, fixed.velocity)
    assert torch.equal(free.background, fixed.background)
    assert {fixed.attributes(i)["colour"] for i in range(16)} == {"blue"}
    assert {fixed.attributes(i)["shape"] for i in range(16)} == {"square"}


def test_attributes_can_be_fixed_per_clip():
    wanted = torch.tensor([0, 1, 2, 1])
    assert torch.equal(scenes(4, shape=wanted).shape, wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cpu_generator_gives_the_same_scenes_on_a_gpu():
    here, there = scenes(level="hard"), scenes(level="hard", device="cuda")
    assert torch.equal(here.shape, there.shape.cpu())
    torch.testing.assert_close(here.positions(), there.positions().cpu(), rtol=0, atol=1e-3)
    torch.testing.assert_close(here.sound(), there.sound().cpu(), rtol=0, atol=1e-3)
    assert (here.render() - there.render().cpu()).abs().mean() < 1e-3


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("frames", [1, 17, 33])
def test_shapes_and_ranges(level, frames):
    batch = scenes(level=level, frames=frames)
    video, sound = batch.render(), batch.sound()
    assert video.shape == (16, 3, frames, 64, 64)
    assert sound.shape == (16, 1, samples_of(frames))
    assert video.abs().max() <= 1
    assert sound.abs().max() <= 1


@pytest.mark.parametrize(("frames", "hops"), [(17, 46), (33, 89)])
def test_sound_lasts_as_long_as_the_video_in_whole_hops(frames, hops):
    assert samples_of(frames) == hops * HOP
    assert 0 <= samples_of(frames) / SAMPLE_RATE - frames / FRAME_RATE < HOP / SAMPLE_RATE


@pytest.mark.parametrize("level", LEVELS)
def test_shapes_stay_inside_the_walls(level):
    batch = scenes(256, level=level, frames=49)
    position, radius = batch.positions(), batch.radius()[:, None, None]
    assert (position >= radius - 1e-3).all()
    assert (position <= 64 - radius + 1e-3).all()


def test_motion_between_bounces_is_straight_and_as_fast_as_said():
    batch = scenes(64)
    step = batch.positions().diff(dim=1).norm(dim=-1) * FRAME_RATE
    assert (step <= batch.velocity.norm(dim=-1)[:, None] + 1e-2).all()
    torch.testing.assert_close(step.max(1).values, batch.velocity.norm(dim=-1), rtol=1e-3, atol=0)
    nominal = torch.tensor(list(batch.level.speeds.values()))[batch.speed]
    assert ((batch.velocity.norm(dim=-1) / nominal - 1).abs() <= 0.1 + 1e-5).all()


def test_bounces_are_where_positions_change_direction():
    batch = scenes(128, frames=33)
    clip, seconds, impact = batch.bounces()
    assert (clip.diff() >= 0).all() and (seconds.diff()[clip.diff() == 0] >= 0).all()  # in order
    assert ((seconds > 0) & (seconds < batch.duration)).all()

    # An axis that moves with the sign of its velocity at first has that sign flipped once per bounce before a frame.
    # Counting both axes together: the parity of flips seen in the positions is the parity of the bounces so far.
    step = batch.positions().diff(dim=1)
    forwards = (step * batch.velocity[:, None] > 0).all(-1) | (step * batch.velocity[:, None] < 0).all(-1)
    middle = (torch.arange(32) + 0.5) / FRAME_RATE
    checked = 0
    for index in range(len(batch)):
        when = seconds[clip == index]
        for frame, now in enumerate(middle):
            if len(when) and (when - now).abs().min() < 0.5 / FRAME_RATE:
                continue  # the bounce lies between these two frames
            assert bool(forwards[index, frame]) == (int((when < now).sum()) % 2 == 0)
            checked += 1
    assert checked > 3000
    assert impact.max() <= batch.velocity.abs().max()


def test_a_bounce_by_hand():
    scene = one_scene([22.0, 32.0], [-40.0, 0.0], frames=17)  # 10 px from the wall that stops a disc of 12 px
    clip, seconds, impact = scene.bounces()
    assert clip.tolist() == [0]
    torch.testing.assert_close(seconds, torch.tensor([0.25]))
    assert impact.tolist() == [40.0]
    x = scene.positions()[0, :, 0]
    assert x[4] == 12.0 and x[8] == 22.0


def test_render_paints_the_shape_where_it_is_in_its_colour():
    batch = scenes(32)
    video, position = batch.render(), batch.positions()
    for index in range(len(batch)):
        names = batch.attributes(index)
        colour = torch.tensor(batch.level.colours[names["colour"]].rgb) / 127.5 - 1
        background = torch.tensor(batch.level.backgrounds[names["background"]]) / 127.5 - 1
        for frame in (0, 8, 16):
            x, y = position[index, frame].long().tolist()
            torch.testing.assert_close(video[index, :, frame, y, x], colour)
            far_x, far_y = (0 if x > 31 else 63), (0 if y > 31 else 63)
            torch.testing.assert_close(video[index, :, frame, far_y, far_x], background)


@pytest.mark.parametrize(
    ("shape", "area"), [("circle", math.pi), ("square", 1.72**2), ("triangle", 0.75 * math.sqrt(3) * 1.15**2)]
)
def test_shapes_have_their_area(shape, area):
    white = scenes(8, shape=shape, colour="white", background="black")
    video = white.render().mean(1)
    covered = (video - video.min()) / (video.max() - video.min())
    torch.testing.assert_close(covered.sum((2, 3)), torch.full((8, 17), area * 144), rtol=0.02, atol=0)


def test_sound_begins_at_bounces():
    batch = scenes(64, frames=33)
    clip, seconds, _ = batch.bounces()
    sounds = batch.sound()[:, 0]
    heard = [onset_times(sound) for sound in sounds]
    expected = [seconds[clip == index].tolist() for index in range(len(batch))]
    assert matched(expected, heard, 0.1) > 0.95  # two hits of a corner are one onset
    assert matched(heard, expected, 0.015) > 0.98
    for index, times in enumerate(expected):
        until = samples_of(33) if not times else int(min(times) * SAMPLE_RATE)
        assert not sounds[index, : max(until - 1, 0)].any()  # silent until the first bounce


def test_attack_is_sharp_and_harder_hits_are_louder():
    assert ATTACK <= 0.006
    soft = one_scene([22.0, 32.0], [-30.0, 0.0], shape="circle", colour="red").sound()
    hard = one_scene([22.0, 32.0], [-60.0, 0.0], shape="circle", colour="red").sound()
    assert hard.abs().max() > 1.3 * soft.abs().max()


def test_colour_decides_the_pitch():
    pitches = set()
    for name, colour in LEVELS["medium"].colours.items():
        sound = one_scene([22.0, 32.0], [-40.0, 0.0], level="medium", shape="circle", size="large", colour=name).sound()
        spectrum = torch.fft.rfft(sound[0, 0] * torch.hann_window(sound.shape[-1])).abs()
        pitch = float(spectrum.argmax()) * SAMPLE_RATE / sound.shape[-1]
        assert pitch == pytest.approx(colour.harmonic * SAMPLE_RATE / HOP, rel=0.02)
        pitches.add(round(pitch))
    assert len(pitches) == 8


@pytest.mark.parametrize("level", LEVELS)
def test_no_two_partials_of_a_level_are_confused(level):
    """Two pitches of 3 % or less apart could not be told apart by ear or by benchmark, in any timbre."""
    pitches = [colour.harmonic for colour in LEVELS[level].colours.values()]
    partials = sorted(pitches + [2 * pitch for pitch in pitches])
    assert all(high / low > 1.03 for low, high in zip(partials, partials[1:], strict=False))


def test_levels_get_harder():
    easy, medium, hard = (LEVELS[name] for name in ("easy", "medium", "hard"))
    assert (len(easy.shapes), len(easy.colours), len(easy.backgrounds), len(easy.sizes)) == (3, 6, 4, 1)
    assert (len(medium.shapes), len(medium.colours), len(medium.backgrounds), len(medium.sizes)) == (4, 8, 8, 2)
    assert len(hard.textures) > 1
    # What an easy clip is called stays true at every level.
    for attribute in ("shape", "colour", "background", "speed"):
        assert medium.choices(attribute)[: len(easy.choices(attribute))] == easy.choices(attribute)


def test_attributes_name_what_a_level_can_vary():
    assert scenes(1, shape="circle", colour="red", background="navy", speed="slowly").attributes(0) == {
        "shape": "circle",
        "colour": "red",
        "background": "navy",
        "speed": "slowly",
        "pitch": "low",
        "sound": "ping",
    }
    assert set(scenes(1, level="hard").attributes(0)) == {
        *("shape", "colour", "background", "speed", "size", "texture", "pitch", "sound")
    }


@pytest.mark.parametrize("texture", ["striped", "gradient"])
def test_textures_vary_over_the_background_and_keep_the_shape_plain(texture):
    batch = scenes(8, level="hard", texture=texture, background="gray", size="small")
    video, position = batch.render(), batch.positions()
    assert (video[:, :, 0].amax((2, 3)) - video[:, :, 0].amin((2, 3)) > 0.2).all()
    for index in range(8):
        x, y = position[index, 0].long().tolist()
        colour = torch.tensor(batch.level.colours[batch.attributes(index)["colour"]].rgb) / 127.5 - 1
        torch.testing.assert_close(video[index, :, 0, y, x], colour)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "extreme"}, "level 'extreme' is not one of easy, medium, hard"),
        ({"shape": "star"}, "shape 'star' is not one of circle, square, triangle"),
        ({"colour": 6}, "colour 6 is not one of"),
        ({"speed": [0, 1]}, "2 values of speed for a batch of 16"),
        ({"mood": "calm"}, "cannot fix mood: choose from shape, colour"),
        ({"frames": 0}, "must both be at least 1"),
    ],
)
def test_bad_requests_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        scenes(**options)
