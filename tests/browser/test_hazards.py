"""What goes wrong around the canvas editor: it is told in plain words, and nothing is lost."""

import json
import shutil
import struct

import pytest
from browser_tools import CanvasEditor, ClipView, ComfyPage, canonical, settled, wait_until
from media_files import clip_file
from server_tools import ROOT

EXAMPLES = ROOT / "example_media"
classic = pytest.mark.parametrize("page", ["classic"], indirect=True)
classic_and_vue = pytest.mark.parametrize("page", ["classic", "vue"], indirect=True)
EMPTY = {
    "format": "skycanvas", "version": 2, "width": 64, "height": 64, "frames": 17, "fps": 16,
    "media": {}, "placements": [], "sounds": [], "regions": [], "references": [],
}  # fmt: skip
BOX = {"x": 16, "y": 16, "width": 24, "height": 24}
REGION = {"kind": "box", "id": "region_1", "action": "generate", "frame": 0, "frames": 17, "box": BOX, "path": []}
ONE = EMPTY | {"regions": [REGION]}
MIDDLE = (28, 28)  # of the box
HUGE = 2**32  # bytes
FOREIGN = {
    "another program's": ('{"format":"tldraw","version":2}', 'format is "tldraw": use "skycanvas"'),
    "newer": (canonical(EMPTY | {"version": 99}), "version is 99"),
    "any JSON": ('{"nodes": [1, 2.50, {"\\u00e9": null}] }', "format is missing"),
    "5 MB": ('{"format":"skycanvas","version":2,"notes":"' + 5_000_000 * "x" + '"}', "at most 4194304"),
}


@pytest.fixture
def hazard(comfy):
    """The page, in whose console the browser may tell that a request has failed: the tests are about that."""
    comfy.foreseen = ("Failed to load resource", "PromptExecutionError")
    return comfy


@pytest.fixture
def inputs(server):
    """ComfyUI's input folder; what a test puts there is gone after it."""
    folder = server.base_directory / "input"
    before = set(folder.rglob("*"))
    yield folder
    for path in set(folder.rglob("*")) - before:
        if path.is_file():
            path.unlink()


def with_picture(file: str) -> dict:
    """A canvas with a picture of 64 x 64 pixels, and a region before it."""
    media = {"kind": "image", "width": 64, "height": 64, "file": file}
    empty = dict.fromkeys(("frames", "fps", "samples", "sample_rate", "channels", "input"))
    placement = {
        "id": "placement_1", "media": file, "frame": 0, "frames": 1, "box": BOX, "path": [], "fit": "cover",
        "alpha": None, "role": "keep", "start": 0,
    }  # fmt: skip
    return ONE | {"media": {file: empty | media}, "placements": [placement]}


def editor_and_preview(comfy, document: dict | str | None = None) -> CanvasEditor:
    """A canvas that can be run, without any model."""
    comfy.clear()
    editor = CanvasEditor(comfy, document)
    comfy.connect(editor.node, 0, comfy.add("SkyCanvasPreview", 800), "canvas")
    return editor


def value_in(workflow: dict) -> str:
    """The text of the only editor of a workflow."""
    (node,) = (node for node in workflow["nodes"] if node["type"] == "SkyCanvasEditor")
    (value,) = node["widgets_values"]
    return value


@pytest.fixture(scope="module")
def neighbour(browser, server):
    """A second browser on the same server."""
    page = ComfyPage(browser, server)
    yield page
    assert not page.problems
    page.close()


@classic
def test_media_that_vanished(hazard, inputs):
    lost, other = (inputs / name for name in ("lost.png", "other.png"))
    for file in (lost, other):
        shutil.copy(EXAMPLES / "yellow_square.png", file)
    editor = editor_and_preview(hazard, with_picture(lost.name))
    text, workflow = editor.text, hazard.saved()
    lost.unlink()
    hazard.open(workflow)
    reason = "lost.png is not in ComfyUI's input folder: put it there, or choose another file"
    editor.root.get_by_text(reason).first.wait_for()
    assert reason in hazard.refusal()
    assert editor.text == text == value_in(hazard.saved())

    editor.root.get_by_role("button", name="Choose another file for it").click()
    editor.root.get_by_role("option", name=other.name).click()
    document = editor.wait_for(lambda document: document["media"][lost.name]["file"] == other.name)
    assert document == with_picture(lost.name) | {"media": document["media"]}
    hazard.run()

    other.unlink()  # while it is on the screen
    assert other.name in hazard.refusal()
    editor.root.get_by_text(reason.replace(lost.name, other.name)).first.wait_for()
    assert editor.document == document


