"""What ComfyUI sees of the pack when it starts."""

import inspect
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_brings_no_package_that_comfyui_has_not_loaded(pack):
    """What keeps ComfyUI's start short; `benchmarks.start` measures it."""
    assert pack.new_packages <= {"skycanvas", "comfy", "comfy_extras"}


def test_ids_are_ours_and_documented(pack):
    schemas = [node.GET_SCHEMA() for node in pack.nodes]
    ids = [schema.node_id for schema in schemas]
    assert len(set(ids)) == len(ids) and all(name.startswith("SkyCanvas") for name in ids)
    assert set(ids) == {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}


def test_execute_takes_what_the_schema_offers(pack):
    for node in pack.nodes:
        signature, offered = inspect.signature(node.execute), {entry.id for entry in node.GET_SCHEMA().inputs}
        signature.bind(**dict.fromkeys(offered))  # TypeError: an input is not taken, or something else is needed
        named = {name for name, parameter in signature.parameters.items() if parameter.kind != parameter.VAR_KEYWORD}
        assert named <= offered, node.__name__


def test_docs_name_every_input_that_an_artist_chooses(pack):
    for node in pack.nodes:
        schema = node.GET_SCHEMA()
        text = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text(encoding="utf-8")
        for entry in schema.inputs:
            if entry.io_type in ("INT", "FLOAT", "COMBO"):
                assert re.search(rf"\b{entry.id}\b", text), f"{schema.node_id}: {entry.id}"
