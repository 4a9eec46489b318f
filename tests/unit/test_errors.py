"""What Python says of a canvas and its media is said in Chinese and Japanese by web/errors.js."""

import ast
import itertools
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from canvas.canvas import Canvas
from canvas.compile import compile_canvas
from canvas.cost import Cost
from canvas.document import Box, CanvasError, Document

ROOT = Path(__file__).parents[2]
LOCALES = ("zh", "ja")
CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
FACTS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|-?\d+(?:\.\d+)?")
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="web/errors.js runs in Node.js 20 or later: node is not installed")

# Where errors come from that reach the editor or the clip player: all that the routes and the nodes raise.
SOURCES = [
    *(ROOT / "canvas" / f"{name}.py" for name in ("document", "canvas", "compile", "grid", "layers", "sound")),
    *(ROOT / "nodes" / f"{name}.py" for name in ("editor", "files", "routes", "view")),
]
# Values by the expression that makes them, in one file or in all, where a number would not do.
VALUES = {
    "is_a": "a clip without sound",
    "WORDS[kind]": "a picture",
    "listed(kinds)": "image, clip",
    "listed(ROUTINGS)": "auto, concat, in_context",
    "form": "4n+1",
    "_nearest(frames, self.temporal, offset)": "use 29 or 33",
    "_nearest(pixels, step)": "use 96 or 112",
    "allowed": "1 or 17",
    "side": "wide",
    "between": "1 to 8",
    "given": "is 'abc'",
    "connected": "connected: image_0, image_1",
    "error.msg": "Expecting value",
    "fitting": "1, 2, 4",
    "audio_name": "source_audio",
    "view.py: name": "images",
    "view.py: held": "3 clips",
    "view.py: allowed": "one sound for all, or 3",
    "', '.join(map(str, LAYOUTS))": "1, 2, 6",
    "place": "line 1, column 2",
    "list(images.shape)": "[1, 2, 3]",
    "list(mask.shape)": "[1, 2, 3]",
    "list(waveform.shape)": "[1, 2, 3]",
    "list(tensor.shape)": "[1, 2, 3]",
    "tensor.dtype": "torch.int64",
    "where": " from 3 s on",
    "grid.py: name": "width",
    "canvas.py: name": "mask",
    "at": 'media "a"',
    "origin": " (from a.png)",
}


