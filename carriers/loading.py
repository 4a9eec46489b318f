"""Reading checkpoints, with errors that say what is wrong with which file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfy.utils
from torch import Tensor


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    ValueError if it is no safetensors file or not whole: names the file, its size and the size it must have.
    """
    _check_complete(Path(path))
    sd, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    return sd, metadata or {}


@contextmanager
def naming(path: str | Path, kind: str) -> Iterator[None]:
    """Puts the file's name before a ValueError about what is in it."""
    try:
        yield
    except ValueError as error:
        error.args = (f"{Path(path).name} cannot be loaded as {kind}: {error}",)
        raise


def _check_complete(path: Path) -> None:
    """A safetensors file is 8 bytes (length n of the header), n bytes of JSON, then the tensors it lists."""
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
