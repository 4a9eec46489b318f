"""Prompts with references and structure, through Mini's own text encoder and through those of ComfyUI."""

import json
from pathlib import Path

import comfy.sd
import comfy.supported_models_base
import comfy.text_encoders.qwen_vl
import pytest
import torch
from comfy.text_encoders import krea2, longcat_image, minimax, qwen3vl, qwen_image, z_image
from comfy_extras.nodes_textgen import TextGenerate
from comfy_tools import encode
from node_tools import noise, put, sound
from safetensors.torch import load_file, save_file
from skycanvas.carriers.clip import VISION, key_frames, load_clip, tokenize, vision_picture
from skycanvas.nodes.canvas import SkyCanvasNew
from skycanvas.nodes.enhance import INSTRUCTION, SAMPLING, SkyCanvasEnhancePrompt, flaw, prompt_of, write
from skycanvas.nodes.prompt import SkyCanvasPrompt, SkyCanvasStructuredPrompt, reference_media
from skycanvas.nodes.references import SkyCanvasReferenceClip, SkyCanvasReferenceImages, SkyCanvasReferenceVoice
from skycanvas.nodes.structure import check_references, check_structure, reference_tags
from tiny_mini import TEXT_DIM, VOCABULARY, randomised

import nodes
from models.text_encoder import SPECIAL_TOKENS, TextEncoder, TextEncoderConfig, Tokenizer

SHIPPED = Path(__file__).parents[2] / "models" / "weights" / "mini_text_encoder.safetensors"
WORDS = [*VOCABULARY, "@image_1", "@video_1", "@audio_0"]
IMAGE_PAD = 151655


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    """A tiny text encoder that perceives references."""
    path = tmp_path_factory.mktemp("weights") / "text_encoder.safetensors"
    config = TextEncoderConfig(len(SPECIAL_TOKENS) + len(WORDS), TEXT_DIM, heads=2, blocks=1, mlp_dim=64, media=True)
    sd = randomised(TextEncoder(config), torch.Generator().manual_seed(1))
    save_file(sd, path, {"vocabulary": json.dumps(WORDS)})
    return path


@pytest.fixture(scope="module")
def eyes(text_encoder):
    with torch.inference_mode():
        return load_clip(str(text_encoder))


@pytest.fixture
def plain(text_encoder) -> TextEncoder:
    """The same encoder without ComfyUI."""
    sd = load_file(text_encoder)
    encoder = TextEncoder(TextEncoderConfig.from_state_dict(sd))
    encoder.load_state_dict(sd)
    return encoder.eval()


@pytest.fixture
def canvas():
    """One reference of each kind: a picture, a clip of 8 frames a second, a sound of 22050 Hz."""
    canvas = put(SkyCanvasReferenceImages, canvas=put(SkyCanvasNew), images={"image_1": noise(1, 40, 24, 3)})
    canvas = put(SkyCanvasReferenceClip, canvas=canvas, images=noise(6, 32, 32, 3), clip_frame_rate=8.0)
    return put(SkyCanvasReferenceVoice, canvas=canvas, audio=sound(0.2, channels=2, sample_rate=22050))


def notes(output) -> str:
    (text,) = output.ui.as_dict()["text"]
    return text


# --- structure


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat, 1 < 2 and 3 > 2, <3",
        "he says <dialogue>hi</dialogue>@Audio-0 <SFX>wind</SFX> <bgm></bgm>",
        "<|im_start|>user <start_of_turn>",
    ],
)
def test_well_formed_prompts_pass(text):
    check_structure(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a cat <sfx> purr", "<sfx> is not closed: write </sfx> where it ends"),
        ("a cat purr </sfx>", "</sfx> closes what is not open: write <sfx> before it, or leave it out"),
        ("<sfx> purr </bgm>", "</bgm> closes what is not open: close <sfx> first"),
        ("<sfx> a <bgm> b </bgm> </sfx>", "<bgm> stands inside <sfx>: write </sfx> before it"),
        ("<sfk> purr </sfk>", "<sfk> is no tag of a prompt: use <sfx>"),
        ("<foo>", "<foo> is no tag of a prompt: use one of <dialogue>, <sfx>, <singing>, <bgm>, <text>"),
    ],
)
def test_malformed_structure_is_refused_before_sampling(clip, text, message):
    with pytest.raises(ValueError, match=message):
        check_structure(text)
    with pytest.raises(ValueError, match=message):
        SkyCanvasPrompt.execute(clip, text)