@classic
def test_video_of_4_gb(hazard, inputs):
    file = clip_file(inputs / "huge.mp4", size=(64, 64), codec="h264", pixels="yuv420p")
    size = file.stat().st_size
    with open(file, "ab") as video:  # a box of nothing: the file stays a valid one, and takes no place on the disk
        video.write(struct.pack(">I4sQ", 1, b"free", HUGE - size))
        video.truncate(HUGE)
    editor = editor_and_preview(hazard)
    requests = []
    hazard.page.on("requestfinished", lambda request: requests.append(request))
    editor.root.get_by_role("button", name="Input folder").first.click()
    editor.root.get_by_role("option", name=file.name).click()
    document = editor.wait_for(lambda document: document["placements"])
    assert document["media"][file.name]["frames"] == 17
    editor.drag((32, 32), (40, 32))
    editor.wait_for(lambda document: document["placements"][0]["box"]["x"] > 0)
    hazard.run()
    asked = [request for request in requests if file.name in request.url]
    assert asked and sum(request.sizes()["responseBodySize"] for request in asked) < 2**20


@classic
def test_file_that_is_no_media(hazard, inputs, tmp_path):
    notes = tmp_path / "notes.png"
    notes.write_text("a shopping list", encoding="utf-8")
    hazard.clear()
    editor = CanvasEditor(hazard, ONE)
    editor.drag(MIDDLE, (36, 20))
    moved = editor.text
    editor.drop(notes, 20, 30)
    message = editor.root.get_by_role("alert").get_by_text("notes.png was not added")
    message.wait_for()
    assert "notes.png is no picture" in message.inner_text()
    assert editor.text == moved
    hazard.command("Comfy.Undo")
    editor.wait_for(lambda document: document == ONE)


@classic
@pytest.mark.parametrize("text, reason", FOREIGN.values(), ids=FOREIGN)
def test_foreign_text_is_kept_and_named(hazard, inputs, text, reason):
    editor = editor_and_preview(hazard)
    workflow = hazard.saved()
    workflow["nodes"][0]["widgets_values"] = [text]
    hazard.open(workflow)
    alert = editor.root.get_by_role("alert").get_by_text("This canvas cannot be read")
    alert.wait_for()
    sent: list[str] = []
    hazard.page.route("**/upload/image", lambda route: sent.append(route.request.url) or route.continue_())
    stage = editor.root.get_by_role("application").bounding_box()
    left, top = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    for button in editor.root.get_by_role("button").all():
        if button.is_visible() and button.is_enabled() and button.get_attribute("aria-label") != "Full screen":
            button.click()
    editor.root.get_by_role("application").focus()
    hazard.page.keyboard.press("r")  # as one draws a region
    hazard.drag((left, top), (left + 40, top + 40))
    editor.root.locator("input[type=file]").first.set_input_files(EXAMPLES / "yellow_square.png")
    editor.root.locator(".skycanvas-notices").get_by_text(reason).wait_for()
    assert reason in hazard.refusal()
    assert value_in(hazard.saved()) == text and not sent
    hazard.page.unroute("**/upload/image")
    assert alert.is_visible()


@classic
@pytest.mark.parametrize(
    "answer, reason",
    [
        (413, "larger than this server takes as an upload. Copy it into ComfyUI's input folder and choose it there"),
        (500, "ComfyUI did not take it (status 500)"),
        (None, "the connection is lost. Is it still running?"),
    ],
    ids=["413", "500", "connection lost"],
)
def test_upload_that_is_refused(hazard, answer, reason):
    hazard.clear()
    editor = CanvasEditor(hazard, ONE)
    text = editor.text
    uploads = "**/upload/image"
    hazard.page.route(uploads, lambda route: route.fulfill(status=answer) if answer else route.abort())
    editor.drop(EXAMPLES / "yellow_square.png", 20, 30)
    message = editor.root.get_by_role("alert").get_by_text("yellow_square.png was not added")
    message.wait_for()
    assert reason in message.inner_text() and editor.text == text
    editor.root.get_by_role("button", name="Paint a mask").click()
    editor.drag((8, 48), (24, 56))
    editor.root.get_by_role("alert").get_by_text("The mask is not saved yet").wait_for()
    assert editor.text == text
    hazard.page.unroute(uploads)
    editor.drag((48, 20), (56, 28))  # the stroke before is still there
    *_, region = editor.wait_for(lambda document: len(document["regions"]) == 2)["regions"]
    assert region["box"]["x"] < 16 and region["box"]["x"] + region["box"]["width"] > 48


