"""One real ComfyUI server with the pack as it is shipped, for all folders that ask for one; one in each process."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from launcher.server import Server

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
# They come last and in this order: what tests/server has run, the browser's Run button gets from ComfyUI's cache, and
# Playwright leaves an event loop running in its process, in which no other test can have one.
LAST = ("server", "browser")


def pytest_collection_modifyitems(items):
    tests = Counter(item.path for item in items)

    def place(item) -> tuple[int, int]:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        # The file with the most tests first: a process that begins it when the other has ended would be alone with it.
        return (LAST.index(folder), -tests[item.path]) if folder in LAST else (-1, 0)

    items.sort(key=place)


@pytest.fixture(scope="session")
def server(tmp_path_factory, request):
    comfyui = Path(os.environ.get("COMFYUI_PATH", ""))
    if not (comfyui / "main.py").is_file():
        raise pytest.UsageError("these tests need COMFYUI_PATH to name a ComfyUI: `python3 run.py test` sets it")
    from ltx_tools import add_tiny_ltx  # which needs PyTorch: not all tests do

    folder = tmp_path_factory.mktemp("server")
    add_tiny_ltx(folder / "base", comfyui)
    patch = pytest.MonkeyPatch()
    patch.setenv("OMP_NUM_THREADS", "1")  # Mini is small: a second thread would only wait for the first
    request.addfinalizer(patch.undo)
    with Server(
        python=Path(sys.executable),
        comfyui=comfyui,
        pack=ROOT,
        base_directory=folder / "base",
        output_directory=folder / "output",
        port=0,
        cpu=True,
        # ComfyUI's own cache lets go of results when other programs need memory; this one keeps them all.
        arguments=["--preview-method", "latent2rgb", "--cache-lru", "100000"],
    ) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server):
    return server.get("/object_info")
