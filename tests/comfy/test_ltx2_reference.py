"""A canvas on LTX-2, beside the same tokens put together by hand: one evaluation of the network, equal bit for bit.

By hand are the sequence of tokens, their places, times and noise levels, written down from what the canvas means.
Core's layers and its rotary positions are used, but nothing of what it does with latents, masks and keyframes.
"""

from dataclasses import dataclass, replace

import comfy.samplers
import pytest
import torch
from ltx_canvas_tools import FRAMES, HEIGHT, LEFT, PATCH, SPANS, WIDTH, H, Ltx, T, W, places
from node_tools import noise
from skycanvas.canvas.canvas import Canvas
from skycanvas.carriers.carrier import noise_for
from torch import Tensor

FPS = 24.0
L = 18  # latents of the sound
SIGMA = 0.7
HEARD = 8  # latents that 13000 samples at 44100 Hz fill: 441 of the first one, 1764 of each that follows


# --- what lies on the canvas

CLIP = noise(FRAMES, HEIGHT, 64, 3)
PICTURE = noise(1, 96, 64, 3, seed=2)
SOUND = 0.1 * noise(1, 13000, seed=3)
VOICE = 0.1 * noise(1, 7000, seed=4)  # 4 latents


@pytest.fixture
def canvas() -> Canvas:
    """The left third of all frames, a patch on frame 13, the first 0.29 s of the sound, and a voice."""
    canvas = Canvas.new(WIDTH, HEIGHT, FRAMES, FPS).place_clip(CLIP, FPS, box=LEFT)
    canvas = canvas.place_image(PICTURE, frame=13, box=PATCH).place_sound(SOUND, 44100)
    return canvas.reference(VOICE, kind="sound", sample_rate=44100)


def evaluated(ltx: Ltx, canvas: Canvas, monkeypatch) -> tuple[list[Tensor], list[Tensor]]:
    """Noise of the clip, and what the network makes of the canvas at one noise level, through stock sampling."""
    positive, _, latent = ltx.encode(canvas)
    forward, outputs = ltx.network.forward, []

    def recorded(*args, **kwargs):
        outputs.append(forward(*args, **kwargs))
        return outputs[-1]

    monkeypatch.setattr(ltx.network, "forward", recorded)
    guider, noises = comfy.samplers.CFGGuider(ltx.model), noise_for(latent, 5)
    guider.set_conds(positive, positive)
    guider.set_cfg(1.0)
    guider.sample(
        noises,
        latent["samples"],
        comfy.samplers.sampler_object("euler"),
        torch.tensor([SIGMA, 0.0]),
        denoise_mask=latent["noise_mask"],
        disable_pbar=True,
    )
    (output,) = outputs
    monkeypatch.undo()
    return [noises.unbind()[0][:, :, :T], noises.unbind()[1]], [output[0][:, :, :T], output[1]]


# --- the same by hand


@dataclass(frozen=True)
class Tokens:
    """Latents [1, N, 128]; places [1, axes, N, 2], first and end; noise levels [1, N, 1]."""

    latents: Tensor
    places: Tensor
    levels: Tensor


@dataclass(frozen=True)
class Sequence:
    """All that the network is to see. The clip's own tokens come first in `video`, and last in `audio`."""

    video: Tokens
    audio: Tokens
    fps: float = FPS


