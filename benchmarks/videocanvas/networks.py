"""The networks that are compared, each with the way in which it is shown patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.given import Given, InContext, pixels_of
from benchmarks.quality.pipeline import Codecs, Mini, Sampling, digest, load_network
from benchmarks.videocanvas.sets import Group
from models.mmdit import TEMPORAL_SCALE
from models.text_encoder import load_text_encoder
from training.objective import whole_cells
from training.paradigms import WAYS, Encode, Show, Shown, slot_of, stills


@dataclass(frozen=True)
class Contender:
    """A network in its way. facts: how it was trained, as the tables tell it."""

    name: str
    title: str
    mini: Mini
    show: Show
    digest: str
    facts: dict[str, Any]

    def sample(self, group: Group, sampling: Sampling) -> Tensor:
        """Clips of a group, [B, 3, F, 64, 64] in [-1, 1]."""
        shown = self.show(self.mini.encode, group.canvas, group.given)
        clips = self.mini.generate(group.prompts, frames=group.scenes.frames, sampling=sampling, given=given_of(shown))
        assert clips.video is not None
        return clips.video


def given_of(shown: Shown) -> Given:
    """What the sampler takes; the rows of a batch share the times of their context."""
    context = tuple(
        InContext(latent, [None if times is None else tuple(times)] * len(latent)) for latent, times in shown.context
    )
    return Given(shown.latent, shown.mask, route=shown.route, video_context=context)


def trained(folder: Path, weights: Path, codecs: Codecs) -> list[Contender]:
    """The networks of `training.paradigms` in a folder. ValueError if there are none, if one has not seen all of its
    rows, or if they were not trained alike."""
    files = {name: folder / f"{name}.pt" for name in WAYS if (folder / f"{name}.pt").exists()}
    if not files:
        raise ValueError(f"{folder} has no networks: train them with `python3 -m training.paradigms --out {folder}`")
    tokenizer, encoder = load_text_encoder(weights / "mini_text_encoder.safetensors")
    contenders, settings = [], {}
    for name, path in files.items():
        state = torch.load(path, map_location="cpu", weights_only=True)
        progress, settings[name] = state["progress"], state["settings"]
        if progress["rows"] < int(settings[name]["rows"]):
            raise ValueError(
                f"{path} has seen {progress['rows']} of {settings[name]['rows']} rows: run "
                f"`python3 -m training.paradigms --out {folder} --rows {settings[name]['rows']}` to its end"
            )
        first = next(iter(settings))
        for key, value in settings[name].items():
            if value != settings[first][key]:
                raise ValueError(
                    f"{files[first]} was trained with {key} {settings[first][key]}, {path} with {value}: "
                    f"train both alike, or compare them apart"
                )
        network, shift = load_network(path)
        facts = {"rows": progress["rows"], "cpu_seconds": round(progress["seconds"])}
        facts |= {f"{stream}_loss": round(loss, 4) for stream, loss in progress["smooth"].items()}
        facts["settings"] = settings[name]
        mini = Mini(codecs, tokenizer, encoder, network, shift)
        contenders.append(Contender(name, WAYS[name].title, mini, WAYS[name].show, digest(path), facts))
    return contenders


def shipped(model: Path, weights: Path, codecs: Codecs) -> Contender:
    """A network that was trained otherwise, shown patches as the nodes do it."""
    mini = Mini.load(weights, model, codecs)

    def show(encode: Encode, video: Tensor, given: Tensor) -> Shown:
        return as_nodes(mini, video, given)

    return Contender(f"{model.stem}_as_nodes", f"{model.stem}, as the nodes do it", mini, show, digest(model), {})


def as_nodes(mini: Mini, video: Tensor, given: Tensor) -> Shown:
    """As `canvas/compile.py` routes it: latent frames by mask if what is given fills whole cells, or is part of a clip
    (its edge is then lost to the grid), in the condition channels and clean; all else is in context at frame / 4."""
    cells = whole_cells(given, mini.codecs.video.spatial_scale)
    pixels = pixels_of(cells, mini.codecs.video)
    shown, latent_frames = given[0].flatten(1).any(1), cells.shape[2]
    by_mask = torch.zeros(latent_frames, dtype=torch.bool)
    for slot in range(latent_frames):
        frames = [frame for frame in range(len(shown)) if slot_of(frame) == slot]
        around = [frame for frame in (frames[0] - 1, frames[-1] + 1) if 0 <= frame < len(shown)]
        fills = torch.equal(pixels[:, frames], given[:, frames])
        clip = bool(shown[frames].all()) and bool(shown[around].any())
        by_mask[slot] = bool(cells[:, :, slot].flatten(1).any(1).all()) and (fills or clip)
    frame_by_mask = by_mask[[slot_of(frame) for frame in range(len(shown))]]
    made = stills(mini.encode, video, given & ~frame_by_mask[:, None, None])
    context = tuple((latent, [frame / TEMPORAL_SCALE]) for frame, latent in made)
    if not by_mask.any():
        return Shown(context)
    latent = mini.encode(torch.where(pixels[:, None], video, -1.0))
    return Shown(context, latent, cells * by_mask[:, None, None], "both")
