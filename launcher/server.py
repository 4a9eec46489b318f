"""A headless ComfyUI on loopback: start it, hand it a prompt, watch it work, stop it."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import LauncherError, processes
from .cache import make_folder
from .console import say
from .websocket import WebSocket

HOST = "127.0.0.1"
PORT = 8188
START_SECONDS = 300.0  # the first start on a slow disk reads some GB
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# The proxies of the environment are for the outer world: asked for a loopback address they refuse or leak it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Report = Callable[[str | None, int, int], None]
"""Called with the id of the node that works (None: still the same), its step and how many it has (0: none)."""


class ServerDied(LauncherError):
    """ComfyUI has ended by itself; the message carries the last lines of its log."""


class PromptRefused(LauncherError):
    """ComfyUI finds the prompt not valid; the message names the nodes and their inputs."""


class PromptFailed(LauncherError):
    """A node raised an error while it ran, or the run was interrupted."""


class Server:
    """The ComfyUI in the folder `comfyui`, run by `python` with the pack in its `custom_nodes`.

    Use it in a `with` block: it is ready to answer inside, and gone with all its children after it.

    base_directory: folder of its models, inputs, settings and log; made as needed, nothing else is written to.
    output_directory: where the results go.
    port: the one to take (0: any); where it is taken another free one is picked, and the person is told.
    cpu: run without a GPU; None: when there is no CUDA device.
    arguments: further command line arguments of ComfyUI's main.py.
    """

    def __init__(
        self,
        *,
        python: Path,
        comfyui: Path,
        pack: Path,
        base_directory: Path,
        output_directory: Path,
        port: int = PORT,
        cpu: bool | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.base_directory = base_directory.absolute()
        self.output_directory = output_directory.absolute()
        self.log_path = self.base_directory / "comfyui.log"
        self.port = port
        self._python, self._comfyui, self._pack = python, comfyui, pack
        self._arguments = [*arguments, *(["--cpu"] if cpu or (cpu is None and not has_cuda_device()) else [])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, such as http://127.0.0.1:8188."""
        return f"http://{HOST}:{self.port}"

    @property
    def process_id(self) -> int:
        """The process of ComfyUI; it leads the process group of all its children."""
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Start ComfyUI and return once it answers; `waiting` is called a few times per second until then.

        Raises ServerDied where it ends instead.
        """
        self._prepare_folders()
        for _ in range(3):  # ComfyUI takes the port only after some 20 s: another program may be faster
            self._pick_port()
            try:
                return self._start(waiting)
            except ServerDied:
                if free_port(self.port) == self.port:  # then that was not the reason
                    raise
        raise LauncherError("Other programs took every port that was tried: name a free one with --port.")

    def stop(self) -> None:
        """End ComfyUI and its children; does nothing where it has not been started."""
        if self._process:
            processes.stop(self._process)
            self._process = None

    def wait(self) -> None:
        """Return never, while all is well. Raises ServerDied when ComfyUI ends by itself."""
        while True:
            self._check_alive()
            time.sleep(0.5)

    def get(self, path: str, *, timeout: float = 60.0) -> Any:
        """The JSON answer to GET `path`. Raises ServerDied or LauncherError where there is none."""
        return self._request(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, body: object, *, timeout: float = 60.0) -> Any:
        """The JSON answer to POST `path` with the JSON `body`; None where the answer is empty."""
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._request(urllib.request.Request(self.url + path, data, headers), timeout)

    def run(
        self, prompt: dict[str, Any], *, workflow: object = None, report: Report = lambda node, step, steps: None
    ) -> list[Path]:
        """Run the API-format `prompt` and return the files that it saved to the output directory.

        `workflow` is the UI-format graph that the files remember, so that they can be opened as a workflow.
        Raises PromptRefused, PromptFailed or ServerDied.
        """
        client = str(uuid.uuid4())
        try:
            with WebSocket(HOST, self.port, f"/ws?clientId={client}") as events:
                body = {"prompt": prompt, "client_id": client, "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
                prompt_id = self.post("/prompt", body)["prompt_id"]
                self._watch(events, prompt_id, prompt, report)
        except OSError as error:
            self._check_alive(grace=5.0)
            raise LauncherError(f"The connection to {self.url} broke: {error}") from error
        outputs = self.get(f"/history/{prompt_id}")[prompt_id]["outputs"]
        return [
            self.output_directory / file["subfolder"] / file["filename"]
            for node in outputs.values()
            for files in node.values()
            for file in files
            if isinstance(file, dict) and file.get("type") == "output"
        ]

    def _watch(self, events: WebSocket, prompt_id: str, prompt: dict[str, Any], report: Report) -> None:
        """Read ComfyUI's events until the prompt is done."""
        while True:
            message = events.receive(timeout=1.0)
            if not isinstance(message, str):  # nothing new, or a preview image
                report(None, 0, 0)
                continue
            event = json.loads(message)
            kind, data = event["type"], event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if kind == "executing":
                if data["node"] is None:  # the last event, sent when the history has the outputs
                    return
                report(data["node"], 0, 0)
            elif kind == "progress":
                report(data["node"], data["value"], data["max"])
            elif kind == "execution_error":
                raise PromptFailed(
                    f"Node {_name(data['node_id'], prompt)} failed: {data['exception_type']}: "
                    f"{data['exception_message'].strip()}"
                )
            elif kind == "execution_interrupted":
                raise PromptFailed(f"The run was interrupted in node {_name(data['node_id'], prompt)}.")

    def _prepare_folders(self) -> None:
        folders = [self.base_directory / name for name in ("custom_nodes", "models", "input", "user")]
        for folder in (*folders, self.output_directory):  # ComfyUI expects them to be there
            make_folder(folder, "run this in a clone of the repository that you may write to")
        link_folder(folders[0] / "skycanvas", self._pack)

    def _pick_port(self) -> None:
        free = free_port(self.port)
        if self.port not in (0, free):
            say(f"Port {self.port} is taken by another program: using {free}.")
        self.port = free

    def _start(self, waiting: Callable[[], None]) -> None:
        database = self.base_directory / "user" / "comfyui.db"  # by default it lies in ComfyUI's own folder
        command: list[str | Path] = [
            self._python,
            self._comfyui / "main.py",
            "--listen",
            HOST,
            "--port",
            str(self.port),
        ]
        command += ["--base-directory", self.base_directory, "--output-directory", self.output_directory]
        command += ["--database-url", f"sqlite:///{database}", "--disable-auto-launch", *self._arguments]
        with open(self.log_path, "wb") as log:
            self._process = processes.start(
                command, environment=processes.clean_environment(), output=log, folder=self.base_directory
            )
        begin = time.monotonic()
        try:
            while not self._is_ready():
                self._check_alive()
                seconds = time.monotonic() - begin
                if seconds > START_SECONDS:
                    raise LauncherError(
                        f"ComfyUI does not answer after {seconds:.0f} s; the last lines of its log:\n{self._log_tail()}"
                    )
                waiting()
                time.sleep(0.25)
        except BaseException:
            self.stop()
            raise

    def _is_ready(self) -> bool:
        """Whether this server answers, rather than another program that took the port first."""
        try:
            with _opener.open(self.url + "/system_stats", timeout=2.0) as answer:
                arguments = json.load(answer)["system"]["argv"]
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return False
        return str(self.base_directory) in arguments

    def _request(self, request: urllib.request.Request, timeout: float) -> Any:
        try:
            with _opener.open(request, timeout=timeout) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise _refusal(request.full_url, error) from error
        except (OSError, http.client.HTTPException) as error:
            self._check_alive(grace=5.0)
            raise LauncherError(f"{request.full_url} does not answer: {error}") from error
        return json.loads(content) if content else None

    def _check_alive(self, grace: float = 0.0) -> None:
        """Raise ServerDied if ComfyUI has ended, or ends within `grace` seconds (a closed connection announces it)."""
        assert self._process is not None, "the server is not started"
        try:
            code = self._process.wait(grace) if grace else self._process.poll()
        except subprocess.TimeoutExpired:
            return
        if code is not None:
            raise ServerDied(
                f"ComfyUI has ended by itself ({_cause(code)}); the last lines of its log:\n{self._log_tail()}"
            )

    def _log_tail(self, lines: int = 20) -> str:
        log = _COLOUR.sub("", self.log_path.read_text(encoding="utf-8", errors="replace"))
        return "\n".join(log.splitlines()[-lines:])