def translated(texts):
    """What web/errors.js makes of them: for each locale, one text for each."""
    script = """
        import { readFileSync } from "node:fs";
        import { translated } from "./web/errors.js";
        const { texts, locales } = JSON.parse(readFileSync(0, "utf8"));
        console.log(JSON.stringify(locales.map((locale) => texts.map((text) => translated(text, locale)))));
    """
    result = subprocess.run(
        [NODE, "--input-type=module", "--eval", script],
        cwd=ROOT,
        input=json.dumps({"texts": texts, "locales": LOCALES}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-5_000:]
    return json.loads(result.stdout)


def check(texts, facts=FACTS):
    """Every text is translated into every language, with all its numbers and names."""
    for language in translated(texts):
        for text, said in zip(texts, language, strict=True):
            assert said != text and CJK.search(said), text
            missing = Counter(facts.findall(text)) - Counter(facts.findall(said))
            assert not missing, (text, said, missing)


def test_every_bad_document():
    texts = []
    for vector in json.loads((ROOT / "tests" / "vectors" / "canvas" / "bad.json").read_text("utf-8")):
        with pytest.raises(CanvasError) as raised:
            given = vector["input"]
            Document.parse(given if isinstance(given, str) else json.dumps(given))
        texts.append(str(raised.value))
    check(texts)


def samples(node, file):
    """What an f-string may say: a number for each value, both branches of each condition."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.BinOp):
        return ["".join(parts) for parts in itertools.product(samples(node.left, file), samples(node.right, file))]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*(samples(value, file) for value in node.values))]
    if isinstance(node, ast.IfExp):
        return samples(node.body, file) + samples(node.orelse, file)
    if isinstance(node, ast.FormattedValue):
        if isinstance(node.value, ast.IfExp):
            return samples(node.value, file)
        source = ast.unparse(node.value)
        if source == "error":  # another of ours, behind the name of its media
            return ["width is 0: use 1 or more"]
        if source.endswith("kind"):
            return ["clip"]
        return [VALUES.get(f"{file}: {source}", VALUES.get(source, "7"))]
    raise TypeError(ast.dump(node))


def messages(path, function=None):
    """Samples of every error text in a file, or in one function of it."""
    tree = ast.parse(path.read_text("utf-8"))
    if function is not None:
        (tree,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("CanvasError", "MediaError", "LargeError", "MissingError", "ValueError")
        ):
            (text,) = node.args
            if isinstance(text, ast.JoinedStr | ast.Constant | ast.BinOp):
                yield from samples(text, path.name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_error_of_a_file(path):
    found = list(messages(path))
    assert found
    # those about one value are said behind it
    texts = [f'media.a.file is "b": {text}' if text.startswith("use ") else text for text in found]
    check(texts)


def test_every_error_of_a_sound_that_is_played():
    """'View Clip' writes it with what streams to a file."""
    found = list(messages(ROOT / "nodes" / "streaming.py", "check_sound"))
    assert len(found) == 2
    check(found)


def notes_and_report(canvas):
    plan = compile_canvas(canvas)
    return [note.text for note in plan.notes], plan.report()


def test_notes_and_reports():
    torch = pytest.importorskip("torch")
    canvas = Canvas.new(64, 64, 17, 16.0)
    picture, clip = torch.full((1, 20, 20, 3), 0.7), torch.full((9, 16, 16, 3), 0.7)
    half = torch.full((1, 20, 20), 0.5)
    sound = torch.full((3, 8000), 0.1)
    box = Box(x=-6, y=5, width=20, height=20)
    full = canvas.place_clip(torch.full((17, 64, 64, 3), 0.7), 16.0)
    varied = [
        canvas,
        canvas.place_image(picture, box=box, frames=3, frame=2),
        canvas.place_image(picture, box=box, alpha=half, frames=2).place_image(picture, box=box, frames=1),
        canvas.place_image(picture, box=box, alpha=half * 0),
        canvas.place_clip(clip, 8.0, box=Box(x=0, y=0, width=16, height=16)),
        canvas.place_clip(clip, 24.0, box=Box(x=0, y=0, width=16, height=16)),
        full,
        full.place_image(picture, box=box, frame=4, frames=2).place_image(picture, box=box, frame=4, frames=2),
        full.region_box("generate", Box(x=8, y=8, width=3, height=30), frame=5, frames=2),
        full.region_box("generate", Box(x=8, y=8, width=16, height=16), frame=0, frames=17),
        canvas.region_box("generate", Box(x=8, y=8, width=16, height=16)),
        canvas.region_box("keep", Box(x=8, y=8, width=16, height=16)),
        canvas.region_sound("generate", 0.2, 0.3),
        canvas.region_sound("keep", 0.2, 0.3),
        canvas.place_sound(sound, 8000),
        canvas.place_sound(sound, 44100, time=1.0, duration=0.15),
        canvas.place_sound(sound, 8000).region_sound("generate", 0.21, 0.3),
        canvas.reference(picture, kind="image", tag="@image_1"),
        canvas.reference(torch.full((9, 10, 20, 3), 0.5), kind="clip", fps=24.0, tag="@video_1"),
        canvas.reference(torch.full((17, 10, 20, 3), 0.5), kind="clip", fps=16.0),
    ]
    found = [notes_and_report(canvas) for canvas in varied]
    notes = sorted({note for notes, _ in found for note in notes})
    assert len(notes) > 20
    check(notes, re.compile(r"@\w+|\d+(?:\.\d+)?", re.ASCII))
    lines = sorted({line for _, report in found for line in report.split("\n")})
    check(lines, re.compile(r"@\w+|\d+(?:\.\d+)?", re.ASCII))


@pytest.mark.parametrize("seconds", [None, 0.4, 37.0, 720.0, 12_600.0])
def test_cost(seconds):
    cost = Cost(80, 18, 16, 32, 5, 10**9, 2**30, seconds)
    check([cost.text(), f"Cost of 30 steps with guidance: {cost.text()}"])
