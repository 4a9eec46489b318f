"""Folders that are whole or absent, shared by all clones that one user has of this repository.

A folder is built under a name that nothing else uses (a virtual environment cannot be moved afterwards) and becomes
visible only when its manifest, the list of its files and their sizes, is renamed into place. So an interrupted build
is never seen, a damaged folder is noticed and built anew, and nobody ever writes into a folder that is in use.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from . import LauncherError
from .console import say

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# The folders of a cache: a name that ends in 12 hexadecimal digits, then 8 random characters. Only such ones are ever
# deleted, as SKYCANVAS_CACHE may name a folder that holds other things.
_FOLDER = re.compile(r"(comfyui|packages|tests)-[\w.-]*[0-9a-f]{12}-[a-z0-9_]{8}")


def cache_root() -> Path:
    """The per-user cache folder: SKYCANVAS_CACHE, else `skycanvas` in the platform's folder for caches."""
    if chosen := os.environ.get("SKYCANVAS_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return parent.absolute() / "skycanvas"


class Cache:
    """The folders below `root`, which is made when it does not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, build: Callable[[Path], None]) -> Path:
        """The folder called `name`; where it is missing or damaged, `build` fills an empty one first.

        `name` must end in 12 hexadecimal digits that stand for all that determines the contents. Two processes never
        build at once: the second waits, then finds what the first has built.
        """
        if whole := self._whole(name):
            return whole
        make_folder(self.root, "name another folder in SKYCANVAS_CACHE")
        with self._lock():
            if whole := self._whole(name):
                return whole
            self._manifest(name).unlink(missing_ok=True)
            self._sweep()
            folder = Path(tempfile.mkdtemp(prefix=name + "-", dir=self.root))
            try:
                build(folder)
                self._publish(name, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return folder

    def older(self, name: str) -> list[Path]:
        """The whole folders of the same kind as `name` (its first word): what earlier versions have built."""
        kind = name.partition("-")[0]
        manifests = [path for path in self.root.glob(f"{kind}-*.manifest") if path != self._manifest(name)]
        return [self.root / _lines(path)[0] for path in manifests]

    def _manifest(self, name: str) -> Path:
        return self.root / f"{name}.manifest"

    def _whole(self, name: str) -> Path | None:
        try:
            folder_name, *files = _lines(self._manifest(name))
        except (OSError, ValueError):
            return None
        folder = self.root / folder_name
        for line in files:
            size, _, path = line.partition(" ")
            try:
                status = os.stat(f"{folder}{os.sep}{path}")
            except OSError:
                return None
            if size != "link" and status.st_size != int(size):
                return None
        return folder

    def _publish(self, name: str, folder: Path) -> None:
        draft = self.root / f"{name}.draft"
        with open(draft, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(folder.name + "\n")
            stream.writelines(f"{size} {path}\n" for path, size in _files(folder))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, self._manifest(name))

    def _sweep(self) -> None:
        """Delete what interrupted builds have left behind. Only under the lock: nobody else is building."""
        published = {_lines(path)[0] for path in self.root.glob("*.manifest")}
        for path in self.root.iterdir():
            if _FOLDER.fullmatch(path.name) and path.name not in published:
                shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with open(self.root / "lock", "ab") as file:
            if not _try_lock(file):
                say("Another run is setting up SkyCanvas: waiting for it to finish.")
                while not _try_lock(file):
                    time.sleep(0.5)
            yield  # closing the file releases the lock, and so does the end of this process, however it comes


def make_folder(folder: Path, mend: str) -> None:
    """Make `folder` where there is none; raise LauncherError with the advice `mend` where we may not write to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = "" if os.access(folder, os.W_OK) else "you may not write there"
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        problem = error.strerror or str(error)
    if problem:
        raise LauncherError(f"The folder {folder} cannot be used ({problem}): {mend}.")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, int | str]]:
    """All files below `folder` with their sizes; links without, as what they point to may be updated.

    Byte code is left out: Python writes it anew as it likes.
    """
    for entry in os.scandir(folder):
        if entry.is_symlink():
            yield prefix + entry.name, "link"
        elif entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.stat().st_size


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
