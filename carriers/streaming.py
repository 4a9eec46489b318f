"""Decoding and encoding clips piece by piece: memory for pixels does not grow with the length, only latents are whole.

A window of latent frames a ... b-1 stands for pixel frames scale * a ... scale * (b-1). The VAE takes the first of them
for the first of a clip, which is alone. So a window starts a little before what is wanted of it, and what comes from
there is dropped.
"""

from collections.abc import Iterable, Iterator, Sequence

import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from .vae import SkyCanvasVideoVAE

# Latent frames around a window, of VAEs that look further than one back. Their whole reach is longer than any window,
# but what is far counts little: 'VAE Decode (Tiled)' overlaps its tiles by 8 pixel frames, 2 latent frames of most
# VAEs. Decoders may look ahead as well (LTX's does), encoders never do.
CONTEXT = 2
MOST_LATENTS = 16  # of a window: 64 frames of most VAEs, as in 'VAE Decode (Tiled)'
# Pixels of a window, 400 MB of IMAGE. It does not depend on free memory: a latent gives the same frames everywhere.
MOST_PIXELS = 2**25


def decode_frames(vae: comfy.sd.VAE, latent: Tensor, *, chunk: int | None = None) -> Iterator[Tensor]:
    """IMAGE pieces [f, H, W, 3] in 0..1 of a video latent [B, C, T, h, w] or a picture's [B, C, h, w], clip after clip.

    Together they are what VAE.decode gives: exactly, for our codec and for VAEs of pictures, which decode each latent
    frame alone; else nearly, for what a VAE sees of the frames around a window is cut short (CONTEXT).

    chunk: latent frames of a piece; None takes as many as have MOST_PIXELS, from 1 to MOST_LATENTS. A piece stays
    alive while the next is made, if the caller still holds it. ValueError, before anything is decoded, if the VAE or
    the latent is of another kind.
    """
    clips, frames, height, width = decoded_shape(vae, latent)
    size = _chunk(chunk, temporal_scale(vae), height, width)
    return _decode(vae, latent.unsqueeze(2) if latent.ndim == 4 else latent, size)


def encode_frames(
    vae: comfy.sd.VAE, chunks: Iterable[Tensor], *, frames: int | None = None, chunk: int | None = None
) -> Tensor:
    """Video latent [1, C, T, h, w] of IMAGE pieces [f, H, W, 3] of any lengths: the inverse of `decode_frames`.

    It is what VAE.encode gives for all of them at once, as exactly as in `decode_frames`. Sizes that the VAE cannot
    take are cropped around the middle, as VAE.encode does.

    frames: how many there will be, if that is known: a length that is not scale * n + 1 is then refused at the start
    and not at the end, and progress can be shown. chunk: latent frames that are encoded at once, as in
    `decode_frames`. ValueError for other lengths, for pieces of different sizes, and for a VAE of another kind.
    """
    scale, alone = temporal_scale(vae), _decodes_alone(vae)
    if frames is not None:
        check_length(frames, scale)
    progress = comfy.utils.ProgressBar(frames) if frames else None
    before, _ = _reach(vae)
    latents: list[Tensor] = []
    tail: list[Tensor] = []  # the frames of the latents before the window
    seen = context = 0  # frames encoded; latents of the tail
    for group in _groups(chunks, scale, chunk):
        comfy.model_management.throw_exception_if_processing_interrupted()
        seen += len(group)
        check_length(seen, scale)  # groups are whole, but for the last one
        window = torch.cat([*tail, group])
        latent = vae.encode(window)
        if alone:
            latent = (latent[:, :, 0] if latent.ndim == 5 else latent).movedim(0, 1)[None]
        latents.append(latent[:, :, context:])
        context = min(before, latent.shape[2])
        tail = [window[-(scale * (context - 1) + 1) :].clone()] if context else []  # not a view: the window can go
        if progress:
            progress.update(len(group))
    if not latents:
        raise ValueError("the clip has no frames: give 1 or more")
    return torch.cat(latents, 2)


def decoded_shape(vae: comfy.sd.VAE, latent: Tensor) -> tuple[int, int, int, int]:
    """Clips, frames of each, height and width in pixels of what `decode_frames` gives; ValueError as there."""
    scale = temporal_scale(vae)
    shape = list(latent.shape)
    if latent.is_nested or len(shape) not in (4, 5) or shape[1] != vae.latent_channels or 0 in shape:
        raise ValueError(
            f"latent has shape {shape}: this VAE decodes [clips, {vae.latent_channels}, frames, height, width]; "
            "connect the VAE of the model that made it"
        )
    size = vae.spacial_compression_decode()
    frames = shape[2] if len(shape) == 5 else 1
    return shape[0], scale * (frames - 1) + 1, size * shape[-2], size * shape[-1]


