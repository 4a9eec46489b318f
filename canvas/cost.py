"""What a canvas will cost to sample: tokens, memory and seconds, before anything is sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import CanvasError
from .grid import VideoGrid

if TYPE_CHECKING:  # planning a size must not wait for torch
    from .compile import Plan

LATENT_COPIES = 16  # of the video's latent, in float32, that ComfyUI and a sampler such as euler hold
TILE = (4, 4, 4)  # tokens of a tile of sparse attention over frames, rows and columns (VSA sec. 2.2)


@dataclass(frozen=True)
class ModelCost:
    """Sizes of a dual-stream MMDiT (SkyReels-V4 sec. 3.1) that decide what it costs.

    dim, blocks, mlp_ratio: of the network; parameters: how many numbers its weights are. bytes_per_number: of weights
    and activations. audio_patch: audio latents per token. sparsity: share of the key tiles that the video's
    self-attention leaves out; None: it is dense, without gates. latent_channels: of the video.
    """

    dim: int
    blocks: int
    mlp_ratio: float
    parameters: int
    bytes_per_number: int = 2
    audio_patch: int = 1
    sparsity: float | None = None
    latent_channels: int = 16

    def __post_init__(self):
        for name, least in (
            ("dim", 1),
            ("blocks", 1),
            ("parameters", 0),
            ("bytes_per_number", 1),
            ("audio_patch", 1),
            ("latent_channels", 1),
        ):
            if getattr(self, name) < least:
                raise CanvasError(f"{name} is {getattr(self, name)}: use {least} or more")
        if not 0 < self.mlp_ratio < math.inf:
            raise CanvasError(f"mlp_ratio is {self.mlp_ratio}: use more than 0, for example 4")
        if self.sparsity is not None and not 0 <= self.sparsity <= 1:
            raise CanvasError(f"sparsity is {self.sparsity}: use 0 (all tiles are seen) to 1 (one is)")

    def operations(self, video: int, audio: int, text: int, grid: tuple[int, int, int] | None = None) -> int:
        """Floating point operations of the blocks for so many tokens, once through. Multiply and add count as two.

        grid: of sparse attention alone, the video's tokens over frames, rows and columns; the rest of `video` (patches,
        references, keyframes) stays dense.
        """
        own = 4 + 2 * self.mlp_ratio  # matrices of dim x dim that a token meets: query, key, value, output, MLP
        linear = sum(own * (tokens + text) for tokens in (video, audio) if tokens)  # eq. 1-3: words run in each branch
        if video:  # eq. 4: query and output of the picture, key and value of the words
            linear += 2 * video + 2 * text
        if video and audio:  # eq. 5: both ways
            linear += 4 * (video + audio)
        if video and self.sparsity is not None:  # gates of the coarse stage
            linear += video
        return round(2 * self.blocks * linear * self.dim**2) + self.attention(video, audio, text, grid)

    def attention(self, video: int, audio: int, text: int, grid: tuple[int, int, int] | None = None) -> int:
        """Those of `operations` that compare queries with keys and add up values: their number grows with the square.

        ValueError if the attention is sparse and there is no grid.
        """
        pairs = video * text + 2 * video * audio  # eq. 4 and 5
        if self.sparsity is None:
            pairs += (video + text) ** 2 if video else 0
        elif grid is not None:
            pairs += sparse_pairs(grid, video + text - math.prod(grid), self.sparsity)
        elif video:
            raise ValueError("sparse attention needs the grid of the video's tokens")
        if audio:
            pairs += (audio + text) ** 2
        return 4 * self.blocks * self.dim * pairs

    def bytes(self, tokens: int, *, cells: int = 0, own_timesteps: bool = False) -> int:
        """Memory for the weights, for the activations of the widest block of one pass, and for the sampler's latents.

        cells: of the video's latent. own_timesteps: not all tokens are equally noisy, because of a mask, references,
        patches or keyframes, so each has a modulation of its own. The factors are measured, see the tests.
        """
        # Per token, in dim: streams, query, key, value, modulation of the block; hidden layer twice; tiles and gates.
        widest = 15 + 2 * self.mlp_ratio + 14 * own_timesteps + 8 * (self.sparsity is not None)
        latents = 4 * LATENT_COPIES * self.latent_channels * cells
        return round(self.bytes_per_number * (self.parameters + tokens * self.dim * widest)) + latents


@dataclass(frozen=True)
class Ltx2Cost:
    """Sizes of LTX-2 that decide what it costs.

    video, audio: widths of its streams; crossing: of the attention between them. blocks: of the network. modulations:
    vectors of AdaLN per block, 6 in LTX-2 and 9 in LTX-2.3. weights: their bytes. bytes_per_number: of activations.
    """

    video: int
    audio: int
    crossing: int
    blocks: int
    modulations: int
    weights: int
    bytes_per_number: int = 2

    @property
    def shared(self) -> int:
        """Vectors of AdaLN that all blocks share, per token of the video: blocks, attention to and from the sound (4
        and a gate), and the output.
        """
        return self.modulations + 4 + 1 + 1

    def operations(self, video: int, audio: int, text: int, modulated: int) -> int:
        """Floating point operations for so many tokens, once through. Multiply and add count as two.

        modulated: timesteps of the video that AdaLN is worked out for: those of tokens, or of latent frames where all
        tokens of one are equally noisy.
        """
        linear = sum(
            (14 * tokens + 2 * text) * dim**2 + 4 * tokens * dim * self.crossing  # self, words, MLP; the other stream
            for tokens, dim in ((video, self.video), (audio, self.audio))
        )
        pairs = sum(tokens * (tokens + text) * dim for tokens, dim in ((video, self.video), (audio, self.audio)))
        pairs += 2 * video * audio * self.crossing
        return 2 * self.blocks * (linear + 2 * pairs) + 2 * modulated * (self.shared - 1) * self.video**2

    def modulation(self, modulated: int) -> int:
        """Bytes of the AdaLN vectors of the video, which stay while all blocks run."""
        return self.bytes_per_number * modulated * self.shared * self.video

    def bytes(self, video: int, audio: int, text: int, modulated: int) -> int:
        """Memory for the weights, for the activations of one pass, and for the sampler's latents of 128 channels."""
        # Per token, in its width: stream, MLP's input, its hidden layer twice; rotations of 2 x 2 for each two numbers
        widths = (video, self.video), (audio, self.audio)
        numbers = sum(tokens * (10 * dim + 2 * (dim + self.crossing)) for tokens, dim in widths)
        numbers += text * (self.video + self.audio)
        latents = 4 * LATENT_COPIES * 128 * (video + audio)
        return self.weights + self.bytes_per_number * numbers + self.modulation(modulated) + latents


