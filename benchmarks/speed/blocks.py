"""Our blocks and our whole network beside ComfyUI core's HunyuanVideo and LTXAV, at equal width and tokens.

All networks have random weights and run in ComfyUI's own way: its operations, its attention kernel, blocks called
through the hook by which nodes replace them. The architectures differ: words take part in our self-attention and are
attended to crosswise as well, of which HunyuanVideo has the first alone and LTXAV the second. So the multiply-adds of
the matrix products, counted while each ran, stand beside the times.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.speed import core
from benchmarks.speed.clock import DTYPES, Clock, clock_of, machine
from benchmarks.speed.sparse import grid_of
from benchmarks.speed.table import GIGA, Report, number

CHANNELS, PATCH = 16, 2  # of a video latent; LTXAV's tokens are single cells, of as many numbers as 2x2 of ours
SOUND = (8, 16)  # channels and frequencies of a token of LTXAV's sound; ours has as many numbers
WORD_DIM = 512  # of the text embeddings
MLP_RATIO = 4.0  # LTXAV has no other
SIZES = {"cpu": ((1024, 4096, 8192), 256, 4), "cuda": ((4096, 16384, 32768), 2048, 16)}  # tokens, width, heads
# A block is named as the nodes that replace one name it; None is the whole network.
Place = tuple[str, int] | None
DUAL, SINGLE = ("double_block", 0), ("single_block", 0)
# What is compared: our part, with whom, and which part of theirs.
CASES: dict[str, tuple[Place, str, Place]] = {
    "dual-stream block": (DUAL, "HunyuanVideo", DUAL),
    "single-stream block": (SINGLE, "HunyuanVideo", SINGLE),
    "whole network": (None, "HunyuanVideo", None),
    "dual-stream block, with sound": (DUAL, "LTXAV", DUAL),
    "single-stream block, with sound": (SINGLE, "LTXAV", DUAL),
    "whole network, with sound": (None, "LTXAV", None),
}


@dataclass(frozen=True)
class Size:
    """Widths and counts of tokens that the networks of a comparison share. blocks: of each kind; LTXAV has one kind.

    sounds: tokens of the sound, 0 where the network with which ours is compared has none.
    """

    dim: int
    heads: int
    blocks: int
    tokens: int
    words: int
    sounds: int

    @property
    def rope_axes(self) -> tuple[int, int, int]:
        """Channels of a head for time, rows and columns, shared out as in HunyuanVideo: 16, 56 and 56 of 128."""
        head_dim = self.dim // self.heads
        space = (head_dim - head_dim // 8) // 4 * 2
        return head_dim - 2 * space, space, space


@dataclass(frozen=True)
class Counted:
    """operations: multiply-adds of all matrix products. attended: queries, keys and width of each attention."""

    operations: int
    attended: list[tuple[int, int, int]]


class _Reached(Exception):
    """Ends a forward pass at a block: core's closures around its blocks share a variable that moves on to the next."""

    def __init__(self, block: Callable[[], Any]):
        self.block = block


def _reach(args: dict[str, Any], extra: dict[str, Any]) -> NoReturn:
    raise _Reached(partial(extra["original_block"], dict(args)))


class Contender:
    """A network and its inputs; forward(transformer_options) runs it."""

    def __init__(self, network: nn.Module, forward: Callable[[dict[str, Any]], Any]):
        self.network, self.forward = network, forward
        for parameter in network.parameters():
            parameter.data.normal_(std=0.02)

    def part(self, place: Place, options: dict[str, Any]) -> Callable[[], Any]:
        """A block as the network calls it, with the inputs that it gets there; or the network itself."""
        if place is None:
            return lambda: self.forward(dict(options))
        try:
            self.forward(options | {"patches_replace": {"dit": {place: _reach}}})
        except _Reached as reached:
            return reached.block
        raise ValueError(f"{type(self.network).__name__} runs no block {place}")

    def count(self, place: Place) -> Counted:
        attended: list[tuple[int, int, int]] = []

        def override(kernel, q: Tensor, k: Tensor, v: Tensor, heads: int, *rest, **more) -> Tensor:
            split = more.get("skip_reshape", False)  # [B, heads, N, D] instead of [B, N, heads * D]
            axis, width = (2, heads * q.shape[-1]) if split else (1, q.shape[-1])
            attended.append((q.shape[axis], k.shape[axis], width))
            return kernel(q, k, v, heads, *rest, **more)

        part = self.part(place, {"optimized_attention_override": override})
        attended.clear()
        with FlopCounterMode(display=False, custom_mapping=KERNELS) as counter:
            part()
        return Counted(counter.get_total_flops() // 2, attended)


def _sdpa(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *rest, out_shape=None, **more) -> int:
    return sdpa_flop_count(q, k, v)


KERNELS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _sdpa}  # PyTorch's counter leaves it out