def test_reference_tags():
    text = "@Image_1, (@Actor-0) by@image_9 a@b.com @image_1 </dialogue>@Audio-0. @ @1"
    assert reference_tags(text) == ["@Image_1", "@Actor-0", "@Audio-0"]


@pytest.mark.parametrize(
    ("text", "wired", "message"),
    [
        ("@image_1", [], "names @image_1, but there is no such reference: connect a canvas with that reference"),
        (
            "@image_2 @image_1 @cat",
            ["@image_1", "@audio_0"],
            "names @image_2, @cat, .* the canvas has @image_1, @audio_0",
        ),
        ("@image_10", ["@image_1"], "names @image_10, .* the canvas has @image_1"),
        (
            "like @video_1",
            ["@image_1", "@video_1"],
            "the canvas has @image_1, which the prompt does not name: write the",
        ),
    ],
)
def test_a_tag_without_a_reference_is_refused_and_the_reverse(text, wired, message):
    with pytest.raises(ValueError, match=message):
        check_references(text, wired)


def test_tags_are_alike_in_any_case():
    check_references("@IMAGE_1 like @video_1", ["@image_1", "@video_1"])


def test_structured_prompt():
    text = put(
        SkyCanvasStructuredPrompt,
        picture=" a man  waves,\n <text>EXIT</text> behind him ",
        dialogue="hello, how are you?\n\nI'm @Actor-0 (tired) \n",
        sound_effects="wind",
        background_music="soft piano",
    )
    assert text == (
        "a man waves, <text>EXIT</text> behind him <dialogue>hello, how are you?</dialogue> "
        "<dialogue>I'm @Actor-0 (tired)</dialogue> <sfx>wind</sfx> <bgm>soft piano</bgm>"
    )
    check_structure(text)
    assert put(SkyCanvasStructuredPrompt) == ""
    assert (
        put(SkyCanvasStructuredPrompt, singing="la", text_in_picture="A<B") == "<singing>la</singing> <text>A<B</text>"
    )


def test_tags_inside_a_field_are_refused():
    with pytest.raises(ValueError, match="dialogue holds </dialogue>: write its words alone"):
        put(SkyCanvasStructuredPrompt, dialogue="hi</dialogue><sfx>bang</sfx>")
    with pytest.raises(ValueError, match="<sfx> is not closed"):
        put(SkyCanvasStructuredPrompt, picture="a cat <sfx>", dialogue="hi")


# --- Mini's own encoder


def test_media_of_the_canvas(canvas):
    media = reference_media(canvas)
    assert set(media) == {"@image_1", "@video_1", "@audio_0"}
    assert media["@image_1"].shape == (1, 40, 24, 3) and media["@audio_0"].shape == (2, 8820)
    source = canvas.media[canvas.document.references[1].media]
    assert torch.equal(media["@video_1"], source.repeat_interleave(2, dim=0))  # 8 frames a second on a canvas of 16


def test_the_encoder_perceives_references_at_their_tag(eyes, plain, canvas):
    text = "@Image_1 bounces <sfx> @audio_0 </sfx> on navy @video_1"
    output = SkyCanvasPrompt.execute(eyes, text, canvas)
    media = reference_media(canvas)
    vectors = {
        1: plain.media.pictures(media["@image_1"][None])[0],
        4: plain.media.sounds(media["@audio_0"][None])[0],
        8: plain.media.pictures(media["@video_1"][None])[0],
    }
    sequence, pooled = plain.encode_prompt(Tokenizer(WORDS).batch([text]), [vectors])
    ((cond, more),) = output.result[0]
    torch.testing.assert_close(cond, sequence)
    torch.testing.assert_close(more["pooled_output"], pooled)
    assert notes(output) == "All words are known."


