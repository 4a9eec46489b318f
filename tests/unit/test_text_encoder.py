"""Tokenizer and text encoder: rules at a tiny size, what is learned with the shipped weights."""

import itertools
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from models.text_encoder import (
    PAD,
    SPECIAL_TOKENS,
    SUMMARY,
    UNKNOWN,
    TextEncoder,
    TextEncoderConfig,
    Tokenizer,
    load_text_encoder,
    save_text_encoder,
    split_words,
)
from training import text as text_training
from training.captions import ATTRIBUTES, EASY, rephrase, vocabulary
from training.text import (
    NOT_SAID,
    STATED,
    AttributeProbe,
    Instructions,
    change,
    go_on_from,
    is_held_out,
    labels,
    loss_terms,
    sample_scene,
    training_batch,
)
from training.toybox import sample_scenes
from training.worlds import WORLDS

WEIGHTS = Path(__file__).parents[2] / "models" / "weights" / "mini_text_encoder.safetensors"
PROMPT = "a red circle bounces slowly on a navy background <sfx> low ping </sfx>"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Such small matrices are slower, not faster, on several threads of a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer("a red blue circle bounces slowly on navy background <sfx> </sfx> low ping @image_1".split())


@pytest.fixture
def encoder(tokenizer) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextEncoderConfig(len(tokenizer), dim=32, heads=2, blocks=2, mlp_dim=48)).eval()


@pytest.fixture(scope="module")
def shipped() -> tuple[Tokenizer, TextEncoder]:
    return load_text_encoder(WEIGHTS)


def test_split_words():
    text = "A RED ball,fast!  <SFX>low-pitched ping</sfx> (@Image_1) @Actor-0 it's, don’t 3.5 été"
    assert split_words(text) == (
        "a red ball fast <sfx> low pitched ping </sfx> @image_1 @actor-0 it's don’t 3 5 été".split()
    )


def test_tokens_start_with_summary_and_are_padded(tokenizer):
    tokens = tokenizer("a red circle")
    assert tokens[0] == SUMMARY
    assert [tokenizer.vocabulary[i - len(SPECIAL_TOKENS)] for i in tokens[1:4]] == ["a", "red", "circle"]
    assert tokens[4:] == [PAD] * 12


@pytest.mark.parametrize(("words", "length"), [(0, 16), (15, 16), (16, 32), (31, 32), (32, 48), (255, 256)])
def test_length_is_a_multiple_of_16(tokenizer, words, length):
    assert len(tokenizer("red " * words)) == length


def test_too_long_a_prompt_is_refused_not_cut(tokenizer):
    with pytest.raises(ValueError, match="prompt has 256 words: shorten it to at most 255"):
        tokenizer("red " * 256)


def test_unknown_words_share_one_id_and_are_listed_once_in_order(tokenizer):
    text = "A zebra, red @image_7 zebra ÉTÉ circle"
    assert tokenizer.unknown_words(text) == ["zebra", "@image_7", "été"]
    assert tokenizer(text)[2] == tokenizer(text)[4] == tokenizer(text)[6] == UNKNOWN
    assert tokenizer.unknown_words(PROMPT) == []


def test_special_tokens_cannot_be_typed(tokenizer):
    text = "red <pad> <summary> <mask> <unk> circle"
    assert tokenizer.unknown_words(text) == list(SPECIAL_TOKENS[:2]) + ["<mask>", "<unk>"]
    assert tokenizer(text)[2:6] == [UNKNOWN] * 4


@pytest.mark.parametrize("vocabulary", [["red", "red"], ["Red"], ["dark blue"], ["<pad>"], [""]])
def test_bad_vocabulary(vocabulary):
    with pytest.raises(ValueError, match="vocabulary has repeats"):
        Tokenizer(vocabulary)


def test_batch_pads_to_the_longest(tokenizer):
    tokens = tokenizer.batch(["red", "red " * 20, ""])
    assert tokens.shape == (3, 32)
    assert tokens.dtype == torch.long
    assert tokens[0].tolist() == tokenizer("red") + [PAD] * 16