def check_length(frames: int, scale: int) -> None:
    """ValueError, naming the nearest ones, if a clip of so many frames is not scale * n + 1."""
    low = (frames - 1) // scale * scale + 1
    if frames < 1 or low != frames:
        nearest = f"{low} or {low + scale}" if low > 0 else f"{low + scale}"
        raise ValueError(f"length {frames} is not {scale}n+1: use {nearest}")


def temporal_scale(vae: comfy.sd.VAE) -> int:
    """Pixel frames of each latent frame after the first; ValueError if the VAE is not one for pictures or videos."""
    if vae.latent_dim not in (2, 3):
        raise ValueError("vae encodes sound: connect the VAE of the pictures")
    if _decodes_alone(vae):
        return 1
    scale = vae.temporal_compression_decode()
    counts = [vae.upscale_ratio[0](latents) for latents in (1, 2, 3)]
    if counts != [1, scale + 1, 2 * scale + 1]:
        raise ValueError(
            f"vae makes {', '.join(map(str, counts))} frames of 1, 2, 3 latent frames, not 1, n+1, 2n+1, and cannot "
            "work piece by piece: use 'VAE Decode' and 'VAE Encode'"
        )
    return scale


def _decodes_alone(vae: comfy.sd.VAE) -> bool:
    """Whether it is a VAE of pictures, for which frames know nothing of each other."""
    return vae.latent_dim == 2 or vae.not_video


def _reach(vae: comfy.sd.VAE) -> tuple[int, int]:
    """Latent frames before and after a window that are decoded with it."""
    if _decodes_alone(vae):
        return 0, 0
    return (1, 0) if isinstance(vae, SkyCanvasVideoVAE) else (CONTEXT, CONTEXT)


def _chunk(chunk: int | None, scale: int, height: int, width: int) -> int:
    if chunk is None:
        return min(max(1, MOST_PIXELS // (scale * height * width)), MOST_LATENTS)
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}: use 1 or more latent frames")
    return chunk


def _decode(vae: comfy.sd.VAE, latent: Tensor, chunk: int) -> Iterator[Tensor]:
    scale, alone = temporal_scale(vae), _decodes_alone(vae)
    before, after = _reach(vae)
    clips, length = latent.shape[0], latent.shape[2]
    progress = comfy.utils.ProgressBar(clips * length)

    def first_frame(latent_frame: int) -> int:
        return max(0, scale * (latent_frame - 1) + 1)

    for clip in latent.split(1):
        for start in range(0, length, chunk):
            comfy.model_management.throw_exception_if_processing_interrupted()
            stop = min(start + chunk, length)
            window_start = max(0, start - before)
            window = clip[:, :, window_start : stop + after]
            wanted = slice(first_frame(start) - scale * window_start, first_frame(stop) - scale * window_start)
            # No name holds the frames: the next window is decoded when these are gone.
            yield _decode_window(vae, window, alone)[wanted, ..., :3]
            progress.update(stop - start)


def _decode_window(vae: comfy.sd.VAE, window: Tensor, alone: bool) -> Tensor:
    """[1, C, n, h, w] -> [frames, H, W, channels]."""
    if alone:
        window = window[0].movedim(1, 0)  # a batch of pictures
        window = window.unsqueeze(2) if vae.latent_dim == 3 else window
    images = vae.decode(window)
    return images.flatten(0, 1) if images.ndim == 5 else images


def _groups(chunks: Iterable[Tensor], scale: int, chunk: int | None) -> Iterator[Tensor]:
    """The frames of the pieces, again in pieces: those of `chunk` latent frames, and at the end what is left."""
    held: list[Tensor] = []
    count = size = 0
    shape: Sequence[int] = ()
    for frames in chunks:
        if frames.ndim != 4 or frames.shape[-1] < 3 or shape and frames.shape[1:] != shape:
            raise ValueError(
                f"frames have shape {list(frames.shape)}: give [f, {', '.join(map(str, shape)) or 'H, W, 3'}]"
            )
        if not shape:
            shape = frames.shape[1:]
            size = scale * (_chunk(chunk, scale, *shape[:2]) - 1) + 1  # with the first frame, which is alone
        while len(frames):
            part, frames = frames[: size - count], frames[size - count :]
            held.append(part)
            count += len(part)
            if count == size:
                yield torch.cat(held)
                held, count = [], 0
                size = scale * _chunk(chunk, scale, *shape[:2])
    if held:
        yield torch.cat(held)
