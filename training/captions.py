"""Captions of toybox scenes: what a scene is (attributes) -> words, with the sound in a tag of its own.

A scene is a dict of the attributes below, e.g. `{"shape": "circle", "colour": "red", "background": "navy"}`; what the
dict lacks is not said. The canonical caption is the first choice everywhere; a paraphrase chooses at random. A part of
the scene can be shown by a reference instead: its tag, e.g. `@image_1`, then stands for the words.
"""

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from models.text_encoder import split_words

# attribute -> value -> ways to say it, the canonical one first. "second_*" describe the second of two objects.
_SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "ball", "disc", "disk", "dot"),
    "square": ("square", "box", "block", "cube"),
    "triangle": ("triangle", "pyramid", "wedge"),
    "star": ("star", "asterisk"),
}
_COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "amber"),
    "yellow": ("yellow", "gold", "golden", "lemon"),
    "green": ("green", "lime", "emerald"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "magenta": ("magenta", "pink", "fuchsia"),
    "white": ("white", "ivory"),
}
_SIZES: dict[str, tuple[str, ...]] = {"small": ("small", "tiny", "little"), "large": ("large", "big", "huge")}
SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": _SHAPES,
    "colour": _COLOURS,
    "size": _SIZES,
    "speed": {"slowly": ("slowly", "slow", "gently", "lazily"), "quickly": ("quickly", "fast", "rapidly", "swiftly")},
    "background": {
        "black": ("black", "pitch black"),
        "gray": ("gray", "grey", "dark gray", "dark grey"),
        "navy": ("navy", "dark blue", "navy blue"),
        "maroon": ("maroon", "dark red", "burgundy"),
        "forest": ("forest", "dark green", "forest green"),
        "teal": ("teal", "dark cyan"),
        "purple": ("purple", "dark purple", "violet"),
        "brown": ("brown", "dark brown"),
    },
    "texture": {
        "plain": ("plain", "solid", "flat"),
        "gradient": ("gradient", "shaded"),
        "striped": ("striped", "stripy"),
        "checkered": ("checkered", "chequered"),
    },
    "pitch": {
        "low": ("low", "deep", "low pitched"),
        "mid": ("mid", "medium", "middle"),
        "high": ("high", "shrill", "high pitched"),
    },
    "sound": {
        "ping": ("ping", "chime", "bell"),
        "thud": ("thud", "thump", "knock"),
        "ting": ("ting", "tinkle", "clink"),
        "buzz": ("buzz", "hum", "drone"),
    },
    "second_shape": _SHAPES,
    "second_colour": _COLOURS,
    "second_size": _SIZES,
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in SYNONYMS.items()}
EASY: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle"),
    "colour": ("red", "yellow", "green", "blue", "magenta", "white"),
    "background": ("black", "gray", "navy", "maroon"),
    "speed": ("slowly", "quickly"),
    "pitch": ("low", "mid", "high"),
    "sound": ("ping", "thud", "buzz"),
}
SOUND = ("pitch", "sound")
# part of a scene that a reference can show -> the attributes whose words its tag replaces
REFERENCES: dict[str, tuple[str, ...]] = {
    "subject": ("shape", "colour", "size"),
    "background": ("background", "texture"),
    "motion": ("speed",),
    "sound": SOUND,
}

# How often a paraphrase says an attribute that the scene has. The second object is always mentioned.
_SAID = {"shape": 0.94, "colour": 0.94, "size": 0.85, "speed": 0.85, "background": 0.92, "texture": 0.85}
_SAID |= {"pitch": 0.9, "sound": 0.92, "second_shape": 1.0, "second_colour": 0.94, "second_size": 0.85}
_SOUND_PART, _SOUND_ONLY = 0.6, 0.03
_WORDS_PER_LENGTH = (15, 31)  # beside the summary token: 16 or 32 tokens

