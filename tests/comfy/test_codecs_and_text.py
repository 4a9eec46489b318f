"""The codecs and the text encoder behind ComfyUI's stock nodes, against the plain networks of models/."""

import comfy.sd
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_audio import VAEDecodeAudio, VAEDecodeAudioTiled, VAEEncodeAudio
from comfy_tools import PROMPT, encode
from safetensors.torch import load_file, save_file
from tiny_mini import VOCABULARY

import nodes
from models.audio_vae import AudioVAE, AudioVAEConfig
from models.text_encoder import TextEncoder, TextEncoderConfig, Tokenizer
from models.video_vae import VideoVAE, VideoVAEConfig


def plain(network, config, path):
    sd = load_file(path)
    module = network(config.from_state_dict(sd))
    module.load_state_dict(sd)
    return module.eval()


@pytest.fixture(scope="module")
def video_codec(mini):
    return plain(VideoVAE, VideoVAEConfig, mini.video_vae)


@pytest.fixture(scope="module")
def audio_codec(mini):
    return plain(AudioVAE, AudioVAEConfig, mini.audio_vae)


def test_vae_encode_and_decode(vae, video_codec):
    images = torch.rand(9, 32, 48, 3, generator=torch.Generator().manual_seed(0))
    latent = nodes.VAEEncode().encode(vae, images)[0]["samples"]
    torch.testing.assert_close(latent, video_codec.encode((images * 2 - 1).movedim(-1, 0)[None]))
    assert latent.shape == (1, 4, 3, 4, 6)
    decoded = nodes.VAEDecode().decode(vae, {"samples": latent})[0]
    torch.testing.assert_close(decoded, (video_codec.decode(latent)[0].movedim(0, -1) + 1) / 2)
    assert decoded.shape == (9, 32, 48, 3) and 0 <= decoded.min() and decoded.max() <= 1


def test_vae_decode_takes_the_picture_of_a_joint_latent(vae, model):
    video, audio = torch.randn(2, 4, 2, 2, 2), torch.randn(2, model.model.config.audio_channels, 9)
    decoded = nodes.VAEDecode().decode(vae, {"samples": NestedTensor((video, audio))})[0]
    assert torch.equal(decoded, nodes.VAEDecode().decode(vae, {"samples": video})[0])
    assert decoded.shape == (10, 16, 16, 3)  # clips one after the other


def test_tiled_decoding_in_one_tile_is_plain_decoding(vae):
    latent = {"samples": torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(1))}
    whole = nodes.VAEDecode().decode(vae, latent)[0]
    tiled = nodes.VAEDecodeTiled().decode(vae, latent, tile_size=512)[0]
    torch.testing.assert_close(tiled, whole, rtol=1e-4, atol=1e-4)
    small = nodes.VAEDecodeTiled().decode(vae, latent, tile_size=64, overlap=16, temporal_size=8, temporal_overlap=4)[0]
    assert small.shape == whole.shape and small.isfinite().all()


def test_tiled_decoding_takes_joint_latents(vae, model):
    video = torch.randn(1, 4, 2, 4, 4)
    joint = {"samples": NestedTensor((video, torch.randn(1, model.model.config.audio_channels, 9)))}
    tiled = nodes.VAEDecodeTiled().decode(vae, joint, tile_size=512)[0]
    assert torch.equal(tiled, nodes.VAEDecodeTiled().decode(vae, {"samples": video}, tile_size=512)[0])


def test_tiled_encoding(vae):
    images = torch.rand(17, 64, 64, 3)
    tiled = nodes.VAEEncodeTiled().encode(vae, images, tile_size=512, overlap=64)[0]["samples"]
    torch.testing.assert_close(tiled, vae.encode(images), rtol=1e-4, atol=1e-4)


def test_clip_of_a_wrong_length_is_refused_with_the_right_ones(vae):
    with pytest.raises(ValueError, match="length 30 is not 4n.1: use 29 or 33"):
        nodes.VAEEncode().encode(vae, torch.rand(30, 32, 32, 3))


def test_sizes_are_cropped_around_the_middle_as_core_does(vae):
    images = torch.rand(1, 37, 32, 3)
    assert torch.equal(vae.encode(images), vae.encode(images[:, 2:34]))


def test_alpha_channel_is_dropped(vae):
    images = torch.rand(1, 32, 32, 4)
    assert torch.equal(vae.encode(images), vae.encode(images[..., :3]))


def test_a_nodes_view_of_the_video_vae(vae):
    assert (vae.spacial_compression_decode(), vae.temporal_compression_decode(), vae.latent_channels) == (8, 4, 4)
    assert vae.memory_used_decode((1, 4, 5, 8, 8), torch.float32) > 3 * 17 * 64 * 64 * 4


