"""What a family of models takes of a canvas: the interface behind which each family has a file of its own.

A graph is the same whichever MODEL is wired in, because nodes ask `carrier_of` for its carrier and know nothing else of
the family. A new family is one new file in this folder with a subclass of `Carrier`.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import comfy.sample
import comfy.sd
import node_helpers
import torch
from comfy.nested_tensor import NestedTensor
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Plan
from ..canvas.cost import Cost
from ..canvas.grid import AudioGrid, VideoGrid
from ..canvas.notes import Note

# How a patch reaches the network: as VideoCanvas does it, and what it compares itself with (its Tables 2, 3 and R5).
#   rope_interpolation  encoded alone; in context at its own frame
#   nearest_slot        encoded alone; in context at the nearest latent frame
#   no_rope             encoded alone; in context without a rotary position
#   pixel_padding       encoded as a video that is grey on all other frames; its latent frame in context
#   latent_slice        encoded as a video that stands still beside the patches; its latent frame in context
#   latent_replacement  encoded alone; put into the latent, clean, in the place of what is to be made
PatchMethod = Literal[
    "rope_interpolation", "nearest_slot", "no_rope", "pixel_padding", "latent_slice", "latent_replacement"
]
# What is encoded of a patch: the whole frame, grey beside the patch (VideoCanvas sec. 3.2), or what it shows alone.
PatchLayout = Literal["auto", "zero_padded", "packed_crops"]  # auto: what suits the family


@dataclass(frozen=True)
class Way:
    """How patches go to the model; a carrier says in `limits` which of it it cannot do. ValueError if there is none."""

    patch_method: PatchMethod = "rope_interpolation"
    patch_layout: PatchLayout = "auto"

    def __post_init__(self):
        for name, allowed in (("patch_method", PatchMethod), ("patch_layout", PatchLayout)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} is {getattr(self, name)!r}: use {', '.join(get_args(allowed))}")


USUAL_WAY = Way()


@dataclass(frozen=True, eq=False)
class Finish:
    """What is to be done to the streams of a LATENT after sampling; `compile` puts it into the LATENT as `FINISH`.

    given: latents of the streams [1, C, ...] as they were before sampling; latent frames of the video that go on after
    them were appended for the sampler alone. kept: bool [1, 1, ...], where the result is exactly what was given.
    """

    given: tuple[Tensor, ...]
    kept: tuple[Tensor, ...]


FINISH = "skycanvas_finish"  # key of a LATENT


class Carrier(ABC):
    """The way of a canvas to one MODEL. All latents are as the VAEs emit them.

    family: its name in messages. isolated: transformer_options that hide picture and sound from each other, which
    guidance of how well they agree needs; empty if the family has none. video, audio: latent grids of the model, and on
    the class those that its models usually have.
    """

    family: ClassVar[str]
    isolated: ClassVar[dict[str, Any]] = {}
    video: VideoGrid
    audio: AudioGrid

    @classmethod
    @abstractmethod
    def carries(cls, model) -> bool:
        """Whether a MODEL is of this family."""

    @classmethod
    @abstractmethod
    def knows(cls, tensors: Collection[str]) -> bool:
        """Whether a checkpoint with tensors of these names is of this family."""

    @classmethod
    @abstractmethod
    def check_latent(cls, model, shapes: Sequence[Sequence[int]]) -> None:
        """ValueError, which names the right one, if a MODEL cannot sample a latent with streams of these shapes."""

    @abstractmethod
    def __init__(self, model):
        """ValueError for a MODEL of the family that makes no clip by itself."""

    @abstractmethod
    def shapes(self, frames: int, height: int, width: int, fps: float) -> tuple[Sequence[int], ...]:
        """Shapes without batch of picture [C, T, h, w] and sound [C, L, ...]; CanvasError if the grid has no such."""

    @abstractmethod
    def check_vaes(self, vae: comfy.sd.VAE, audio_vae: comfy.sd.VAE) -> None:
        """ValueError, which names the right ones, if these VAEs do not make the latents of this model."""

    @abstractmethod
    def limits(self, plan: Plan, way: Way) -> tuple[Note, ...]:
        """What of a canvas this family cannot honour, each with what will happen instead."""

    @abstractmethod
    def compile(
        self,
        canvas: Canvas,
        plan: Plan,
        conditioning: Sequence[list],
        vae: comfy.sd.VAE,
        audio_vae: comfy.sd.VAE,
        *,
        way: Way = USUAL_WAY,
        batch_size: int = 1,
    ) -> tuple[list[list], dict]:
        """Each CONDITIONING with what the model is to see of the canvas, and the LATENT to sample, with its noise_mask.

        The LATENT knows its `frame_rate`. An empty canvas adds nothing but that, and its LATENT has no noise_mask.
        """

    @abstractmethod
    def cost(self, plan: Plan, *, text_tokens: int = 0, steps: int = 30, passes: int = 2) -> Cost:
        """What sampling takes; passes: evaluations of the network in each step, 2 with guidance."""


@cache
def carriers() -> tuple[type[Carrier], ...]:
    """All families, of which each is a file in this folder."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f".{module.name}", __package__)
    return tuple(sorted(Carrier.__subclasses__(), key=lambda carrier: carrier.family))


