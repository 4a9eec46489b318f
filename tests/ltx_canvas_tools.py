"""Canvases on a tiny LTX-2 in the test process: its nodes' inputs, and what its network gets of a canvas."""

from dataclasses import dataclass, field
from typing import Any

import comfy.sample
import comfy.sd
import comfy.utils
import torch
from node_tools import run
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box
from skycanvas.carriers.carrier import finish, noise_for
from skycanvas.nodes.encode import SkyCanvasEncode
from tiny_ltx import TinyLtx, text_conditioning
from torch import Tensor

WIDTH, HEIGHT, FRAMES = 192, 128, 17
T, H, W, L = 3, 4, 6, 17  # latents of the picture, and of the sound at 25 frames per second
SPANS = [(0, 1), (1, 9), (9, 17)]  # frames that a latent frame stands for
LEFT = Box(x=0, y=0, width=64, height=HEIGHT)
PATCH = Box(x=128, y=32, width=64, height=96)


@dataclass(frozen=True)
class Call:
    """What the network gets in one evaluation: places [3, tokens, 2] of the video, timesteps of both streams."""

    batch: int
    places: Tensor
    audio_places: Tensor
    timesteps: Tensor
    audio_timesteps: Tensor


@dataclass
class Ltx:
    """A tiny model with its VAEs and prompts, and what has been seen of it."""

    files: TinyLtx
    model: Any
    vae: comfy.sd.VAE
    audio_vae: comfy.sd.VAE
    calls: list[Call] = field(default_factory=list)

    @property
    def network(self):
        return self.model.model.diffusion_model

    @property
    def prompts(self) -> list[list]:
        return [text_conditioning(seed, self.files.version) for seed in (1, 2)]

    def encode(self, canvas: Canvas, **inputs) -> tuple[list, list, dict]:
        positive, negative = self.prompts
        inputs = {"vae": self.vae, "audio_vae": self.audio_vae, "positive": positive, "negative": negative} | inputs
        return run(SkyCanvasEncode, model=self.model, canvas=canvas, **inputs)

    def added(self, canvas: Canvas, **inputs) -> tuple[dict, dict]:
        """What the node adds to both prompts, and its LATENT."""
        positive, negative, latent = self.encode(canvas, **inputs)
        assert all(negative[0][1][key] is value for key, value in positive[0][1].items())
        return positive[0][1], latent

    def sample(self, positive, negative, latent, *, sampler="euler", steps=2, cfg=3.0, seed=4, model=None) -> dict:
        samples, noises = latent["samples"], noise_for(latent, seed)
        self.calls.clear()
        mask = latent.get("noise_mask")
        args = (steps, cfg, sampler, "simple", positive, negative, samples)
        return latent | {
            "samples": comfy.sample.sample(
                model or self.model, noises, *args, noise_mask=mask, seed=seed, disable_pbar=True
            )
        }

    def result(self, canvas: Canvas, **inputs) -> list[Tensor]:
        return list(finish(self.sample(*self.encode(canvas, **inputs)))["samples"].unbind())

    def watch(self, monkeypatch) -> None:
        """From now on its evaluations are noted in `calls`."""
        process, prepare, seen = self.network._process_input, self.network._prepare_timestep, {}

        def process_input(x, *args, **kwargs):
            result = process(x, *args, **kwargs)
            seen.update(batch=len(x[0]), places=result[1][0][0].clone(), audio_places=result[1][1][0].clone())
            return result

        def prepare_timestep(timestep, *args, grid_mask=None, a_timestep=None, **kwargs):
            result = prepare(timestep, *args, grid_mask=grid_mask, a_timestep=a_timestep, **kwargs)
            of_tokens = timestep if grid_mask is None else timestep[:, grid_mask]
            self.calls.append(Call(**seen, timesteps=of_tokens[0].flatten(), audio_timesteps=a_timestep[0].flatten()))
            return result

        monkeypatch.setattr(self.network, "_process_input", process_input)
        monkeypatch.setattr(self.network, "_prepare_timestep", prepare_timestep)


def load_ltx(files: TinyLtx) -> Ltx:
    """As ComfyUI's loaders do it."""

    def load_vae(path):
        sd, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
        return comfy.sd.VAE(sd=sd, metadata=metadata)

    with torch.inference_mode():
        model = comfy.sd.load_diffusion_model(str(files.model))
        return Ltx(files, model, load_vae(files.vae), load_vae(files.audio_vae))


def places(spans, rows=range(H), columns=range(W)) -> Tensor:
    """Where tokens of cells are, row by row: [3, n, 2]."""
    every = [
        [span, (32 * row, 32 * row + 32), (32 * column, 32 * column + 32)]
        for span in spans
        for row in rows
        for column in columns
    ]
    return torch.tensor(every).movedim(1, 0)


def latent_of(vae, pictures: Tensor) -> Tensor:
    return vae.encode(pictures).float()
