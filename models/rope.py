"""Rotary position embedding with float positions in one and three axes (SkyReels-V4 eq. 9, VideoCanvas sec. 3.2).

Positions are measured in latent frames (time) and tokens (height, width). They are real numbers, so that a
VideoCanvas patch of frame 5 sits at 5/4, a reference at -1, and a sound between two frames, all on one axis.
"""

import torch
from torch import Tensor


def frequencies(count: int, theta: float, scale: float = 1.0) -> Tensor:
    """Angular frequencies `scale * theta ** (-j / count)`, j = 0..count-1, in radians per position. [count]"""
    return scale * theta ** (-torch.arange(count, dtype=torch.float32) / count)


def angles_1d(time: Tensor, frequencies: Tensor) -> Tensor:
    """Rotation angles of tokens that only have a time. time [N], frequencies [D/2] -> [N, D/2]"""
    return time[:, None] * frequencies


def angles_3d(positions: Tensor, time_frequencies: Tensor, space_frequencies: Tensor) -> Tensor:
    """Rotation angles of tokens at (time, row, column). positions [N, 3] -> [N, D/2], D/2 = len(time) + 2 len(space)"""
    time, row, column = positions.unbind(-1)
    return torch.cat(
        [time[:, None] * time_frequencies, row[:, None] * space_frequencies, column[:, None] * space_frequencies],
        dim=-1,
    )


def rotate(x: Tensor, angles: Tensor | None) -> Tensor:
    """Rotates the channel pairs (i, i + D/2) of x [B, heads, N, D] by angles [N, D/2]; None leaves x as it is."""
    if angles is None:
        return x
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def video_positions(times: Tensor, rows: int, columns: int) -> Tensor:
    """Positions of a token grid: times [T] latent frames (float), rows x columns tokens -> [T * rows * columns, 3]"""
    grid = torch.meshgrid(
        times.float(),
        torch.arange(rows, dtype=torch.float32, device=times.device),
        torch.arange(columns, dtype=torch.float32, device=times.device),
        indexing="ij",
    )
    return torch.stack(grid, dim=-1).reshape(-1, 3)


def audio_positions(
    latents: int, patch: int, *, frame_rate: float, latent_rate: float, temporal_scale: int = 4, device=None
) -> Tensor:
    """Times of audio tokens on the video's axis, in latent video frames: [ceil(latents / patch)]

    A token covers `patch` audio latents of 1 / latent_rate seconds; its middle, at s seconds, is seen in video frame
    s * frame_rate - 1/2 (frame f is on screen from f to f + 1, its middle at f + 1/2), which lies at frame / 4 exactly
    as a VideoCanvas patch of that frame does. So a sound and its frame share a position at any length and frame rate.
    The paper scales by the ratio of the token counts instead (21/218, SkyReels-V4 sec. 3.1): see `MMDiT.audio_times`.
    """
    tokens = -(-latents // patch)
    seconds = (torch.arange(tokens, dtype=torch.float32, device=device) + 0.5) * patch / latent_rate
    return (seconds * frame_rate - 0.5) / temporal_scale
