"""How fast LTX-2 is on this machine: a small network of core's own class is timed, once for each kind and size."""

import time
from functools import lru_cache
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from comfy.ldm.lightricks.av_model import LTXAVModel

from ..canvas.cost import Ltx2Cost

MOST_HEADS, BLOCKS = 4, 2  # of the network that is timed: little time, little memory
MOST_LATENTS = {"cpu": (3, 8, 8, 32), "other": (8, 32, 32, 256)}  # latent frames, rows and columns; audio latents
WORDS = 16
NAMES = (  # of what decides how a network is built, as its own attributes
    "attention_head_dim",
    "audio_attention_head_dim",
    "apply_gated_attention",
    "cross_attention_adaln",
    "causal_temporal_positioning",
    "use_middle_indices_grid",
)


def rate_of(network: LTXAVModel, device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], audio: int) -> float:
    """Operations per second on a latent of frames, rows and columns, and of sound, or on a part of a large one."""
    most = MOST_LATENTS["cpu" if comfy.model_management.is_device_cpu(device) else "other"]
    kind = tuple((name, getattr(network, name)) for name in NAMES)
    heads = tuple(min(count, MOST_HEADS) for count in (network.num_attention_heads, network.audio_num_attention_heads))
    return measured_rate(kind, heads, device, dtype, tuple(map(min, (*shape, audio), most)))


@lru_cache(maxsize=16)
@torch.inference_mode()
def measured_rate(
    kind: tuple[tuple[str, Any], ...],
    heads: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
    latents: tuple[int, int, int, int],
) -> float:
    """Operations per second of such a network with so many heads. latents: frames, rows, columns; audio latents."""
    sizes = dict(kind)
    video, audio = heads[0] * sizes["attention_head_dim"], heads[1] * sizes["audio_attention_head_dim"]
    network = LTXAVModel(
        **sizes,
        num_attention_heads=heads[0],
        audio_num_attention_heads=heads[1],
        cross_attention_dim=video,
        audio_cross_attention_dim=audio,
        num_layers=BLOCKS,
        caption_channels=video,
        caption_proj_before_connector=True,
        caption_projection_first_linear=False,
        connector_attention_head_dim=2,  # the connectors are not run here
        connector_num_attention_heads=1,
        connector_num_layers=0,
        audio_connector_attention_head_dim=2,
        audio_connector_num_attention_heads=1,
        audio_connector_num_layers=0,
        device=device,
        dtype=dtype,
        operations=comfy.ops.disable_weight_init,
    )
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.fill_(0.01)  # not at random: the seeds of others must not notice
    frames, rows, columns, length = latents
    like: dict[str, Any] = {"device": device, "dtype": dtype}
    streams = [torch.ones(1, 128, frames, rows, columns, **like), torch.ones(1, 8, length, 16, **like)]
    timestep, text = torch.full((1,), 0.5, device=device), torch.ones(1, WORDS, video + audio, **like)

    def run() -> float:
        start = time.perf_counter()
        # reading a number waits for the device
        float(network(streams, timestep, text, transformer_options={})[0].float().sum())
        return time.perf_counter() - start

    run()  # the first time sets things up
    modulations = network.transformer_blocks[0].scale_shift_table.shape[0]
    cost = Ltx2Cost(video=video, audio=audio, crossing=audio, blocks=BLOCKS, modulations=modulations, weights=0)
    return cost.operations(frames * rows * columns, length, WORDS, frames) / run()
