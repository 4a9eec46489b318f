"""How long ComfyUI waits for the pack when it starts: `python3 run.py python -m benchmarks.start`.

Processor time of importing the pack up to the list of its nodes, each time in a fresh interpreter that has loaded
ComfyUI before: with what Python has compiled already, and the very first time, when it compiles every file.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMES = 5
LOAD = """
import asyncio, importlib.util, os, sys, time
sys.path.insert(0, os.environ["COMFYUI_PATH"])
from comfy.cli_args import args
args.cpu = True
import comfy.sd, comfy_api.latest, server, nodes
if sys.argv[2:]:
    sys.pycache_prefix = sys.argv[2]
start = time.process_time()
place = sys.argv[1]
spec = importlib.util.spec_from_file_location("skycanvas", place + "/__init__.py", submodule_search_locations=[place])
package = sys.modules["skycanvas"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)

async def nodes_of_the_pack():
    return await (await package.comfy_entrypoint()).get_node_list()

asyncio.run(nodes_of_the_pack())
print("seconds", time.process_time() - start)
"""


def seconds(compiled: str | None = None) -> float:
    """Processor seconds of one start. compiled: an empty folder to compile into, None: as it is."""
    arguments = [sys.executable, "-c", LOAD, str(ROOT), *([] if compiled is None else [compiled])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    output = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(output.rpartition("seconds ")[2])


def main() -> None:
    if not os.environ.get("COMFYUI_PATH"):
        sys.exit("COMFYUI_PATH names no ComfyUI: use `python3 run.py python -m benchmarks.start`, which sets it")
    seconds()  # Python compiles what has changed
    later, first = [seconds() for _ in range(TIMES)], []
    for _ in range(TIMES):
        with tempfile.TemporaryDirectory() as folder:
            first.append(seconds(folder))
    for name, values in (("later starts", later), ("first start", first)):
        print(f"{name}: median {statistics.median(values):.2f} s, {min(values):.2f} to {max(values):.2f} s")


if __name__ == "__main__":
    main()
