"""Sampling as a workflow does it, and the same thing written out by hand on the plain network."""

import comfy.samplers
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as custom
from safetensors.torch import load_file

import nodes
from models.config import MMDiTConfig
from models.mmdit import MMDiT

PROMPT = "a red circle bounces slowly on navy background <sfx> low ping </sfx>"


def encode(clip, text):
    return nodes.CLIPTextEncode().encode(clip, text)[0]


def empty_latent(frames=9, batch=1, model=None, size=32, frame_rate=16.0) -> dict:
    from skycanvas.nodes.latent import SkyCanvasEmptyLatent

    return SkyCanvasEmptyLatent.execute(size, size, frames, frame_rate, batch, model).result[0]


def random_latent(model, frames=9, batch=1, seed=7) -> dict:
    """A joint latent in the VAEs' units, as if something had been encoded."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [x.shape for x in empty_latent(frames, batch, model)["samples"].unbind()]
    noise = NestedTensor([torch.randn(shape, generator=generator) for shape in shapes])
    return {"samples": model.model.latent_format.process_out(noise)}


def ksampler(
    model, positive, negative, latent, *, seed=3, steps=3, cfg=2.0, sampler="euler", scheduler="simple", denoise=1.0
):
    args = (model, seed, steps, cfg, sampler, scheduler, positive, negative, latent, denoise)
    return nodes.KSampler().sample(*args)[0]["samples"]


def advanced(
    model, positive, negative, latent, *, seed=3, steps=3, cfg=2.0, sampler="euler", scheduler="simple", denoise=1.0
):
    noise = custom.RandomNoise.execute(seed).result[0]
    guider = custom.CFGGuider.execute(model, positive, negative, cfg).result[0]
    chosen = custom.KSamplerSelect.execute(sampler).result[0]
    sigmas = custom.BasicScheduler.execute(model, scheduler, steps, denoise).result[0]
    return custom.SamplerCustomAdvanced.execute(noise, guider, chosen, sigmas, latent).result[0]["samples"]


def streams(samples) -> list[torch.Tensor]:
    return list(samples.unbind()) if samples.is_nested else [samples]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(streams(a), streams(b), strict=True))


def distance(a, b) -> float:
    """The largest relative RMS difference of any stream."""
    pairs = zip(streams(a), streams(b), strict=True)
    return max(float((x - y).float().pow(2).mean().sqrt() / y.float().std()) for x, y in pairs)


def finite(samples) -> bool:
    return all(bool(x.isfinite().all()) for x in streams(samples))


def plain_network(path) -> MMDiT:
    """The checkpoint in the network of models/ alone, without anything of ComfyUI."""
    sd = load_file(path)
    network = MMDiT(MMDiTConfig.from_state_dict(sd))
    network.load_state_dict(sd)
    return network.eval()


def euler_by_hand(network, noise, sigmas, positive, negative, cfg, latent=None, **conditions):
    """Flow matching with guidance on [video, audio] (or [None, audio]).

    noise in the network's units, latent and result in the VAEs'.
    """
    mean = network.video_latent_mean.view(-1, 1, 1, 1), network.audio_latent_mean.view(-1, 1)
    std = network.video_latent_std.view(-1, 1, 1, 1), network.audio_latent_std.view(-1, 1)
    clean = [0.0 if latent is None else (latent[i] - mean[i]) / std[i] for i in (0, 1)]
    x = [None if n is None else sigmas[0] * n + (1 - sigmas[0]) * clean[i] for i, n in enumerate(noise)]
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        timestep = (1000 * sigma).expand(len(x[1]))
        yes, no = (
            network(
                *x,
                timestep,
                c[0][0].expand(len(x[1]), -1, -1),
                pooled=c[0][1]["pooled_output"].expand(len(x[1]), -1),
                **conditions,
            )
            for c in (positive, negative)
        )
        velocity = [None if v is None else n + cfg * (v - n) for v, n in zip(yes, no, strict=True)]
        x = [None if xi is None else xi + (following - sigma) * v for xi, v in zip(x, velocity, strict=True)]
    return [None if xi is None else xi * std[i] + mean[i] for i, xi in enumerate(x)]


def schedule(model, steps, name="simple"):
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), name, steps)
