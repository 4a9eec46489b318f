"""Where ComfyUI and the packages come from and lie: the cache, the archive, the layers. No network is needed."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from launcher import LauncherError
from launcher.cache import Cache, cache_root
from launcher.comfyui import Archive, own_comfyui, pinned_comfyui, unpack
from launcher.environment import require_space
from launcher.pip import explain

ROOT = Path(__file__).parents[2]
NAME = "packages-test-0123456789ab"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def write_hello(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "hello.txt").write_text("hello")


def must_not_build(folder: Path) -> None:
    raise AssertionError("built although it was there")


class TestCache:
    def test_builds_once(self, cache) -> None:
        first = cache.folder(NAME, write_hello)
        assert (first / "sub" / "hello.txt").read_text() == "hello"
        assert cache.folder(NAME, must_not_build) == first

    @pytest.mark.parametrize(
        "damage",
        [
            lambda file: file.unlink(),
            lambda file: file.write_text("hel"),
            lambda file: (file.unlink(), file.parent.rmdir()),
        ],
        ids=["file lost", "file cut short", "folder lost"],
    )
    def test_builds_anew_what_is_damaged(self, cache, damage) -> None:
        first = cache.folder(NAME, write_hello)
        damage(first / "sub" / "hello.txt")
        second = cache.folder(NAME, write_hello)
        assert (second / "sub" / "hello.txt").read_text() == "hello"
        assert not first.exists()

    def test_files_added_later_are_no_damage(self, cache) -> None:
        folder = cache.folder(NAME, write_hello)
        (folder / "__pycache__").mkdir()
        (folder / "more.txt").write_text("more")
        assert cache.folder(NAME, must_not_build) == folder

    def test_a_link_that_points_nowhere_is_damage(self, cache, tmp_path) -> None:
        """Such as the interpreter of a virtual environment whose Python has been uninstalled."""
        target = tmp_path / "python"
        target.write_text("1")
        first = cache.folder(NAME, lambda folder: (folder / "python").symlink_to(target))
        target.write_text("an update is no damage")
        assert cache.folder(NAME, must_not_build) == first
        target.unlink()
        assert cache.folder(NAME, write_hello) != first

    def test_nothing_remains_of_a_failed_build(self, cache) -> None:
        def fail(folder: Path) -> None:
            write_hello(folder)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.folder(NAME, fail)
        assert [path.name for path in cache.root.iterdir()] == ["lock"]
        assert cache.folder(NAME, write_hello).is_dir()

    @pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
    def test_a_killed_build_is_swept_away_by_the_next(self, cache) -> None:
        killed = subprocess.run([sys.executable, "-c", BUILDER, cache.root, NAME, "die"], cwd=ROOT, check=False)
        assert killed.returncode == -signal.SIGKILL
        (torn,) = cache.root.glob(NAME + "-*")
        cache.folder(NAME, write_hello)
        assert not torn.exists()

    def test_two_runs_at_once_build_once(self, cache) -> None:
        command = [sys.executable, "-c", BUILDER, cache.root, NAME, "work"]
        runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [run.communicate(timeout=120)[0] for run in runs]
        assert sum("built" in output for output in outputs) == 1
        assert sum("Another run is setting up" in output for output in outputs) == 1
        assert len({output.splitlines()[-1] for output in outputs}) == 1

    def test_never_deletes_what_is_not_its_own(self, cache) -> None:
        for name in ("holiday", "packages-of-mine", "comfyui-backup"):
            (cache.root / name).mkdir(parents=True)
        cache.folder(NAME, write_hello)
        assert all((cache.root / name).is_dir() for name in ("holiday", "packages-of-mine", "comfyui-backup"))

    def test_finds_older_folders_of_the_same_kind(self, cache) -> None:
        older = cache.folder("packages-test-ba9876543210", write_hello)
        cache.folder("comfyui-test-ba9876543210", write_hello)
        cache.folder(NAME, write_hello)
        assert cache.older(NAME) == [older]

    def test_root_is_per_user_and_can_be_chosen(self, monkeypatch, tmp_path) -> None:
        monkeypatch.delenv("SKYCANVAS_CACHE", raising=False)
        if sys.platform == "linux":
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
            assert cache_root() == tmp_path / "skycanvas"
        monkeypatch.setenv("SKYCANVAS_CACHE", str(tmp_path / "there"))
        assert cache_root() == tmp_path / "there"


BUILDER = """
import os, pathlib, signal, sys, time
from launcher.cache import Cache

def build(folder):
    (folder / "half.txt").write_text("half")
    if sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1)
    print("built")

