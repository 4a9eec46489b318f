"""What the benchmarks sample with is what KSampler and the wave do, kept parts included."""

import comfy.sample
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_tools import PROMPT, empty_latent, encode, ksampler, plain_network, random_latent, streams
from skycanvas.nodes.sampling import SkyCanvasSampler

from training.sampling import sample_euler, sample_wave


@pytest.mark.parametrize("masked", [False, True])
def test_euler_of_the_benchmarks_is_ksampler(mini, model, loaded, masked):
    prompts = [encode(loaded[1], text) for text in (PROMPT, "")]
    network, latent = plain_network(mini.model), random_latent(model, 9, 1)
    video, audio = latent["samples"].unbind()
    video_mask, audio_mask = torch.ones_like(video[:, :1]), torch.ones_like(audio[:, :1])
    if masked:
        video_mask[:, :, 0], video_mask[:, :, 1, :3, :3], audio_mask[..., :5] = 0, 0, 0
        latent["noise_mask"] = NestedTensor([video_mask, audio_mask])

    def normalised(x, stream):
        mean, std = (getattr(network, f"{stream}_latent_{part}") for part in ("mean", "std"))
        return (x - mean.view(1, -1, *[1] * (x.ndim - 2))) / std.view(1, -1, *[1] * (x.ndim - 2))

    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    start = [
        torch.where(mask > 0, random, normalised(x, stream))
        for mask, random, x, stream in zip(
            (video_mask, audio_mask), noise, (video, audio), ("video", "audio"), strict=True
        )
    ]
    texts = [(prompt[0][0], prompt[0][1]["pooled_output"]) for prompt in prompts]
    shift = model.model.model_config.sampling_settings["shift"]
    masks = (video_mask, audio_mask) if masked else None
    ours = sample_euler(network, *start, *texts, steps=3, guidance=2.0, shift=shift, noise_masks=masks)
    theirs = streams(ksampler(model, *prompts, latent, steps=3, cfg=2.0))
    for stream, got, wanted in zip(("video", "audio"), ours, theirs, strict=True):
        torch.testing.assert_close(got, normalised(wanted, stream), rtol=1e-3, atol=1e-3)


def test_wave_of_the_benchmarks_is_that_of_the_sampler(mini, model, loaded):
    prompts = [encode(loaded[1], text) for text in (PROMPT, "")]
    network, latent = plain_network(mini.model), empty_latent(9, 2)
    noise = comfy.sample.prepare_noise(latent["samples"], 3).unbind()
    texts = [tuple(x.expand(2, *[-1] * (x.ndim - 1)) for x in (p[0][0], p[0][1]["pooled_output"])) for p in prompts]
    shift = model.model.model_config.sampling_settings["shift"]
    ours = sample_wave(network, *noise, *texts, steps=3, shift=shift)
    settings = dict(video_guidance=2.0, audio_guidance=2.0, cross_modal=1.0, sampler_name="euler", scheduler="simple")
    settings |= dict(seed=3, steps=3, schedule="wave", shift=0.0, denoise=1.0)
    theirs = streams(SkyCanvasSampler.execute(model, *prompts, latent, **settings).result[0]["samples"])
    for stream, got, wanted in zip(("video", "audio"), ours, theirs, strict=True):
        mean, std = (getattr(network, f"{stream}_latent_{part}") for part in ("mean", "std"))
        shape = (1, -1, *[1] * (got.ndim - 2))
        torch.testing.assert_close(got * std.view(shape) + mean.view(shape), wanted, rtol=1e-3, atol=1e-3)