@classic
def test_two_browsers_do_not_meet(hazard, neighbour):
    mine = editor_and_preview(hazard, ONE)
    (preview,) = (node["id"] for node in hazard.saved()["nodes"] if node["type"] == "SkyCanvasPreview")
    hazard.connect(preview, 0, hazard.add("SkyCanvasView", 1100), "images")
    neighbour.open(hazard.saved())
    theirs = CanvasEditor(neighbour, node=mine.node)
    assert theirs.text == mine.text
    mine.drag(MIDDLE, (36, 28))
    theirs.drag(MIDDLE, (20, 28))
    texts = [editor.text for editor in (mine, theirs)]
    assert texts == [canonical(ONE | {"regions": [REGION | {"box": BOX | {"x": x}}]}) for x in (24, 8)]

    queued = [(editor, editor.comfy.queue()) for editor in (mine, theirs)]
    entries = [editor.comfy.finish(prompt) for editor, prompt in queued]
    files = []
    for editor, entry in zip((mine, theirs), entries, strict=True):
        assert entry["prompt"][2][str(editor.node)]["inputs"]["document"] == editor.text
        (told,) = (output["skycanvas_view"][0] for output in entry["outputs"].values() if "skycanvas_view" in output)
        files.append(told["clips"][0]["video"]["filename"])
    assert files[0] != files[1]
    for editor, file in zip((mine, theirs), files, strict=True):
        player = ClipView(editor.comfy)
        wait_until(editor.page, lambda player=player, file=file: player.video("result")["file"] == file)
    assert [editor.text for editor in (mine, theirs)] == texts


@classic
def test_reload_in_the_middle_of_an_edit(comfy, neighbour):
    """ComfyUI keeps drafts of workflows in the browser, soon after each change."""
    neighbour.setting("Comfy.Workflow.Persist", True)
    neighbour.clear()
    editor = CanvasEditor(neighbour, ONE)
    editor.drag(MIDDLE, (36, 20))
    moved = editor.text
    assert moved != canonical(ONE)
    neighbour.page.wait_for_function(KEPT, arg=json.dumps(moved)[1:-1])
    neighbour.page.mouse.move(*editor.point(36, 20))
    neighbour.page.mouse.down()
    neighbour.page.mouse.move(*editor.point(50, 50), steps=3)
    neighbour.refresh()
    neighbour.page.mouse.up()
    settled(editor.root)
    assert editor.text == moved == value_in(neighbour.saved())
    editor.drag((36, 20), (40, 20))
    assert editor.document["regions"][0]["box"] == BOX | {"x": 28, "y": 8}
    neighbour.setting("Comfy.Workflow.Persist", False)


# A draft lies there as text, maybe inside of another text.
KEPT = """text => Object.values({ ...localStorage, ...sessionStorage }).some((draft) =>
  [text, JSON.stringify(text).slice(1, -1)].some((written) => draft.includes(written)))"""


@classic_and_vue
def test_editor_in_a_subgraph(comfy):
    editor = editor_and_preview(comfy, ONE)
    comfy.select(editor.node)
    comfy.command("Comfy.Graph.ConvertToSubgraph")
    comfy.enter_subgraph()
    settled(editor.root)
    editor.drag(MIDDLE, (36, 20))
    moved = ONE | {"regions": [REGION | {"box": BOX | {"x": 24, "y": 8}}]}
    assert editor.document == moved
    comfy.page.keyboard.press("Control+z")
    editor.wait_for(lambda document: document == ONE)
    editor.root.get_by_role("application").focus()
    comfy.page.keyboard.press("Control+y")
    editor.wait_for(lambda document: document == moved)

    saved = comfy.saved()
    comfy.open(saved)
    (document,) = (node["inputs"]["document"] for node in comfy.prompt().values() if "document" in node["inputs"])
    assert document == canonical(moved)
    comfy.enter_subgraph()
    settled(editor.root)
    assert editor.text == canonical(moved) and editor.items().count() == 1
    entry = comfy.run()
    assert document in [node["inputs"].get("document") for node in entry["prompt"][2].values()]
