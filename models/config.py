"""Sizes of the SkyReels-V4 network, read back from the tensors of a checkpoint."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class ArchitectureError(ValueError):
    """The tensors are not those of a SkyReels-V4 MMDiT; the message names the tensor that is missing or misshapen."""


@dataclass(frozen=True)
class MMDiTConfig:
    """Sizes of the network. All but the rope constants are read back from a checkpoint's tensors.

    video_channels, audio_channels: latent channels; without audio channels there is no audio branch. text_dim,
    pooled_dim: widths of the text encoder's sequence and of its summary (0: none). mlp_ratio: hidden width / dim.
    video_patch: latent cells per token and axis. audio_patch: audio latents per token. stem_channels, head_blocks:
    convolution stem and head (0: plain patches). rope_axes: head channels for time, row, column (their sum is
    dim / heads). preconditioned: the network's raw output is added to the best linear guess of the velocity for data of
    unit variance (a small network learns faster so). audio_rope_scale: None places sounds by their time; a number
    multiplies the token index (21/218 in the paper). keyframes: it makes pictures beside the video. residual_std: of a
    Refiner (models/refiner.py), the standard deviation of what it adds to its condition; None: a base. sparsity: share
    of the key tiles that the video's self-attention leaves out (models/sparse_attention.py); None: it is dense, without
    gates.
    rope_theta, rope_time_scale, rope_space_scale only fill the frequency buffers, which a checkpoint carries itself.
    """

    video_channels: int
    audio_channels: int
    text_dim: int
    pooled_dim: int
    dim: int
    heads: int
    dual_blocks: int
    single_blocks: int
    mlp_ratio: float = 4.0
    video_patch: int = 2
    audio_patch: int = 1
    stem_channels: int = 0
    head_blocks: int = 0
    rope_axes: tuple[int, int, int] = (44, 42, 42)
    preconditioned: bool = False
    audio_rope_scale: float | None = None
    keyframes: bool = False
    residual_std: float | None = None
    sparsity: float | None = None
    rope_theta: float = 10000.0
    rope_time_scale: float = 1.0
    rope_space_scale: float = 1.0

    def __post_init__(self):
        head_dim, rest = divmod(self.dim, self.heads)
        time, row, column = self.rope_axes
        if rest:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if time + row + column != head_dim or row != column or time % 2 or row % 2:
            raise ValueError(
                f"rope_axes {self.rope_axes} must be even, row = column, and sum to dim / heads = {head_dim}"
            )

    @property
    def refines(self) -> bool:
        return self.residual_std is not None

    @classmethod
    def from_state_dict(cls, sd: dict[str, Tensor], prefix: str = "") -> "MMDiTConfig":
        """Reads the sizes from tensor shapes. Raises ArchitectureError naming the tensor that does not fit."""
        shapes = _Shapes(sd, prefix)
        video_channels = shapes.get("video_latent_mean", 1)[0]
        audio_channels = shapes.get("audio_latent_mean", 1)[0] if shapes.has("audio_latent_mean") else 0
        dim, text_dim = shapes.get("text_in.weight", 2)
        dual_blocks, single_blocks = shapes.count("dual_blocks"), shapes.count("single_blocks")
        if dual_blocks + single_blocks == 0:
            raise ArchitectureError(
                f"tensor '{prefix}dual_blocks.0.video.media.attention.qkv.weight' is missing, and so is "
                f"'{prefix}single_blocks.0.video.both.attention.qkv.weight': no block of a SkyReels-V4 MMDiT is there"
            )
        layer = "dual_blocks.0.video.media" if dual_blocks else "single_blocks.0.video.both"
        head_dim = shapes.get(f"{layer}.attention.q_norm.weight", 1)[0]
        time, space = shapes.get("time_frequencies", 1)[0], shapes.get("space_frequencies", 1)[0]
        stem_channels = shapes.get("video_in.conv.weight", 4)[0] if shapes.has("video_in.conv.weight") else 0
        cell = stem_channels or 2 * video_channels + 1
        sizes: dict[str, Any] = dict(
            video_channels=video_channels,
            audio_channels=audio_channels,
            text_dim=text_dim,
            pooled_dim=shapes.get("pooled_in.0.weight", 2)[1] if shapes.has("pooled_in.0.weight") else 0,
            dim=dim,
            heads=dim // head_dim,
            dual_blocks=dual_blocks,
            single_blocks=single_blocks,
            mlp_ratio=shapes.get(f"{layer}.mlp_in.weight", 2)[0] / dim,
            video_patch=math.isqrt(shapes.get("video_in.project.weight", 2)[1] // cell),
            audio_patch=shapes.get("audio_in.weight", 3)[1] // audio_channels if audio_channels else 1,
            stem_channels=stem_channels,
            head_blocks=shapes.count("video_out.blocks"),
            rope_axes=(2 * time, 2 * space, 2 * space),
            preconditioned=shapes.has("sigma_data"),
            audio_rope_scale=shapes.number("audio_rope_scale"),
            keyframes=shapes.has("keyframe_marker"),
            residual_std=shapes.number("residual_std"),
            sparsity=shapes.number("sparsity"),
        )
        try:
            return cls(**sizes)
        except ValueError as error:
            raise ArchitectureError(f"the checkpoint's shapes contradict each other: {error}") from error


class _Shapes:
    """Tensor shapes of a checkpoint, with errors that name the tensor."""

    def __init__(self, sd: dict[str, Tensor], prefix: str):
        self.sd, self.prefix = sd, prefix

    def has(self, key: str) -> bool:
        return self.prefix + key in self.sd

    def number(self, key: str) -> float | None:
        """Value of a scalar; None if the checkpoint has none of that name."""
        return float(self.sd[self.prefix + key]) if self.has(key) else None

    def get(self, key: str, ndim: int) -> tuple[int, ...]:
        if not self.has(key):
            raise ArchitectureError(f"tensor '{self.prefix}{key}' is missing: this is no SkyReels-V4 MMDiT")
        shape = tuple(self.sd[self.prefix + key].shape)
        if len(shape) != ndim:
            raise ArchitectureError(f"tensor '{self.prefix}{key}' has shape {list(shape)}, expected {ndim} dimensions")
        return shape

    def count(self, name: str) -> int:
        """Number of consecutive `name.0.`, `name.1.`, ... in the checkpoint."""
        start = f"{self.prefix}{name}."
        return 1 + max((int(k[len(start) :].split(".")[0]) for k in self.sd if k.startswith(start)), default=-1)
