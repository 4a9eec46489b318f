"""ComfyUI core in this process, and the pack as the package `skycanvas`, as ComfyUI loads it."""

import importlib.util
import sys
from pathlib import Path

from launcher.cache import Cache, cache_root
from launcher.comfyui import own_comfyui, pinned_comfyui

ROOT = Path(__file__).parents[2]
PACKAGE = "skycanvas"


def load(device: str, pytorch_attention: bool = True) -> None:
    """Makes `comfy` and `skycanvas` importable; the ComfyUI is the one that run.py runs.

    device: "cpu" leaves a GPU alone. pytorch_attention: as ComfyUI's --use-pytorch-cross-attention. Both take effect if
    nothing has imported ComfyUI before.
    """
    if "comfy" not in sys.modules:
        # First, because `nodes` is a module of both.
        sys.path.insert(0, str(own_comfyui(ROOT) or pinned_comfyui(Cache(cache_root()))))
        from comfy.cli_args import args

        args.cpu, args.use_pytorch_cross_attention = device == "cpu", pytorch_attention
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec and spec.loader
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
