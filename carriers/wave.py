"""The wave: earlier frames run ahead of later ones, the sound follows its picture, and keyframes go with it.

The model knows noise levels per token (Diffusion Forcing, arXiv 2407.01392), so a later frame can settle where an
earlier one already is. Each frame goes through the ordinary schedule of sigmas, but starts `delay` of its length after
the frame before it; a sound starts `audio_lag` frames after what is on screen at its time, a keyframe together with it.
What a noise mask keeps is done from the start and holds nobody up. Between two steps each token moves by its own Euler
step.
"""

import math
from dataclasses import dataclass

import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.mmdit import AUDIO_LATENT_RATE
from ..models.rope import audio_positions
from .latent_format import Shapes
from .skyreels_v4 import SkyReelsV4

DELAY = 0.5  # of the schedule's length, from frame to frame
AUDIO_LAG = 1.0  # latent frames by which the sound follows


@dataclass(frozen=True)
class Wave:
    """Noise levels of each latent frame, audio latent and keyframe at every step.

    sigmas [n + 1]: the levels that each goes through. starts: when it does, video [B, T], audio [B, L] and keyframes
    [B, K] if there are any, in units of the n steps; -inf for what is kept, which is at the last level from the start.
    """

    sigmas: Tensor
    starts: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Steps, i.e. evaluations of the model: n if nothing waits, and n * start more for the last one to start."""
        last = max(float(start.max()) for start in self.starts)
        return math.ceil((len(self.sigmas) - 1) * (1 + max(last, 0.0)) - 1e-4)

    def levels(self, step: int) -> list[Tensor]:
        """Sigmas of each stream, shaped as its starts, before that step; all end at `length`."""
        steps = len(self.sigmas) - 1
        ended = steps if step == self.length else 0  # not a rounding error before it
        return [self._interpolate((step - start * steps).clamp(min=ended)) for start in self.starts]

    def clock(self) -> Tensor:
        """The level of the wave as a whole, for all that wants one number per step. [length + 1]"""
        progress = torch.linspace(0, len(self.sigmas) - 1, self.length + 1, device=self.sigmas.device)
        return self._interpolate(progress)

    def _interpolate(self, progress: Tensor) -> Tensor:
        """sigmas between two of their steps."""
        steps = len(self.sigmas) - 1
        progress = progress.clamp(0, steps)
        before = progress.long().clamp(max=steps - 1)
        return torch.lerp(self.sigmas[before], self.sigmas[before + 1], progress - before)


def wave_starts(
    made: Tensor,
    sound_made: Tensor,
    times: Tensor,
    delay: float,
    audio_lag: float,
    keyframes: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """When each latent frame, audio token and keyframe starts, in units of the schedule's length; the first one at 0.

    made [B, T], sound_made [B, n]: whether there is anything to make (else -inf). times [n]: of the audio tokens, in
    latent frames. keyframes: the same two, [B, K] and [K]. A frame's place is the number of frames that are made before
    it.
    """
    places = (made.cumsum(1) - made.long()).float()

    def places_at(times: Tensor) -> Tensor:
        times = times.clamp(0, made.shape[1] - 1)
        before, after = times.floor().long(), times.ceil().long()
        return torch.lerp(places[:, before], places[:, after], times - before)

    streams = [(places, made), (places_at(times) + audio_lag, sound_made)]
    if keyframes is not None:
        streams.append((places_at(keyframes[1]), keyframes[0]))
    starts = [(delay * place).masked_fill(~exists, -math.inf) for place, exists in streams]
    all_starts = torch.cat(starts, dim=1)
    first = all_starts.masked_fill(all_starts == -math.inf, math.inf).amin(1, keepdim=True)
    return tuple(start - first for start in starts)


class WaveSampler(comfy.samplers.Sampler):
    """SAMPLER for SamplerCustomAdvanced. delay: in 0..1 (1: frame by frame); audio_lag: latent frames, 0 or more.

    Its sigmas are those of one frame: their number is the steps that each frame gets. ValueError before the first step
    if the model or the latent is not a joint one of ours.
    """

    def __init__(self, delay: float = DELAY, audio_lag: float = AUDIO_LAG):
        self.delay, self.audio_lag = delay, audio_lag

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        model = model_wrap.inner_model
        if not isinstance(model, SkyReelsV4):
            raise ValueError(
                f"the wave needs a model with a noise level per token, this is a {type(model).__name__}: connect "
                "'Load SkyCanvas Mini' or 'Load SkyCanvas Model', or take another sampler"
            )
        shapes = model.latent_shapes
        if shapes is None or len(shapes) < 2:
            raise ValueError(
                "the wave lets the sound follow the picture, but the latent has one of them alone: take another sampler"
            )
        if len(sigmas) < 2:
            raise ValueError(f"sigmas has {len(sigmas)} noise levels, which is no step: use 2 or more")
        wave = self.plan(model_wrap, shapes, sigmas, denoise_mask)
        clock, length = wave.clock(), wave.length
        network = TokenLevels(wave.levels(0), shapes)
        options = extra_args["model_options"]
        options.setdefault("transformer_options", {})["sample_sigmas"] = clock
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.APPLY_MODEL, "skycanvas_wave", network, options, is_model_options=True
        )

        denoise = comfy.samplers.KSamplerX0Inpaint(model_wrap, clock)
        denoise.latent_image, denoise.noise = latent_image, noise
        x = model.model_sampling.noise_scaling(sigmas[0], noise, latent_image, self.max_denoise(model_wrap, sigmas))
        for step in comfy.utils.model_trange(length, disable=disable_pbar):
            comfy.model_management.throw_exception_if_processing_interrupted()
            x0 = denoise(x, clock[step].expand(len(x)), denoise_mask, **extra_args)
            if callback is not None:
                callback(step, x0, x, length)
            now = network.packed()
            network.levels = wave.levels(step + 1)
            # x + (next - now) * v with v = (x - x0) / now; what is done (now = 0) is its own x0
            x = torch.lerp(x0, x, torch.where(now > 0, network.packed() / now, 0.0))
        return model.model_sampling.inverse_noise_scaling(sigmas[-1], x)

    def plan(self, guider, shapes: Shapes, sigmas: Tensor, mask: Tensor | None) -> Wave:
        """The wave for a packed latent of these shapes and its noise mask (1 = made anew, packed likewise)."""
        (batch, _, frames, *_), (_, _, latents) = shapes[:2]
        patch = guider.inner_model.config.audio_patch
        conditions = [cond["model_conds"] for conds in guider.conds.values() for cond in conds]
        times = audio_positions(
            latents,
            patch,
            frame_rate=conditions[0]["frame_rate"].cond,
            latent_rate=AUDIO_LATENT_RATE,
            device=sigmas.device,
        )
        made = torch.ones(batch, frames, dtype=torch.bool, device=sigmas.device)
        sound_made = made.new_ones(batch, len(times))
        keyframes = None
        if len(shapes) > 2:
            keyframe_times = torch.tensor(conditions[0]["keyframe_times"].cond, device=sigmas.device)
            keyframes = made.new_ones(batch, len(keyframe_times)), keyframe_times
        if mask is not None:
            video, audio, *pictures = comfy.utils.unpack_latents(mask.to(sigmas.device), shapes)
            made = video.amax((1, 3, 4)) > 0
            sound_made = F.max_pool1d(audio.amax(1, keepdim=True), patch, ceil_mode=True)[:, 0] > 0
            if keyframes is not None:
                keyframes = pictures[0].amax((1, 3, 4)) > 0, keyframe_times
        start, sound_start, *others = wave_starts(made, sound_made, times, self.delay, self.audio_lag, keyframes)
        return Wave(sigmas, (start, sound_start.repeat_interleave(patch, dim=1)[:, :latents], *others))


class TokenLevels:
    """APPLY_MODEL wrapper: tells the network the noise level of each token, and finds each token's x0 by it.

    levels: sigmas of the latent frames [B, T], of the audio latents [B, L], and of keyframes [B, K].
    """

    def __init__(self, levels: list[Tensor], shapes: Shapes):
        self.levels, self.shapes = levels, shapes

    def packed(self) -> Tensor:
        """levels as the latent is packed, [B, 1, N]"""
        return pack_levels(self.levels, self.shapes)

    def __call__(
        self, executor, x, timestep, c_concat, c_crossattn, control, transformer_options, *, latent_shapes, **conditions
    ):
        levels = [level.to(x) for level in self.levels]
        window = transformer_options.get("context_window")
        if window is not None:  # ContextWindowsManual: a part of the clip at a time
            levels = [window.get_window_for_modality(i).get_tensor(level, dim=1) for i, level in enumerate(levels)]
        levels = [level.repeat(len(x) // len(level), 1) for level in levels]  # prompts of one batch
        denoised = executor(
            x,
            timestep,
            c_concat,
            c_crossattn,
            control,
            transformer_options,
            latent_shapes=latent_shapes,
            noise_levels=tuple(levels),
            **conditions,
        )
        # ComfyUI has taken the step's level for all: denoised = x - timestep * v
        return torch.lerp(x, denoised, pack_levels(levels, latent_shapes) / timestep.view(-1, 1, 1))


def pack_levels(levels: list[Tensor], shapes: Shapes) -> Tensor:
    """Sigmas of each stream along its time, [B, T], [B, L] and [B, K], as a latent of these shapes is packed."""
    streams = [
        level.view(len(level), 1, -1, *[1] * (len(shape) - 3)).expand(-1, *shape[1:])
        for level, shape in zip(levels, shapes, strict=True)
    ]
    return comfy.utils.pack_latents(streams)[0]
