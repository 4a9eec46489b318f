"""The canvas editor in the browser: what each gesture does to the document, and what never happens to it."""

import pytest
from browser_tools import CanvasEditor, canonical
from server_tools import ROOT

pytestmark = pytest.mark.parametrize("page", ["classic", "vue"], indirect=True)
EXAMPLES = ROOT / "example_media"
EMPTY = {
    "format": "skycanvas", "version": 2, "width": 64, "height": 64, "frames": 17, "fps": 16,
    "media": {}, "placements": [], "sounds": [], "regions": [], "references": [],
}  # fmt: skip
BOX = {"x": 16, "y": 16, "width": 24, "height": 24}
REGION = {"kind": "box", "id": "region_1", "action": "generate", "frame": 0, "frames": 17, "box": BOX, "path": []}
ONE = EMPTY | {"regions": [REGION]}
MIDDLE = (28, 28)  # of the box
BROKEN = {
    "no JSON": "a canvas",
    "no object": "[1, 2]",
    "empty": "",
    "another program's": '{"format": "tldraw", "version": 2}',
    "newer": canonical(EMPTY | {"version": 99}),
    "impossible": canonical(EMPTY | {"width": -1}),
    "unknown media": canonical(EMPTY | {"references": [{"tag": "@image_1", "media": "nowhere"}]}),
}


@pytest.fixture
def editor(comfy):
    comfy.clear()
    return CanvasEditor(comfy, ONE)


def box_of(document: dict) -> dict:
    return document["regions"][0]["box"]


def test_drag_moves_the_item_and_not_the_node(comfy, editor):
    position = node(comfy, editor)["pos"]
    editor.drag(MIDDLE, (36, 20))
    assert editor.document == ONE | {"regions": [REGION | {"box": BOX | {"x": 24, "y": 8}}]}
    assert node(comfy, editor)["pos"] == position


def test_handle_resizes(editor):
    editor.drag(MIDDLE, MIDDLE)  # selects
    editor.drag((40, 40), (48, 44))
    assert box_of(editor.document) == BOX | {"width": 32, "height": 28}


def test_arrows_nudge(comfy, editor):
    editor.page.mouse.click(*editor.point(*MIDDLE))
    for keys in ("ArrowRight", "Shift+ArrowDown"):
        comfy.page.keyboard.press(keys)
    assert box_of(editor.document) == BOX | {"x": 17, "y": 24}


def test_delete_removes_the_item_and_not_the_node(comfy, editor):
    editor.page.mouse.click(*editor.point(*MIDDLE))
    comfy.page.keyboard.press("Delete")
    assert editor.document == EMPTY


def test_undo_and_redo_take_one_gesture(comfy, editor):
    editor.drag(MIDDLE, (36, 20))
    moved = editor.document
    assert box_of(moved)["x"] == 24
    comfy.page.keyboard.press("Control+z")
    editor.wait_for(lambda document: document == ONE)
    editor.root.get_by_role("application").focus()
    comfy.page.keyboard.press("Control+y")
    editor.wait_for(lambda document: document == moved)


def test_a_key_lets_it_move(comfy, editor):
    editor.page.mouse.click(*editor.point(*MIDDLE))
    comfy.page.keyboard.press("End")
    comfy.page.keyboard.press("k")
    editor.drag(MIDDLE, (36, 20))
    (region,) = editor.document["regions"]
    assert region["box"] == BOX and region["path"] == [{"at": 16, "box": BOX | {"x": 24, "y": 8}}]


def test_region_is_drawn(comfy, editor):
    editor.root.get_by_role("button", name="Draw a region").click()
    editor.drag((4.5, 4.5), (11.5, 9.5))
    _, region = editor.document["regions"]
    assert region["box"] == {"x": 4, "y": 4, "width": 8, "height": 6}


def test_painted_mask_is_a_file(comfy, editor):
    editor.root.get_by_role("button", name="Paint a mask").click()
    editor.drag((8, 48), (24, 56))
    document = editor.wait_for(lambda document: any(media["kind"] == "mask" for media in document["media"].values()))
    region = document["regions"][-1]
    file = document["media"][region["media"]]["file"]
    assert region["kind"] == "mask" and (comfy.server.base_directory / "input" / file).is_file()


