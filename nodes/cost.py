"""What sampling a canvas costs on this machine, before it is sampled."""

from ..canvas.compile import Plan
from ..carriers import network
from ..carriers.carrier import carrier_of
from ..carriers.network import Network
from .loaders import MODEL, mini_file

STEPS, PASSES = 30, 2  # of a usual sampling, with guidance


def network_of(model, file: str = MODEL) -> Network:
    """The network of a MODEL of this pack, or, if there is none, of a file of Mini."""
    return network.network_of_file(mini_file(file)) if model is None else network.network_of(model)


def cost_of(plan: Plan, model=None) -> str:
    """Cost of a compiled canvas for a MODEL, or for Mini if there is none, in one line; the prompt is not counted."""
    sampling = {"steps": STEPS, "passes": PASSES}
    cost = network_of(None).estimate(plan, **sampling) if model is None else carrier_of(model).cost(plan, **sampling)
    return f"Cost of {STEPS} steps with guidance: {cost.text()}"
