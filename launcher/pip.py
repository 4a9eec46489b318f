"""Virtual environments and pip: run with progress, and its failures put in a sentence."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from . import LauncherError, processes
from .console import Phase

# What pip and the libraries under it print when no answer comes from an index.
_NO_CONNECTION = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ConnectionError|ReadTimeoutError|ProxyError|NameResolutionError|SSLError"
    r"|Max retries exceeded|Network is unreachable|Connection refused|Temporary failure in name resolution",
)
_DISK_FULL = re.compile(r"No space left on device|Errno 28|not enough space on the disk", re.IGNORECASE)
_WRONG_HASH = "DO NOT MATCH THE HASHES"
_MISSING = re.compile(r"No matching distribution found for (\S+)")


def create_environment(folder: Path) -> Path:
    """Make a virtual environment with pip in `folder` (empty); return its interpreter.

    Raises LauncherError where this Python cannot make one.
    """
    command = [sys.executable, "-m", "venv", str(folder)]
    done = subprocess.run(command, env=processes.clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        if _DISK_FULL.search(output):
            raise disk_full(folder)
        raise LauncherError(
            f"{sys.executable} cannot make a virtual environment: install its venv module (Debian and Ubuntu: "
            f"`apt install python3-venv`) or run this with another Python. It said:\n{output}"
        )
    return interpreter(folder)


def interpreter(environment: Path) -> Path:
    """The Python of the virtual environment in the folder `environment`."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def pip(python: Path, arguments: Sequence[str | Path], *, phase: Phase, scratch: Path) -> None:
    """Run pip with `arguments` in the environment of `python`; what it is at shows in `phase`.

    Downloads are unpacked in `scratch`, as a system's own temporary folder is often too small for them.
    Raises LauncherError when pip fails, in words that say what to do.
    """
    command = [python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    process = processes.start(command, environment=processes.clean_environment(**places), output=subprocess.PIPE)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(process, lines), daemon=True).start()
    output = []
    try:
        while (line := _next_line(lines, phase)) is not None:
            output.append(line)
            phase.update(_headline(line))
    finally:
        processes.stop(process)
    if process.returncode:
        raise explain(output, scratch)


def _read_lines(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.decode("utf-8", "replace").rstrip())
    process.wait()
    lines.put(None)


def _next_line(lines: queue.SimpleQueue[str | None], phase: Phase) -> str | None:
    while True:
        try:
            return lines.get(timeout=1.0)
        except queue.Empty:
            phase.update()


def _headline(line: str) -> str | None:
    """What a line of pip's output tells the person who waits; None where it tells nothing new."""
    if match := re.match(r"\s*(?:Downloading|Using cached|Processing) (\S+)( \([\d.]+ \w?B\))?", line):
        wheel = match[1].rsplit("/", 1)[-1]
        return f"getting {'-'.join(wheel.split('-')[:2])}{match[2] or ''}"
    if match := re.match(r"\s*Collecting (\S+)", line):
        return f"looking for {match[1]}"
    if line.startswith("Installing collected packages"):
        return f"installing {line.count(',') + 1} packages"
    return None


def explain(output: Sequence[str], folder: Path) -> LauncherError:
    """The error that pip's output `output` stands for; `folder` lies on the disk that pip has written to."""
    text = "\n".join(output)
    if _DISK_FULL.search(text):
        return disk_full(folder)
    if _WRONG_HASH in text:
        got = re.search(r"Got\s+([0-9a-f]{64})", text)
        return LauncherError(
            f"The package index sent a file whose checksum is wrong (sha256 {got[1] if got else 'unknown'}), so it was "
            "not used: try again, and if it happens again use another index (PIP_INDEX_URL)."
        )
    if _NO_CONNECTION.search(text):
        named = re.search(r"^Looking in indexes: (.+)", text, re.MULTILINE)  # said of any but pip's own
        return LauncherError(
            f"The package index{f' {named[1]}' if named else ''} cannot be reached: check the network and the proxy, "
            "or name an index that can be reached in PIP_INDEX_URL."
        )
    if missing := _MISSING.search(text):
        return LauncherError(
            f"The package index has no {missing[1]} for Python {sys.version_info[0]}.{sys.version_info[1]} on "
            f"{sys.platform}: try another Python (3.10 to 3.13 are known to do) or another index (PIP_INDEX_URL)."
        )
    errors = [line for line in output if line.startswith("ERROR")] or list(output[-5:])
    return LauncherError("pip failed:\n" + "\n".join(errors[-5:]))


def disk_full(folder: Path) -> LauncherError:
    """The error for a disk that ran full under `folder`."""
    return LauncherError(
        f"The disk that holds {folder} is full: free some space, or name a folder on another disk in SKYCANVAS_CACHE."
    )
