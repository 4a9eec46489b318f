"""Child processes that end with us: each one leads a group of its own, and the whole group is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Settings of the person's own Python and pip that would make a child look at, or install into, other places.
_FOREIGN_SETTINGS = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PIP_PREFIX",
    "PIP_REQUIRE_HASHES",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment variables for a child, without those that would lead it out of its virtual environment."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN_SETTINGS}
    # PyTorch's threads wait for each other in a busy loop. Where another program has one of the cores, the small
    # layers of Mini then take fifty times as long; waiting passively costs nothing that one could notice.
    defaults = {"OMP_WAIT_POLICY": "PASSIVE"}
    return defaults | kept | {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"} | extra


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | int | None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of a new group; stdout and stderr go to `output`, or where ours go for None."""
    if sys.platform == "win32":
        own_group = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        own_group = 0  # there it takes start_new_session
    return subprocess.Popen(
        [os.fspath(part) for part in command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=sys.platform != "win32",
        creationflags=own_group,
    )


def stop(process: subprocess.Popen[bytes], *, grace: float = 5.0) -> None:
    """Ask the group of `process` to end as Ctrl-C would; what is left after `grace` seconds is killed."""
    try:
        if process.poll() is None:
            _interrupt(process)
            process.wait(grace)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also where a second Ctrl-C cuts the waiting short
        _kill(process)
        process.wait()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.send_signal(signal.CTRL_BREAK_EVENT)
    else:
        os.killpg(process.pid, signal.SIGINT)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        if process.poll() is None:
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the group is gone (macOS says so with EPERM)
            pass