print(Cache(pathlib.Path(sys.argv[1])).folder(sys.argv[2], build))
"""


def make_archive(path: Path, members: dict[str, str], link: str | None = None) -> Archive:
    """Write a source archive with the text files `members` below its top folder; return its description."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(f"demo_project-1.0/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        if link:
            member = tarfile.TarInfo(f"demo_project-1.0/{link}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return Archive("demo-project", "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), "vendor/ComfyUI")


# A build backend inside the archive, so that pip learns its metadata without an index.
BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(directory, settings=None):
    info = pathlib.Path(directory) / "demo_project-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: demo-project\\nVersion: 1.0\\n")
    return info.name
"""
MEMBERS = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": BACKEND,
    "PKG-INFO": "Metadata-Version: 2.1\nName: demo-project\nVersion: 1.0\n",
    "other/main.py": "not this one",
    "vendor/ComfyUI/main.py": "print('main')",
    "vendor/ComfyUI/comfyui_version.py": '__version__ = "0.30.0"',
    "vendor/ComfyUI/comfy/cli_args.py": "",
}


class TestArchive:
    def test_is_fetched_by_pip_checked_and_unpacked_once(self, cache, tmp_path, monkeypatch) -> None:
        archive = make_archive(tmp_path / "demo_project-1.0.tar.gz", MEMBERS)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        comfyui = pinned_comfyui(cache, archive)
        files = sorted(path.relative_to(comfyui).as_posix() for path in comfyui.rglob("*") if path.is_file())
        assert files == ["comfy/cli_args.py", "comfyui_version.py", "main.py"]
        assert [path.name for path in comfyui.parent.iterdir()] == ["ComfyUI"]
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
        assert pinned_comfyui(cache, archive) == comfyui

    def test_with_a_wrong_checksum_is_not_unpacked(self, tmp_path) -> None:
        archive = make_archive(tmp_path / "a.tar.gz", MEMBERS)
        (tmp_path / "a.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes() + b"\0")
        with pytest.raises(LauncherError, match=rf"checksum of a.tar.gz is wrong .*expected {archive.sha256}"):
            unpack(tmp_path / "a.tar.gz", archive, tmp_path / "target")
        assert not (tmp_path / "target").exists()

    @pytest.mark.parametrize("name", ["vendor/ComfyUI/../../../evil.py", "vendor/ComfyUI/a/../../evil.py"])
    def test_cannot_write_elsewhere(self, tmp_path, name) -> None:
        archive = make_archive(tmp_path / "a.tar.gz", {name: "evil"})
        with pytest.raises(LauncherError, match="no plain file of ComfyUI"):
            unpack(tmp_path / "a.tar.gz", archive, tmp_path / "target")
        assert not list(tmp_path.rglob("evil.py"))

    def test_cannot_bring_links(self, tmp_path) -> None:
        archive = make_archive(tmp_path / "a.tar.gz", {}, link="vendor/ComfyUI/models")
        with pytest.raises(LauncherError, match="no plain file of ComfyUI"):
            unpack(tmp_path / "a.tar.gz", archive, tmp_path / "target")


class TestOwnComfyUI:
    @pytest.fixture(autouse=True)
    def no_choice(self, monkeypatch) -> None:
        monkeypatch.delenv("COMFYUI_PATH", raising=False)

    def test_named_by_the_variable(self, make_comfyui, tmp_path, monkeypatch) -> None:
        comfyui = make_comfyui("")
        monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
        assert own_comfyui(tmp_path / "pack") == comfyui

    def test_around_the_pack(self, make_comfyui) -> None:
        comfyui = make_comfyui("")
        assert own_comfyui(comfyui / "custom_nodes" / "SkyCanvas") == comfyui

    def test_the_variable_comes_first(self, make_comfyui, monkeypatch) -> None:
        around, named = make_comfyui("", "around"), make_comfyui("", "named")
        monkeypatch.setenv("COMFYUI_PATH", str(named))
        assert own_comfyui(around / "custom_nodes" / "SkyCanvas") == named

    def test_neither(self, tmp_path) -> None:
        assert own_comfyui(tmp_path / "pack") is None
        assert own_comfyui(tmp_path / "custom_nodes" / "pack") is None


class TestDisk:
    def test_too_little_space_is_noticed_before_the_installation(self, tmp_path) -> None:
        with pytest.raises(LauncherError, match=r"1000000 GiB are needed .* GiB are free: .*SKYCANVAS_CACHE"):
            require_space(tmp_path, 1e6)

    def test_pip_running_out_of_space_is_understood(self, tmp_path) -> None:
        output = [
            "Collecting torch",
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        ]
        assert "is full: free some space" in str(explain(output, tmp_path))
