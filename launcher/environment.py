"""The Python packages: those ComfyUI and the pack need, and in a layer above them those the tests need."""

from __future__ import annotations

import hashlib
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import LauncherError
from .cache import Cache
from .comfyui import own_comfyui, pinned_comfyui, version
from .console import Phase, say
from .pip import create_environment, interpreter, pip

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
# Mostly CUDA libraries, which torch brings along on Linux even where there is no GPU; downloads need room, too.
PACKAGES_GIB = 10.0 if sys.platform == "linux" else 4.0
TESTS_GIB = 1.0


@dataclass(frozen=True)
class Setup:
    """A ComfyUI and the Python that runs it."""

    comfyui: Path
    python: Path
    own: bool  # the ComfyUI is the person's: it is read, never written to


def prepare(cache: Cache, pack: Path) -> Setup:
    """ComfyUI and all that it and `pack` need, taken from `cache` where an earlier run has put it there.

    The person's own Python environment stays as it is, also where the ComfyUI is theirs.
    """
    own = own_comfyui(pack)
    comfyui = own or pinned_comfyui(cache)
    requirements = [comfyui / "requirements.txt", pack / "requirements.txt"]
    name = f"packages-{_python_name()}-{_digest(CONSTRAINTS, *requirements)}"

    def build(folder: Path) -> None:
        require_space(folder, PACKAGES_GIB)
        say(f"The Python packages of ComfyUI go into {folder}: this takes minutes, once.")
        with Phase("Packages") as phase:
            python = create_environment(folder)
            _install(python, requirements, CONSTRAINTS, folder, phase)
            phase.close("installed")
        if older := cache.older(name):
            say("No longer used by this version, free to delete: " + ", ".join(map(str, older)))

    python = interpreter(cache.folder(name, build))
    say(f"{'ComfyUI':<24}{'.'.join(map(str, version(comfyui)))} in {comfyui}")
    say(f"{'Packages':<24}Python {_python_name()[2:]} in {python.parent.parent}")
    return Setup(comfyui, python, own is not None)


def prepare_tests(cache: Cache, pack: Path, setup: Setup) -> Path:
    """The Python for the tests: it sees the packages of `setup` unchanged, and the tests' own in a layer above.

    The tests' tools bring dozens of packages along. In a layer they cannot change what ComfyUI runs on.
    """
    requirements = pack / "requirements-dev.txt"
    base = setup.python.parent.parent
    name = f"tests-{_python_name()}-{_digest(requirements, extra=base.name)}"

    def build(folder: Path) -> None:
        require_space(folder, TESTS_GIB)
        with Phase("Test tools") as phase:
            python = create_environment(folder)
            lower, upper = _site_packages(base), _site_packages(folder)
            # addsitedir rather than a bare path: the .pth files of the lower layer count, too.
            (upper / "lower_layer.pth").write_text(f"import site; site.addsitedir({str(lower)!r})\n", encoding="utf-8")
            frozen = folder / "lower_layer.txt"
            frozen.write_text("\n".join(_installed(lower)) + "\n", encoding="utf-8")
            _install(python, [requirements], frozen, folder, phase)
            phase.close("installed")

    return interpreter(cache.folder(name, build))


def require_space(folder: Path, gib: float) -> None:
    """Raise LauncherError unless `gib` GiB are free on the disk that holds `folder`."""
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        raise LauncherError(
            f"{gib:.0f} GiB are needed on the disk that holds {folder}, and {free:.1f} GiB are free: free some space, "
            "or name a folder on another disk in SKYCANVAS_CACHE."
        )


def _install(python: Path, requirements: Sequence[Path], constraints: Path, folder: Path, phase: Phase) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    files = [part for path in requirements for part in ("--requirement", path)]
    pip(python, ["install", *files, "--constraint", constraints], phase=phase, scratch=scratch)
    shutil.rmtree(scratch)


def _installed(site_packages: Path) -> list[str]:
    """`name==version` of every package in the folder `site_packages`."""
    found = (path.name.removesuffix(".dist-info").split("-", 1) for path in site_packages.glob("*.dist-info"))
    return sorted(f"{name}=={release}" for name, release in found)


def _site_packages(environment: Path) -> Path:
    if sys.platform == "win32":
        return environment / "Lib" / "site-packages"
    return environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _python_name() -> str:
    return f"py{sys.version_info[0]}.{sys.version_info[1]}"


def _digest(*files: Path, extra: str = "") -> str:
    """12 hexadecimal digits that stand for the contents of `files`, for `extra` and for this kind of Python."""
    digest = hashlib.sha256()
    for part in (sys.implementation.cache_tag or sys.version, sysconfig.get_platform(), extra):
        digest.update(part.encode() + b"\0")
    for path in files:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
