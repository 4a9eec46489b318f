"""Trains the Refiner on a base: `python -m training.refiner --start models/weights/mini.safetensors --minutes 40`.

A scene of the toybox is rendered twice: small and at 16 frames per second, as the base makes it, and large, perhaps at
32. From latents of the first, enlarged, the Refiner learns those of the second (SkyReels-V4 sec. 4.5): with or without
keyframes and references, and with parts that are given. Long or large clips are cut into windows, as a tiled refinement
cuts them. Several ranks run under `torchrun`.
"""

import argparse
import random
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from models.audio_vae import load_audio_vae
from models.config import MMDiTConfig
from models.mmdit import TEMPORAL_SCALE, TIMESTEP_SCALE, MMDiT
from models.refiner import refiner_config, refiner_weights, upsampled
from models.text_encoder import load_text_encoder
from models.video_vae import VideoVAE, load_video_vae
from training import run
from training.captions import caption
from training.codecs import psnr
from training.conditions import ConditionMaker
from training.media import encode_batch
from training.objective import GIVEN, choose, given_mask, random_sigma, weighted_error
from training.run import Run, RunSettings
from training.sampling import sample_euler
from training.toybox import FRAME_RATE, Scenes, sample_scenes
from training.train import TEXT_DROP, normalise, read_average

# Shares of the batches: scales in space, factors in time, latent frames of the refined clips.
SCALES = {2: 0.6, 3: 0.2, 4: 0.2}
FRAME_FACTORS = {1: 0.3, 2: 0.7}
LENGTHS = {1: 0.05, 5: 0.6, 9: 0.35}
WINDOWS = {8: 0.6, 12: 0.2, 16: 0.2}  # side in latent cells; larger pictures are cut
LATE = 0.4  # share of the batches whose window does not begin with the clip: its first latent frame is left out
CELLS = 20 * 5 * 8 * 8  # of a batch, per rank
KEYFRAMES = 0.6  # share of the batches that have some
REFERENCES = 0.1  # share of the batches that have some
GIVEN_SHARE = 0.3  # share of the rows of which something is given
# What the base makes is no codec's latent: half of the rows are spoilt by noise of up to this standard deviation.
SPOILT = 0.3
SIGMA_MEAN = 1.5  # of logit(sigma): two steps from noise are enough, so high noise is where it counts
MARGIN = 2  # cells around a window that are encoded with it, as its neighbourhood reaches into it
PREVIEWED, SEED = 4, 7


@dataclass
class Settings(RunSettings):
    """sparsity: share of the key tiles that the attention leaves out, 0 to 1."""

    out: Path = Path("runs/refiner")
    start: Path = Path("models/weights/mini.safetensors")
    minutes: float = 40.0
    muon_lr: float = 0.012
    adam_lr: float = 0.0012
    level: str = "easy"
    sparsity: float = 0.5


class Window(NamedTuple):
    """A square of `side` latent cells at row and column."""

    row: int
    column: int
    side: int

    def cut(self, latent: Tensor) -> Tensor:
        return latent[..., self.row : self.row + self.side, self.column : self.column + self.side]


class Encoder:
    """From scenes to normalised latents, with the codec and the statistics of the base."""

    def __init__(self, vae: VideoVAE, mean: Tensor, std: Tensor):
        self.vae, self.mean, self.std = vae, mean, std

    def normalised(self, latent: Tensor) -> Tensor:
        return normalise(latent, self.mean, self.std)

    @torch.no_grad()
    def __call__(self, video: Tensor) -> Tensor:
        return self.normalised(self.vae.encode(video))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        shape = (1, -1, 1, 1, 1)
        return self.vae.decode(latent * self.std.view(shape) + self.mean.view(shape))

    def windowed(self, video: Tensor, window: Window) -> Tensor:
        """What a window of the whole clip's latents holds, without encoding all of it."""
        cell, cells = self.vae.spatial_scale, video.shape[-1] // self.vae.spatial_scale
        ends = [(max(0, x - MARGIN), min(cells, x + window.side + MARGIN)) for x in (window.row, window.column)]
        (top, bottom), (left, right) = ends
        latent = self(video[..., top * cell : bottom * cell, left * cell : right * cell])
        return Window(window.row - top, window.column - left, window.side).cut(latent)


def small_of(scenes: Scenes, frame_factor: int) -> Scenes:
    """The scenes as the base makes them: refined ones have `frame_factor` times the frames and any scale."""
    frames = (scenes.frames - 1) // frame_factor + 1
    return replace(scenes, frames=frames, fps=scenes.fps / frame_factor, scale=1)


