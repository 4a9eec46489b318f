"""A clone of the launcher whose requirements are empty, so that its set-up takes seconds and needs no network."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A ComfyUI in name: all of its outside that the launcher sees before a prompt runs. Its main.py is up to the test.
STUB_FILES = {
    "server.py": "",
    "requirements.txt": "",
    "comfyui_version.py": '__version__ = "0.30.0"\n',
    "comfy/cli_args.py": "",
}

# Answers like ComfyUI when it is asked whether it is ready, and has a child of its own.
SERVING = """
import http.server
import json
import os
import pathlib
import subprocess
import sys

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
base = pathlib.Path(sys.argv[sys.argv.index("--base-directory") + 1])
(base / "pids").write_text(f"{os.getpid()} {child.pid}")
(base / "arguments").write_text(" ".join(sys.argv))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/system_stats" else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"system": {"argv": sys.argv}}).encode())

print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def make_comfyui(tmp_path: Path) -> Callable[..., Path]:
    """Make a stub of ComfyUI that runs the given main.py; keyword arguments replace its other files."""

    def make(main: str, folder: str = "ComfyUI", **files: str) -> Path:
        root = tmp_path / folder
        for name, text in {**STUB_FILES, "main.py": main, **files}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return root

    return make


@pytest.fixture
def serving_comfyui(make_comfyui: Callable[..., Path]) -> Path:
    """A stub that starts and then waits; it writes `pids` (its own and that of its child) and `arguments`."""
    return make_comfyui(SERVING)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all clones, as one user has."""
    return tmp_path_factory.mktemp("cache")


class Clone:
    """A clone of the repository in `folder`, run with the environment variables `environment`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "run.py", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `run.py` with `arguments`."""
        process = self.start(*arguments, **environment)
        try:
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()
        return process.returncode, output, errors


@pytest.fixture
def clone(tmp_path: Path, session_cache: Path) -> Clone:
    """A fresh clone; its environment offers no package index at all."""
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copy(ROOT / "run.py", folder)
    shutil.copytree(ROOT / "launcher", folder / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "requirements-dev.txt"):
        (folder / name).write_text("")
    (folder / "workflow.json").write_text('{"nodes": [], "links": []}')
    no_index = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "SKYCANVAS_CACHE": str(session_cache)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "COMFYUI"))}
    return Clone(folder, inherited | no_index)
