"""Captions say what the scene is, in words of the vocabulary, in few tokens."""

import itertools
import random

import pytest

from models.text_encoder import Tokenizer, split_words
from training.captions import ATTRIBUTES, EASY, REFERENCES, SYNONYMS, caption, choose_said, rephrase, vocabulary

SCENE = {
    "shape": "circle",
    "colour": "red",
    "background": "navy",
    "speed": "slowly",
    "pitch": "low",
    "sound": "ping",
}
TAGS = {"subject": "@image_1", "background": "@image_2", "motion": "@video_1", "sound": "@audio_0"}


def random_scene(generator: random.Random, values=ATTRIBUTES) -> dict[str, str]:
    return {name: generator.choice(choices) for name, choices in values.items()}


def test_canonical_caption():
    assert caption(SCENE) == "a red circle bounces slowly on a navy background <sfx> low ping </sfx>"


def test_canonical_caption_with_everything():
    scene = SCENE | {
        "size": "large",
        "texture": "striped",
        "colour": "orange",
        "second_shape": "star",
        "second_colour": "blue",
        "second_size": "small",
    }
    assert caption(scene) == (
        "a large orange circle and a small blue star bounce slowly on a striped navy background <sfx> low ping </sfx>"
    )


def test_parts_that_the_scene_lacks_are_not_said():
    assert caption({}) == ""
    assert caption({"pitch": "high", "sound": "buzz"}) == "<sfx> high buzz </sfx>"
    assert caption({"colour": "orange"}) == "an orange object bounces"
    assert caption({"shape": "square", "background": "black"}) == "a square bounces on a black background"


def test_every_easy_canonical_caption_and_every_paraphrase_of_it_fits_16_tokens():
    tokenizer, generator = Tokenizer(vocabulary()), random.Random(0)
    scenes = [dict(zip(EASY, values, strict=True)) for values in itertools.product(*EASY.values())]
    for scene in scenes:
        assert len(tokenizer(caption(scene))) == 16
        assert len(tokenizer(caption(scene, generator))) == 16
    assert len({caption(scene) for scene in scenes}) == len(scenes) == 1296


def test_paraphrases_use_only_the_vocabulary():
    tokenizer, generator = Tokenizer(vocabulary()), random.Random(1)
    for _ in range(2000):
        text = caption(random_scene(generator), generator)
        assert tokenizer.unknown_words(text) == [], text
        assert len(tokenizer(text)) <= 32, text


def test_same_seed_same_paraphrase():
    texts = [[caption(SCENE, generator) for _ in range(20)] for generator in (random.Random(5), random.Random(5))]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 15


def test_sound_part_is_said_in_60_percent():
    generator = random.Random(2)
    texts = [caption(SCENE, generator) for _ in range(4000)]
    assert all(("<sfx>" in text) == ("</sfx>" in text) for text in texts)
    assert 0.57 < sum("<sfx>" in text for text in texts) / len(texts) < 0.63


def test_attributes_are_left_out_at_times_but_never_made_up():
    generator = random.Random(3)
    said = [choose_said(SCENE, generator) for _ in range(2000)]
    assert all(facts.items() <= SCENE.items() for facts in said)
    assert any(facts == SCENE for facts in said)
    for name in SCENE:
        assert 0.02 < sum(name not in facts for facts in said) / len(said) < 0.55


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if name != "speed"])
def test_rephrase_says_every_fact_in_one_of_its_ways(name):
    generator = random.Random(4)
    for value in ATTRIBUTES[name]:
        scene = random_scene(generator) | {name: value}
        for _ in range(20):
            words = rephrase(scene, generator)
            assert any(way in words for way in SYNONYMS[name][value]), (value, words)


def test_no_phrase_stands_for_two_values():
    for name, values in SYNONYMS.items():
        ways = [way for choices in values.values() for way in choices]
        assert len(set(ways)) == len(ways), name


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"shape": "hexagon"}, "shape='hexagon' is not known: use one of circle, square, triangle, star"),
        ({"flavour": "sweet"}, "flavour='sweet' is not known: use one of shape, colour, size"),
    ],
)
def test_unknown_attributes_are_refused_with_the_allowed_ones(attributes, message):
    with pytest.raises(ValueError, match=message):
        caption(attributes)


def test_vocabulary_covers_what_later_prompts_need():
    words = vocabulary()
    assert 150 <= len(words) <= 300
    assert len(set(words)) == len(words)
    tags = "@image_1 @image_4 @video_2 @audio_0 <dialogue> </dialogue> <singing> </singing> <bgm> </bgm> <text> </text>"
    edits = "make remove add change replace turn keep the to into with from star orange cyan purple striped gradient"
    worlds = "delete give transfer transform texture face says talking effect outline nighttime snowy tilted melody la"
    assert set(split_words(f"{tags} {edits} {worlds}")) <= set(words)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["subject"], "@image_1 bounces slowly on a navy background <sfx> low ping </sfx>"),
        (["background"], "a red circle bounces slowly on the background of @image_2 <sfx> low ping </sfx>"),
        (["motion"], "a red circle moves like @video_1 on a navy background <sfx> low ping </sfx>"),
        (["sound"], "a red circle bounces slowly on a navy background <sfx> @audio_0 </sfx>"),
        (list(TAGS), "@image_1 moves like @video_1 on the background of @image_2 <sfx> @audio_0 </sfx>"),
    ],
)
def test_references_take_the_place_of_words(parts, text):
    assert caption(SCENE, references={part: TAGS[part] for part in parts}) == text


def test_references_are_said_without_any_attribute():
    assert caption({}, references={"sound": "@audio_1"}) == "<sfx> @audio_1 </sfx>"
    assert caption({}, references={"subject": "@Actor-0"}) == "@Actor-0 bounces"
    assert caption({}, references={"background": "@image_1"}) == "an object bounces on the background of @image_1"


@pytest.mark.parametrize("count", range(1, 5))
def test_paraphrases_name_every_reference_and_not_what_it_shows(count):
    tokenizer, generator = Tokenizer(vocabulary()), random.Random(6)
    for parts in itertools.combinations(TAGS, count):
        references = {part: TAGS[part] for part in parts}
        replaced = [name for part in parts for name in REFERENCES[part] if name in SCENE]
        ways = {way for name in replaced for way in SYNONYMS[name][SCENE[name]]}
        for _ in range(300):
            text = caption(SCENE, generator, references)
            assert all(split_words(text).count(tag) == 1 for tag in references.values()), text
            assert not ways & set(split_words(text)), text
            assert tokenizer.unknown_words(text) == [] and len(tokenizer(text)) == 16, text


def test_no_references_leave_the_paraphrases_as_they_were():
    one, other = random.Random(7), random.Random(7)
    assert [caption(SCENE, one) for _ in range(50)] == [caption(SCENE, other, {}) for _ in range(50)]


def test_unknown_part_is_refused():
    with pytest.raises(ValueError, match="part 'hat' of a scene is not known: use one of subject, background, motion"):
        caption(SCENE, references={"hat": "@image_1"})
