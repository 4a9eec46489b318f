"""ComfyUI in the test process, the pack as package `skycanvas`, and tiny random models instead of the real ones."""

import asyncio
import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ""))
if not (COMFYUI / "comfy" / "sd.py").is_file():
    raise pytest.UsageError("tests/comfy needs COMFYUI_PATH to name a ComfyUI: `python3 run.py test` sets it")

# ComfyUI's folder comes first, because `nodes` is a module of both. Its models and outputs go to a scratch folder.
sys.path.insert(0, str(COMFYUI))
from comfy.cli_args import args  # noqa: E402

BASE = Path(tempfile.mkdtemp(prefix="skycanvas-tests-"))
atexit.register(shutil.rmtree, BASE, ignore_errors=True)
for folder in ("custom_nodes", "input", "output", "temp", "user", "models/diffusion_models", "models/loras"):
    (BASE / folder).mkdir(parents=True)
args.cpu, args.base_directory = True, str(BASE)

import comfy.sd  # noqa: E402, F401  (before `nodes`, as ComfyUI's own main does)
import comfy_api.latest  # noqa: E402, F401
import server  # noqa: E402, F401

import nodes  # noqa: E402, F401


@dataclass(frozen=True)
class PackImport:
    """What loading the pack, up to the list of its nodes, brought."""

    new_packages: set[str]
    nodes: list[type]


def import_pack() -> PackImport:
    """Loads the pack's folder as the package `skycanvas`, in the way of ComfyUI's load_custom_node."""
    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location(
        "skycanvas", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    sys.modules["skycanvas"] = package
    spec.loader.exec_module(package)

    async def node_list():
        return await (await package.comfy_entrypoint()).get_node_list()

    found = asyncio.run(node_list())
    return PackImport({name.partition(".")[0] for name in set(sys.modules) - before}, found)


PACK = import_pack()

sys.path.append(str(ROOT / "tests"))
from ltx_canvas_tools import FRAMES, HEIGHT, LEFT, PATCH, WIDTH, Ltx, load_ltx  # noqa: E402
from node_tools import noise  # noqa: E402
from skycanvas.canvas.canvas import Canvas  # noqa: E402
from skycanvas.canvas.document import Box  # noqa: E402
from tiny_ltx import VERSIONS, write_tiny_ltx  # noqa: E402
from tiny_mini import TinyMini, write_tiny_mini  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI executes nodes in inference mode."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def mini(tmp_path_factory) -> TinyMini:
    return write_tiny_mini(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def pack() -> PackImport:
    return PACK


@pytest.fixture(scope="session")
def base() -> Path:
    """ComfyUI's base directory: models/, output/, ..."""
    return BASE


@pytest.fixture(scope="session")
def loaded(mini):
    """MODEL, CLIP, VAE and audio VAE, as the loader node gives them."""
    from skycanvas.nodes import loaders

    loaders.WEIGHTS = mini.folder
    with torch.inference_mode():
        return loaders.SkyCanvasLoadMini.execute().result


@pytest.fixture
def model(loaded):
    return loaded[0].clone()


@pytest.fixture
def clip(loaded):
    return loaded[1]


@pytest.fixture
def vae(loaded):
    return loaded[2]


@pytest.fixture
def audio_vae(loaded):
    return loaded[3]


@pytest.fixture(scope="module", params=VERSIONS)
def tiny_ltx(request, tmp_path_factory) -> Ltx:
    """LTX-2.0, and LTX-2.3."""
    return load_ltx(write_tiny_ltx(tmp_path_factory.mktemp("ltx"), request.param))


@pytest.fixture
def ltx(tiny_ltx, monkeypatch) -> Ltx:
    """The model, whose evaluations are noted."""
    tiny_ltx.watch(monkeypatch)
    return tiny_ltx


@pytest.fixture
def canvas() -> Canvas:
    """192 x 128 pixels, 17 frames: on LTX-2 3 latent frames of 4 x 6 cells, 17 audio latents."""
    return Canvas.new(WIDTH, HEIGHT, FRAMES, 25.0)


@pytest.fixture
def crowded(canvas) -> Canvas:
    """Something of everything: kept cells, patches, a clip in context, sound, a reference and a voice."""
    canvas = canvas.place_image(noise(1, HEIGHT, WIDTH, 3)).place_clip(noise(17, HEIGHT, 64, 3, seed=2), 25.0, box=LEFT)
    canvas = canvas.place_image(noise(1, 96, 64, 3, seed=3), frame=13, box=PATCH)
    canvas = canvas.place_image(noise(1, 40, 50, 3, seed=4), frame=5, box=Box(x=90, y=11, width=50, height=40))
    canvas = canvas.place_sound(0.1 * noise(1, 11025, seed=5), 44100)
    return canvas.reference(noise(1, 128, 96, 3, seed=6), kind="image").reference(
        0.1 * noise(1, 5000, seed=7), kind="sound", sample_rate=44100
    )