_NOUNS = ("object", "shape", "thing")
_SOUND_NOUNS = ("sound", "tone", "note", "noise")
_ADJECTIVE_OF_SPEED = {"slowly": "slow", "quickly": "fast"}
_VERBS = (
    ("bounces", "bounce"),
    ("moves", "move"),
    ("is bouncing", "are bouncing"),
    ("is moving", "are moving"),
    ("bouncing", "bouncing"),
    ("moving", "moving"),
    ("bounces around", "bounce around"),
    ("flies", "fly"),
    ("travels", "travel"),
)
# The first few say "background" and so also fit a texture without a colour.
_NAMED_BACKGROUNDS = (
    "on a {} background",
    "over a {} background",
    "against a {} background",
    "in front of a {} background",
    "with a {} background",
    "on a {} backdrop",
)
_BACKGROUNDS = (*_NAMED_BACKGROUNDS, "on {}", "over {}", "against {}")
# For a tag: the first is canonical, as everywhere.
_SUBJECT_REFERENCES = ("{}", "the object of {}", "the object in {}", "the shape from {}", "the thing in {}")
_BACKGROUND_REFERENCES = (
    "on the background of {}",
    "over the background of {}",
    "against the background of {}",
    "in front of the background of {}",
    "with the background of {}",
    "on the backdrop of {}",
    "on {}",
    "over {}",
)
_MOTION_REFERENCES = ("like {}", "as in {}", "like in {}", "like the object in {}")
_SOUND_REFERENCES = ("{}", "sound of {}", "the sound of {}", "sound like {}")
_TAGS = (
    "@image_1 @image_2 @image_3 @image_4 @video_1 @video_2 @audio_0 @audio_1 @audio_2 "
    "<dialogue> </dialogue> <sfx> </sfx> <singing> </singing> <bgm> </bgm> <text> </text>"
)
# Words of later tasks (editing, references, camera): the encoder learns to keep them apart, so the vocabulary can stay.
_FURTHER_WORDS = (
    "a an the and or of to into with without from in on at by as for over under behind near like this that it its no "
    "not is are one two make remove add change replace turn keep erase insert swap move show shift extend restore same "
    "new other color colour style image picture video clip voice music silent text logo watermark subtitle frame scene "
    "camera zoom pan left right up down top bottom center edge start end first last before after then while until "
    "starts stops light bright day night rain snow fog warm cold loud quiet off wall walls "
    "delete put give apply transfer transform corner texture face speaks says talking expression effect outline paper "
    "cut blocks nighttime snowy tilt tilted early halfway late melody rising falling la"
)

# Chooses one of several options: the first for canonical captions, a random one for paraphrases.
Pick = Callable[[Any], Any]


def caption(
    attributes: dict[str, str],
    generator: random.Random | None = None,
    references: Mapping[str, str] | None = None,
) -> str:
    """Caption of a scene: the canonical one, or a random paraphrase that may leave things out, if given a generator.

    Canonical captions of easy scenes fit 16 tokens:
    `a red circle bounces slowly on a navy background <sfx> low ping </sfx>`.
    references: parts of the scene (keys of REFERENCES) -> tags that show them; each is always mentioned, and takes the
    place of its attributes: `@image_1 moves like @video_1 on the background of @image_2 <sfx> @audio_0 </sfx>`.
    Nothing to say at all gives the empty, unconditional caption. ValueError names an unknown attribute, value or part.
    """
    shown = [name for part in references or () for name in REFERENCES.get(part, ())]
    attributes = {name: value for name, value in attributes.items() if name not in shown}
    if generator is None:
        return _compose(attributes, references or {}, lambda options: options[0])
    return rephrase(choose_said(attributes, generator), generator, references)


def choose_said(attributes: dict[str, str], generator: random.Random) -> dict[str, str]:
    """The part of a scene's attributes that a paraphrase is going to say; the sound part is left out in 40 %."""
    has_sound = any(name in attributes for name in SOUND)
    if has_sound and generator.random() < _SOUND_ONLY:
        return {name: value for name, value in attributes.items() if name in SOUND}
    with_sound = generator.random() < (_SOUND_PART - _SOUND_ONLY) / (1 - _SOUND_ONLY)
    return {
        name: value
        for name, value in attributes.items()
        if generator.random() < _SAID[name] and (with_sound or name not in SOUND)
    }


def rephrase(said: dict[str, str], generator: random.Random, references: Mapping[str, str] | None = None) -> str:
    """A random wording that says all of `said` in no more tokens (16, 32) than its canonical caption takes."""
    canonical = caption(said, references=references)
    limit = next(limit for limit in _WORDS_PER_LENGTH if len(split_words(canonical)) <= limit)
    for _ in range(20):
        text = _compose(said, references or {}, generator.choice)
        if len(split_words(text)) <= limit:
            return text
    return canonical


def vocabulary() -> list[str]:
    """Every word and tag that captions and prompts of Mini are made of, sorted."""
    texts = [way for values in SYNONYMS.values() for ways in values.values() for way in ways]
    texts += [*_NOUNS, *_SOUND_NOUNS, *_ADJECTIVE_OF_SPEED.values(), *_BACKGROUNDS, _TAGS, _FURTHER_WORDS]
    texts += [form for verb in _VERBS for form in verb]
    return sorted({word for text in texts for word in split_words(text.replace("{}", ""))})


