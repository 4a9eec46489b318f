"""What the network learns from one batch: noise levels, masks, and the flow-matching loss (SkyReels-V4 eq. 6).

Noise levels are per token (Diffusion Forcing): half of the rows share one sigma, as stock samplers do; the others
give each latent frame its own, so that earlier frames may run ahead and given frames may be clean. The keyframes of a
row share one sigma: the clip's, where it has one, the sound's, where the clip is given, or else another.
sigma = 1 - t of the paper; the target v = noise - x0 is the negative of eq. 6.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.mmdit import AUDIO_LATENT_RATE, TEMPORAL_SCALE, TIMESTEP_SCALE, Context, Keyframes, MMDiT
from models.rope import audio_positions
from models.stem import repeat_cells

# Shares of the rows. Shared: one sigma for all tokens. Wave: earlier frames ahead, sound following. Ordered:
# independent sigmas, sorted. Foley: the whole video is given.
SCHEDULES = {"shared": 0.5, "wave": 0.2, "ordered": 0.2, "foley": 0.1}
# What is given (mask 1) in the rows that have a picture of several latent frames: image to video, extension, first and
# last frame, any frames, inpainting, outpainting, and inpainting with a mask that moves.
GIVEN = {
    "nothing": 0.46,
    "first": 0.1,
    "prefix": 0.16,
    "ends": 0.04,
    "some frames": 0.06,
    "outside a box": 0.08,
    "inside a box": 0.06,
    "outside a moving box": 0.04,
}
# Of a clip that is edited, what the edit leaves as it is; for `given`, beside the names above.
AROUND_EDIT = "around the edit"
# What is given of the sound: nothing, all of it (the picture is made for it), its beginning, or all but a span.
SOUND_GIVEN = {"nothing": 0.85, "all": 0.07, "prefix": 0.05, "outside a span": 0.03}
KEYFRAME_GIVEN = 0.15  # chance of each keyframe: it is clean, with timestep 0
# How the given cells reach the network: condition channels (eq. 7), clean with timestep 0, or both.
ROUTES = ("channels", "clean", "both")
SIGMA_MEAN, SIGMA_SPREAD = 0.6, 1.2  # of logit(sigma): where the object is settles at high noise
WAVE_SHIFT = 2.0


@dataclass
class Noising:
    """Noise levels and masks of a batch.

    sigma [B, T, h, w] and audio_sigma [B, n] of the tokens, cells [B, 1, T, H, W] of the latent's cells (a token that
    is given in part has clean cells in it), mask [B, 1, T, H, W] of the condition channels, 1 = given; keyframe_sigma
    [B, K].
    """

    sigma: Tensor
    audio_sigma: Tensor
    cells: Tensor
    mask: Tensor
    keyframe_sigma: Tensor


def choose(shares: dict[str, float], rows: int, generator: torch.Generator) -> Tensor:
    """Index of a share for each row. [rows] long"""
    return torch.multinomial(torch.tensor(list(shares.values())), rows, replacement=True, generator=generator)


def random_sigma(*shape: int, generator: torch.Generator, mean: float = SIGMA_MEAN) -> Tensor:
    """Logit-normal noise levels in (0, 1); mean: of their logits."""
    return torch.sigmoid(torch.randn(*shape, generator=generator) * SIGMA_SPREAD + mean)


def wave_sigma(clock: Tensor, place: Tensor, delay: Tensor) -> Tensor:
    """Noise levels when the token at `place` (latent frames) starts `delay * place` after the clock: from 1 to 0."""
    clean = (clock - place * delay).clamp(0, 1)
    return 1 - clean / (clean + WAVE_SHIFT * (1 - clean))


def given_mask(kind: Tensor, frames: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Masks of the kinds in GIVEN, in latent cells. kind [B] -> [B, 1, T, H, W], 1 = given"""
    rows = len(kind)

    def uniform(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (rows, 1), generator=generator)

    index = torch.arange(frames)
    some = torch.rand(rows, frames, generator=generator) < 0.5
    every = torch.ones(rows, frames, dtype=torch.bool)
    of_time = {
        "nothing": ~every,
        "first": (index < 1).expand(rows, -1),
        "prefix": index < uniform(1, max(2, frames)),
        "ends": ((index == 0) | (index == frames - 1)).expand(rows, -1),
        "some frames": some & ~some.all(1, keepdim=True),
    }
    time = torch.stack([of_time.get(name, every) for name in GIVEN])[kind, torch.arange(rows)]  # [B, T]

    def is_kind(name: str) -> Tensor:
        return (kind == list(GIVEN).index(name))[:, None, None, None]

    spread = torch.linspace(0, 1, frames)[None, :, None]
    inside = []
    for size in (height, width):
        length = uniform(size // 4, size)
        start, end = ((torch.rand(rows, 1, generator=generator) * (size - length + 1)).floor() for _ in range(2))
        moving = (start[..., None] + (end - start)[..., None] * spread).round()  # [B, T, 1]
        first = torch.where(is_kind("outside a moving box")[..., 0], moving, start[..., None])
        cell = torch.arange(size)
        inside.append((cell >= first) & (cell < first + length[..., None]))  # [B, T, size]
    box = inside[0][..., :, None] & inside[1][..., None, :]  # [B, T, H, W]
    outside = is_kind("outside a box") | is_kind("outside a moving box")
    given = time[:, :, None, None] & torch.where(outside, ~box, torch.where(is_kind("inside a box"), box, True))
    return given.unsqueeze(1).float()


def whole_cells(given: Tensor, scale: int) -> Tensor:
    """Pixels that are given [B, F, H, W] bool -> latent cells of scale x scale pixels of which everything is given.

    [B, 1, T, h, w] float, 1 = given. The first frame is a latent frame of its own, then four make one.
    """
    missing = (~given).float().unsqueeze(1)
    parts = [F.max_pool3d(missing[:, :, :1], (1, scale, scale))]
    if missing.shape[2] > 1:
        parts.append(F.max_pool3d(missing[:, :, 1:], (TEMPORAL_SCALE, scale, scale)))
    return 1 - torch.cat(parts, dim=2)


def given_sound(rows: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Which audio tokens are given, of the kinds in SOUND_GIVEN. [B, tokens] bool"""
    kind = choose(SOUND_GIVEN, rows, generator)[:, None]
    index = torch.arange(tokens).expand(rows, -1)
    bounds = torch.randint(1, max(2, tokens), (rows, 2), generator=generator).sort(1)[0]
    ways = [index < 0, index >= 0, index < bounds[:, :1], (index < bounds[:, :1]) | (index > bounds[:, 1:])]
    return torch.stack(ways)[kind[:, 0], torch.arange(rows)]


def sample_noising(
    rows: int,
    frames: int,
    height: int,
    width: int,
    latents: int,
    model: MMDiT,
    generator: torch.Generator,
    given: dict[str, float] | None = None,
    unedited: Tensor | None = None,
    keyframes: int = 0,
) -> tuple[Noising, Tensor]:
    """Noise levels and masks of a batch, and the route [B] by which its given cells reach the network.

    given: shares of the masks, by the names in GIVEN, which has the usual ones, and AROUND_EDIT, which takes the mask
    `unedited` [B, 1, T, H, W]; ValueError for another name, or if that mask is missing. keyframes: how many.
    """
    given = GIVEN if given is None else given
    names = (*GIVEN, AROUND_EDIT)
    if unknown := given.keys() - set(names):
        raise ValueError(f"mask {unknown.pop()!r} is not known: use {', '.join(names)}")
    if given.get(AROUND_EDIT) and unedited is None:
        raise ValueError(f"mask {AROUND_EDIT!r} needs the cells that the edit leaves alone: give `unedited`")
    patch, tokens = model.config.video_patch, -(-latents // model.config.audio_patch)
    schedule = choose(SCHEDULES, rows, generator)[:, None]
    shared, wave, ordered, foley = (schedule == i for i in range(len(SCHEDULES)))

    one = random_sigma(rows, 1, generator=generator)
    place = torch.arange(frames).float()
    sound = audio_positions(latents, model.config.audio_patch, frame_rate=16.0, latent_rate=AUDIO_LATENT_RATE)
    delay = 0.3 + 0.7 * torch.rand(rows, 1, generator=generator)
    lag = 0.2 + 1.2 * torch.rand(rows, 1, generator=generator)
    clock = torch.rand(rows, 1, generator=generator) * (1 + (frames - 1) * delay)
    sorted_sigma = random_sigma(rows, frames, generator=generator).sort(dim=1)[0]
    sigma = torch.where(wave, wave_sigma(clock, place, delay), torch.where(ordered, sorted_sigma, one))
    sigma = torch.where(foley, torch.zeros(()), sigma)
    independent = random_sigma(rows, 1, generator=generator)
    audio = torch.where(wave, wave_sigma(clock, sound + lag, delay), torch.where(ordered, independent, one))

    shares = {name: given.get(name, 0.0) for name in names}
    kind = choose(shares, rows, generator) if frames > 1 else torch.zeros(rows, dtype=torch.long)
    kind = torch.where(foley[:, 0], 0, kind)
    heard = given_sound(rows, tokens, generator) & ~foley & (frames > 1)
    audio = audio.expand(-1, tokens).masked_fill(heard, 0.0)
    around = kind == names.index(AROUND_EDIT)
    mask = given_mask(kind.masked_fill(around, 0), frames, height, width, generator)
    if unedited is not None:
        mask = torch.where(around.view(-1, 1, 1, 1, 1), unedited, mask)
    route = torch.randint(len(ROUTES), (rows,), generator=generator)
    # A token is clean only if all its cells are given; timestep 0 goes with it.
    covered = -F.max_pool3d(-mask, (1, patch, patch), ceil_mode=True)[:, 0]
    clean = (route != ROUTES.index("channels"))[:, None, None, None, None]
    sigma = sigma[:, :, None, None].expand(-1, -1, *covered.shape[-2:])
    sigma = sigma.masked_fill(covered.bool() & clean[:, 0], 0.0)
    cells = repeat_cells(sigma.unsqueeze(-1), patch).movedim(-1, 1)[..., :height, :width]
    cells = cells.masked_fill(mask.bool() & clean, 0.0)
    shown = (route != ROUTES.index("clean"))[:, None, None, None, None]
    finished = torch.rand(rows, keyframes, generator=generator) < KEYFRAME_GIVEN
    keyframe_sigma = one.expand(-1, keyframes).masked_fill(finished, 0.0)
    return Noising(sigma, audio, cells, mask * shown, keyframe_sigma), route


def weighted_error(velocity: Tensor, target: Tensor, sigma: Tensor, std: float = 1.0) -> Tensor:
    """Squared error in the units of the network's raw output, averaged over what is noisy (sigma > 0).

    The weight (s^2 + (1 - s)^2 std^2) / std^2 undoes the preconditioning gain, for data of that standard deviation:
    every noise level then has an error of about the same size. It depends on sigma alone; weights that depend on the
    data would shift what the flow converges to.
    """
    weight = (sigma / std) ** 2 + (1 - sigma) ** 2
    noisy = (sigma > 0).float().expand_as(target)
    return ((velocity - target) ** 2 * weight * noisy).sum() / noisy.sum().clamp(min=1)


def flow_matching_loss(
    model: MMDiT,
    video: Tensor | None,
    audio: Tensor,
    text: Tensor,
    pooled: Tensor,
    *,
    generator: torch.Generator,
    given: dict[str, float] | None = None,
    unedited: Tensor | None = None,
    keyframes: Context | None = None,
    **context,
) -> tuple[Tensor, ...]:
    """Losses (video, audio) of one batch of normalised clean latents [B, C, T, H, W] and [B, Ca, L] (eq. 6).

    With keyframes [B, C, K, H', W'], which need a video, and their times in latent frames, theirs comes third.
    video None trains text to audio. given, unedited: see `sample_noising`. context: `video_context`, `audio_context`,
    `cross_modal` of MMDiT.forward. `model` may be wrapped for data-parallel training.
    """
    if video is None and keyframes is not None:
        raise ValueError("keyframes are made together with a video: give its latent too")
    network: MMDiT = getattr(model, "module", model)
    rows, latents = audio.shape[0], audio.shape[-1]
    frames, height, width = (
        video.shape[2:] if video is not None else (1, network.config.video_patch, network.config.video_patch)
    )
    count = 0 if keyframes is None else keyframes[0].shape[2]
    noising, _ = sample_noising(rows, frames, height, width, latents, network, generator, given, unedited, count)

    def to_device(x: Tensor) -> Tensor:
        return x.to(audio.device)

    def noise_like(x: Tensor) -> Tensor:
        return to_device(torch.randn(x.shape, generator=generator))

    audio_sigma = to_device(noising.audio_sigma if video is not None else random_sigma(rows, 1, generator=generator))
    audio_cells = audio_sigma.expand(-1, -(-latents // network.config.audio_patch))
    audio_cells = audio_cells.repeat_interleave(network.config.audio_patch, dim=1)[:, None, :latents]  # [B, 1, L]
    audio_noise = noise_like(audio)
    noisy_audio = torch.lerp(audio, audio_noise, audio_cells)
    audio_target = audio_noise - audio
    if video is None:
        timestep = audio_sigma[:, 0] * TIMESTEP_SCALE
        _, audio_velocity = model(None, noisy_audio, timestep, text, pooled=pooled, **context)
        return torch.zeros((), device=audio.device), weighted_error(audio_velocity, audio_target, audio_cells)

    cells = to_device(noising.cells)
    video_noise = noise_like(video)
    mask = to_device(noising.mask)
    if keyframes is not None:
        pictures, times = keyframes
        keyframe_sigma = to_device(noising.keyframe_sigma)
        keyframe_cells, keyframe_noise = keyframe_sigma[:, None, :, None, None], noise_like(pictures)
        noisy = torch.lerp(pictures, keyframe_noise, keyframe_cells)
        context["keyframes"] = Keyframes(noisy, times, keyframe_sigma * TIMESTEP_SCALE)
    video_velocity, audio_velocity, *keyframe_velocity = model(
        torch.lerp(video, video_noise, cells),
        noisy_audio,
        to_device(noising.sigma) * TIMESTEP_SCALE,
        text,
        pooled=pooled,
        audio_timestep=audio_sigma * TIMESTEP_SCALE,
        condition=video,
        mask=mask,
        **context,
    )
    losses = (
        weighted_error(video_velocity, video_noise - video, cells),
        weighted_error(audio_velocity, audio_target, audio_cells),
    )
    if keyframes is None:
        return losses
    return *losses, weighted_error(*keyframe_velocity, keyframe_noise - pictures, keyframe_cells)


def latents_of(latent_frames: int, frame_rate: float = 16.0) -> int:
    """Audio latents that cover a video of so many latent frames."""
    frames = TEMPORAL_SCALE * (latent_frames - 1) + 1
    return int(-(-frames * AUDIO_LATENT_RATE // frame_rate))