def test_outputs_have_unit_scale_and_padding_is_zero(tokenizer, encoder):
    tokens = tokenizer.batch([PROMPT, "red circle"])
    sequence, pooled = encoder(tokens)
    assert sequence.shape == (2, 16, 32)
    assert pooled.shape == (2, 32)
    present = tokens != PAD
    torch.testing.assert_close(sequence[present].mean(-1), torch.zeros(int(present.sum())), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        sequence[present].var(-1, correction=0), torch.ones(int(present.sum())), atol=1e-3, rtol=0
    )
    assert sequence[~present].abs().max() == 0
    torch.testing.assert_close(pooled, sequence[:, 0])


def test_same_result_alone_and_in_a_batch_and_with_more_padding(tokenizer, encoder):
    texts = [PROMPT, "", "red circle", "a " * 40]
    sequence, pooled = encoder(tokenizer.batch(texts))
    for i, text in enumerate(texts):
        alone, alone_pooled = encoder(torch.tensor([tokenizer(text)]))
        torch.testing.assert_close(sequence[i, : alone.shape[1]], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(pooled[i], alone_pooled[0], atol=1e-5, rtol=0)
        assert sequence[i, alone.shape[1] :].abs().sum() == 0


def test_word_order_matters(tokenizer, encoder):
    one, other = encoder(tokenizer.batch(["red circle on blue", "blue circle on red"]))[1]
    assert (one - other).abs().max() > 1e-3


def test_words_see_words_on_both_sides(tokenizer, encoder):
    first, second = encoder(tokenizer.batch(["red circle navy", "blue circle navy"]))[0]
    assert (first[2] - second[2]).abs().max() > 1e-4
    first, second = encoder(tokenizer.batch(["red circle navy", "red circle low"]))[0]
    assert (first[2] - second[2]).abs().max() > 1e-4


def test_encode_takes_embeddings_in_place_of_ids(tokenizer, encoder):
    tokens = tokenizer.batch([PROMPT])
    embeddings = encoder.embedding(tokens)
    torch.testing.assert_close(encoder.encode(embeddings, tokens != PAD)[0], encoder(tokens)[0])
    embeddings[:, 3] = torch.randn(32)
    assert encoder.encode(embeddings, tokens != PAD)[0].isfinite().all()


def test_gradients_reach_every_parameter(tokenizer, encoder):
    sequence, pooled = encoder(tokenizer.batch([PROMPT]))
    torch.manual_seed(0)
    ((sequence * torch.randn_like(sequence)).sum() + (pooled * torch.randn_like(pooled)).sum()).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_config_is_read_from_tensor_shapes(encoder):
    assert TextEncoderConfig.from_state_dict(encoder.state_dict()) == encoder.config


def test_config_names_the_missing_tensor(encoder):
    sd = encoder.state_dict()
    del sd["blocks.0.mlp.0.weight"]
    with pytest.raises(ValueError, match="tensor 'blocks.0.mlp.0.weight' is missing"):
        TextEncoderConfig.from_state_dict(sd)


def test_save_and_load_round_trip(tokenizer, encoder, tmp_path):
    path = tmp_path / "text.safetensors"
    save_text_encoder(path, tokenizer, encoder, training="none")
    loaded_tokenizer, loaded = load_text_encoder(path)
    assert loaded_tokenizer.vocabulary == tokenizer.vocabulary
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    tokens = tokenizer.batch([PROMPT])
    assert torch.equal(loaded(tokens)[0], encoder(tokens)[0])


def test_bfloat16(tokenizer, encoder, tmp_path):
    path = tmp_path / "text.safetensors"
    save_text_encoder(path, tokenizer, encoder)
    sequence, pooled = load_text_encoder(path, dtype=torch.bfloat16)[1](tokenizer.batch([PROMPT]))
    assert sequence.dtype == pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), encoder(tokenizer.batch([PROMPT]))[1], atol=0.1, rtol=0)


