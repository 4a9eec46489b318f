"""One real ComfyUI server with the pack as it is shipped, for all folders that ask for one; one in each process."""

import os
import sys
from pathlib import Path

import pytest

from launcher.server import Server

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
# They come last, for Playwright leaves an event loop running in its process, in which no other test can have one. And
# in this order: while one process is busy with the last file of tests/server, which runs the workflows, the other
# begins with the editor; so most likely the first also runs them in the browser, and its ComfyUI has them cached.
LAST = ("server", "browser/test_editor.py", "browser/test_workflows.py", "browser")


def pytest_collection_modifyitems(items):
    def place(item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((i for i, start in enumerate(LAST) if path.startswith(start)), -1)

    items.sort(key=place)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    comfyui = Path(os.environ.get("COMFYUI_PATH", ""))
    if not (comfyui / "main.py").is_file():
        raise pytest.UsageError("these tests need COMFYUI_PATH to name a ComfyUI: `python3 run.py test` sets it")
    from ltx_tools import add_tiny_ltx  # which needs PyTorch: not all tests do

    folder = tmp_path_factory.mktemp("server")
    add_tiny_ltx(folder / "base", comfyui)
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