def test_other_pixels_and_samples_are_another_conditioning(eyes, canvas):
    def pooled(images, audio):
        changed = put(SkyCanvasReferenceImages, canvas=put(SkyCanvasNew), images={"image_1": images})
        changed = put(SkyCanvasReferenceVoice, canvas=changed, audio=audio)
        return SkyCanvasPrompt.execute(eyes, "@image_1 <sfx> @audio_0 </sfx>", changed).result[0][0][1]["pooled_output"]

    one = pooled(noise(1, 40, 24, 3), sound(0.2))
    assert torch.equal(one, pooled(noise(1, 40, 24, 3), sound(0.2)))
    assert not torch.allclose(one, pooled(noise(1, 40, 24, 3, seed=2), sound(0.2)), atol=1e-4)
    assert not torch.allclose(one, pooled(noise(1, 40, 24, 3), sound(0.2, sample_rate=22050)), atol=1e-4)


def test_text_without_references_is_what_clip_text_encode_makes(eyes, clip):
    for encoder in (eyes, clip):
        for canvas in (None, put(SkyCanvasNew)):
            ours = SkyCanvasPrompt.execute(encoder, "a red circle", canvas).result[0]
            stock = encode(encoder, "a red circle")
            assert torch.equal(ours[0][0], stock[0][0])
            assert torch.equal(ours[0][1]["pooled_output"], stock[0][1]["pooled_output"])


def test_wired_but_not_named(eyes, canvas):
    with pytest.raises(ValueError, match="the canvas has @image_1, @audio_0, which the prompt does not name"):
        SkyCanvasPrompt.execute(eyes, "a red circle like @video_1", canvas)
    with pytest.raises(ValueError, match="names @image_3, .* the canvas has @image_1, @video_1, @audio_0"):
        SkyCanvasPrompt.execute(eyes, "@image_3", canvas)
    with pytest.raises(ValueError, match="connect a canvas"):
        SkyCanvasPrompt.execute(eyes, "@image_1")


def test_an_old_file_says_that_it_perceives_nothing(clip, canvas):
    output = SkyCanvasPrompt.execute(clip, "@image_1 bounces like @video_1 <sfx> @audio_0 </sfx>", canvas)
    assert "old one that perceives no media: @audio_0, @image_1, @video_1 are words to it" in notes(output)
    assert output.result[0][0][0].isfinite().all()


def test_lora_on_the_media_encoder(base, model, eyes, canvas):
    name = "text_encoders.media.picture_pool.mlp.0"
    lora = {f"{name}.lora_A.weight": torch.randn(2, TEXT_DIM), f"{name}.lora_B.weight": torch.randn(TEXT_DIM, 2)}
    save_file(lora, base / "models" / "loras" / "eyes.safetensors")
    patched = nodes.LoraLoader().load_lora(model, eyes, "eyes.safetensors", 1.0, 1.0)[1]
    changed = put(SkyCanvasPrompt, clip=patched, text="@image_1 like @video_1 @audio_0", canvas=canvas)
    before = put(SkyCanvasPrompt, clip=eyes, text="@image_1 like @video_1 @audio_0", canvas=canvas)
    assert not torch.allclose(changed[0][0], before[0][0], atol=1e-3)