def sparse_pairs(grid: tuple[int, int, int], others: int, sparsity: float) -> int:
    """Queries times keys of Video Sparse Attention (arXiv 2505.13389) over a grid of tokens and so many others.

    Fine stage: a token of the grid meets the tiles that are kept, and all others; these meet all. Coarse stage: tiles
    meet tiles. sparsity: share of the tiles that are not kept, 0 to 1.
    """
    tokens = math.prod(grid)
    tiles = math.prod(-(-size // side) for size, side in zip(grid, TILE, strict=True))
    kept = min(max(math.ceil(round((1 - sparsity) * tiles, 6)), 1), tiles)  # 0.3 of 10 are 3.0000000000000004
    keys = min(kept * math.prod(TILE), tokens) + others
    return tokens * keys + others * (tokens + others) + tiles**2


@dataclass(frozen=True)
class Cost:
    """Tokens of one pass, by what they are of; bytes at the peak; seconds for all passes, None if the rate is unknown.

    context_tokens: of in-context patches. reference_tokens: of reference pictures, clips and voices.
    """

    video_tokens: int
    audio_tokens: int
    context_tokens: int
    reference_tokens: int
    text_tokens: int
    operations: int
    bytes: int
    seconds: float | None

    def text(self) -> str:
        """In one line."""
        parts = [
            f"{count} of {name}"
            for count, name in (
                (self.video_tokens, "the picture"),
                (self.audio_tokens, "the sound"),
                (self.context_tokens, "patches in context"),
                (self.reference_tokens, "references"),
                (self.text_tokens, "words"),
            )
            if count
        ]
        total = self.video_tokens + self.audio_tokens + self.context_tokens + self.reference_tokens + self.text_tokens
        time = "" if self.seconds is None else f", about {duration(self.seconds)}"
        return f"{total} tokens ({', '.join(parts)}), about {self.bytes / 2**30:.2f} GiB{time}."


def estimate(
    plan: Plan,
    model: ModelCost,
    *,
    text_tokens: int = 0,
    steps: int = 30,
    passes: int = 2,
    rate: float | None = None,
) -> Cost:
    """Cost of sampling a compiled canvas.

    passes: of the network in each step, 2 with guidance. rate: measured operations per second of this machine.
    """
    grid = token_grid(plan.video, *plan.given.shape)
    per_frame, video = grid[1] * grid[2], math.prod(grid)
    audio = -(-len(plan.audio_given) // model.audio_patch)
    context = per_frame * len(plan.patches)
    frames, latents = reference_latents(plan)
    pictures, voices = per_frame * frames, sum(-(-count // model.audio_patch) for count in latents)
    operations = model.operations(video + context + pictures, audio + voices, text_tokens, grid)
    return Cost(
        video,
        audio,
        context,
        pictures + voices,
        text_tokens,
        operations,
        model.bytes(
            video + audio + context + pictures + voices + text_tokens,
            cells=plan.given.numel(),
            own_timesteps=not plan.empty,
        ),
        None if rate is None else steps * passes * operations / rate,
    )


def token_grid(video: VideoGrid, frames: int, rows: int, columns: int) -> tuple[int, int, int]:
    """Latent frames, and latent cells in rows and columns -> the same in tokens."""
    return frames, -(-rows // video.token), -(-columns // video.token)


def reference_latents(plan: Plan) -> tuple[int, list[int]]:
    """Latent frames of all reference pictures and clips together, and audio latents of each voice."""
    frames, voices = 0, []
    for reference in plan.document.references:
        media = plan.document.media[reference.media]
        if media.kind == "sound":
            voices.append(plan.audio.latents(media.seconds or 0))
        elif media.kind == "image":
            frames += 1
        else:  # resampled to the rate of the canvas, and cut to whole latent frames
            count = math.ceil((media.seconds or 0) * plan.document.fps - 1e-6)
            frames += 1 + (count - 1) // plan.video.temporal
    return frames, voices


def duration(seconds: float) -> str:
    """`0.4 s`, `37 s`, `12 min`, `3.5 h`"""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
