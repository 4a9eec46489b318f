"""The SkyReels-V4 base network at any size: one dual-stream MMDiT for video and its sound (SkyReels-V4 sec. 3).

Convention (ComfyUI's): sigma = 1 is noise, x = (1 - sigma) * x0 + sigma * noise, timestep = 1000 * sigma, and the
network returns v = noise - x0. The paper's eq. 6 counts the other way round: t = 1 - sigma, v_paper = -v. Nothing
else differs. All latents here are normalised: (raw latent - mean) / std, with the statistics in the checkpoint.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import rope
from .attention import AttentionKernel, scaled_dot_product
from .blocks import BlockInputs, Branch, JointBlock, Streams
from .config import MMDiTConfig
from .sparse_attention import TokenLayout, sparse_attention, top_k_of
from .stem import ConvHead, ConvStem, PatchEmbedding, PatchHead, repeat_cells

TIMESTEP_SCALE = 1000.0
TIME_FEATURES = 256
TEMPORAL_SCALE = 4  # pixel frames per latent frame (causal: the first frame is alone)
AUDIO_LATENT_RATE = 44100 / 1024  # audio latents per second
SMALLEST_VARIANCE = 1e-8  # that preconditioning divides by, where nothing is noisy and nothing unknown

# Clean latents that the target attends to, with the time of each latent frame: references at negative times
# (eq. 9), VideoCanvas patches at frame / 4. Video [B, C, t, H, W], audio [B, Ca, l]. None: tokens without any rotary
# position (an alternative that VideoCanvas compares with).
Context = tuple[Tensor, Sequence[float] | None]
RunBlock = Callable[[int, Callable[[Streams], Streams], Streams], Streams]


class Keyframes(NamedTuple):
    """Pictures that are made together with the video, of more pixels, each at a time of its own (SkyReels-V4 sec. 4.5).

    latent [B, C, K, H, W], noisy, of any size; times: of each, in latent frames (frame / 4); timestep: sigma * 1000,
    [B] or [B, K] (0 for one that is given).
    """

    latent: Tensor
    times: Sequence[float]
    timestep: Tensor


class _Cells(NamedTuple):
    """Tokens [B, T, h, w, dim] of noisy latents, their modulation, and the way back to a velocity [B, C, T, H, W]."""

    tokens: Tensor
    modulation: Tensor
    velocity: Callable[[Tensor], Tensor]


def _gated_sparse(
    q: Tensor, k: Tensor, v: Tensor, gates: Tensor, layout: TokenLayout, top_k: int, backend: str
) -> Tensor:
    gates = gates[:, :, layout.before : layout.before + layout.video_tokens]
    return sparse_attention(q, k, v, layout, top_k, gate=gates, backend=backend)


class MMDiT(nn.Module):
    """Joint video-audio diffusion transformer.

    `operations` supplies Linear, LayerNorm, RMSNorm, Conv1d and Conv2d (torch.nn, or ComfyUI's casting ones).
    Weights are not initialised for training by the constructor: see `init_weights`.
    """

    time_frequencies: Tensor  # of the temporal part of a head, [rope_axes[0] / 2]
    space_frequencies: Tensor  # of its row part and of its column part, [rope_axes[1] / 2]
    temporal_frequencies: Tensor  # of a whole head, where time is all there is, [head_dim / 2]
    black_latent: Tensor  # of a black first frame, and of later ones, [2, C]
    video_latent_mean: Tensor
    video_latent_std: Tensor
    audio_latent_mean: Tensor
    audio_latent_std: Tensor
    audio_rope_scale: Tensor
    residual_std: Tensor

    def __init__(self, config: MMDiTConfig, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        layers = {"operations": operations, **factory}
        linear, c = operations.Linear, config
        self.config, self.dtype = config, dtype

        stem, channels = c.stem_channels, 2 * c.video_channels + 1  # eq. 7: Concat(V, I, M)
        if stem:
            self.video_in: nn.Module = ConvStem(channels, c.dim, c.video_patch, stem, **layers)
            self.video_out: nn.Module = ConvHead(c.video_channels, c.dim, c.video_patch, stem, c.head_blocks, **layers)
        else:
            self.video_in = PatchEmbedding(channels, c.dim, c.video_patch, **layers)
            self.video_out = PatchHead(c.video_channels, c.dim, c.video_patch, **layers)
        if c.audio_channels:
            audio_cell = c.audio_patch * c.audio_channels
            kernel = 3 if stem else 1  # with a stem, audio tokens see their neighbours too
            self.audio_in = operations.Conv1d(audio_cell, c.dim, kernel, padding=kernel // 2, **factory)
            self.audio_norm = operations.LayerNorm(c.dim, elementwise_affine=False, eps=1e-6, **factory)
            self.audio_out_modulation = linear(c.dim, 2 * c.dim, **factory)
            self.audio_out = linear(c.dim, audio_cell, **factory)

        if c.keyframes:
            self.keyframe_marker = nn.Parameter(torch.zeros(c.dim, **factory))
        self.text_in = linear(c.text_dim, c.dim, **factory)
        if c.pooled_dim:
            self.pooled_in = nn.Sequential(
                linear(c.pooled_dim, c.dim, **factory), nn.SiLU(), linear(c.dim, c.dim, **factory)
            )
        self.time_in = nn.Sequential(
            linear(TIME_FEATURES, c.dim, **factory), nn.SiLU(), linear(c.dim, c.dim, **factory)
        )
        # One modulation layer per kind of token, shared by all blocks; each block adds a table of its own.
        kinds = ("video", "video_text", "audio", "audio_text") if c.audio_channels else ("video", "video_text")
        self.modulation = nn.ModuleDict({name: linear(c.dim, 6 * c.dim, **factory) for name in kinds})
        sizes = (c.dim, c.heads, c.mlp_ratio)
        block = partial(JointBlock, *sizes, audio=c.audio_channels > 0, gated=c.sparsity is not None, **layers)
        self.dual_blocks = nn.ModuleList([block(single=False) for _ in range(c.dual_blocks)])
        self.single_blocks = nn.ModuleList([block(single=True) for _ in range(c.single_blocks)])

        def constant(name: str, value: Tensor) -> None:
            self.register_buffer(name, value.to(device=device, dtype=torch.float32))

        time, space = c.rope_axes[0] // 2, c.rope_axes[1] // 2
        constant("time_frequencies", rope.frequencies(time, c.rope_theta, c.rope_time_scale))
        constant("space_frequencies", rope.frequencies(space, c.rope_theta, c.rope_space_scale))
        constant("temporal_frequencies", rope.frequencies(time + 2 * space, c.rope_theta, c.rope_time_scale))
        for stream, width in (("video", c.video_channels), ("audio", c.audio_channels)):
            if width:
                constant(f"{stream}_latent_mean", torch.zeros(width))
                constant(f"{stream}_latent_std", torch.ones(width))
        constant("black_latent", torch.zeros(2, c.video_channels))  # of a first frame, of the later ones
        if c.preconditioned:
            constant("sigma_data", torch.ones(()))
        if c.audio_rope_scale is not None:
            constant("audio_rope_scale", torch.tensor(c.audio_rope_scale))
        if c.residual_std is not None:
            constant("residual_std", torch.tensor(c.residual_std))
        if c.sparsity is not None:
            constant("sparsity", torch.tensor(c.sparsity))

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        timestep: Tensor,
        text: Tensor,
        *,
        pooled: Tensor | None = None,
        audio_timestep: Tensor | None = None,
        condition: Tensor | None = None,
        mask: Tensor | None = None,
        video_context: Sequence[Context] = (),
        audio_context: Sequence[Context] = (),
        keyframes: Keyframes | None = None,
        frame_rate: float = 16.0,
        cross_modal: bool = True,
        attention: AttentionKernel = scaled_dot_product,
        sparse_backend: str = "auto",
        run_block: RunBlock | None = None,
    ) -> tuple[Tensor | None, ...]:
        """Velocities of the noisy video [B, C, T, H, W] and audio [B, Ca, L]; a branch given as None does not run.

        With keyframes, which need a video, theirs come third.

        timestep: sigma * 1000, [B], or one for each token: broadcastable to [B, T, h, w] (h = ceil(H / patch));
        audio_timestep: likewise [B] or broadcastable to [B, n] tokens; None: timestep, which must be [B] then.
        text [B, Lt, text_dim], pooled [B, pooled_dim] (needed if the network has pooled_dim).
        condition [B, C, T, H, W] clean latents and mask [B, 1, T, H, W], 1 = given (eq. 7); None: nothing is given.
        video_context, audio_context: clean in-context tokens and their times (eq. 8-9, VideoCanvas sec. 3.2).
        frame_rate: frames per second of the video, which places sounds on its time axis.
        sparse_backend: of sparse attention, see `sparse_attention`; without a sparsity it has no meaning.
        cross_modal: False hides the branches from each other (eq. 5 is left out), for guidance on how they agree.
        Raises ValueError if both branches are None or the pieces do not fit together.
        """
        if video is None and audio is None:
            raise ValueError("MMDiT needs a video latent, an audio latent or both; got neither")
        if video is None and keyframes is not None:
            raise ValueError("keyframes are made together with a video: give its latent too")
        if audio is not None and not self.config.audio_channels:
            raise ValueError("this checkpoint has no audio branch: give it the video latent alone")
        if audio_timestep is None:
            audio_timestep = timestep
        words = self.text_in(text)
        summary = self._summary(pooled)

        video_branch = audio_branch = None
        video_tokens = audio_tokens = None
        if video is not None:
            timestep = timestep.view(-1, 1, 1, 1) if timestep.ndim == 1 else timestep
            video_tokens, video_branch, finish_video = self._embed_video(
                video, timestep, summary, condition, mask, video_context, keyframes
            )
            if self.config.sparsity is not None:
                grid = self.token_grid(video.shape[2:])
                layout = TokenLayout(grid, video_tokens.shape[1] - math.prod(grid), words.shape[1])
                top_k = top_k_of(self.config.sparsity, layout.tiles)
                sparse = partial(_gated_sparse, layout=layout, top_k=top_k, backend=sparse_backend)
                video_branch = replace(video_branch, sparse=sparse)
        if audio is not None:
            if audio_timestep.ndim not in (1, 2):
                raise ValueError(f"audio_timestep has shape {list(audio_timestep.shape)}: give [B] or [B, tokens]")
            audio_timestep = audio_timestep.view(-1, 1) if audio_timestep.ndim == 1 else audio_timestep
            audio_tokens, audio_branch, finish_audio = self._embed_audio(
                audio, audio_timestep, summary, audio_context, frame_rate
            )

        inputs = BlockInputs(video_branch, audio_branch, words, attention, cross_modal)
        streams = Streams(
            video_tokens, words if video is not None else None, audio_tokens, words if audio is not None else None
        )
        for index, block in enumerate([*self.dual_blocks, *self.single_blocks]):
            run = partial(block, inputs=inputs)
            streams = run(streams) if run_block is None else run_block(index, run, streams)

        velocity, keyframe_velocity = (None, None) if video is None else finish_video(streams.video)
        audio_velocity = None if audio is None else finish_audio(streams.audio)
        return (velocity, audio_velocity) if keyframes is None else (velocity, audio_velocity, keyframe_velocity)

    def token_grid(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Latent frames, rows and columns [T, H, W] -> the same in tokens."""
        frames, height, width = shape
        return frames, -(-height // self.config.video_patch), -(-width // self.config.video_patch)

    # -- embeddings ------------------------------------------------------------------------------------------------

    def _summary(self, pooled: Tensor | None) -> Tensor:
        """What of the prompt enters the modulation: [B, dim] or 0."""
        if not self.config.pooled_dim:
            return torch.zeros(())
        if pooled is None:
            raise ValueError(
                f"this checkpoint reads a pooled text embedding of width {self.config.pooled_dim}: got none"
            )
        return self.pooled_in(pooled)

    def _time_embedding(self, timestep: Tensor, summary: Tensor, dtype: torch.dtype) -> Tensor:
        """timestep [B, ...] -> activated embedding [B, ..., dim]"""
        half = TIME_FEATURES // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, device=timestep.device) / half)
        phase = timestep.float().unsqueeze(-1) * frequencies
        embedding = self.time_in(torch.cat([phase.cos(), phase.sin()], dim=-1).to(dtype))
        if summary.ndim:
            summary = summary.view(summary.shape[0], *[1] * (embedding.ndim - 2), -1)
        return F.silu(embedding + summary)

    def _modulate(self, name: str, embedding: Tensor) -> Tensor:
        """[B, ..., dim] -> [B, ..., 6, dim]"""
        return self.modulation[name](embedding).unflatten(-1, (6, -1))

    def _text_modulation(self, name: str, timestep: Tensor, summary: Tensor, dtype: torch.dtype) -> Tensor:
        """Text follows the noisiest token of its branch. -> [B, 1, 6, dim]"""
        return self._modulate(name, self._time_embedding(timestep.flatten(1).amax(1, keepdim=True), summary, dtype))

    def _embed_video(
        self,
        video: Tensor,
        timestep: Tensor,
        summary: Tensor,
        condition: Tensor | None,
        mask: Tensor | None,
        context: Sequence[Context],
        keyframes: Keyframes | None,
    ) -> tuple[Tensor, Branch, Callable[[Tensor], tuple[Tensor, Tensor | None]]]:
        """Tokens of [context; keyframes; video] (eq. 8), what the blocks need to know of them, and the way back to the
        velocities of the video and of the keyframes."""
        batch, frames = video.shape[0], video.shape[2]
        if video.shape[1] != self.config.video_channels:
            raise ValueError(
                f"the video latent has {video.shape[1]} channels, this checkpoint takes {self.config.video_channels}"
            )
        target = self._embed_cells(video, timestep, summary, condition, mask)
        rows, columns = target.tokens.shape[2:4]
        times = torch.arange(frames, dtype=torch.float32, device=video.device)
        groups, positions = [target.tokens.flatten(1, 3)], [rope.video_positions(times, rows, columns)]
        modulation = target.modulation  # [B, t, h, w, 6, dim]
        if any(n > 1 for n in modulation.shape[1:4]) or context or keyframes:
            modulation = modulation.expand(-1, frames, rows, columns, -1, -1)
        modulations = [modulation.flatten(1, 3)]
        others = [self._embed_video_context(*one, summary, batch, video.dtype) for one in context]
        finish_keyframes = None
        if keyframes is not None:
            made, place, own, finish_keyframes = self._embed_keyframes(keyframes, summary, batch, (rows, columns))
            others.append((made, place, own))
        for tokens, position, own in others:
            groups.insert(-1, tokens)
            positions.insert(-1, position)
            modulations.insert(-1, own)

        place = torch.cat(positions)  # constants may lie elsewhere where ComfyUI loads a part of the model alone
        angles = rope.angles_3d(place, self.time_frequencies.to(place), self.space_frequencies.to(place))
        time_angles = rope.angles_1d(place[:, 0], self.temporal_frequencies.to(place))
        branch = Branch(
            modulation=torch.cat(modulations, dim=1),
            text_modulation=self._text_modulation("video_text", timestep, summary, video.dtype),
            angles=angles.nan_to_num(0.0),  # NaN marks tokens without a position: they are not rotated
            time_angles=time_angles.nan_to_num(0.0),
        )

        def finish(tokens: Tensor) -> tuple[Tensor, Tensor | None]:
            size = frames * rows * columns
            velocity = target.velocity(tokens[:, -size:].unflatten(1, (frames, rows, columns)))
            return velocity, finish_keyframes and finish_keyframes(tokens[:, :-size])

        return torch.cat(groups, dim=1), branch, finish

    def _embed_cells(
        self,
        noisy: Tensor,
        timestep: Tensor,
        summary: Tensor,
        condition: Tensor | None,
        mask: Tensor | None,
    ) -> _Cells:
        """Tokens of noisy latents [B, C, T, H, W] with a timestep that broadcasts to [B, T, h, w]."""
        patch, dtype = self.config.video_patch, noisy.dtype
        height, width = noisy.shape[-2:]
        condition, mask = self._fill_condition(noisy, condition, mask)
        pad = (0, -width % patch, 0, -height % patch)
        noisy, condition, mask = (F.pad(x, pad).movedim(1, -1) for x in (noisy, condition, mask))  # [B, T, H, W, C]
        sigma = timestep.unsqueeze(-1) / TIMESTEP_SCALE  # [B, t, h, w, 1]
        embedding = self._time_embedding(timestep, summary, dtype)  # [B, t, h, w, dim]
        level, mean, std = repeat_cells(sigma, patch), torch.zeros((), dtype=dtype, device=noisy.device), None
        if self.config.refines:  # it starts from its source, and where that is given there is nothing to add
            mean, std = condition, self.residual_std.to(mask) * (1 - mask)
        gain, skip_gain, out_gain = self._precondition(level, dtype, std)
        noisy = noisy - (1 - level).to(dtype) * mean
        tokens, skip = self.video_in(torch.cat([noisy * gain, condition, mask], dim=-1), sigma, embedding)

        def velocity(tokens: Tensor) -> Tensor:
            out = noisy * skip_gain + self.video_out(tokens, skip, embedding) * out_gain - mean
            return out.movedim(-1, 1)[..., :height, :width]

        return _Cells(tokens, self._modulate("video", embedding), velocity)

    def _embed_keyframes(
        self, keyframes: Keyframes, summary: Tensor, batch: int, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Tokens of pictures that are noisy too, each by itself, on the video's grid of so many rows and columns."""
        latent, times, timestep = keyframes
        if not self.config.keyframes:
            raise ValueError("this checkpoint was not trained to make keyframes: sample the video alone")
        if latent.ndim != 5 or latent.shape[1] != self.config.video_channels or len(times) != latent.shape[2]:
            raise ValueError(
                f"keyframes {list(latent.shape)} at {len(times)} times do not fit: give [batch, "
                f"{self.config.video_channels}, keyframes, height, width], and a time for each"
            )
        count = latent.shape[2]
        timestep = (timestep[:, None] if timestep.ndim == 1 else timestep).expand(batch, count)
        if summary.ndim:
            summary = summary.repeat_interleave(count, dim=0)
        alone = latent.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # [B * K, C, 1, H, W]
        cells = self._embed_cells(alone, timestep.reshape(-1, 1, 1, 1), summary, None, None)
        tokens = cells.tokens + self.keyframe_marker.to(cells.tokens)
        rows, columns = tokens.shape[2:4]
        place = rope.video_positions(torch.tensor(times, device=latent.device), rows, columns)
        # Both pictures cover the same frame, so a token's middle is where the video has it.
        scale = torch.tensor([grid[0] / rows, grid[1] / columns], device=place.device)
        place = torch.cat([place[:, :1], (place[:, 1:] + 0.5) * scale - 0.5], dim=1)
        modulation = cells.modulation.expand(-1, -1, rows, columns, -1, -1)

        def together(x: Tensor) -> Tensor:
            """[B * K, 1, h, w, ...] -> [B, K * h * w, ...]"""
            return x.unflatten(0, (batch, count)).flatten(1, 4)

        def finish(before: Tensor) -> Tensor:
            own = before[:, -count * rows * columns :].unflatten(1, (count, 1, rows, columns)).flatten(0, 1)
            return cells.velocity(own).unflatten(0, (batch, count))[:, :, :, 0].transpose(1, 2)

        return together(tokens), place, together(modulation), finish

    def _embed_video_context(
        self, clean: Tensor, times: Sequence[float] | None, summary: Tensor, batch: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """In-context tokens: clean in the noisy and in the condition channels, mask 1, timestep 0."""
        patch = self.config.video_patch
        if clean.ndim != 5 or (times is not None and len(times) != clean.shape[2]):
            count = "none" if times is None else len(times)
            raise ValueError(
                f"a video context {list(clean.shape)} needs one time for each of its latent frames; got {count}"
            )
        clean = clean.to(dtype).expand(batch, -1, -1, -1, -1)
        clean = F.pad(clean, (0, -clean.shape[-1] % patch, 0, -clean.shape[-2] % patch)).movedim(1, -1)
        timestep = torch.zeros(batch, 1, 1, 1, device=clean.device)
        embedding = self._time_embedding(timestep, summary, dtype)
        latent = torch.cat([clean, clean, torch.ones_like(clean[..., :1])], dim=-1)
        tokens, _ = self.video_in(latent, timestep.unsqueeze(-1), embedding)
        _, frames, rows, columns, _ = tokens.shape
        place = rope.video_positions(torch.tensor(times or [0.0] * frames, device=clean.device), rows, columns)
        if times is None:
            place = torch.full_like(place, math.nan)
        modulation = self._modulate("video", embedding).expand(-1, frames, rows, columns, -1, -1)
        return tokens.flatten(1, 3), place, modulation.flatten(1, 3)

    def _embed_audio(
        self,
        audio: Tensor,
        timestep: Tensor,
        summary: Tensor,
        context: Sequence[Context],
        frame_rate: float,
    ) -> tuple[Tensor, Branch, Callable[[Tensor], Tensor]]:
        """Tokens of [context; audio], what the blocks need to know about them, and the way back to a velocity."""
        dtype, (batch, channels, latents) = audio.dtype, audio.shape
        if channels != self.config.audio_channels:
            raise ValueError(
                f"the audio latent has {channels} channels, this checkpoint takes {self.config.audio_channels}"
            )
        patch = self.config.audio_patch
        embedding = self._time_embedding(timestep, summary, dtype)  # [B, n or 1, dim]
        sigma = timestep.unsqueeze(-1) / TIMESTEP_SCALE
        gain, skip_gain, out_gain = self._precondition(sigma, dtype)

        noisy = self._audio_patches(audio)  # [B, n, patch * Ca]
        groups = [self._project_audio(noisy * gain)]
        times = [self.audio_times(latents, frame_rate, audio.device)]
        modulation = self._modulate("audio", embedding)
        if modulation.shape[1] > 1 or context:
            modulation = modulation.expand(-1, noisy.shape[1], -1, -1)
        modulations = [modulation]
        for clean, clean_times in context:
            if clean.ndim != 3 or clean_times is None or len(clean_times) != clean.shape[2]:
                count = "none" if clean_times is None else len(clean_times)
                raise ValueError(f"an audio context {list(clean.shape)} needs one time for each latent; got {count}")
            patches = self._audio_patches(clean.to(dtype).expand(batch, -1, -1))
            still = self._time_embedding(torch.zeros(batch, 1, device=audio.device), summary, dtype)
            middle = torch.tensor(clean_times, device=audio.device).split(patch)
            groups.insert(-1, self._project_audio(patches))
            times.insert(-1, torch.stack([t.mean() for t in middle]))
            modulations.insert(-1, self._modulate("audio", still).expand(-1, patches.shape[1], -1, -1))

        angles = rope.angles_1d(torch.cat(times), self.temporal_frequencies.to(audio.device))
        branch = Branch(
            modulation=torch.cat(modulations, dim=1),
            text_modulation=self._text_modulation("audio_text", timestep, summary, dtype),
            angles=angles,
            time_angles=angles,
        )

        def finish(tokens: Tensor) -> Tensor:
            shift, scale = self.audio_out_modulation(embedding).chunk(2, dim=-1)
            out = self.audio_out(self.audio_norm(tokens[:, -noisy.shape[1] :]) * (1 + scale) + shift)
            velocity = (noisy * skip_gain + out * out_gain).unflatten(-1, (patch, channels)).flatten(1, 2)
            return velocity.movedim(-1, 1)[..., :latents]

        return torch.cat(groups, dim=1), branch, finish

    def _audio_patches(self, audio: Tensor) -> Tensor:
        """[B, Ca, L] -> [B, n, patch * Ca], zero-padded at the end"""
        audio = F.pad(audio, (0, -audio.shape[-1] % self.config.audio_patch))
        return audio.movedim(1, -1).unflatten(1, (-1, self.config.audio_patch)).flatten(2)

    def _project_audio(self, patches: Tensor) -> Tensor:
        return self.audio_in(patches.movedim(1, -1)).movedim(-1, 1)

    def audio_times(self, latents: int, frame_rate: float, device=None) -> Tensor:
        """Temporal rope positions of the audio tokens, in latent video frames: [ceil(latents / patch)]"""
        if self.config.audio_rope_scale is not None:
            tokens = -(-latents // self.config.audio_patch)
            return torch.arange(tokens, dtype=torch.float32, device=device) * self.audio_rope_scale.to(device)
        return rope.audio_positions(
            latents,
            self.config.audio_patch,
            frame_rate=frame_rate,
            latent_rate=AUDIO_LATENT_RATE,
            temporal_scale=TEMPORAL_SCALE,
            device=device,
        )

    def _fill_condition(self, video: Tensor, condition: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Condition latents and mask of eq. 7; cells that are not given hold the latent of a black picture."""
        if self.config.refines and condition is None:
            raise ValueError("a Refiner needs a condition everywhere: give the latents of the clip to refine")
        black = self.black_latent.to(video)
        black = torch.cat([black[:1], black[1:].expand(video.shape[2] - 1, -1)]).T[None, :, :, None, None]
        black = black.expand_as(video)
        if (condition is None) != (mask is None):
            raise ValueError("condition and mask come together: give both or neither")
        if condition is None or mask is None:
            return black, torch.zeros_like(video[:, :1])
        if condition.shape[1:] != video.shape[1:] or mask.shape[2:] != video.shape[2:]:
            raise ValueError(
                f"condition {list(condition.shape)} and mask {list(mask.shape)} must fit the video latent "
                f"{list(video.shape)}"
            )
        mask, condition = mask.to(video), condition.to(video)
        shown = condition if self.config.refines else torch.where(mask > 0.5, condition, black)
        return shown.expand_as(video), mask.expand(video.shape[0], -1, -1, -1, -1)

    def _precondition(
        self, sigma: Tensor, dtype: torch.dtype, std: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gains of the input, of the skip from it, and of the raw output, for noise levels sigma.

        For x = (1 - s) x0 + s noise with data of standard deviation r, var x = s^2 + (1 - s)^2 r^2 = D, and the best
        linear guess of v = noise - x0 is (s - (1 - s) r^2) / D * x, which leaves an error of variance r^2 / D for the
        network to explain. std: r of each cell; None: 1, where the network is preconditioned at all.
        """
        if std is None and not self.config.preconditioned:
            one = torch.ones_like(sigma, dtype=dtype)
            return one, torch.zeros_like(one), one
        std = torch.ones_like(sigma) if std is None else std.float()
        variance = (sigma**2 + ((1 - sigma) * std) ** 2).clamp(min=SMALLEST_VARIANCE)
        gain = variance.rsqrt()
        skip = (sigma - (1 - sigma) * std**2) / variance
        return gain.to(dtype), skip.to(dtype), (std * gain).to(dtype)

    # -- training --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> "MMDiT":
        """Initial values for training from scratch: small residual branches, gates at one half, and cross-attentions,
        coarse attention and outputs at zero, so that these join in as they become useful."""
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                nn.init.ones_(parameter)
            elif parameter.ndim == 1 or "modulation_table" in name:
                nn.init.zeros_(parameter)
            else:
                fan_in = parameter[0].numel()
                nn.init.normal_(parameter, std=fan_in**-0.5, generator=generator)
        for name, parameter in self.named_parameters():
            layer, _, kind = name.rpartition(".")
            if kind != "weight":
                continue
            if layer.endswith(("attention_out", "mlp_out")):
                nn.init.normal_(parameter, std=0.02, generator=generator)
            elif layer.endswith(("_to_video.out", "_to_audio.out", "audio_out", "video_out.project", "coarse_gate")):
                nn.init.zeros_(parameter)
            elif layer.startswith("modulation.") or layer.endswith("modulation"):
                nn.init.normal_(parameter, std=0.01, generator=generator)
        for name, parameter in self.modulation.named_parameters():
            if name.endswith("bias"):
                parameter.view(6, -1)[[2, 5]] = 0.5  # attention and MLP gates
        return self
