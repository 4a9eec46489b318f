"""What the ComfyUI registry and ComfyUI itself read of the pack's metadata."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import tomlkit

ROOT = Path(__file__).parents[2]
PYPROJECT = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()
PROJECT, COMFY = PYPROJECT["project"], PYPROJECT["tool"]["comfy"]


def requirements(name: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def test_registry_accepts_it() -> None:
    assert PROJECT["name"] == "skycanvas"
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["license"] == {"file": "LICENSE"}
    assert PROJECT["urls"]["Repository"].startswith("https://")
    assert COMFY["PublisherId"] and COMFY["DisplayName"]
    assert COMFY["requires-comfyui"] == ">=0.30.0"
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / PROJECT["readme"]).is_file()


def test_nothing_is_asked_of_an_artists_environment() -> None:
    assert requirements("requirements.txt") == PROJECT["dependencies"] == []


def test_comfyui_reads_it() -> None:
    read = (
        "import json, sys; from comfy_config.config_parser import extract_node_configuration as read;"
        "config = read(sys.argv[1]);"
        "project = config.project;"
        "print(json.dumps([project.name, project.dependencies, project.supported_comfyui_version, project.supported_os,"
        "project.supported_accelerators, config.tool_comfy.publisher_id, config.tool_comfy.display_name]))"
    )
    command = [sys.executable, "-c", read, str(ROOT)]
    done = subprocess.run(command, cwd=os.environ["COMFYUI_PATH"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        "skycanvas",
        PROJECT["dependencies"],
        ">=0.30.0",
        ["OS Independent"],
        ["GPU :: NVIDIA CUDA"],
        COMFY["PublisherId"],
        "SkyCanvas",
    ]


def test_ci_runs_what_the_readme_says() -> None:
    assert "python3 run.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python3 run.py test" in (ROOT / "README.md").read_text(encoding="utf-8")