def by_hand(
    ltx: Ltx, noises: list[Tensor], *, frame: int = 13, right: int = 0, level: float = 0.0, kept: bool = True
) -> Sequence:
    """frame, right, level: where the patch is, in frames and pixels, and how noisy it is said to be."""
    clean = SIGMA * noises[0].movedim(1, -1)  # of what is made, the latent is 0
    levels = torch.full((1, T, H, W, 1), SIGMA)
    if kept:
        goes_on = torch.cat([CLIP, CLIP[:, :, -1:].expand(-1, -1, WIDTH - 64, -1)], dim=2)
        clean[..., :2, :] = ltx.vae.encode(goes_on).movedim(1, -1)[..., :2, :]
        levels[..., :2, :] = 0
    patch = ltx.vae.encode(PICTURE).movedim(1, -1)
    beside = places([(frame, frame + 1)], range(1, 4), range(4, 6)) + torch.tensor([0, 0, right])[:, None, None]
    video = Tokens(
        torch.cat([clean.reshape(1, -1, 128), patch.reshape(1, -1, 128)], dim=1),
        torch.cat([places(SPANS), beside], dim=1)[None],
        torch.cat([levels.reshape(1, -1, 1), torch.full((1, 6, 1), level)], dim=1),
    )

    def heard(waveform: Tensor, latents: int) -> Tensor:
        """Core takes whole pieces of 4096 samples."""
        whole = torch.nn.functional.pad(waveform, (0, -(-1764 * latents // 4096) * 4096 - waveform.shape[1]))
        return ltx.audio_vae.encode(whole.T[None])[:, :, :latents].movedim(1, 2).reshape(1, latents, 128)

    sound, levels = SIGMA * noises[1].movedim(1, 2).reshape(1, L, 128), torch.full((1, L, 1), SIGMA)
    if kept:
        sound[:, :HEARD], levels[:, :HEARD] = heard(SOUND, L)[:, :HEARD], 0
    times = torch.tensor([(max(0, 4 * i - 3) / 100, (4 * i + 1) / 100) for i in range(L)])  # the first lasts 10 ms
    before = times[:4] - 0.17  # the voice ends at -0.04 s
    audio = Tokens(
        torch.cat([heard(VOICE, 4), sound], dim=1),
        torch.cat([before, times])[None, None],
        torch.cat([torch.zeros(1, 4, 1), levels], dim=1),
    )
    return Sequence(video, audio)


def forward(ltx: Ltx, sequence: Sequence) -> list[Tensor]:
    """Core's layers one after the other: what they make of the clip's own tokens, as latents."""
    network, video, audio = ltx.network, sequence.video, sequence.audio
    streams = [network.patchify_proj(video.latents), network.audio_patchify_proj(audio.latents)]
    modulation, last, _ = network._prepare_timestep(video.levels, 1, torch.float32, a_timestep=audio.levels)
    context, _ = network._prepare_context(ltx.prompts[0][0][0], 1, streams)
    rotations = network._prepare_positional_embeddings([video.places, audio.places], sequence.fps, torch.float32)
    streams = network._process_transformer_blocks(streams, context, None, modulation, rotations)
    ends = [
        (network.scale_shift_table, network.norm_out, network.proj_out, last[0].expand()),
        (network.audio_scale_shift_table, network.audio_norm_out, network.audio_proj_out, last[1]),
    ]
    results = []
    for stream, (table, norm, project, embedded) in zip(streams, ends, strict=True):
        shift, scale = (table[None, None] + embedded[:, :, None]).unbind(2)
        results.append(project(norm(stream) * (1 + scale) + shift))
    return [
        results[0][:, : T * H * W].reshape(1, T, H, W, 128).movedim(-1, 1),
        results[1][:, -L:].reshape(1, L, 8, 16).movedim(2, 1),
    ]


def difference(a: list[Tensor], b: list[Tensor]) -> list[float]:
    return [float((x - y).abs().max()) for x, y in zip(a, b, strict=True)]


def test_the_network_sees_the_tokens_that_the_canvas_means(tiny_ltx, canvas, monkeypatch):
    noises, output = evaluated(tiny_ltx, canvas, monkeypatch)
    sequence = by_hand(tiny_ltx, noises)
    assert sequence.video.latents.shape[1] == T * H * W + 6 and sequence.audio.latents.shape[1] == 4 + L
    assert difference(output, forward(tiny_ltx, sequence)) == [0.0, 0.0]


def padded(sequence: Sequence) -> Sequence:
    """Nothing dropped: the rest of the patch's frame, which the latent holds as zeros, is seen too."""
    video, beside = sequence.video, places([(13, 14)])[:, :18]
    return replace(
        sequence,
        video=Tokens(
            torch.cat([video.latents, torch.zeros(1, 18, 128)], dim=1),
            torch.cat([video.places, beside[None]], dim=2),
            torch.cat([video.levels, torch.zeros(1, 18, 1)], dim=1),
        ),
    )


def without_voice(sequence: Sequence) -> Sequence:
    audio = sequence.audio
    return replace(sequence, audio=Tokens(audio.latents[:, 4:], audio.places[:, :, 4:], audio.levels[:, 4:]))


@pytest.mark.parametrize(
    "changes, also",
    [
        ({"frame": 14}, None),
        ({"right": 32}, None),
        ({"level": SIGMA}, None),
        ({"kept": False}, None),
        ({}, padded),
        ({}, without_voice),
        ({}, lambda sequence: replace(sequence, fps=25.0)),
    ],
    ids=["frame 14", "x + 32", "a noisy patch", "nothing kept", "nothing dropped", "no voice", "25 fps"],
)
def test_other_tokens_give_another_result(tiny_ltx, canvas, monkeypatch, changes, also):
    noises, output = evaluated(tiny_ltx, canvas, monkeypatch)
    sequence = by_hand(tiny_ltx, noises, **changes)
    if also:
        sequence = also(sequence)
    assert min(difference(output, forward(tiny_ltx, sequence))) > 1e-5