def test_audio_vae_encode_and_decode(audio_vae, audio_codec):
    waveform = 0.1 * torch.randn(2, 1, 5000, generator=torch.Generator().manual_seed(2))
    latent = VAEEncodeAudio.execute(audio_vae, {"waveform": waveform, "sample_rate": 44100}).result[0]["samples"]
    torch.testing.assert_close(latent, audio_codec.encode(waveform))
    assert latent.shape == (2, audio_codec.channels, 5)  # nothing is cut off, as core would
    audio = VAEDecodeAudio.execute(audio_vae, {"samples": latent}).result[0]
    assert audio["sample_rate"] == 44100 and audio["waveform"].shape == (2, 1, 5 * 1024)
    assert 5 * audio["waveform"].std() < 1  # else core would have made it quieter
    torch.testing.assert_close(audio["waveform"], audio_codec.decode(latent))


def test_audio_vae_resamples_and_mixes_to_mono(audio_vae, audio_codec):
    waveform = 0.1 * torch.randn(1, 2, 22050)
    latent = VAEEncodeAudio.execute(audio_vae, {"waveform": waveform, "sample_rate": 22050}).result[0]["samples"]
    assert latent.shape[2] == -(-44100 // 1024)
    mono = VAEEncodeAudio.execute(audio_vae, {"waveform": waveform.mean(1, keepdim=True), "sample_rate": 22050}).result[
        0
    ]
    torch.testing.assert_close(latent, mono["samples"])


def test_tiled_audio_decoding(audio_vae, audio_codec):
    latent = {"samples": 0.1 * torch.randn(1, audio_codec.channels, 80)}
    tiled = VAEDecodeAudioTiled.execute(audio_vae, latent, 32, 8).result[0]["waveform"]
    assert tiled.shape == (1, 1, 80 * 1024) and tiled.isfinite().all()


def test_clip_text_encode(mini, clip):
    words = Tokenizer(VOCABULARY)
    encoder = plain(TextEncoder, TextEncoderConfig, mini.text_encoder)
    sequence, pooled = encoder(words.batch([PROMPT]))
    ((cond, more),) = encode(clip, PROMPT)
    torch.testing.assert_close(cond, sequence)
    torch.testing.assert_close(more["pooled_output"], pooled)


def test_empty_prompt_is_an_ordinary_prompt_of_no_words(clip):
    ((empty, more),) = encode(clip, "")
    ((prompt, _),) = encode(clip, PROMPT)
    assert empty.shape == prompt.shape and not torch.equal(empty, prompt) and more["pooled_output"].isfinite().all()


def test_unknown_words_are_logged_and_encoded(clip, caplog):
    with caplog.at_level("WARNING"):
        ((cond, _),) = encode(clip, "a purple circle on a marble background")
    assert "does not know: purple, marble" in caplog.text and cond.isfinite().all()


def test_prompt_node_lists_unknown_words(clip):
    from skycanvas.nodes.prompt import SkyCanvasPrompt

    output = SkyCanvasPrompt.execute(clip, "a purple circle, Purple marble")
    assert output.ui.as_dict()["text"] == ("Not known, ignored: purple, marble",)
    assert torch.equal(output.result[0][0][0], encode(clip, "a purple circle, Purple marble")[0][0])
    assert SkyCanvasPrompt.execute(clip, PROMPT).ui.as_dict()["text"] == ("All words are known.",)


def test_stock_nodes_for_conditioning(clip):
    zeroed = nodes.ConditioningZeroOut().zero_out(encode(clip, PROMPT))[0]
    assert zeroed[0][0].count_nonzero() == 0 and zeroed[0][1]["pooled_output"].count_nonzero() == 0
    mixed = nodes.ConditioningAverage().addWeighted(encode(clip, "a red circle"), encode(clip, "a blue square"), 0.5)[0]
    assert mixed[0][0].shape == zeroed[0][0].shape


def test_lora_on_the_text_encoder(base, mini, model, clip):
    weight = load_file(mini.text_encoder)["blocks.0.mlp.0.weight"]
    name = "text_encoders.blocks.0.mlp.0"
    lora = {
        f"{name}.lora_A.weight": torch.randn(2, weight.shape[1]),
        f"{name}.lora_B.weight": torch.randn(weight.shape[0], 2),
    }
    save_file(lora, base / "models" / "loras" / "words.safetensors")
    patched = nodes.LoraLoader().load_lora(model, clip, "words.safetensors", 1.0, 1.0)[1]
    assert not torch.allclose(encode(patched, PROMPT)[0][0], encode(clip, PROMPT)[0][0], atol=1e-3)


def test_a_fresh_copy_of_the_text_encoder_and_vaes(clip, vae, audio_vae):
    for patcher in (clip.patcher, vae.patcher, audio_vae.patcher):
        make, args = patcher.cached_patcher_init
        copy = make(*args, disable_dynamic=True)
        ours, theirs = patcher.model.state_dict(), copy.model.state_dict()
        assert copy.model is not patcher.model and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_the_vae_is_one_for_core(vae, audio_vae):
    assert all(isinstance(v, comfy.sd.VAE) and not v.is_dynamic() for v in (vae, audio_vae))
