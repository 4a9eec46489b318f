"""References in the prompt: where their vectors go at a tiny size, what is seen and heard with the shipped weights."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from models.media_encoder import SIDE, TOKENS, MediaEncoder
from models.text_encoder import (
    PAD,
    TextEncoder,
    TextEncoderConfig,
    Tokenizer,
    load_text_encoder,
    save_text_encoder,
    tag_positions,
)
from training.captions import EASY, REFERENCES, caption
from training.media import (
    FRAMES,
    TAGS,
    captionable,
    close_up,
    draw_references,
    draw_scenes,
    encode_batch,
    loss_terms,
    training_batch,
)
from training.text import AttributeProbe, is_held_out
from training.toybox import SAMPLE_RATE, sample_scenes

WEIGHTS = Path(__file__).parents[2] / "models" / "weights" / "mini_text_encoder.safetensors"
WORDS = "a red circle like on navy <sfx> </sfx> @image_1 @image_2 @audio_0".split()
PROMPT = "@image_1 on navy <sfx> @audio_0 </sfx>"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(WORDS)


@pytest.fixture
def encoder(tokenizer) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextEncoderConfig(len(tokenizer), 32, heads=2, blocks=2, mlp_dim=48, media=True)).eval()


@pytest.fixture(scope="module")
def shipped() -> tuple[Tokenizer, TextEncoder]:
    return load_text_encoder(WEIGHTS)


def test_any_size_and_length_gives_two_vectors():
    encoder = MediaEncoder(32)
    for frames, height, width in ((1, 64, 64), (1, 7, 300), (2, 90, 160), (17, 64, 64)):
        assert encoder.pictures(torch.rand(2, frames, height, width, 3)).shape == (2, TOKENS, 32)
    for channels, samples in ((1, 1), (2, 5000), (1, 100_000)):
        assert encoder.sounds(torch.rand(3, channels, samples)).shape == (3, TOKENS, 32)


def test_pictures_are_read_at_one_size():
    encoder = MediaEncoder(32)
    small = torch.rand(1, 20, SIDE, SIDE, 3)  # more frames than are made smaller at once
    large = small.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(encoder.pictures(large), encoder.pictures(small), rtol=1e-4, atol=1e-5)


def test_rows_do_not_depend_on_their_batch():
    encoder = MediaEncoder(32)
    clips, sounds = torch.rand(3, 5, 64, 64, 3), torch.randn(3, 2, 9000)
    torch.testing.assert_close(encoder.pictures(clips)[1:2], encoder.pictures(clips[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.sounds(sounds)[1:2], encoder.sounds(sounds[1:2]), rtol=1e-4, atol=1e-5)


def test_a_still_clip_and_a_moving_one_differ():
    torch.manual_seed(0)
    encoder = MediaEncoder(32)
    picture = torch.rand(1, 1, 64, 64, 3)
    still = picture.expand(-1, 5, -1, -1, -1)
    moving = torch.cat([picture.roll(4 * i, dims=3) for i in range(5)], dim=1)
    torch.testing.assert_close(encoder.pictures(still), encoder.pictures(picture), rtol=1e-4, atol=1e-5)
    assert (encoder.pictures(moving) - encoder.pictures(still)).abs().max() > 1e-3


def test_silence_is_finite_and_loudness_matters():
    encoder = MediaEncoder(32)
    tone = torch.sin(torch.arange(20_000) * 0.05)[None, None]
    silent, quiet, loud = (encoder.sounds(gain * tone) for gain in (0.0, 0.01, 1.0))
    assert silent.isfinite().all()
    assert (quiet - silent).abs().max() > 1e-3 and (loud - quiet).abs().max() > 1e-3


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    encoder = MediaEncoder(32)
    seen, heard = encoder.pictures(torch.rand(2, 3, 64, 64, 3)), encoder.sounds(torch.randn(2, 1, 9000))
    ((seen * torch.randn_like(seen)).sum() + (heard * torch.randn_like(heard)).sum()).backward()
    # A bias of the keys moves all scores of a query alike, which softmax does not see.
    unseen = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 1e-7]
    assert [name for name in unseen if not name.endswith("key.bias")] == []


def test_tag_positions():
    assert tag_positions("A @Image_1, like @image_10 and @image_1", {"@image_1"}) == {2: "@image_1", 6: "@image_1"}
    assert tag_positions("girl@image_1!", {"@image_1", "@image_2"}) == {2: "@image_1"}


def test_vectors_go_right_behind_their_tag(tokenizer, encoder):
    tokens = tokenizer.batch([PROMPT])
    seen, heard = torch.randn(2, 32), torch.randn(2, 32)
    sequence, pooled = encoder.encode_prompt(tokens, [{5: heard, 1: seen}])
    words = encoder.embedding(tokens)[0]
    spliced = torch.cat([words[:2], seen, words[2:6], heard, words[6:7]])
    embeddings = F.pad(spliced, (0, 0, 0, 16 - len(spliced)))[None]
    expected = encoder.encode(embeddings, torch.arange(16)[None] < len(spliced))
    assert torch.equal(sequence, expected[0]) and torch.equal(pooled, expected[1])
    assert sequence.shape == (1, 16, 32) and sequence[0, len(spliced) :].count_nonzero() == 0


def test_no_media_is_the_plain_prompt_bit_for_bit(tokenizer, encoder):
    tokens = tokenizer.batch([PROMPT, "", "a " * 20])
    for one, other in zip(encoder.encode_prompt(tokens, [{}] * 3), encoder(tokens), strict=True):
        assert torch.equal(one, other)


def test_length_stays_a_multiple_of_16_when_the_vectors_do_not_fit(tokenizer, encoder):
    tokens = tokenizer.batch(["@image_1 " + "a " * 13])
    assert tokens.shape[1] == 16
    sequence, _ = encoder.encode_prompt(tokens, [{1: torch.randn(2, 32)}])
    assert sequence.shape[1] == 32 and (sequence[0].abs().sum(-1) > 0).sum() == 17


def test_a_row_is_the_same_alone_and_beside_longer_ones(tokenizer, encoder):
    tokens = tokenizer.batch([PROMPT, "red circle", "a " * 15])
    media = [{1: torch.randn(2, 32)}, {}, {3: torch.randn(2, 32)}]
    sequence, pooled = encoder.encode_prompt(tokens, media)
    assert sequence.shape == (3, 32, 32)
    for i in range(3):
        alone, alone_pooled = encoder.encode_prompt(tokens[i : i + 1], media[i : i + 1])
        torch.testing.assert_close(sequence[i, :16], alone[0, :16], atol=1e-5, rtol=0)
        torch.testing.assert_close(pooled[i], alone_pooled[0], atol=1e-5, rtol=0)


def test_files_with_and_without_media(tokenizer, encoder, tmp_path):
    path = tmp_path / "text.safetensors"
    save_text_encoder(path, tokenizer, encoder)
    loaded = load_text_encoder(path)[1]
    assert loaded.config == encoder.config and loaded.media is not None
    picture = torch.rand(1, 1, 64, 64, 3)
    assert torch.equal(loaded.media.pictures(picture), encoder.media.pictures(picture))
    blind = TextEncoder(replace(encoder.config, media=False))
    save_text_encoder(path, tokenizer, blind)
    loaded = load_text_encoder(path)[1]
    assert loaded.media is None
    assert torch.equal(loaded(tokenizer.batch([PROMPT]))[0], blind(tokenizer.batch([PROMPT]))[0])


def test_encode_batch_is_each_prompt_by_itself(tokenizer, encoder):
    captions = ["red @image_1 like @image_2", "a circle", PROMPT]
    media = [
        {"@image_1": torch.rand(1, 64, 64, 3), "@image_2": torch.rand(1, 64, 64, 3)},
        {},
        {"@image_1": torch.rand(1, 64, 64, 3), "@audio_0": torch.randn(1, 4000)},
    ]
    sequence, pooled = encode_batch(tokenizer, encoder, captions, media)
    for i in range(3):
        alone, alone_pooled = encode_batch(tokenizer, encoder, captions[i : i + 1], media[i : i + 1])
        torch.testing.assert_close(sequence[i], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(pooled[i], alone_pooled[0], atol=1e-5, rtol=0)
    swapped = [{"@image_1": media[0]["@image_2"], "@image_2": media[0]["@image_1"]}]
    assert not torch.allclose(encode_batch(tokenizer, encoder, captions[:1], swapped)[1][0], pooled[0], atol=1e-3)


def test_encode_batch_refuses_what_it_cannot_place(tokenizer, encoder):
    picture = torch.rand(1, 64, 64, 3)
    with pytest.raises(ValueError, match="caption 'a circle' does not name @image_1"):
        encode_batch(tokenizer, encoder, ["a circle"], [{"@image_1": picture}])
    blind = TextEncoder(replace(encoder.config, media=False))
    with pytest.raises(ValueError, match="the text encoder perceives no media"):
        encode_batch(tokenizer, blind, ["@image_1"], [{"@image_1": picture}])


def test_references_show_their_part_alone():
    generator = torch.Generator().manual_seed(3)
    scenes = draw_scenes(12, generator, held_out=False)
    assert len(scenes) == 12 and not any(is_held_out(scenes.attributes(i)) for i in range(12))
    references = draw_references(scenes, generator)
    for i, shown in enumerate(references):
        assert shown["subject"].shape == (1, 64, 64, 3) and shown["background"].shape == (1, 64, 64, 3)
        assert shown["background"].std((0, 1, 2)).max() < 0.05  # an empty box and a little noise
        paint = torch.tensor(scenes.level.colours[scenes.attributes(i)["colour"]].rgb) / 255
        assert (shown["subject"] - paint).abs().amax(-1).lt(0.15).any()
        if "motion" in shown:
            assert shown["motion"].shape == (FRAMES, 64, 64, 3)
        if "sound" in shown:
            assert shown["sound"].shape[1] >= FRAMES / 16 * SAMPLE_RATE and shown["sound"].abs().max() > 0.01
    assert "motion" in references[0] and any("sound" in shown for shown in references)


def test_close_up_keeps_all_of_the_subject_in_sight():
    scenes = sample_scenes(40, frames=1, shape="circle", colour="white", generator=torch.Generator().manual_seed(4))
    plain, near = (x[:, 0, 0] > 0.5 for x in (scenes.render(), close_up(scenes, torch.Generator().manual_seed(5))))
    assert torch.equal(plain[::2], near[::2])
    area, zoomed = plain.sum((1, 2)), near.sum((1, 2))
    assert (zoomed[1::2] > area[1::2]).float().mean() > 0.9 and zoomed.max() > 3 * area.max()
    edge = near.clone()
    edge[:, 1:-1, 1:-1] = False
    assert (edge.sum((1, 2)) < 12).all()  # a disc that touches the border covers a few pixels of it, not a chord


def test_training_lowers_every_term():
    torch.manual_seed(0)
    tokenizer, words = load_text_encoder(WEIGHTS)
    encoder = TextEncoder(replace(words.config, media=True))
    encoder.load_state_dict(words.state_dict())
    encoder.requires_grad_(False)
    encoder.media = MediaEncoder(encoder.config.dim)
    probe = AttributeProbe(encoder.config.dim).requires_grad_(False)
    batch = training_batch(6, torch.Generator().manual_seed(0), random.Random(0))
    assert all(tag in text for text, shown in zip(*batch[:2], strict=True) for tag in shown)
    optimizer = torch.optim.Adam(encoder.media.parameters(), lr=2e-3)
    history = []
    for _ in range(12):
        terms = loss_terms(tokenizer, encoder, probe, batch)
        optimizer.zero_grad()
        (terms["pooled"] + terms["among"]).backward()
        optimizer.step()
        history.append({name: term.item() for name, term in terms.items()})
    assert history[-1]["pooled"] < 0.8 * history[0]["pooled"] and history[-1]["among"] < history[0]["among"]


def test_shipped_file_is_small_and_says_what_it_can():
    with safe_open(WEIGHTS, framework="pt") as file:
        sizes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        report = json.loads(file.metadata()["media_held_out_accuracy"])
    assert sum(torch.Size(shape).numel() for name, shape in sizes.items() if name.startswith("media.")) < 250_000
    for name, accuracy in report.items():
        assert accuracy["one"] > 0.95 and accuracy["all"] > 0.95, name
        assert accuracy["blind"] < 0.6 and accuracy["chance"] <= 0.5, name


@pytest.mark.parametrize("part", list(REFERENCES))
def test_shipped_encoder_reads_held_out_references(shipped, part):
    """The words nearest to a prompt with a reference name what it shows; with another scene's, something else."""
    tokenizer, encoder = shipped
    generator = torch.Generator().manual_seed(21)
    scenes = draw_scenes(8, generator, held_out=True)
    shown = draw_references(scenes, generator)
    tag = TAGS[part][0]
    for name in REFERENCES[part]:
        if name not in EASY:
            continue
        right = wrong = count = 0
        for i in range(8):
            if part not in shown[i]:
                continue
            facts = captionable(scenes.attributes(i))
            others = encoder(tokenizer.batch([caption(facts | {name: value}) for value in EASY[name]]))[1]
            text = caption(facts, references={part: tag})
            _, pooled = encode_batch(tokenizer, encoder, [text], [{tag: shown[i][part]}])
            right += EASY[name][int(F.cosine_similarity(pooled, others).argmax())] == facts[name]
            _, blank = encode_batch(tokenizer, encoder, [text], [{tag: torch.zeros_like(shown[i][part])}])
            wrong += EASY[name][int(F.cosine_similarity(blank, others).argmax())] == facts[name]
            count += 1
        assert count >= 4 and right >= count - 1, name
        assert wrong < count, name


def test_a_reference_adds_its_vectors_to_the_length(shipped):
    tokenizer, encoder = shipped
    picture = torch.rand(1, 64, 64, 3)
    sequence, _ = encode_batch(tokenizer, encoder, ["@image_1 bounces"], [{"@image_1": picture}])
    assert (sequence[0].abs().sum(-1) > 0).sum() == 1 + 2 + TOKENS
    assert (tokenizer.batch(["@image_1 bounces"]) != PAD).sum() == 3