def _compose(said: dict[str, str], references: Mapping[str, str], pick: Pick) -> str:
    for name, value in said.items():
        if value not in ATTRIBUTES.get(name, ()):
            allowed = ATTRIBUTES.get(name, tuple(ATTRIBUTES))
            raise ValueError(f"attribute {name}={value!r} is not known: use one of {', '.join(allowed)}")
    if unknown := [part for part in references if part not in REFERENCES]:
        raise ValueError(f"part {unknown[0]!r} of a scene is not known: use one of {', '.join(REFERENCES)}")
    sound = _sound(said, references, pick)
    only_sound = all(name in SOUND for name in said) and references.keys() <= {"sound"}
    picture = "" if only_sound else _picture(said, references, pick)
    return " ".join(filter(None, pick(((picture, sound),) * 9 + ((sound, picture),))))


def _picture(said: dict[str, str], references: Mapping[str, str], pick: Pick) -> str:
    second = {name.removeprefix("second_"): value for name, value in said.items() if name.startswith("second_")}
    motion, speed_adjective = _motion(said, references, bool(second), pick)
    if "subject" in references:
        subject = pick(_SUBJECT_REFERENCES).format(references["subject"])
    else:
        subject = _subject(said, speed_adjective, pick)
    if second:
        subject += " and " + _subject(second, "", pick)
    ground = " ".join(_say(said, name, pick) for name in ("texture", "background") if name in said)
    background, brief = "", ground and f"{ground} background"
    if "background" in references:
        background = brief = pick(_BACKGROUND_REFERENCES).format(references["background"])
    elif ground:
        background = with_article(pick(_BACKGROUNDS if "background" in said else _NAMED_BACKGROUNDS).format(ground))
    style = pick(("sentence",) * 4 + ("background first", "tags"))
    if style == "tags":
        parts = [part for part in (subject, motion, brief) if part]
        return ", ".join(pick((parts, parts[::-1])))
    sentence = " ".join(filter(None, (subject, motion)))
    if style == "background first" and background:
        return f"{background}, {sentence}"
    return " ".join(filter(None, (sentence, background)))


def _motion(said: dict[str, str], references: Mapping[str, str], plural: bool, pick: Pick) -> tuple[str, str]:
    """Verb with its adverb; or an adjective for the subject, which only words can take, and perhaps no verb."""
    if "motion" in references:
        verb = pick((_VERBS[1], *_VERBS))[plural]
        return f"{verb} {pick(_MOTION_REFERENCES).format(references['motion'])}", ""
    verb = pick(_VERBS)[plural]
    if "speed" in said:
        adverb = pick(SYNONYMS["speed"][said["speed"]])
        auxiliary, _, participle = verb.rpartition(" ") if verb.startswith(("is ", "are ")) else ("", "", verb)
        ways = (f"{verb} {adverb}",) * 3 + (f"{auxiliary} {adverb} {participle}".strip(),)
        motion = pick(ways if "subject" in references else (*ways, ""))
        return motion, "" if motion else _ADJECTIVE_OF_SPEED[said["speed"]]
    return "" if pick((False,) * 9 + (True,)) else verb, ""


def _subject(said: dict[str, str], speed_adjective: str, pick: Pick) -> str:
    noun = _say(said, "shape", pick) if "shape" in said else pick(_NOUNS)
    colour = _say(said, "colour", pick) if "colour" in said else ""
    size = _say(said, "size", pick) if "size" in said else ""
    article = pick(("a ",) * 4 + ("the ", "one ", ""))
    if colour and pick((False,) * 9 + (True,)):
        return with_article(article + " ".join(filter(None, (speed_adjective, size, noun, "in", colour))))
    return with_article(article + " ".join(filter(None, (speed_adjective, size, colour, noun))))


def _sound(said: dict[str, str], references: Mapping[str, str], pick: Pick) -> str:
    if "sound" in references:
        return f"<sfx> {pick(_SOUND_REFERENCES).format(references['sound'])} </sfx>"
    if not any(name in said for name in SOUND):
        return ""
    pitch = _say(said, "pitch", pick) if "pitch" in said else ""
    noun = _say(said, "sound", pick) if "sound" in said else pick(_SOUND_NOUNS)
    words = pick(((pitch, noun),) * 3 + (("a", pitch, noun), (noun, pitch)))
    return f"<sfx> {' '.join(filter(None, words))} </sfx>"


def _say(said: dict[str, str], name: str, pick: Pick) -> str:
    return pick(SYNONYMS[name][said[name]])


def with_article(phrase: str) -> str:
    """Turns `a orange ball` into `an orange ball`, anywhere in the phrase."""
    return re.sub(r"\ba (?=[aeiou])", "an ", phrase)
