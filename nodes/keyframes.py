"""Keyframes: pictures of single frames, of more pixels than the clip, that are made together with it."""

import re
from collections.abc import Sequence

import node_helpers
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from torch import Tensor

from ..carriers.skyreels_v4 import frame_count
from .latent import SPATIAL_SCALE

LARGEST_SCALE = 4


def parse_frames(text: str, length: int) -> tuple[int, ...]:
    """Pixel frames in a text such as "0, 16", of a clip of that length; ValueError if it has none, or others."""
    words = [word.strip() for word in text.split(",")]
    bad = [word for word in words if not re.fullmatch(r"\d+", word, re.ASCII)]
    if bad:
        raise ValueError(f'frames is "{text}", in which "{bad[0]}" is no frame: use whole numbers with commas, "0, 16"')
    frames = tuple(map(int, words))
    for frame in frames:
        if frame >= length:
            raise ValueError(f"frames has {frame}, the clip has {length} frames: use 0 to {length - 1}")
        if frames.count(frame) > 1:
            raise ValueError(f"frames has {frame} twice: name each frame once")
    return frames


def encode_pictures(images: Tensor, vae, shape: Sequence[int]) -> Tensor:
    """images [K, H, W, 3] -> latents of that shape [C, K, H/8, W/8], each encoded alone; ValueError if they differ."""
    _, count, rows, columns = shape
    if vae is None:
        raise ValueError("images are given, and no vae to encode them: connect the VAE of the pictures")
    if vae.latent_dim != 3:
        raise ValueError("vae is no VAE for videos: connect the one made for this model")
    if len(images) != count:
        raise ValueError(f"images has {len(images)} pictures, frames has {count}: give one for each")
    size, wanted = images.shape[1:3], (rows * SPATIAL_SCALE, columns * SPATIAL_SCALE)
    if size != wanted:
        raise ValueError(
            f"images are of {size[1]} x {size[0]} pixels, the keyframes of {wanted[1]} x {wanted[0]}: resize them, or "
            "change scale"
        )
    encoded = torch.cat([vae.encode(picture[None, ..., :3])[0] for picture in images], dim=1)
    if encoded.shape != shape:
        raise ValueError(
            f"vae makes latents {list(encoded.shape)} of these pictures, the keyframes are {list(shape)}: connect the "
            "VAE made for this model"
        )
    return encoded


def with_mask(samples: NestedTensor, mask, keyframes: Tensor) -> NestedTensor:
    """The noise mask of a latent of picture and sound (None, or the picture's alone, or both) and of its keyframes."""
    masks = [] if mask is None else list(mask.unbind()) if mask.is_nested else [mask]
    masks += [torch.ones_like(stream[:, :1]) for stream in samples.unbind()[len(masks) :]]
    return NestedTensor([*masks, keyframes])


class SkyCanvasKeyframes(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasKeyframes",
            display_name="Add Keyframes",
            category="SkyCanvas/latent",
            description="Lets the sampler make some frames in a larger size too, together with the small clip and its "
            "sound. 'Refine Clip' can then bring the whole clip to that size. Needs a model that makes keyframes.",
            search_aliases=["key frame", "high resolution frames", "upscale", "skyreels"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="What should be there."),
                io.Conditioning.Input("negative", tooltip="What should not; often an empty prompt."),
                io.Latent.Input("samples", tooltip="The clip to be made: a latent of picture and sound."),
                io.String.Input(
                    "frames",
                    default="0, 16",
                    tooltip="Which frames of the clip, counted from 0, with commas between.",
                ),
                io.Int.Input(
                    "scale",
                    default=2,
                    min=1,
                    max=LARGEST_SCALE,
                    tooltip="How many times as wide and as high as the clip they are. One of scale 2 has as many "
                    "tokens as 4 latent frames of the clip (16 frames).",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Keyframes that you have already, one for each frame, in the size of the keyframes. They "
                    "stay as they are, and the clip is made to fit them. Leave open to have keyframes made.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="The VAE of the pictures; needed for images."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="samples"),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, samples, frames, scale, images=None, vae=None) -> io.NodeOutput:
        latent = samples["samples"]
        streams = latent.unbind() if latent.is_nested else [latent]
        if len(streams) < 2 or streams[0].ndim != 5:
            raise ValueError(
                f"the latent {list(latent.shape)} is not one of picture and sound: connect 'Empty SkyCanvas Latent' or "
                "'Encode Canvas'"
            )
        if streams[1].ndim != 3:
            raise ValueError(
                f"the latent has a sound {list(streams[1].shape)}, which is none of SkyReels-V4: no other model makes "
                "keyframes. Leave 'Add Keyframes' out"
            )
        if len(streams) > 2:
            raise ValueError("the latent has keyframes already: name all frames in one 'Add Keyframes'")
        if not 1 <= scale <= LARGEST_SCALE:
            raise ValueError(f"scale is {scale}: use 1 to {LARGEST_SCALE}")
        video = streams[0]
        batch, channels, latent_frames, rows, columns = video.shape
        chosen = parse_frames(frames, frame_count(latent_frames))
        keyframes = video.new_zeros(batch, channels, len(chosen), scale * rows, scale * columns)
        mask = torch.ones_like(keyframes[:, :1])
        if images is not None:
            keyframes[:] = encode_pictures(images, vae, keyframes.shape[1:])
            mask[:] = 0
        joined = {**samples, "samples": NestedTensor([*streams, keyframes]), "keyframes": chosen}
        given = samples.get("noise_mask")
        if given is not None or images is not None:
            joined["noise_mask"] = with_mask(latent, given, mask)
        named = {"skycanvas_keyframes": chosen}
        positive, negative = (node_helpers.conditioning_set_values(c, named) for c in (positive, negative))
        return io.NodeOutput(positive, negative, joined)