def test_a_fresh_copy_perceives_too(eyes):
    make, args = eyes.patcher.cached_patcher_init
    ours, theirs = eyes.patcher.model.state_dict(), make(*args, disable_dynamic=True).model.state_dict()
    assert any(name.startswith("media.") for name in ours) and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_the_shipped_encoder_sees_what_the_picture_shows():
    """A red circle as a reference is nearer to the words 'a red circle' than to those of other colours."""
    shipped = load_clip(str(SHIPPED))
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = ((x - 30) ** 2 + (y - 36) ** 2 < 144)[..., None]
    image = torch.where(disc, torch.tensor([230, 40, 40]), torch.tensor([14, 22, 80]))[None] / 255
    canvas = put(SkyCanvasReferenceImages, canvas=put(SkyCanvasNew), images={"image_1": image})

    def pooled(text, canvas=None):
        return SkyCanvasPrompt.execute(shipped, text, canvas).result[0][0][1]["pooled_output"][0]

    seen = pooled("@image_1 bounces slowly on a black background", canvas)
    colours = ("red", "yellow", "green", "blue", "magenta", "white")
    near = [
        torch.cosine_similarity(seen, pooled(f"a {c} circle bounces slowly on a black background"), dim=0)
        for c in colours
    ]
    assert colours[int(torch.stack(near).argmax())] == "red"


# --- encoders of ComfyUI


class Blank(torch.nn.Module):
    """In the place of a network that the test does not run: tokenizers need none."""

    dtypes = {torch.float32}

    def __init__(self, **_):
        super().__init__()


def stock_clip(tokenizer, network=Blank, **sizes) -> comfy.sd.CLIP:
    target = comfy.supported_models_base.ClipTarget(tokenizer, network)
    target.params = {}
    options = {"dtype": torch.float32} | {f"{name}_model_config": sizes for name in ("qwen25_7b", "qwen3_4b")}
    with torch.inference_mode():
        return comfy.sd.CLIP(target, model_options=options)


def entries(tokens) -> list:
    ((row,),) = tokens.values()
    return [entry[0] for entry in row]


def ids_of(clip, text: str) -> list[int]:
    return entries(clip.tokenize(text, llama_template="{}", thinking=True))


@pytest.mark.parametrize("tokenizer", [qwen_image.QwenImageTokenizer, qwen3vl.Qwen3VLTokenizer, krea2.Krea2Tokenizer])
def test_pictures_stand_behind_their_tag(tokenizer):
    clip = stock_clip(tokenizer)
    media = {"@image_2": noise(1, 90, 160, 3), "@image_1": noise(1, 64, 64, 3, seed=2), "@image_12": noise(1, 8, 8, 3)}
    text = "the cat of @image_12 sits (on) @Image_1 {or} @image_2, @image_1"
    tokens, said = tokenize(clip, text, media)
    found = entries(tokens)
    pictures = [i for i, entry in enumerate(found) if isinstance(entry, dict)]
    order = ["@image_12", "@image_1", "@image_2"]
    assert said == [] and len(pictures) == 3
    for i, tag in zip(pictures, order, strict=True):
        assert torch.equal(found[i]["data"], vision_picture(media[tag]))
        mention = "@Image_1" if tag == "@image_1" else tag
        before = ids_of(clip, f" {mention}" + VISION)[:-2]
        assert found[i - len(before) : i] == before
    without = [entry for entry in found if entry not in (IMAGE_PAD,) and not isinstance(entry, dict)]
    template = clip.tokenizer.llama_template_images.replace(VISION, "")
    assert [i for i in without if i not in ids_of(clip, VISION)] == [
        i for i in entries(clip.tokenize(text, llama_template=template)) if i not in ids_of(clip, VISION)
    ]


def test_clips_are_seen_as_some_of_their_frames():
    clip = stock_clip(qwen_image.QwenImageTokenizer)
    frames = noise(17, 32, 32, 3)
    tokens, said = tokenize(clip, "like @video_1 with @audio_0", {"@video_1": frames, "@audio_0": torch.zeros(1, 100)})
    seen = [entry["data"] for entry in entries(tokens) if isinstance(entry, dict)]
    assert [torch.equal(one, vision_picture(frames[i][None])) for one, i in zip(seen, (0, 5, 11, 16), strict=True)] == [
        True
    ] * 4
    assert said == ["This CLIP hears nothing: @audio_0 is a word to it, and nothing more."]