def family_of(model) -> type[Carrier]:
    """The family of a MODEL; ValueError if none of them can carry a canvas to it."""
    for carrier in carriers():
        if carrier.carries(model):
            return carrier
    families = ", ".join(carrier.family for carrier in carriers())
    raise ValueError(
        f"the model is a {type(model.model).__name__}, which cannot carry a canvas: connect the MODEL of 'Load "
        f"SkyCanvas Mini', or another one of these families: {families}"
    )


def family_of_file(path: str) -> type[Carrier] | None:
    """The family of a safetensors file, by the names of its tensors; None if it is of none of them, or unreadable."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = frozenset(file.keys())
    except (OSError, SafetensorError):
        return None
    return next((carrier for carrier in carriers() if carrier.knows(tensors)), None)


def carrier_of(model) -> Carrier:
    """The carrier of a MODEL; ValueError if no family can carry a canvas to it, or it makes no clip by itself."""
    return family_of(model)(model)


# --- before and after sampling, for all families


def started(latent: dict, start: dict) -> dict:
    """A LATENT of a canvas in which what is to be made begins as another clip, such as an upscaled one.

    start: LATENT of picture and sound, or of the picture alone. ValueError if its streams are of another size.
    """
    streams, mask = list(latent["samples"].unbind()), latent.get("noise_mask")
    masks = list(mask.unbind()) if mask is not None else [torch.ones_like(stream[:, :1]) for stream in streams]
    first = finish(start)["samples"]
    begun = list(first.unbind()) if first.is_nested else [first]
    frames = latent[FINISH].given[0].shape[2] if FINISH in latent else streams[0].shape[2]
    for i, stream in enumerate(begun[: len(streams)]):
        clip = streams[i][:, :, :frames] if i == 0 else streams[i]
        if stream.shape[1:] != clip.shape[1:] or len(stream) not in (1, len(clip)):
            raise ValueError(
                f"start is {list(stream.shape)}, the {('picture', 'sound')[i]} of the canvas is {list(clip.shape)}: "
                "make both of the same size, length, batch and model"
            )
        made = masks[i][:, :, : clip.shape[2]] > 0
        clip = torch.where(made, stream.to(clip), clip)
        streams[i] = torch.cat([clip, streams[i][:, :, clip.shape[2] :]], dim=2)
    return {**latent, "samples": NestedTensor(streams)}


def finish(latent: dict) -> dict:
    """A LATENT after sampling, without what was appended, and with what is kept exactly as it was, by any sampler.

    A LATENT of which nothing is to be finished is returned as it is. ValueError if its size is no longer the one that
    was encoded.
    """
    work: Finish | None = latent.get(FINISH)
    if work is None:
        return latent
    samples = latent["samples"]
    if samples.is_nested:
        samples = NestedTensor(
            [_finished(*stream) for stream in zip(samples.unbind(), work.given, work.kept, strict=True)]
        )
    else:  # nodes that part picture and sound copy all the rest
        stream = 0 if samples.ndim == 5 else 1
        samples = _finished(samples, work.given[stream], work.kept[stream])
    return {**{key: value for key, value in latent.items() if key not in (FINISH, "noise_mask")}, "samples": samples}


def _finished(stream: Tensor, given: Tensor, kept: Tensor) -> Tensor:
    clip = stream[:, :, : given.shape[2]]  # nodes between may have appended guides of their own
    if clip.shape[1:] != given.shape[1:]:
        raise ValueError(
            f"the latent {list(stream.shape)} is no longer of the size that 'Encode Canvas' gave it, "
            f"{list(given.shape)}: put 'Split SkyCanvas Latent' right behind the sampler, and resize after it"
        )
    return torch.where(kept.to(clip.device), given.to(clip), clip)


def noise_for(latent: dict, seed: int) -> Tensor | NestedTensor:
    """The noise of a LATENT, which depends on the seed and the clip's size alone, not on what was appended to it."""
    samples, batch_index = latent["samples"], latent.get("batch_index")
    work: Finish | None = latent.get(FINISH)
    video, *others = samples.unbind() if samples.is_nested else [samples]
    if work is None or video.ndim != 5:  # a sound that was parted from its picture has nothing appended
        return comfy.sample.prepare_noise(samples, seed, batch_index)
    frames = work.given[0].shape[2]
    clip = NestedTensor([video[:, :, :frames], *others])
    first, *rest = comfy.sample.prepare_noise(clip, seed, batch_index).unbind()
    # what was appended is clean, or dropped: noise would do nothing there
    appended = torch.zeros_like(video[:, :, frames:], device=first.device)
    first = torch.cat([first, appended], dim=2)
    return NestedTensor([first, *rest]) if samples.is_nested else first


def with_values(conditioning: Sequence[list], values: dict[str, Any]) -> list[list]:
    """Each CONDITIONING with these values in all of its entries."""
    return [node_helpers.conditioning_set_values(one, values) for one in conditioning] if values else [*conditioning]
