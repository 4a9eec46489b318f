"""The sounds of a canvas, mixed, and which samples of the mix are given."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas
from .document import Document, Sound, SpanRegion
from .errors import CanvasError

FILTER_WIDTH = 6  # torchaudio's, in zero crossings
MAX_KERNEL = 2**23  # numbers in the resampling filters: 25 thousand for 44100 to 48000 Hz, 2 billion for 44101 Hz


class Mix(NamedTuple):
    """waveform [C, S], C = 2 if any sound is stereo, else 1; 0 where nothing is given. given [S] bool."""

    waveform: Tensor
    given: Tensor


class Span(NamedTuple):
    """Samples first to end (not included) of the canvas play a sound from its sample `start` on."""

    sound: Sound
    first: int
    end: int
    start: int


def sample_count(document: Document, sample_rate: int) -> int:
    """Samples that sound as long as the canvas."""
    return round(document.seconds * sample_rate)


def spans(document: Document, sample_rate: int) -> Iterator[Span]:
    """Where each sound plays; cut at the end of the canvas, and of the sound."""
    total = sample_count(document, sample_rate)
    for sound in document.sounds:
        samples, rate = facts_of(document, sound)
        check_rates(f"sound '{sound.id}'", rate, sample_rate)
        first, start = round(sound.time * sample_rate), round(sound.start * sample_rate)
        length = resampled_length(samples, rate, sample_rate)
        end = min(round((sound.time + sound.duration) * sample_rate), first + length - start, total)
        if first < end:
            yield Span(sound, first, end, start)


def given_samples(document: Document, sample_rate: int) -> Tensor:
    """Samples that are given, regions applied: [S] bool."""
    sounding = torch.zeros(sample_count(document, sample_rate), dtype=torch.bool)
    for span in spans(document, sample_rate):
        sounding[span.first : span.end] = True
    given = sounding.clone()
    for region in document.regions:
        if isinstance(region, SpanRegion):
            place = region_samples(region, sample_rate)
            given[place] = sounding[place] if region.action == "keep" else False
    return given


def region_samples(region: SpanRegion, sample_rate: int) -> slice:
    """All samples that a span of seconds touches."""
    end = (region.time + region.duration) * sample_rate
    return slice(math.floor(region.time * sample_rate + 1e-6), math.ceil(end - 1e-6))


def mix(canvas: Canvas, sample_rate: int) -> Mix:
    """Adds the sounds up, at `sample_rate`; those of that rate are copied bit for bit, others resampled."""
    document = canvas.document
    given = given_samples(document, sample_rate)
    channels = max((len(canvas.media[sound.media]) for sound in document.sounds), default=1)
    waveform = torch.zeros(channels, len(given))
    resampled = {}
    for span in spans(document, sample_rate):
        name = span.sound.media
        if name not in resampled:
            resampled[name] = resample(canvas.media[name], facts_of(document, span.sound)[1], sample_rate)
        waveform[:, span.first : span.end] += resampled[name][:, span.start : span.start + span.end - span.first]
    return Mix(waveform.masked_fill_(~given, 0), given)


def resample(waveform: Tensor, sample_rate: int, target: int) -> Tensor:
    """[C, samples] -> [C, `resampled_length`]. CanvasError for rates that do not go together."""
    if sample_rate == target:
        return waveform
    check_rates("the sound", sample_rate, target)
    import torchaudio.functional  # slow to import, and few canvases need it

    samples = torchaudio.functional.resample(waveform, sample_rate, target, lowpass_filter_width=FILTER_WIDTH)
    length = resampled_length(waveform.shape[1], sample_rate, target)
    return F.pad(samples, (0, length - samples.shape[1]))  # torchaudio counts in float32: a long sound may miss some


def resampled_length(samples: int, sample_rate: int, target: int) -> int:
    return -(-samples * target // sample_rate)


def facts_of(document: Document, sound: Sound) -> tuple[int, int]:
    """Samples of a sound's media, and how many of them are a second."""
    media = document.media[sound.media]
    if media.samples is None or media.sample_rate is None:
        raise CanvasError(f"the media of sound '{sound.id}' has no known length: load it first")
    return media.samples, media.sample_rate


def check_rates(name: str, sample_rate: int, target: int) -> None:
    """CanvasError for two rates so odd that the filters between them would fill the memory. name: of the sound."""
    step = math.gcd(sample_rate, target)
    source, goal = sample_rate // step, target // step
    if goal * (source + 2 * FILTER_WIDTH * max(1, source / goal)) > MAX_KERNEL and source != goal:
        raise CanvasError(
            f"{name} has {sample_rate} Hz, too odd a rate to resample to {target} Hz: use a sound of {target} Hz"
        )
