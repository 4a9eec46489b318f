"""Safetensors files, with errors that say what is wrong with which file."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor


def check_complete(path: Path) -> None:
    """Raises FileNotFoundError, or ValueError if `path` is no safetensors file or not whole (says its sizes).

    A safetensors file is 8 bytes (length n of the header), n bytes of JSON, then the tensors that it lists.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"{path.name} is no safetensors file: models of SkyCanvas are loaded from *.safetensors alone")
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing from {path.parent}: install the model file again")
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = file.read(header_size) if header_size < size else b""
    if len(header) < header_size:
        raise ValueError(
            f"{path.name} is broken: it has {size} bytes, its header alone {8 + header_size}. "
            "Download or copy it again."
        )
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        expected = 8 + header_size + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} ({size} bytes) is no safetensors file: its header cannot be read") from error
    if size != expected:
        raise ValueError(
            f"{path.name} is broken: it has {size} bytes instead of {expected}. Download or copy it again."
        )


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises as `check_complete` does."""
    check_complete(Path(path))
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
