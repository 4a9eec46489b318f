"""The editor's document model in JavaScript: its own tests, and that it agrees with canvas/document.py."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from canvas.document import Document

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors" / "editor"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="the tests of web/ need Node.js 20: node is not installed")


def node(*arguments: str) -> str:
    result = subprocess.run(
        [NODE, *arguments], cwd=TESTS / "web", capture_output=True, text=True, encoding="utf-8", timeout=600
    )
    assert result.returncode == 0, f"{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    return result.stdout


def vectors(names: str):
    return [
        pytest.param(row, id=f"{path.stem}: {row['name']}")
        for path in sorted(VECTORS.glob(names))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]


@needs_node
def test_javascript():
    files = sorted(path.name for path in (TESTS / "web").glob("*.test.mjs"))
    assert {"document.test.mjs", "session.test.mjs"} <= set(files)
    node("--test", *files)


@needs_node
def test_python_reads_what_javascript_writes_and_writes_the_same():
    script = """
        import { canonical } from "../../web/editor/schema.js";
        import { editedDocuments } from "./random_documents.mjs";
        for (const document of editedDocuments(400, 10_000)) console.log(canonical(document));
    """
    texts = node("--input-type=module", "--eval", script).splitlines()
    assert len(texts) == 400
    assert [Document.parse(text).json() for text in texts] == texts


@needs_node
def test_boxes_of_both_are_the_same_at_every_frame():
    script = """
        import { itemsOf } from "../../web/editor/document.js";
        import { boxAt, canonical } from "../../web/editor/schema.js";
        import { editedDocuments } from "./random_documents.mjs";
        for (const document of editedDocuments(200, 20_000)) {
          const moving = itemsOf(document).filter((item) => "box" in item);
          const frames = (item) => Array.from({ length: item.frames }, (_, i) => item.frame + i);
          const boxes = moving.map((item) => frames(item).map((frame) => boxAt(item, frame)));
          console.log(JSON.stringify([canonical(document), boxes]));
        }
    """
    seen = 0
    for line in node("--input-type=module", "--eval", script).splitlines():
        text, boxes = json.loads(line)
        document = Document.parse(text)
        moving = [item for item in (*document.placements, *document.regions) if hasattr(item, "box")]
        for item, expected in zip(moving, boxes, strict=True):
            frames = range(item.frame, item.frame + item.frames)
            assert [dict(item.box_at(frame)) for frame in frames] == expected
            seen += len(item.path) > 0
    assert seen > 100


@pytest.mark.parametrize("vector", vectors("*.json"))
def test_documents_of_the_vectors_are_canvases(vector):
    for value in (vector["document"], vector.get("result")):
        if isinstance(value, dict) and "format" in value:
            text = Document.parse(json.dumps(value)).json()
            assert Document.parse(text).json() == text
    if vector.get("operation") == "copy":
        assert Document.parse(vector["result"]).json() == vector["result"]


@pytest.mark.parametrize("vector", vectors("boxes.json"))
def test_box_at(vector):
    (placement,) = Document.parse(json.dumps(vector["document"])).placements
    frames = range(placement.frame, placement.frame + placement.frames)
    assert [list(dict(placement.box_at(frame)).values()) for frame in frames] == vector["boxes"]