# -- contenders ------------------------------------------------------------------------------------------------------


def ours(size: Size, like: dict[str, Any], operations) -> Contender:
    from skycanvas.carriers.skyreels_v4 import DiffusionModel
    from skycanvas.models.config import MMDiTConfig

    sound = SOUND[0] * SOUND[1]
    config = MMDiTConfig(
        video_channels=CHANNELS,
        audio_channels=sound if size.sounds else 0,
        text_dim=WORD_DIM,
        pooled_dim=0,
        dim=size.dim,
        heads=size.heads,
        dual_blocks=size.blocks,
        single_blocks=size.blocks,
        mlp_ratio=MLP_RATIO,
        video_patch=PATCH,
        rope_axes=size.rope_axes,
    )
    frames, rows, columns = grid_of(size.tokens)
    x = [torch.randn(1, CHANNELS, frames, PATCH * rows, PATCH * columns, **like)]
    if size.sounds:
        x.append(torch.randn(1, sound, size.sounds, **like))
    words, timestep = torch.randn(1, size.words, WORD_DIM, **like), torch.full((1,), 500.0, device=like["device"])
    network = DiffusionModel(config, operations=operations, **like).eval()
    return Contender(network, lambda options: network(x, timestep, words, transformer_options=options, frame_rate=25.0))


def hunyuan_video(size: Size, like: dict[str, Any], operations) -> Contender:
    from comfy.ldm.hunyuan_video.model import HunyuanVideo

    network = HunyuanVideo(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        vec_in_dim=None,
        context_in_dim=WORD_DIM,
        hidden_size=size.dim,
        mlp_ratio=MLP_RATIO,
        num_heads=size.heads,
        depth=size.blocks,
        depth_single_blocks=size.blocks,
        axes_dim=list(size.rope_axes),
        theta=256,
        patch_size=[1, PATCH, PATCH],
        qkv_bias=True,
        guidance_embed=False,
        byt5=False,
        meanflow=False,
        use_cond_type_embedding=False,
        vision_in_dim=None,
        meanflow_sum=False,
        operations=operations,
        **like,
    ).eval()
    frames, rows, columns = grid_of(size.tokens)
    x = torch.randn(1, CHANNELS, frames, PATCH * rows, PATCH * columns, **like)
    words, timestep = torch.randn(1, size.words, WORD_DIM, **like), torch.full((1,), 500.0, device=like["device"])
    return Contender(network, lambda options: network(x, timestep, words, transformer_options=options))


def ltxav(size: Size, like: dict[str, Any], operations) -> Contender:
    from comfy.ldm.lightricks.av_model import LTXAVModel

    head_dim, cell = size.dim // size.heads, CHANNELS * PATCH**2
    network = LTXAVModel(
        in_channels=cell,
        audio_in_channels=SOUND[0] * SOUND[1],
        cross_attention_dim=size.dim,
        audio_cross_attention_dim=size.dim,
        attention_head_dim=head_dim,
        audio_attention_head_dim=head_dim,
        num_attention_heads=size.heads,
        audio_num_attention_heads=size.heads,
        caption_channels=WORD_DIM,
        num_layers=2 * size.blocks,
        rope_type="split",
        connector_attention_head_dim=head_dim,  # the connectors take no part in sampling
        connector_num_attention_heads=1,
        connector_num_layers=1,
        operations=operations,
        **like,
    ).eval()
    x = [torch.randn(1, cell, *grid_of(size.tokens), **like), torch.randn(1, SOUND[0], size.sounds, SOUND[1], **like)]
    words = torch.randn(1, size.words, 2 * WORD_DIM, **like)  # of the picture's text encoding and of the sound's
    timestep = torch.full((1,), 0.5, device=like["device"])
    return Contender(network, lambda options: network(x, timestep, words, transformer_options=options))


THEIRS = {"HunyuanVideo": hunyuan_video, "LTXAV": ltxav}


# -- measuring -------------------------------------------------------------------------------------------------------


def row_of(
    case: str, pair: tuple[Contender, Contender], size: Size, clock: Clock, peak: float | None
) -> dict[str, Any]:
    """ratio: our time over theirs; per_operation: the same of the time per multiply-add."""
    ours_at, name, theirs_at = CASES[case]
    places = (ours_at, theirs_at)
    counted = [contender.count(place) for contender, place in zip(pair, places, strict=True)]
    parts = [contender.part(place, {}) for contender, place in zip(pair, places, strict=True)]
    ms = clock.medians(parts, clock.seconds)
    rates = [count.operations / took for count, took in zip(counted, ms, strict=True)]  # multiply-adds per ms
    return {
        "case": case,
        "tokens": size.tokens,
        "words": size.words,
        "sounds": size.sounds,
        "against": name,
        "ms": [round(took, 3) for took in ms],
        "operations": [count.operations for count in counted],
        "attended": [count.attended for count in counted],
        "ratio": round(ms[0] / ms[1], 3),
        "per_operation": round(rates[1] / rates[0], 3),
        "share_of_peak": [round(1000 * rate / peak, 3) for rate in rates] if peak else None,
    }