def refined_scenes(rows: int, latent_frames: int, frame_factor: int, scale: int, level: str, generator) -> Scenes:
    frames = TEMPORAL_SCALE * (latent_frames - 1) + 1
    drawn = sample_scenes(rows, frames=frames, fps=FRAME_RATE * frame_factor, level=level, generator=generator)
    return replace(drawn, scale=scale)


def source_of(
    encoder: Encoder,
    small: Tensor,
    scale: int,
    frame_factor: int,
    window: Window,
    shown: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """What the Refiner starts from: latents of the small clip [B, C, t, 8, 8], enlarged as a picture, in a window.

    shown: a clip in full size [B, 3, F, H, W], and where it takes the place of the enlarged one, [B, 1, F, H, W] bool.
    """
    large = upsampled(encoder.decode(small), scale, frame_factor).clamp(-1, 1)
    if shown is not None:
        clip, there = shown
        large = torch.where(there, clip, large)
    return encoder.windowed(large, window)


def pixels_of(mask: Tensor, window: Window, cells: int, scale: int) -> Tensor:
    """Cells of a window [B, 1, T, side, side] -> pixels of the whole clip [B, 1, F, H, W], bool."""
    whole = mask.new_zeros(*mask.shape[:3], cells, cells)
    window.cut(whole).copy_(mask)
    frames = torch.cat([whole[:, :, :1], whole[:, :, 1:].repeat_interleave(TEMPORAL_SCALE, 2)], 2)  # the first is alone
    return frames.repeat_interleave(scale, 3).repeat_interleave(scale, 4).bool()


class RefinerRun(Run):
    """The Refiner, initialised from a base."""

    settings: Settings

    def __init__(self, settings: Settings, rank: int, world: int):
        self.tokenizer, self.text_encoder = load_text_encoder(settings.weights / "mini_text_encoder.safetensors")
        base = read_average(settings.start)
        config = refiner_config(MMDiTConfig.from_state_dict(base), settings.sparsity)
        model = MMDiT(config).init_weights(torch.Generator().manual_seed(settings.seed))
        model.load_state_dict(refiner_weights(base, model.state_dict()))
        vae = load_video_vae(settings.weights / "mini_video_vae.safetensors")
        self.encoder = Encoder(vae, model.video_latent_mean, model.video_latent_std)
        self.conditions = ConditionMaker(vae, load_audio_vae(settings.weights / "mini_audio_vae.safetensors"))
        super().__init__(model.to(settings.device), settings, rank, world)

    def losses(
        self, network: nn.Module, generator: torch.Generator, chooser: random.Random
    ) -> tuple[dict[str, Tensor], int]:
        scale, factor, length, side = (
            chooser.choices(list(shares), list(shares.values()))[0]
            for shares in (SCALES, FRAME_FACTORS, LENGTHS, WINDOWS)
        )
        if length == 1:
            factor = 1  # a picture has nothing between its frames
        cells = scale * 8
        side = min(side, cells)
        row, column = (chooser.randint(0, cells - side) for _ in range(2))
        rows = max(1, CELLS // (length * side * side))
        scenes = refined_scenes(rows, length, factor, scale, self.settings.level, generator)
        window = Window(row, column, side)
        small_scenes, clip = small_of(scenes, factor), scenes.render()
        small, large = self.encoder(small_scenes.render()), self.encoder.windowed(clip, window)

        spoilt = SPOILT * torch.rand(rows, generator=generator) * (torch.rand(rows, generator=generator) < 0.5)
        small += torch.randn(small.shape, generator=generator) * spoilt.view(-1, 1, 1, 1, 1)
        mask = self._mask(rows, length, side, generator)
        given = pixels_of(mask, window, cells, self.encoder.vae.spatial_scale)
        if chooser.random() < KEYFRAMES:
            count = chooser.randint(1, max(1, length // 2 + 1))
            given[:, :, chooser.sample(range(scenes.frames), min(count, scenes.frames))] = True
        source = source_of(self.encoder, small, scale, factor, window, (clip, given))
        first = int(length > 1 and chooser.random() < LATE)
        source, large, mask = (x[:, :, first:] for x in (source, large, mask))

        sigma = random_sigma(rows, 1, generator=generator, mean=SIGMA_MEAN)
        # Given cells are clean with timestep 0, or noisy like the others: samplers do it either way.
        clean = mask * (torch.rand(rows, 1, 1, 1, 1, generator=generator) < 0.5)
        cells_sigma = sigma.view(-1, 1, 1, 1, 1) * (1 - clean)
        patch = self.model.config.video_patch
        token_sigma = F.max_pool3d(cells_sigma, (1, patch, patch), ceil_mode=True)[:, 0]
        target_noise = torch.randn(large.shape, generator=generator)
        kind = "references" if chooser.random() < REFERENCES else "nothing"
        conditions = self.conditions.make(kind, small_scenes, chooser, generator)
        references = [(self.encoder.normalised(latent), times) for latent, times in conditions.video]
        words = random.Random(int(torch.randint(2**31, (), generator=generator)))
        kept = [value >= TEXT_DROP for value in torch.rand(rows, generator=generator).tolist()]
        captions = [caption(scenes.attributes(i), words, conditions.references) for i in range(rows)]
        text, pooled = encode_batch(
            self.tokenizer,
            self.text_encoder,
            [caption if keep else "" for caption, keep in zip(captions, kept, strict=True)],
            [media if keep else {} for media, keep in zip(conditions.media or [{}] * rows, kept, strict=True)],
        )
        device = self.settings.device
        large, source, mask, cells_sigma, token_sigma, target_noise, text, pooled = (
            x.to(device) for x in (large, source, mask, cells_sigma, token_sigma, target_noise, text, pooled)
        )
        noisy = torch.lerp(large, target_noise, cells_sigma)
        velocity, _ = network(
            noisy,
            None,
            token_sigma * TIMESTEP_SCALE,
            text,
            pooled=pooled,
            condition=source,
            mask=mask,
            video_context=[(latent.to(device), times) for latent, times in references],
        )
        made = cells_sigma * (1 - mask)  # what is given leaves nothing to learn
        std = float(self.model.residual_std)
        return {f"video{length}": weighted_error(velocity, target_noise - large, made, std)}, rows

    @staticmethod
    def _mask(rows: int, frames: int, side: int, generator: torch.Generator) -> Tensor:
        """What is given, in latent cells: of some rows, with the shapes that a mask of the base has."""
        kind = choose(GIVEN, rows, generator) if frames > 1 else torch.zeros(rows, dtype=torch.long)
        some = (torch.rand(rows, generator=generator) < GIVEN_SHARE).float().view(-1, 1, 1, 1, 1)
        return some * given_mask(kind, frames, side, side, generator)


# -- to look at -----------------------------------------------------------------------------------------------------


class Look:
    """Refines a few clips: from top to bottom the clip bicubic and blended, refined, the truth; two clips."""

    def __init__(self, settings: Settings, steps: int = 2):
        self.tokenizer, self.text_encoder = load_text_encoder(settings.weights / "mini_text_encoder.safetensors")
        self.vae = load_video_vae(settings.weights / "mini_video_vae.safetensors")
        self.scenes = refined_scenes(PREVIEWED, 9, 2, 2, settings.level, torch.Generator().manual_seed(SEED))
        self.steps = steps

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> tuple[Image.Image, dict[str, float]]:
        assert isinstance(network, MMDiT)
        encoder = Encoder(self.vae, network.video_latent_mean, network.video_latent_std)
        small = encoder(small_of(self.scenes, 2).render())
        truth = self.scenes.render()
        source = source_of(encoder, small, 2, 2, Window(0, 0, 16))
        prompts = [caption(self.scenes.attributes(i)) for i in range(PREVIEWED)]
        text, pooled = encode_batch(self.tokenizer, self.text_encoder, [*prompts, ""], [{}] * (PREVIEWED + 1))
        noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(SEED))
        empty = (text[-1:].expand(PREVIEWED, -1, -1), pooled[-1:].expand(PREVIEWED, -1))
        words = (text[:PREVIEWED], pooled[:PREVIEWED])
        mask = torch.zeros_like(source[:, :1])
        latent, _ = sample_euler(
            network, noise, None, words, empty, steps=self.steps, guidance=1.0, condition=source, mask=mask
        )
        assert latent is not None
        refined, plain = encoder.decode(latent), upsampled(encoder.decode(small), 2, 2)
        shown = [clip[i, :, ::4] for i in range(2) for clip in (plain, refined, truth)]
        sheet = torch.cat([torch.cat(clip.unbind(1), dim=-1) for clip in shown], dim=1)
        picture = Image.fromarray(((sheet.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy())
        clips = {"plain": plain, "refined": refined, "ceiling": encoder.decode(encoder(truth))}
        return picture, {name: round(float(psnr(clip, truth).mean()), 2) for name, clip in clips.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    settings = Settings(**vars(parser.parse_args()))
    run.train(partial(RefinerRun, settings), settings, partial(Look, settings))


if __name__ == "__main__":
    main()