def test_broken_and_foreign_files_are_named(tokenizer, encoder, tmp_path):
    path = tmp_path / "text.safetensors"
    save_text_encoder(path, tokenizer, encoder)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(path.read_bytes()[:-1000])
    size = truncated.stat().st_size
    with pytest.raises(
        ValueError, match=rf"truncated.safetensors is broken: it has {size} bytes instead of {size + 1000}"
    ):
        load_text_encoder(truncated)
    with pytest.raises(ValueError, match="no 'vocabulary'"):
        Tokenizer.from_metadata(None)
    save_text_encoder(path, Tokenizer(["red"]), encoder)
    with pytest.raises(ValueError, match=f"has {len(tokenizer)} embeddings for a vocabulary of 5 tokens"):
        load_text_encoder(path)
    with pytest.raises(FileNotFoundError):
        load_text_encoder(tmp_path / "absent.safetensors")


def similarity(shipped, one: str, other: str) -> tuple[float, float]:
    """Cosine similarity of two prompts: of their pooled vectors, and of the means of their sequences."""
    tokenizer, encoder = shipped
    tokens = tokenizer.batch([one, other])
    sequence, pooled = encoder(tokens)
    mean = sequence.sum(1) / (tokens != PAD).sum(1, keepdim=True)
    return F.cosine_similarity(*pooled, dim=0).item(), F.cosine_similarity(*mean, dim=0).item()


def test_shipped_weights_fit_the_captions(shipped):
    tokenizer, encoder = shipped
    assert tokenizer.vocabulary == tuple(vocabulary())
    assert encoder.config.dim == 128
    assert WEIGHTS.stat().st_size < 2_500_000
    assert tokenizer.unknown_words(PROMPT) == []


def test_shipped_empty_prompt_is_fixed_and_unlike_any_caption(shipped):
    tokenizer, encoder = shipped
    sequence, pooled = encoder(tokenizer.batch(["", "  ,. "]))
    assert torch.equal(sequence[0], sequence[1])
    assert sequence[0].isfinite().all()
    assert similarity(shipped, "", PROMPT)[0] < 0.7


@pytest.mark.parametrize(
    ("prompt", "synonym", "different"),
    [
        ("a red circle", "a red ball", "a blue circle"),
        ("a green square on black", "a green box on black", "a white square on black"),
        ("a red triangle on navy", "a red pyramid on dark blue", "a red triangle on maroon"),
        ("a blue square bounces quickly", "a blue block moves fast", "a blue square bounces slowly"),
        (PROMPT, PROMPT.replace("low ", "deep "), PROMPT.replace("low ", "high ")),
        (PROMPT, PROMPT.replace("ping", "bell"), PROMPT.replace("ping", "buzz")),
        (
            PROMPT,
            "over a dark blue background, the red ball is moving slow <sfx> a deep chime </sfx>",
            PROMPT.replace("red", "white"),
        ),
    ],
)
def test_shipped_synonyms_are_closer_than_different_facts(shipped, prompt, synonym, different):
    pooled, mean = similarity(shipped, prompt, synonym)
    other_pooled, other_mean = similarity(shipped, prompt, different)
    assert pooled > other_pooled + 0.02
    assert mean > other_mean


def test_shipped_encoder_reads_past_an_unknown_word(shipped):
    strange = similarity(shipped, "a red circle on navy", "a red zebra circle on navy")[0]
    assert strange > similarity(shipped, "a red circle on navy", "a yellow circle on navy")[0]


def test_shipped_accuracy_is_recorded_beside_chance():
    with safe_open(WEIGHTS, framework="pt") as file:
        report = json.loads(file.metadata()["held_out_attribute_accuracy"])
    for source in ("words", "pooled"):
        assert report[f"easy {source}"]["said"] > 0.99 > 0.5 > report[f"easy {source}"]["chance"]
        assert report[f"all {source}"]["said"] > 0.97
    instructions = report["instructions pooled"]
    assert instructions["said"] >= 0.98 and instructions["chance"] == pytest.approx(1 / len(WORLDS), abs=1e-4)


