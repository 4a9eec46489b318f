"""What lies on a canvas as latents. Encoding is remembered by content: after one patch has moved, one is encoded."""

import hashlib
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.document import Box, Placement, Reference, Sound
from ..canvas.grid import VideoGrid
from ..canvas.pixels import Pixels
from .vae import SkyCanvasVideoVAE

CACHE_BYTES = 256 * 2**20  # of latents that are remembered for each VAE

FrameOf = Callable[[int], Tensor]  # frame -> picture [H, W, 3] in 0..1


class LatentCache:
    """Latents by what was encoded. Beyond `limit` bytes, those that were not asked for the longest are forgotten."""

    def __init__(self, limit: int = CACHE_BYTES):
        self.limit, self.held = limit, 0
        self.latents: OrderedDict[bytes, Tensor] = OrderedDict()

    def get(self, pixels: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The latent of pixels or samples, encoded unless it is known."""
        digest = hashlib.blake2b(f"{pixels.dtype} {list(pixels.shape)} ".encode(), digest_size=16)
        digest.update(pixels.contiguous().view(-1).view(torch.uint8).numpy().data)
        key = digest.digest()
        if key in self.latents:
            self.latents.move_to_end(key)
            return self.latents[key]
        latent = self.latents[key] = encode(pixels)
        self.held += latent.nbytes
        while self.held > self.limit:
            self.held -= self.latents.popitem(last=False)[1].nbytes
        return latent


caches: weakref.WeakKeyDictionary[comfy.sd.VAE, LatentCache] = weakref.WeakKeyDictionary()


class Encoder:
    """One VAE with its cache. Each latent is a step of the progress bar, before which the work can be interrupted."""

    def __init__(self, vae: comfy.sd.VAE, grid: VideoGrid, progress: comfy.utils.ProgressBar):
        self.vae, self.grid, self.progress = vae, grid, progress
        self.cache = caches.setdefault(vae, LatentCache())

    def clip(self, wanted: Sequence[int], frame: FrameOf) -> Tensor:
        """Latent frames `wanted`, in rising order, of the clip that `frame` shows. [1, C, len(wanted), h, w]

        Our codec makes each latent frame of its own frames alone, so that no others need to be in memory. Of other
        codecs it is known that they do not look ahead: they see the clip up to the last latent frame that is wanted.
        """
        if isinstance(self.vae, SkyCanvasVideoVAE):
            return torch.cat([self._latent_frame(t, frame) for t in wanted], dim=2)
        pictures = [frame(f) for f in range(self.grid.frames_of(wanted[-1]).stop)]
        return self._encode(torch.stack(pictures), self.vae.encode, steps=len(wanted))[:, :, list(wanted)]

    def _latent_frame(self, index: int, frame: FrameOf) -> Tensor:
        pictures = [frame(f) for f in self.grid.frames_of(index)]
        if index:
            pictures.insert(0, torch.zeros_like(pictures[0]))  # a clip begins with a latent frame of one frame
        return self._encode(torch.stack(pictures), lambda clip: self.vae.encode(clip)[:, :, -1:].clone())

    def picture(self, picture: Tensor) -> Tensor:
        """[H, W, 3] -> [1, C, 1, h, w]"""
        return self.clip([0], lambda _: picture)

    def sound(self, waveform: Tensor) -> Tensor:
        """[channels, samples], at the VAE's own sample rate -> [1, Ca, L]"""
        return self._encode(waveform.T[None], self.vae.encode)

    def _encode(self, pixels: Tensor, encode: Callable[[Tensor], Tensor], steps: int = 1) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        latent = self.cache.get(pixels, encode)
        self.progress.update(steps)
        return latent


# --- references


def alone(canvas: Canvas, reference: Reference, temporal: int) -> Canvas:
    """A reference on a canvas of its own, of the same frame size and rate: all of it, in the middle of black.

    Of a clip, the frames at the end that do not fill a latent frame (of `temporal` frames) are left out.
    """
    document, facts = canvas.document, canvas.document.media[reference.media]
    shown: dict[str, Any] = {"placements": (), "sounds": (), "regions": (), "references": ()}
    if facts.kind == "sound":
        frames = math.ceil(facts.seconds * document.fps)
        shown["sounds"] = (Sound(id=reference.tag, media=reference.media, duration=facts.seconds),)
    else:
        frames = 1
        if facts.kind == "clip":
            count = facts.frames_at(document.fps)
            frames = count - (count - 1) % temporal
        frame = Box(x=0, y=0, width=document.width, height=document.height)
        placement = Placement(id=reference.tag, media=reference.media, frame=0, frames=frames, box=frame, fit="contain")
        shown["placements"] = (placement,)
    document = document.replace(frames=frames, media={reference.media: facts}, **shown)
    return Canvas(document, {reference.media: canvas.media[reference.media]})


def pictures_of(canvas: Canvas) -> FrameOf:
    """What a canvas shows of its own, on black."""
    pixels = Pixels(canvas)
    return lambda frame: pixels.frame(frame).picture
