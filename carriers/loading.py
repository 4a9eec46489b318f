"""Reading checkpoints, with errors that say what is wrong with which file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfy.utils
from torch import Tensor

from ..models.checkpoint import check_complete


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    ValueError if it is no safetensors file or not whole: names the file, its size and the size it must have.
    """
    check_complete(Path(path))
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
