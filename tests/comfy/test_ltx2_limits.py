"""What a canvas on LTX-2 may not be, what is said of it before sampling, and what it costs."""

import re
from dataclasses import replace

import comfy.ldm.modules.attention as attention
import comfy.ops
import pytest
import torch
from comfy.ldm.lightricks.av_model import LTXAVModel
from comfy_extras import nodes_context_windows
from ltx_canvas_tools import FRAMES, HEIGHT, LEFT, PATCH, WIDTH, H, L, T, W
from memory_tools import PeakMemory
from node_helpers import conditioning_set_values
from node_tools import noise, put
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.compile import compile_canvas
from skycanvas.canvas.cost import LATENT_COPIES, Ltx2Cost
from skycanvas.canvas.document import Box
from skycanvas.carriers.carrier import Way, carrier_of
from skycanvas.carriers.ltx2 import Ltx2Carrier
from tiny_ltx import transformer_config

# --- errors


def test_vaes_that_do_not_fit(ltx, canvas, vae, audio_vae):
    for inputs, message in (
        ({"vae": ltx.audio_vae, "audio_vae": ltx.vae}, "vae encodes sound and audio_vae encodes pictures: swap them"),
        ({"vae": vae}, "vae makes latents of 4 channels, LTX-2.* takes videos of 128 channels.*'Load Checkpoint'"),
        ({"vae": ltx.audio_vae}, "vae makes no videos, LTX-2.* takes videos of 128 channels"),
        ({"audio_vae": audio_vae}, "audio_vae is no audio VAE of LTX-2: connect 'Load LTXV Audio VAE'"),
        ({"audio_vae": ltx.vae}, "audio_vae is no audio VAE of LTX-2: connect 'Load LTXV Audio VAE'"),
    ):
        with pytest.raises(ValueError, match=message):
            ltx.encode(canvas, **inputs)


def test_guides_before_the_canvas_are_refused(ltx, canvas):
    guided = [conditioning_set_values(one, {"keyframe_idxs": torch.zeros(1, 3, 24, 2)}) for one in ltx.prompts]
    encoded = ltx.encode(canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH))
    for negative in (guided[1], encoded[1]):
        with pytest.raises(ValueError, match="of 'LTXVAddGuide' or of another 'Encode Canvas'.*the prompts themselves"):
            ltx.encode(canvas, negative=negative)
    cropped = [conditioning_set_values(one, {"keyframe_idxs": None}) for one in ltx.prompts]
    ltx.encode(canvas, positive=cropped[0], negative=cropped[1])


def test_a_second_voice_is_refused(ltx, canvas):
    heard = [conditioning_set_values(one, {"ref_audio": {"tokens": torch.zeros(1, 3, 128)}}) for one in ltx.prompts]
    speaking = canvas.reference(0.1 * noise(1, 5000), kind="sound", sample_rate=44100)
    with pytest.raises(ValueError, match="'LTXV Reference Audio' or of another.* so has the canvas.*take one"):
        ltx.encode(speaking, positive=heard[0], negative=heard[1])
    positive, *_ = ltx.encode(canvas, positive=heard[0], negative=heard[1])
    assert positive[0][1]["ref_audio"] is heard[0][0][1]["ref_audio"]


@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(1, 4, 3, 4, 6), (1, 8, 17, 16)], r"latent \[1, 4, 3, 4, 6\] is no video of LTX-2.*'Empty SkyCanvas Latent'"),
        ([(1, 8, 17, 16)], r"latent \[1, 8, 17, 16\] is no video of LTX-2"),
        ([(1, 128, 3, 4, 6), (1, 4, 25)], r"has \[1, 4, 25\] beside the video, LTX-2 has a sound \[B, 8, L, 16\]"),
        ([(1, 128, 3, 4, 6), (1, 8, 17, 16), (1, 128, 1, 4, 6)], "and .* beside the video"),
    ],
)
def test_latents_that_do_not_fit(ltx, shapes, message):
    for good in ([(2, 128, 3, 4, 6)], [(1, 128, 3, 4, 6), (1, 8, 17, 16)]):
        Ltx2Carrier.check_latent(ltx.model, good)
    with pytest.raises(ValueError, match=message):
        Ltx2Carrier.check_latent(ltx.model, shapes)


def test_an_audio_vae_of_other_sizes(ltx, canvas, monkeypatch):
    monkeypatch.setattr(ltx.audio_vae.first_stage_model.autoencoder, "mel_bins", 128)
    with pytest.raises(ValueError, match="8 channels of 32 bins, 25 per second, the model takes 8 channels of 16 bins"):
        ltx.encode(canvas)


# --- limits and cost


@pytest.fixture
def limits(ltx):
    def call(canvas: Canvas, routing="auto", **way) -> list[str]:
        carrier = carrier_of(ltx.model)
        plan = compile_canvas(canvas, carrier.video, carrier.audio, routing=routing)
        return [f"{note.level}: {note.text}" for note in carrier.limits(plan, Way(**way))]

    return call