def test_key_frames_and_sizes():
    frames = torch.arange(7.0)[:, None, None, None].expand(-1, 2, 3, 3)
    assert [int(frame[0, 0, 0, 0]) for frame in key_frames(frames)] == [0, 2, 4, 6]
    assert len(key_frames(frames[:1])) == 1 and len(key_frames(frames[:3])) == 3
    height, width = vision_picture(torch.rand(1, 1080, 1920, 3)).shape[1:3]
    assert (height, width) == (288, 512)


@pytest.mark.parametrize("tokenizer", [longcat_image.LongCatImageTokenizer, minimax.MiniMaxH3Tokenizer])
def test_encoders_with_a_fixed_place_for_pictures(tokenizer):
    media = {"@image_1": noise(1, 64, 64, 3), "@image_2": noise(1, 64, 64, 3, seed=2)}
    tokens, said = tokenize(stock_clip(tokenizer), "@image_2 and @image_1", media)
    seen = [entry["data"] for entry in entries(tokens) if isinstance(entry, dict)]
    assert torch.equal(seen[0], vision_picture(media["@image_2"]))
    assert said[0].endswith("in the order @image_2, @image_1.")
    assert len(said) == 1 if len(seen) == 2 else said[1] == "This CLIP took 1 of 2 pictures."


def test_encoders_without_eyes_say_so(canvas):
    clip = stock_clip(z_image.ZImageTokenizer)
    text = "@image_1 like @video_1 @audio_0"
    tokens, said = tokenize(clip, text, reference_media(canvas))
    assert entries(tokens) == entries(clip.tokenize(text))
    assert said == [
        "This CLIP perceives no such media: @audio_0, @image_1, @video_1 are words to it, and nothing more."
    ]
    assert tokenize(clip, "a cat", {}) == (clip.tokenize("a cat"), [])


@pytest.fixture(scope="module")
def qwen_vl():
    """ComfyUI's own Qwen2.5-VL, with few and narrow layers and random weights."""
    vision = comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer
    small = {"hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "num_layers": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            comfy.text_encoders.qwen_vl,
            "Qwen2VLVisionTransformer",
            lambda hidden_size, **options: vision(**options, **small),
        )
        clip = stock_clip(qwen_image.QwenImageTokenizer, qwen_image.QwenImageTEModel, **TINY)
    fill(clip)
    return clip


TINY = {
    "num_hidden_layers": 3,
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}


def fill(clip) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for parameter in clip.cond_stage_model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def test_qwen_vl_sees_the_references(qwen_vl):
    canvas = put(SkyCanvasReferenceImages, canvas=put(SkyCanvasNew), images={"image_1": noise(1, 40, 24, 3)})
    canvas = put(SkyCanvasReferenceClip, canvas=canvas, images=noise(6, 32, 32, 3), clip_frame_rate=8.0)
    output = SkyCanvasPrompt.execute(qwen_vl, "the cat of @image_1 moves like @video_1", canvas)
    ((cond, more),) = output.result[0]
    assert cond.isfinite().all() and "hears nothing" not in notes(output)
    blind = encode(qwen_vl, "the cat of @image_1 moves like @video_1")[0][0]
    assert cond.shape[1] > blind.shape[1] + 4 * 100  # a picture of 384 x 384 pixels is some 190 tokens
    other = put(SkyCanvasReferenceImages, canvas=put(SkyCanvasNew), images={"image_1": noise(1, 40, 24, 3, seed=5)})
    other = put(SkyCanvasReferenceClip, canvas=other, images=noise(6, 32, 32, 3), clip_frame_rate=8.0)
    changed = put(SkyCanvasPrompt, clip=qwen_vl, text="the cat of @image_1 moves like @video_1", canvas=other)
    assert cond.shape == changed[0][0].shape and not torch.allclose(cond, changed[0][0], atol=1e-4)


# --- the prompt enhancer


@pytest.fixture(scope="module")
def writer():
    """ComfyUI's own Qwen3, with few and narrow layers and random weights: it writes, if not well."""
    clip = stock_clip(z_image.ZImageTokenizer, z_image.ZImageTEModel, **TINY)
    fill(clip)
    return clip