def test_timeline_trims(editor):
    item = editor.items()
    place = item.bounding_box()
    frame = place["width"] / 17
    y = place["y"] + place["height"] / 2
    editor.comfy.drag((place["x"] + place["width"] - 2, y), (place["x"] + place["width"] - 2 - 5 * frame, y))
    (region,) = editor.document["regions"]
    assert region["frame"] == 0 and region["frames"] == 12


def test_keys_trim_at_the_playhead(comfy, editor):
    editor.page.mouse.click(*editor.point(*MIDDLE))
    for key in ("Home", ".", ".", ".", "[", ".", ".", "]"):
        comfy.page.keyboard.press(key)
    (region,) = editor.document["regions"]
    assert (region["frame"], region["frames"]) == (3, 3)


def test_dropped_picture_lies_where_it_was_dropped(comfy):
    comfy.clear()
    editor = CanvasEditor(comfy)
    editor.drop(EXAMPLES / "yellow_square.png", 20, 30)
    document = editor.wait_for(lambda document: document["placements"])
    (placement,) = document["placements"]
    media = document["media"][placement["media"]]
    assert media["kind"] == "image" and (comfy.server.base_directory / "input" / media["file"]).is_file()
    box = placement["box"]
    assert 0 <= box["x"] and box["x"] + box["width"] <= 64
    assert editor.items().count() == 1


def test_uploaded_clip_brings_its_sound(comfy):
    comfy.clear()
    editor = CanvasEditor(comfy)
    editor.root.locator("input[type=file]").first.set_input_files(EXAMPLES / "red_circle.mkv")
    document = editor.wait_for(lambda document: document["placements"] and document["sounds"])
    assert {media["kind"] for media in document["media"].values()} >= {"clip"}
    assert editor.items().count() == 2


def test_copy_and_paste(comfy, editor):
    editor.page.mouse.click(*editor.point(*MIDDLE))
    comfy.page.keyboard.press("Control+c")
    comfy.page.keyboard.press("Control+v")
    first, second = editor.wait_for(lambda document: len(document["regions"]) == 2)["regions"]
    assert first == REGION and second["id"] != first["id"] and second["box"] == BOX


def test_saved_workflow_has_the_same_document(comfy, editor):
    editor.drag(MIDDLE, (36, 20))
    text, saved = editor.text, comfy.saved()
    assert node(comfy, editor)["widgets_values"] == [text]
    comfy.reload(saved)
    assert editor.text == text and comfy.saved()["nodes"] == saved["nodes"]
    settled_items = editor.items()
    settled_items.first.wait_for()
    assert settled_items.count() == 1


def test_two_nodes_are_independent(comfy, editor):
    other = CanvasEditor(comfy, EMPTY | {"frames": 33}, x=900)
    comfy.view(0.7)
    editor.drag(MIDDLE, (36, 20))
    assert other.document == EMPTY | {"frames": 33} and box_of(editor.document)["x"] == 24


def test_wired_document_is_locked(comfy, editor):
    source = comfy.add("PrimitiveStringMultiline", x=-300)
    comfy.connect(source, 0, editor.node, "document")
    editor.root.get_by_text("A wire drives this canvas").wait_for()
    editor.drag(MIDDLE, (36, 20))
    assert editor.document == ONE


def test_full_screen(comfy, editor):
    editor.root.get_by_role("button", name="Full screen").click()
    dialog = comfy.page.get_by_role("dialog", name="Canvas editor")
    editor.drag(MIDDLE, (36, 20), within=dialog)
    assert box_of(editor.document) == BOX | {"x": 24, "y": 8}
    comfy.screenshot(f"editor-full-{comfy.vue_nodes}")
    dialog.get_by_role("button", name="Full screen").click()
    editor.root.get_by_role("application").wait_for()


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_document_is_shown_and_kept(comfy, text):
    comfy.clear()
    editor = CanvasEditor(comfy)
    workflow = comfy.saved()
    workflow["nodes"][0]["widgets_values"] = [text]
    comfy.open(workflow)
    editor.root.get_by_role("alert").get_by_text("This canvas cannot be read").wait_for()
    editor.root.get_by_role("application").focus()
    for key in ("ArrowRight", "Delete", "k", "Control+d"):
        comfy.page.keyboard.press(key)
    assert comfy.saved()["nodes"][0]["widgets_values"] == [text]
    assert comfy.prompt()[str(editor.node)]["inputs"]["document"] == text


def node(comfy, editor) -> dict:
    """The editor's node as it is saved."""
    return next(entry for entry in comfy.saved()["nodes"] if str(entry["id"]) == str(editor.node))