def test_nothing_to_say(limits, canvas):
    clip, image = noise(17, HEIGHT, WIDTH, 3), noise(1, HEIGHT, WIDTH, 3)
    placed = canvas.place_clip(clip, 25.0, box=LEFT).place_sound(0.1 * noise(1, 5000), 44100)
    for plain in (canvas, placed, canvas.place_image(image), canvas.place_image(image, frame=13)):
        assert limits(plain) == []
    assert limits(Canvas.new(WIDTH, HEIGHT, FRAMES, 23.976)) == []


def test_limits(limits, canvas):
    patch = canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH)
    rugged = canvas.place_image(noise(1, 90, 64, 3), frame=5, box=Box(x=130, y=32, width=60, height=90))
    referring = canvas.reference(noise(1, 64, 64, 3), kind="image")
    voice = {"kind": "sound", "sample_rate": 44100}
    speaking = canvas.reference(0.1 * noise(1, 5000), **voice).reference(0.1 * noise(1, 5000, seed=2), **voice)
    for canvas, way, *messages in (
        (patch, {}, "info: .* Parts of frames, here on frame 13,"),
        (rugged, {}, "info: .* Parts of frames", "info: Patches on frame 5 end inside .* filled with the nearest"),
        (rugged, {"patch_layout": "zero_padded"}, "info: .* Parts of frames", "info: Patches on frame 5 .* grey"),
        (patch, {"patch_method": "no_rope"}, "warning: .* no no_rope .*rope_interpolation", "info: .* Parts"),
        (patch, {"patch_method": "latent_replacement"}, "warning: latent_replacement: patches on frame 13 stand still"),
        (patch, {"routing": "concat"}, "warning: What fills cells .* latent frame 2: .* routing auto"),
        (referring, {}, "warning: .* @image_1 .* IC-LoRA .* place the picture on the canvas"),
        (speaking, {}, "warning: .* hears one voice: @.* and @", "info: .* ID-LoRA"),
        (Canvas.new(WIDTH, HEIGHT, FRAMES, 12.0), {}, "info: The canvas has 12 fps"),
        (Canvas.new(64, 64, 601, 25.0), {}, "info: The canvas lasts 24.0 s, .* 20 s"),
        (Canvas.new(2560, 64, 9, 25.0), {}, "info: The canvas is 2560x64 pixels, .* 2048"),
        (Canvas.new(64, 32, 9, 25.0), {}, "warning: The canvas is 64x32 pixels, .* 64 at least: the VAE may fail"),
    ):
        found = limits(canvas, **way)
        assert len(found) == len(messages), found
        for note, message in zip(found, messages, strict=True):
            assert re.match(message, note), note


def test_context_windows_lose_places(ltx):
    """Why there is a warning: core numbers the appended frames as if they were a clip of their own."""
    canvas = Canvas.new(WIDTH, HEIGHT, 73, 25.0)
    placed = canvas.place_image(noise(1, 96, 64, 3), frame=13, box=PATCH)
    windows = {"model": ltx.model, "context_length": 5, "context_overlap": 2, "dim": 2}
    carrier = carrier_of(put(nodes_context_windows.ContextWindowsManualNode, **windows))
    for one, expected in ((canvas, 0), (placed, 1)):
        plan = compile_canvas(one, carrier.video, carrier.audio)
        warnings = [note.text for note in carrier.limits(plan, Way()) if note.level == "warning"]
        assert len(warnings) == expected and all(re.search("Context windows .* 'Extend Clip'", x) for x in warnings)
    ltx.sample(*ltx.encode(placed), model=carrier.model)
    assert not any((call.places[0] == torch.tensor([13, 14])).all(-1).any() for call in ltx.calls)


def test_tokens_of_cost_are_those_that_the_network_gets(ltx, crowded):
    carrier = carrier_of(ltx.model)
    plan = compile_canvas(crowded, carrier.video, carrier.audio)
    ltx.sample(*ltx.encode(crowded))
    cost, call = carrier.cost(plan, text_tokens=4), ltx.calls[0]
    voice = plan.audio.latents(5000 / 44100)
    assert cost.video_tokens == T * H * W and cost.audio_tokens == L and cost.text_tokens == 4
    beside = cost.context_tokens + cost.reference_tokens - voice
    assert call.places.shape[1] == cost.video_tokens + beside and cost.context_tokens == 6 + 6
    assert call.audio_places.shape[1] == L + voice
    assert cost.seconds and cost.bytes > ltx.model.model_size()
    plain = carrier.cost(compile_canvas(Canvas.new(WIDTH, HEIGHT, FRAMES, 25.0), carrier.video, carrier.audio))
    assert plain.operations < cost.operations and plain.bytes < cost.bytes


def test_what_is_between_two_patches_costs_nothing(ltx, canvas):
    """On one frame they are one patch, whose box is as large as the canvas."""
    for box in (Box(x=0, y=0, width=40, height=32), Box(x=160, y=64, width=64, height=64)):
        canvas = canvas.place_image(noise(1, box.height, box.width, 3, seed=box.x), frame=5, box=box)
    carrier = carrier_of(ltx.model)
    plan = compile_canvas(canvas, carrier.video, carrier.audio)
    ltx.sample(*ltx.encode(canvas))
    tokens = ltx.calls[0].places.shape[1] - T * H * W
    assert len(plan.patches) == 1 and carrier.cost(plan).context_tokens == tokens == 2 + 2