def test_enhance_asks_as_generate_text_does(writer):
    mode = {"sampling_mode": "on", **SAMPLING, "seed": 5}
    stock = TextGenerate.execute(writer, INSTRUCTION + "a cat", 12, mode).result[0]
    assert write(writer, INSTRUCTION + "a cat", 12, 5) == stock != write(writer, INSTRUCTION + "a cat", 12, 6)


def test_an_answer_that_lost_a_reference_is_not_used(writer, caplog):
    output = SkyCanvasEnhancePrompt.execute("a cat like @image_1", seed=5, max_length=12, clip=writer)
    assert output.result == ("a cat like @image_1",)
    assert notes(output).startswith(
        "Warning: the answer of the language model was not used, because it has lost @image_1."
    )
    assert "the answer of the language model was not used" in caplog.text


def test_a_good_answer_is_used(writer, monkeypatch):
    answer = "<think>hm <sfx></think>\n```\nA cat of @image_1\nsleeps. <sfx>purring</sfx>\n```"
    said = {}

    def generate(tokens, **options):
        said["request"] = writer.decode([entry[0] for entry in tokens["qwen3_4b"][0]])
        return writer.tokenizer.qwen3_4b.tokenizer(answer)["input_ids"]

    monkeypatch.setattr(writer, "generate", generate)
    output = SkyCanvasEnhancePrompt.execute("cat @image_1", seed=5, max_length=12, clip=writer)
    assert output.result == ("A cat of @image_1 sleeps. <sfx>purring</sfx>",) == (notes(output),)
    assert "Request: cat @image_1" in said["request"] and "<dialogue>" in said["request"]


def test_without_a_language_model_the_text_is_untouched():
    text = " a  cat <sfx> \n"
    output = SkyCanvasEnhancePrompt.execute(text, seed=0, max_length=16)
    assert output.result == (text,) and notes(output) == "No language model is connected: the text goes on as it is."


def test_an_empty_request_is_not_asked(writer, monkeypatch):
    monkeypatch.setattr(writer, "generate", None)
    assert SkyCanvasEnhancePrompt.execute("  ", seed=0, max_length=16, clip=writer).result == ("  ",)


@pytest.mark.parametrize("which", ["clip", "qwen_vl"])
def test_a_clip_that_cannot_write_is_refused(which, request):
    with pytest.raises(ValueError, match="this CLIP cannot write text .*: connect one that works with 'Generate Text'"):
        SkyCanvasEnhancePrompt.execute("a cat", seed=0, max_length=4, clip=request.getfixturevalue(which))


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        ("  A cat.\n\nIt sleeps. ", "A cat. It sleeps."),
        ('"A cat says <dialogue>hi</dialogue>"', "A cat says <dialogue>hi</dialogue>"),
        ("<think>\n</think>A cat", "A cat"),
        ("```text\nA cat\n```", "A cat"),
        ('"', '"'),
        ("", ""),
    ],
)
def test_the_prompt_in_an_answer(answer, prompt):
    assert prompt_of(answer) == prompt


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("A cat of @Image_1.", ""),
        ("", "it is empty"),
        ("A cat of @image_1 <sfx>purr", "<sfx> is not closed: write </sfx> where it ends"),
        ("A cat", "it has lost @image_1"),
        ("A cat of @image_1 and @image_2", "it has invented @image_2"),
    ],
)
def test_flaws_of_an_answer(answer, reason):
    assert flaw(answer, "cat @image_1") == reason


def test_all_inputs_say_what_they_are():
    for node in (SkyCanvasPrompt, SkyCanvasStructuredPrompt, SkyCanvasEnhancePrompt):
        assert all(entry.tooltip or entry.id == "clip" for entry in node.define_schema().inputs)


def test_the_canvas_came_last_to_the_prompt_node():
    schema = SkyCanvasPrompt.define_schema()
    assert [(entry.id, entry.optional) for entry in schema.inputs] == [
        ("clip", False),
        ("text", False),
        ("canvas", True),
    ]
