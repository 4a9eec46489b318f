"""Nodes as an artist meets them: every widget at its default, but for those that are set."""

import torch


def run(node, **inputs):
    """All outputs of a node."""
    defaults = {input.id: input.default for input in node.define_schema().inputs if hasattr(input, "default")}
    return node.execute(**{name: value for name, value in defaults.items() if value is not None} | inputs).result


def put(node, **inputs):
    """The first output of a node: most give a canvas and nothing else."""
    return run(node, **inputs)[0]


def noise(*shape, seed=1) -> torch.Tensor:
    """Pictures, masks or waves: all numbers different, in 0..1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def sound(seconds=1.0, channels=1, sample_rate=44100, batch=1) -> dict:
    """AUDIO of noise."""
    waveform = noise(batch, channels, round(seconds * sample_rate)) - 0.5
    return {"waveform": waveform, "sample_rate": sample_rate}