def free_port(preferred: int) -> int:
    """`preferred` if no program listens there on loopback, else a free port that the system picks."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if sys.platform != "win32":  # else a port counts as taken for a minute after its last connection
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
            except OSError:
                continue
    raise LauncherError("No port is free on 127.0.0.1: close some programs.")


def has_cuda_device() -> bool:
    """Whether the NVIDIA driver finds a GPU. Asked of the driver itself: importing torch would take seconds."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def link_folder(link: Path, target: Path) -> None:
    """Make the folder `target` appear at `link`, in place of a link that may be there from an earlier run."""
    if link.is_symlink() or (sys.platform == "win32" and link.exists()):
        os.unlink(link)
    if sys.platform == "win32":  # a junction needs no administrator, a symbolic link does
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(target)], check=True, capture_output=True)
    else:
        link.symlink_to(target, target_is_directory=True)


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _name(node_id: str, prompt: dict[str, Any]) -> str:
    """`7 (KSampler)`; a node that another one has added while it ran goes without a type."""
    node = prompt.get(node_id)
    return f"{node_id} ({node['class_type']})" if node else node_id


def _refusal(url: str, error: urllib.error.HTTPError) -> LauncherError:
    """The error for an answer other than 200: ComfyUI's own words where it has any."""
    text = error.read().decode("utf-8", "replace")
    try:
        answer = json.loads(text)
        problems = [
            f"node {node_id} ({node['class_type']}): {problem['message']}: {problem['details']}"
            for node_id, node in answer["node_errors"].items()
            for problem in node["errors"]
        ] or [f"{answer['error']['message']} {answer['error']['details']}".strip()]
    except (ValueError, LookupError, TypeError, AttributeError):
        return LauncherError(f"{url} answers {error.code}: {text.strip()[:500]}")
    return PromptRefused("ComfyUI refuses the workflow:\n" + "\n".join(f"  {problem[:400]}" for problem in problems))