@torch.inference_mode()
def measure(options: argparse.Namespace, clock: Clock, peak: float | None) -> list[dict[str, Any]]:
    import comfy.ops

    like = {"dtype": DTYPES[options.device], "device": torch.device(options.device)}
    rows = []
    for tokens in options.tokens:
        for name, build in THEIRS.items():
            sounds = options.sounds if name == "LTXAV" else 0
            size = Size(options.dim, options.heads, options.blocks, tokens, options.words, sounds)
            operations = comfy.ops.disable_weight_init
            pair = ours(size, like, operations), build(size, like, operations)
            for case, (_, against, _) in CASES.items():
                if against == name:
                    rows.append(row_of(case, pair, size, clock, peak))
                    print({key: rows[-1][key] for key in ("case", "tokens", "ms", "ratio")}, flush=True)
    return rows


def report(settings: dict[str, Any], rows: list[dict[str, Any]]) -> Report:
    peak = settings["matmul_peak_tflops"] is not None
    head = ["", "tokens", "ours (ms)", "core's (ms)", "ours / core's", "G multiply-adds", "core's", "time for each"]
    lines = [head + (["of the peak", "core's"] if peak else [])]
    for row in rows:
        line = [f"{row['case']}, against {row['against']}", str(row["tokens"]), *map(number, row["ms"])]
        line += [f"{row['ratio']:.2f}x", *(f"{count / GIGA:.2f}" for count in row["operations"])]
        line += [f"{row['per_operation']:.2f}x", *(f"{share:.0%}" for share in row["share_of_peak"] or ())]
        lines.append(line)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for case in dict.fromkeys(row["case"] for row in rows):
            mine = [row for row in rows if row["case"] == case]
            axes.plot([row["tokens"] for row in mine], [row["ratio"] for row in mine], marker="o", label=case)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set(xlabel="tokens of the video", ylabel="our time / core's", xscale="log")
        axes.legend(fontsize="small")

    note = (
        "Tokens are those of the video; both networks of a row have as many, as many words, and those with sound as "
        "many tokens of it. Time for each: our time per multiply-add over core's. LTXAV has one kind of block, with "
        "which both of ours are compared. Goal: 1.0x for the whole network."
    )
    return Report("blocks", "Our blocks beside ComfyUI core's", settings, rows, [lines], draw, [note])


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, nargs="+", help="of the video; default: by the device")
    parser.add_argument("--words", type=int, default=128, help="tokens of the prompt")
    parser.add_argument("--sounds", type=int, default=256, help="tokens of the sound")
    parser.add_argument("--dim", type=int, help="width; default: by the device")
    parser.add_argument("--heads", type=int)
    parser.add_argument("--blocks", type=int, default=2, help="of each kind")
    parser.add_argument(
        "--attention",
        choices=("pytorch", "default"),
        default="pytorch",
        help="the kernel of all networks: PyTorch's, or what ComfyUI takes on this machine by default",
    )


def check(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything."""
    tokens, dim, heads = SIZES[options.device]
    options.tokens, options.dim, options.heads = options.tokens or tokens, options.dim or dim, options.heads or heads
    for name in ("words", "sounds", "blocks", "dim", "heads"):
        if getattr(options, name) < 1:
            return f"--{name} {getattr(options, name)} must be at least 1"
    if min(options.tokens) < 1:
        return f"--tokens {min(options.tokens)} must be at least 1"
    if options.dim % options.heads or options.dim // options.heads % 16:
        return f"--dim {options.dim} must be --heads {options.heads} times a multiple of 16: use {16 * options.heads}"
    return None


def run(options: argparse.Namespace) -> Report:
    core.load(options.device, pytorch_attention=options.attention == "pytorch")
    from comfy.ldm.modules.attention import optimized_attention

    torch.manual_seed(0)
    clock = clock_of(options)
    peak = clock.matmul_peak() if options.device == "cuda" else None
    settings = machine(options) | {
        "dtype": str(DTYPES[options.device]).removeprefix("torch."),
        "kernel": optimized_attention.__name__,
        "width": options.dim,
        "heads": options.heads,
        "blocks_of_each_kind": options.blocks,
        "words": options.words,
        "tokens_of_sound": options.sounds,
        "matmul_peak_tflops": round(2 * peak / 1e12, 1) if peak else None,
    }
    return report(settings, measure(options, clock, peak))