@pytest.mark.parametrize("easy", [True, False])
def test_shipped_pooled_vector_holds_every_attribute_of_held_out_scenes(shipped, easy):
    """A linear probe, fitted on scenes of the training combinations, reads the held-out ones off the pooled vector."""
    tokenizer, encoder = shipped
    generator = random.Random(11)

    def scenes(count: int, held_out: bool):
        facts = [sample_scene(generator, easy=easy, held_out=held_out) for _ in range(count)]
        return encoder(tokenizer.batch([rephrase(scene, generator) for scene in facts]))[1], labels(facts)

    (features, target), (unseen, expected) = scenes(1000, False), scenes(200, True)
    for i, values in enumerate(ATTRIBUTES.values()):
        solution = torch.linalg.lstsq(features, F.one_hot(target[:, i], 1 + len(values)).float()).solution
        accuracy = ((unseen @ solution).argmax(-1) == expected[:, i]).float().mean()
        assert accuracy > 0.95, list(ATTRIBUTES)[i]


def test_held_out_scenes_are_a_tenth_and_leave_every_value_in_the_training():
    generator = random.Random(0)
    scenes = [sample_scene(generator, easy=False, held_out=False) for _ in range(2000)]
    for name, values in ATTRIBUTES.items():
        assert {scene[name] for scene in scenes if name in scene} == set(values)
    assert not any(is_held_out(scene) for scene in scenes)
    assert all(is_held_out(sample_scene(generator, easy=True, held_out=True)) for _ in range(50))


def test_training_lowers_every_term():
    torch.manual_seed(0)
    generator, tokenizer = random.Random(0), Tokenizer(vocabulary())
    encoder = TextEncoder(TextEncoderConfig(len(tokenizer), dim=32, heads=2, blocks=1, mlp_dim=32))
    probe = AttributeProbe(32)
    optimizer = torch.optim.Adam([*encoder.parameters(), *probe.parameters()], lr=1e-2)
    batch = training_batch(tokenizer, generator, 8, easy=True)
    history = []
    for _ in range(40):
        terms = loss_terms(encoder, probe, batch)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        history.append({name: term.item() for name, term in terms.items()})
    assert all(history[-1][name] < 0.7 * history[0][name] for name in ("words", "pooled", "recovered")), history[-1]
    assert history[-1]["together"] < history[0]["together"]


# -- instructions of the paired worlds ---------------------------------------------------------------------------------


def test_shipped_encoder_knows_every_word_of_every_world(shipped):
    tokenizer, _ = shipped
    generator = torch.Generator().manual_seed(5)
    for name, world in WORLDS.items():
        for words in (None, random.Random(0)):
            for prompt in world.make(sample_scenes(8, frames=5, generator=generator), generator, words).captions:
                assert tokenizer.unknown_words(prompt) == [], (name, prompt)


def test_shipped_pooled_vector_tells_the_worlds_apart(shipped):
    """The mean of a few prompts of each world is nearest to its other prompts, in other wordings, of other scenes."""
    tokenizer, encoder = shipped
    instructions = Instructions(encoder.config.dim, seed=7)
    (seen, _, which, _), (fresh, _, asked, _) = instructions.batch(len(WORLDS), 8), instructions.batch(len(WORLDS), 4)
    features, unseen = (F.normalize(encoder(tokenizer.batch(texts))[1], dim=1) for texts in (seen, fresh))
    centres = torch.stack([features[which == i].mean(0) for i in range(len(WORLDS))])
    assert ((unseen @ centres.T).argmax(1) == asked).float().mean() > 0.9


def test_instructions_are_said_twice_with_what_they_state():
    instructions = Instructions(8, seed=0)
    first, second, which, stated = instructions.batch(len(WORLDS), 4)
    assert len(first) == len(second) == len(which) == 4 * len(WORLDS)
    assert sorted(set(which.tolist())) == list(range(len(WORLDS)))
    assert sum(one != other for one, other in zip(first, second, strict=True)) > 0.5 * len(first)
    for i, prompt in enumerate(first):
        name = list(WORLDS)[which[i]]
        for attribute, classes in stated.items():
            value = int(classes[i])
            assert (value > NOT_SAID) == (attribute in STATED.get(name, ())), (name, prompt)
            if value > NOT_SAID:
                assert ATTRIBUTES[attribute][value - 1] in EASY[attribute]


