"""The mix of a canvas: sounds lie where they were placed, bit for bit at their own rate, and add up."""

import math
import sys
from pathlib import Path

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.canvas import Canvas
from canvas.errors import CanvasError
from canvas.sound import MAX_KERNEL, mix, resample, resampled_length

sys.path.append(str(Path(__file__).parents[1]))
from random_canvases import RATE, noise, plain_samples, sound_canvases  # noqa: E402

SETTINGS = settings(max_examples=80, deadline=None)


@pytest.fixture
def canvas():
    return Canvas.new(16, 16, 17, 16.0)  # 1.0625 s


@SETTINGS
@given(sound_canvases())
def test_the_mix_is_the_sum_of_what_sounds(canvas):
    waveform, sounding = mix(canvas, RATE)
    expected, given_samples = plain_samples(canvas)
    assert torch.equal(sounding, given_samples)
    assert torch.equal(waveform.expand(2, -1), expected * given_samples)
    assert len(waveform) == max((len(canvas.media[sound.media]) for sound in canvas.document.sounds), default=1)


@SETTINGS
@given(sound_canvases(), st.sampled_from([800, 1250, 44100]))
def test_at_another_rate_it_is_as_long_and_a_number(canvas, rate):
    waveform, sounding = mix(canvas, rate)
    assert waveform.shape[1] == len(sounding) == round(canvas.document.seconds * rate)
    assert waveform.isfinite().all() and not waveform[:, ~sounding].any()


@SETTINGS
@given(st.permutations(range(3)))
def test_order_does_not_matter_where_nothing_overlaps(order):
    def build(order):
        canvas = Canvas.new(16, 16, 17, 16.0)
        for i in order:
            canvas = canvas.place_sound(noise(i, 1 + i % 2, 300), RATE, time=0.3 * i)
        return mix(canvas, RATE)

    assert torch.equal(build(range(3)).waveform, build(order).waveform)


def test_a_sound_starts_in_its_middle_and_is_cut(canvas):
    sound = noise(1, 1, 1000)
    waveform, sounding = mix(canvas.place_sound(sound, RATE, time=0.25, start=0.1, duration=0.2), RATE)
    assert torch.equal(waveform[:, 250:450], sound[:, 100:300])
    assert sounding.nonzero()[[0, -1], 0].tolist() == [250, 449]


def test_a_sound_gives_no_more_samples_than_it_has(canvas):
    sound = noise(1, 1, 100)
    waveform, sounding = mix(canvas.place_sound(sound, RATE, duration=0.101), RATE)  # one more, as rounding may ask for
    assert sounding.sum() == 100 and torch.equal(waveform[:, :100], sound)


def test_mono_sounds_on_both_sides_of_a_stereo_one(canvas):
    mono, stereo = noise(1, 1, 100), noise(2, 2, 100)
    waveform, _ = mix(canvas.place_sound(mono, RATE).place_sound(stereo, RATE, time=0.5), RATE)
    assert torch.equal(waveform[:, :100], mono.expand(2, -1)) and torch.equal(waveform[:, 500:600], stereo)


def test_other_rates_are_resampled_as_torchaudio_does(canvas):
    sound = noise(1, 2, 4800) - 0.75
    waveform, sounding = mix(canvas.place_sound(sound, 48000, time=0.5), 44100)
    assert torch.equal(waveform[:, 22050 : 22050 + 4410], torchaudio.functional.resample(sound, 48000, 44100))
    assert sounding.sum() == 4410


def test_a_region_makes_every_sample_again_that_it_touches(canvas):
    canvas = canvas.place_sound(noise(1, 1, 1000), RATE).region_sound("generate", 0.1005, 0.0002)
    waveform, sounding = mix(canvas, RATE)
    assert (~sounding[:1000]).nonzero().tolist() == [[100]] and waveform[0, 100] == 0


def test_a_region_keeps_what_sounds_there(canvas):
    canvas = canvas.place_sound(noise(1, 1, 500), RATE).region_sound("generate", 0.0, 1.0)
    _, sounding = mix(canvas.region_sound("keep", 0.4, 0.3), RATE)
    assert sounding.nonzero()[[0, -1], 0].tolist() == [400, 499]


@given(st.integers(1, 10**8), st.integers(1, 200_000), st.integers(1, 200_000))
def test_resampled_length_is_exact(samples, rate, target):
    length = resampled_length(samples, rate, target)
    assert (length - 1) * rate < samples * target <= length * rate


def test_a_resampled_sound_has_that_length():
    for samples in (1, 99, 4801):
        assert resample(torch.zeros(1, samples), 48000, 44100).shape[1] == resampled_length(samples, 48000, 44100)


def test_rates_whose_filters_would_fill_the_memory_are_refused(canvas):
    with pytest.raises(CanvasError, match="'sound_1' has 44099 Hz, too odd a rate to resample to 44100 Hz: use"):
        mix(canvas.place_sound(noise(1, 1, 100), 44099), 44100)
    assert 44100 * 44099 > MAX_KERNEL


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000])
@pytest.mark.parametrize("target", [8000, 16000, 22050, 44100, 48000])
def test_usual_rates_are_not(rate, target):
    step = math.gcd(rate, target)
    assert rate // step * (target // step) < MAX_KERNEL / 20
    canvas = Canvas.new(16, 16, 1, 16.0).place_sound(noise(1, 1, rate // 100), rate)
    assert mix(canvas, target).given.sum() == pytest.approx(target / 100, abs=1)
