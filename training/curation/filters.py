"""The limits that a clip must keep to, and the sentence that says which it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from training.curation.measures import NAMES

_TAGS = re.compile(r"<(dialogue|singing|bgm|sfx)>")
_SUSTAINED = {"dialogue", "singing", "bgm"}  # sounds that fill their clip


def _rule(default: float, meaning: str, **more: bool):
    return field(default=default, metadata={"meaning": meaning, **more})


@dataclass(frozen=True)
class Rules:
    """Limits of curation. `least_x` and `most_x` bound the measure x of `training.curation.measures`.

    Rules about sound hold for clips that have any. Those marked `sustained` hold for dialogue, singing and music, and
    for clips whose caption does not tell: a clip that has <sfx> alone of the paper's tags is exempt, for single sounds
    in silence are what effects are. SkyReels-V4 gives the limits of silence, volume, offset and confidence, and the 15
    seconds; the others are ours. ValueError for values that are not finite.
    """

    least_seconds: float = _rule(1.0, "duration of a clip, seconds")
    most_seconds: float = _rule(15.0, "longer shots are cut into chunks of this length, seconds")
    least_side: float = _rule(64, "shorter side of the file, pixels; Mini is trained at 64")
    least_sharpness: float = _rule(20.0, "variance of the Laplacian")
    least_contrast: float = _rule(0.02, "standard deviation of luma, 0..0.5")
    least_brightness: float = _rule(0.02, "mean luma, 0..1")
    most_brightness: float = _rule(0.95, "mean luma, 0..1")
    least_motion: float = _rule(0.005, "mean speed of edges, shorter sides per second")
    most_motion: float = _rule(1.2, "the same; beyond, frames share next to nothing")
    most_repeats: float = _rule(0.25, "share of frames that repeat the one before")
    most_flicker: float = _rule(0.02, "mean jump of brightness, 0..1")
    least_volume: float = _rule(-60.0, "mean volume, dB of full scale", sound=True)
    most_clipping: float = _rule(0.003, "share of samples at full scale", sound=True)
    least_snr: float = _rule(5.0, "signal-to-noise ratio, dB", sound=True, sustained=True)
    least_bandwidth: float = _rule(4000.0, "bandwidth, Hz", sound=True, sustained=True)
    most_silence: float = _rule(0.2, "share of silent frames", sound=True, sustained=True)
    most_offset: float = _rule(3, "frames of 1/25 s that sound and picture are apart, with --sync", sound=True)
    least_confidence: float = _rule(1.5, "confidence of that offset, with --sync", sound=True)
    duplicate: float = _rule(0.97, "similarity from which two clips are the same one; over 1: only equal ones are")
    balance: float = _rule(0.5, "weights fall as (clips alike) ** -balance; 0: all weigh 1")
    split: bool = _rule(True, "cut files at their cuts; off: clips may hold several shots")
    sync: bool = _rule(False, "check that sound and picture go together; see docs/curation.md before")

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(one.default, bool):
                if not isinstance(value, bool):
                    raise ValueError(f"{one.name} {value!r} is neither True nor False")
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"{one.name} {value!r} is not a finite number: it is the {one.metadata['meaning']}")
        if not 0 < self.least_seconds <= self.most_seconds:
            raise ValueError(
                f"least_seconds {self.least_seconds:g} must be over 0 and at most most_seconds {self.most_seconds:g}"
            )


def kinds_of_sound(caption: str) -> frozenset[str]:
    """Which of dialogue, singing, bgm and sfx the tags of a caption name."""
    return frozenset(_TAGS.findall(caption))


def judge(measures: Mapping[str, float], caption: str, rules: Rules) -> list[str]:
    """The rules that a clip breaks, a sentence each; measures that the clip lacks break none."""
    kinds = kinds_of_sound(caption)
    reasons = []
    for rule in fields(rules):
        bound, _, measure = rule.name.partition("_")
        if bound not in ("least", "most") or measure not in measures:
            continue
        if rule.metadata.get("sustained") and kinds and not kinds & _SUSTAINED:
            continue
        value, limit = measures[measure], getattr(rules, rule.name)
        distance = abs(value) if measure == "offset" else value
        if distance < limit if bound == "least" else distance > limit:
            name, unit, decimals = NAMES[measure]
            reason = f"{name} {value:.{decimals}f}{unit}, at {bound} {limit:g} is allowed (--{bound}-{measure})"
            if rule.metadata.get("sustained") and not kinds:
                reason += ", or say in the caption that these are <sfx> </sfx>"
            reasons.append(reason)
    return reasons
