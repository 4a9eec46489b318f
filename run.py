#!/usr/bin/env python3
"""SkyCanvas from nothing: Python 3.10 or newer and a package index are all it needs.

    python3 run.py demo     make a video with sound from a prompt, and print where it lies
    python3 run.py serve    leave ComfyUI running with the pack in it, at the address it prints
    python3 run.py test     run the whole test suite; further arguments go to pytest
    python3 run.py python   that Python, for training and benchmarks: run.py python -m benchmarks.quality --task t2va

ComfyUI and its packages are fetched once, into a cache folder that all clones of a user share (SKYCANVAS_CACHE names
another one). A ComfyUI of your own is used where COMFYUI_PATH names it, or where this folder lies in its custom_nodes;
your own Python environment is never touched. The parts of all this are in launcher/.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "SkyCanvas needs Python 3.10 or newer, and this is %d.%d: run it with a newer one, such as `python3.12 run.py`."
        % sys.version_info[:2]
    )

import argparse
import errno
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from launcher import LauncherError, processes
from launcher.cache import Cache, cache_root
from launcher.console import Phase, say
from launcher.environment import Setup, prepare, prepare_tests
from launcher.pip import disk_full
from launcher.server import PORT, Server
from launcher.workflow import to_prompt

ROOT = Path(__file__).absolute().parent  # not resolved: a link in ComfyUI's custom_nodes counts as lying there
DEMO = ROOT / "workflows" / "text_to_video_audio.json"
OUTPUT = ROOT / "output"
WORKSPACE = ROOT / ".comfyui"  # what `serve` keeps from one run to the next: settings, inputs, models, the log
BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # any of them does for the browser tests


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name; return the exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # what kills us must also stop the server: by way of the with blocks
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _exit_on_signal)
    options, further = _parse(arguments)
    cache = Cache(cache_root())
    try:
        if options.command == "demo":
            return demo(cache, options)
        if options.command == "serve":
            return serve(cache, options)
        if options.command == "python":
            return run_python(cache, further)
        return test(cache, further)
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"\n{disk_full(cache.root)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo | serve | test | python")
    server_options = argparse.ArgumentParser(add_help=False)
    server_options.add_argument("--port", type=int, default=PORT, help="port on 127.0.0.1 (default: %(default)s)")
    server_options.add_argument("--cpu", action="store_true", default=None, help="leave a GPU alone")
    demo_command = commands.add_parser("demo", parents=[server_options], help="make a video with sound")
    demo_command.add_argument(
        "workflow", nargs="?", type=Path, default=DEMO, help="the workflow to run (default: text to video and audio)"
    )
    commands.add_parser("serve", parents=[server_options], help="leave ComfyUI running with the pack in it")
    commands.add_parser("test", help="run the test suite", usage="run.py test [pytest arguments]")
    commands.add_parser("python", help="run Python with all packages", usage="run.py python [arguments of Python]")
    if arguments[:1] in (["test"], ["python"]) and arguments[1:2] not in (["-h"], ["--help"]):
        return parser.parse_args(arguments[:1]), arguments[1:]  # what follows is for pytest or Python to understand
    return parser.parse_args(arguments), []


def demo(cache: Cache, options: argparse.Namespace) -> int:
    """Run a workflow on a headless ComfyUI and print the paths of the files that it saved."""
    begin = time.monotonic()
    workflow = _read_workflow(options.workflow)
    setup = prepare(cache, ROOT)
    with tempfile.TemporaryDirectory(prefix="skycanvas-") as base, _server(setup, Path(base), options) as server:
        prompt = to_prompt(workflow, server.get("/object_info"))
        with NodeProgress(prompt) as progress:
            files = server.run(prompt, workflow=workflow, report=progress.report)
    if not files:
        raise LauncherError(f"{options.workflow} ran and saved no file: end it in a node such as Save Video.")
    say(f"Done in {time.monotonic() - begin:.0f} s:")
    for file in files:
        say(str(file))
    return 0


def serve(cache: Cache, options: argparse.Namespace) -> int:
    """Keep ComfyUI running until Ctrl-C."""
    setup = prepare(cache, ROOT)
    models = setup.comfyui / "models"
    own_models = ["--models-directory", str(models)] if setup.own and models.is_dir() else []
    with _server(setup, WORKSPACE, options, own_models) as server:
        try:
            say(f"Open {server.url} in a browser. Ctrl-C stops it; its log is {server.log_path}")
            server.wait()
        except KeyboardInterrupt:
            say("\nStopped.")
    return 0


def test(cache: Cache, pytest_arguments: list[str]) -> int:
    """Run linters, type checks and tests; return 0 if all of them passed."""
    setup = prepare(cache, ROOT)
    python = prepare_tests(cache, ROOT, setup)
    if (ROOT / "tests" / "browser").is_dir():
        find_browser()
    checks = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        # Each of the two processes with one thread: Mini is small, and what waits for a second thread waits long.
        "pytest": ["pytest", "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder", *pytest_arguments],
    }
    environment = processes.clean_environment(COMFYUI_PATH=str(setup.comfyui), OMP_NUM_THREADS="1")
    results = []
    for title, command in checks.items():
        say(f"\n== {title}")
        begin = time.monotonic()
        process = processes.start([python, "-m", *command], environment=environment, output=None, folder=ROOT)
        try:
            code = process.wait()
        finally:
            processes.stop(process, grace=30.0)  # pytest needs a while to end the servers of its tests
        results.append((title, code, time.monotonic() - begin))
    say("\n== summary")
    for title, code, seconds in results:
        say(f"{title:<14}{'passed' if code == 0 else f'FAILED (exit code {code})'}  {seconds:.0f} s")
    return int(any(code for _, code, _ in results))


def run_python(cache: Cache, arguments: list[str]) -> int:
    """Run the Python that has all packages, those of the tests too, in the current folder; return its exit code."""
    python = prepare_tests(cache, ROOT, prepare(cache, ROOT))
    process = processes.start([python, *arguments], environment=processes.clean_environment(), output=None)
    try:
        return process.wait()
    finally:
        processes.stop(process)


@contextmanager
def _server(setup: Setup, base: Path, options: argparse.Namespace, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """A server that is ready to answer, gone after the with block."""
    server = Server(
        python=setup.python,
        comfyui=setup.comfyui,
        pack=ROOT,
        base_directory=base,
        output_directory=OUTPUT,
        port=options.port,
        cpu=options.cpu,
        arguments=arguments,
    )
    try:
        with Phase("Server") as phase:
            server.start(waiting=lambda: phase.update("starting ComfyUI"))
            phase.close(f"ComfyUI answers at {server.url}")
        yield server
    finally:
        server.stop()


class NodeProgress:
    """One line for each node of a prompt while it runs, with the step that it is at."""

    def __init__(self, prompt: dict[str, Any]) -> None:
        self._prompt = prompt
        self._node: str | None = None
        self._phase: Phase | None = None

    def report(self, node: str | None, step: int, steps: int) -> None:
        """Take in what the server reports, see launcher.server.Report."""
        if node is not None and node != self._node:
            self.close()
            title = self._prompt[node]["_meta"]["title"] if node in self._prompt else f"node {node}"
            self._node, self._phase = node, Phase(title)
        if self._phase:
            self._phase.update(f"step {step}/{steps}" if steps > 1 else None)

    def close(self) -> None:
        """End the line of the node that ran last."""
        if self._phase:
            self._phase.close()
            self._phase = None

    def __enter__(self) -> "NodeProgress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _read_workflow(path: Path) -> dict[str, Any]:
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LauncherError(f"The workflow {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise LauncherError(f"{path} is no workflow: it is not JSON ({error}).") from error
    if not isinstance(workflow, dict):
        raise LauncherError(f"{path} is no workflow: its JSON is no object.")
    return workflow


def find_browser() -> None:
    """See to it that the browser tests find a Chromium: from the system's package manager, where the user may install.

    Without one those tests are skipped, and say so.
    """
    if any(map(shutil.which, BROWSERS)):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        say("No Chromium is found and this user may not install one: the browser tests will be skipped.")
        return
    say("Installing Chromium for the browser tests.")
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]):
        environment = processes.clean_environment(DEBIAN_FRONTEND="noninteractive")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            say(f"`{' '.join(command)}` failed, so the browser tests will be skipped:\n{done.stderr.strip()}")
            return


def _exit_on_signal(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
