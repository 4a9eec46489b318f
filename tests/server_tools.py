"""What a run on the server tells, and the workflows that are shipped."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.server import Server

ROOT = Path(__file__).parents[1]
PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4  # kinds of binary messages

Prompt = dict[str, dict[str, Any]]


def workflow_names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


# They need weights of about 40 GB: tests/server/test_ltx_workflows.py runs them on tiny ones.
LTX_WORKFLOWS = [name for name in workflow_names() if name.startswith("ltx_")]
MINI_WORKFLOWS = [name for name in workflow_names() if name not in LTX_WORKFLOWS]


def read_workflow(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


@dataclass
class Run:
    """What the server told about one prompt while it ran."""

    prompt_id: str = ""
    end: str = ""  # success, error or interrupted
    done: bool = False
    error: str = ""
    steps: list[int] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # by node id
    outputs: dict[str, Any] = field(default_factory=dict)

    def files(self, server: Server) -> list[Path]:
        found = [entry for output in self.outputs.values() for entries in output.values() for entry in entries]
        saved = [f for f in found if isinstance(f, dict) and f.get("type") == "output"]  # others are previews
        return [server.output_directory / f["subfolder"] / f["filename"] for f in saved]


def take(message: str | bytes | None, result: Run) -> None:
    if isinstance(message, bytes):
        kind, body = struct.unpack(">I", message[:4])[0], message[4:]
        if kind in (PREVIEW, PREVIEW_WITH_METADATA):
            result.previews.append(body)
        elif kind == TEXT:
            size = struct.unpack(">I", body[:4])[0]
            result.texts[body[4 : 4 + size].decode()] = body[4 + size :].decode()
    elif message is not None:
        event = json.loads(message)
        kind, data = event["type"], event["data"]
        if data.get("prompt_id") != result.prompt_id:
            return
        if kind == "executing" and data["node"] is None:
            result.done = True  # sent when the history has the outputs
        elif kind == "progress":
            result.steps.append(data["value"])
        elif kind in ("execution_success", "execution_error", "execution_interrupted"):
            result.end = kind.removeprefix("execution_")
            result.error = data.get("exception_message", "")