def test_training_lowers_every_term_of_the_instructions():
    torch.manual_seed(0)
    tokenizer = Tokenizer(vocabulary())
    encoder = TextEncoder(TextEncoderConfig(len(tokenizer), dim=32, heads=2, blocks=1, mlp_dim=32))
    probe, instructions = AttributeProbe(32), Instructions(32, seed=1)
    parameters = [*encoder.parameters(), *probe.parameters(), *instructions.probe.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    batch = instructions.batch(len(WORLDS), 2)  # all, or none may be there that states anything
    instructions.batch = lambda *_: batch
    history = []
    for _ in range(30):
        terms = instructions.loss(tokenizer, encoder, probe)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        history.append({name: term.item() for name, term in terms.items()})
    assert all(history[-1][name] < 0.7 * history[0][name] for name in ("task", "stated", "its words")), history[-1]
    # At first all prompts look alike; once they do not, their wordings come together.
    assert history[-1]["worded"] < 0.7 * max(terms["worded"] for terms in history)


def test_a_new_encoder_begins_as_the_old_one_word_by_word(shipped, tmp_path):
    """From an encoder of fewer words, which had other numbers: prompts in those words mean what they meant."""
    known, before = shipped
    words = [word for word in known.vocabulary if word not in ("a", "la", "melody")]
    rows = [*range(len(SPECIAL_TOKENS)), *(len(SPECIAL_TOKENS) + known.vocabulary.index(word) for word in words)]
    fewer = TextEncoder(TextEncoderConfig(len(rows), 128, heads=4, blocks=2, mlp_dim=256, media=True)).eval()
    fewer.load_state_dict({**before.state_dict(), "embedding.weight": before.embedding.weight[rows]})
    save_text_encoder(tmp_path / "fewer.safetensors", Tokenizer(words), fewer)
    tokenizer = Tokenizer(vocabulary())
    encoder = TextEncoder(TextEncoderConfig(len(tokenizer), 128, heads=4, blocks=2, mlp_dim=256, media=True)).eval()
    old_tokenizer, old = go_on_from(tmp_path / "fewer.safetensors", encoder, tokenizer)
    prompts = ["red circle on navy background <sfx> low ping </sfx>", "", "remove the logo from @video_1"]
    for one, other in zip(encoder(tokenizer.batch(prompts)), old(old_tokenizer.batch(prompts)), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(encoder(tokenizer.batch(["a la"]))[1], old(old_tokenizer.batch(["a la"]))[1])


def test_change_is_nothing_between_equals_and_2_between_strangers(shipped):
    tokenizer, encoder = shipped
    assert change(encoder, tokenizer, encoder, tokenizer, random.Random(0)) == 0
    torch.manual_seed(0)
    stranger = TextEncoder(encoder.config).eval().requires_grad_(False)
    assert change(encoder, tokenizer, stranger, tokenizer, random.Random(0)) > 1


def test_going_on_learns_instructions_and_keeps_captions(shipped, monkeypatch):
    """Some steps of the real thing: the clock counts steps."""
    monkeypatch.setattr(text_training, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    tokenizer, encoder, facts = text_training.train(6, pairs=4, scenes=20, start=WEIGHTS)
    known, before = shipped
    assert tokenizer.vocabulary == known.vocabulary and facts["training"].startswith("6 steps")
    assert float(facts["captions_changed"].split()[0]) < 0.02
    moved = change(before, known, encoder, tokenizer, random.Random(1)).item()
    assert 0 < moved < 0.02
    same = {name for name, value in before.state_dict().items() if torch.equal(value, encoder.state_dict()[name])}
    assert {name.split(".")[0] for name in same} == {"media"}, "what sees and hears stays as it is, all else learns"
    assert set(json.loads(facts["held_out_attribute_accuracy"])["instructions pooled"]) == {"said", "chance"}