def test_own_timesteps_cost_memory(ltx, canvas):
    """Where some cells of a latent frame are clean and others are not, core modulates token by token."""
    carrier = carrier_of(ltx.model)
    whole, part = (
        carrier.cost(compile_canvas(placed, carrier.video, carrier.audio))
        for placed in (
            canvas.place_clip(noise(17, HEIGHT, WIDTH, 3), 25.0),
            canvas.place_clip(noise(17, HEIGHT, 64, 3), 25.0, box=LEFT),
        )
    )
    vectors = (9 if ltx.files.version == "2.3" else 6) + 4 + 1 + 1
    assert part.bytes - whole.bytes == (T * H * W - T) * vectors * 24 * 4


def test_cost_of_the_real_size():
    """LTX-2.3 at 1280 x 704 pixels, 121 frames: 14080 tokens, 1.7 GB of AdaLN if each token has its own."""
    real = Ltx2Cost(video=4096, audio=2048, crossing=2048, blocks=48, modulations=9, weights=0)
    plan = compile_canvas(Canvas.new(1280, 704, 121, 25.0), Ltx2Carrier.video, Ltx2Carrier.audio)
    tokens = plan.given.numel()
    assert tokens == 14080 and len(plan.audio_given) == 121
    assert real.modulation(tokens) == 14080 * 15 * 4096 * 2 == 1_730_150_400
    assert real.modulation(16) == 16 * 15 * 4096 * 2


@pytest.mark.parametrize("kept", [0, 3], ids=["as a whole", "in part"])
@pytest.mark.parametrize("version, modulations", [("2.0", 6), ("2.3", 9)])
def test_memory_is_what_the_network_takes(monkeypatch, version, modulations, kept):
    """Of a larger one, with an attention that does not write down its scores, as on a GPU."""
    dim, audio_dim, sizes, latents, words = 512, 256, (4, 10, 16), 40, 16
    config = transformer_config(version) | {"num_layers": 1, "cross_attention_dim": dim, "attention_head_dim": dim // 2}
    config |= {"audio_cross_attention_dim": audio_dim, "audio_attention_head_dim": audio_dim // 2}
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    network = LTXAVModel(**config, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    for weights in network.parameters():
        weights.normal_(std=0.02)
    mask = torch.ones(1, 1, *sizes)
    mask[..., :kept] = 0
    streams = [torch.randn(1, 128, *sizes), torch.randn(1, 8, latents, 16)]
    text = torch.randn(1, words, 2 * 24 if version == "2.0" else dim + audio_dim)
    timesteps = 0.7 * mask.view(1, -1, 1), torch.full((1, latents, 1), 0.7)
    with PeakMemory() as memory:
        network(streams, timesteps, text, None, 25.0, {}, None, denoise_mask=mask)
    numbers = Ltx2Cost(dim, audio_dim, audio_dim, 1, modulations, weights=0, bytes_per_number=4)
    tokens = mask.numel()
    estimate = numbers.bytes(tokens, latents, words, tokens if kept else sizes[0])
    estimate -= 4 * LATENT_COPIES * 128 * (tokens + latents)  # those of the sampler
    assert 0.95 < estimate / memory.peak < 1.05


def test_operations_are_those_of_the_network(ltx):
    """Counted by hand: matrices of one block, applied to one token of each kind."""
    network = ltx.network
    block = network.transformer_blocks[0]

    def products(module) -> int:
        return sum(x.numel() for name, x in module.named_parameters() if x.ndim == 2 and "gate" not in name)

    def rows(attention) -> tuple[int, int]:
        inside = products(attention.to_k) + products(attention.to_v)
        return products(attention) - inside, inside

    (video_q, video_k), (audio_q, audio_k) = rows(block.audio_to_video_attn), rows(block.video_to_audio_attn)
    (video_words, video_text), (audio_words, audio_text) = rows(block.attn2), rows(block.audio_attn2)
    video = products(block.attn1) + products(block.ff) + video_words + video_q + audio_k
    audio = products(block.audio_attn1) + products(block.audio_ff) + audio_words + audio_q + video_k
    numbers = Ltx2Cost(video=24, audio=16, crossing=16, blocks=2, modulations=6, weights=0)
    pairs = 7 * (7 + 3) * 24 + 5 * (5 + 3) * 16 + 2 * 7 * 5 * 16
    expected = 2 * 2 * (7 * video + 5 * audio + 3 * (video_text + audio_text) + 2 * pairs)
    assert numbers.operations(7, 5, 3, 0) == expected
    shared = network.adaln_single, network.av_ca_video_scale_shift_adaln_single, network.av_ca_a2v_gate_adaln_single
    numbers = replace(numbers, modulations=len(block.scale_shift_table))
    assert numbers.operations(7, 5, 3, 1) - expected == 2 * sum(products(module.linear) for module in shared)
