"""Prompts of the shipped workflows, and their execution on the real ComfyUI server."""

import time
import uuid
from typing import Any

import pytest
from server_tools import Prompt, Run, read_workflow, take

from launcher.server import HOST
from launcher.websocket import WebSocket
from launcher.workflow import to_prompt

RUN_SECONDS = 120.0


@pytest.fixture
def prompt_of(object_info):
    """The API prompt of a shipped workflow; `**changes` are new values of inputs wherever they occur."""

    def make(name: str, **changes: Any) -> Prompt:
        prompt = to_prompt(read_workflow(name), object_info)
        for node in prompt.values():
            node["inputs"].update({key: value for key, value in changes.items() if key in node["inputs"]})
        return prompt

    return make


@pytest.fixture
def run(server):
    """Runs a prompt to its end; with `interrupt_at`, asks the server to stop after that step."""

    def execute(prompt: Prompt, interrupt_at: int | None = None) -> Run:
        result, client = Run(), str(uuid.uuid4())
        with WebSocket(HOST, server.port, f"/ws?clientId={client}") as events:
            result.prompt_id = server.post("/prompt", {"prompt": prompt, "client_id": client})["prompt_id"]
            deadline = time.monotonic() + RUN_SECONDS
            while not result.done:
                assert time.monotonic() < deadline, f"no end after {RUN_SECONDS} s, after step {result.steps[-1:]}"
                take(events.receive(timeout=1.0), result)
                if interrupt_at is not None and interrupt_at in result.steps:
                    server.post("/interrupt", {"prompt_id": result.prompt_id})
                    interrupt_at = None
        history = server.get(f"/history/{result.prompt_id}")
        result.outputs = history.get(result.prompt_id, {}).get("outputs", {})
        return result

    return execute
