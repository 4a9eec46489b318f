"""The canvas editor in the browser: what each gesture does to the document, and what never happens to it."""

import json
import shutil
from contextlib import contextmanager

import pytest
from browser_tools import CanvasEditor, canonical, settled, wait_until
from playwright.sync_api import expect
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


def test_undo_keeps_the_focus_where_it_was(comfy, editor):
    """ComfyUI makes the node anew, and takes its element out of the page."""
    stage = editor.root.get_by_role("application")
    item = editor.root.locator("[data-id=region_1]")
    keep = editor.root.get_by_role("radio", name="Kept", exact=True)
    editor.drag(MIDDLE, (36, 20))
    for place in (stage, item, keep):
        for key, x in (("z", 16), ("y", 24)):
            place.focus()
            comfy.page.keyboard.press(f"Control+{key}")
            editor.wait_for(lambda document, x=x: box_of(document)["x"] == x)
            comfy.page.wait_for_timeout(700)  # ComfyUI has shown the node by then
            assert place.evaluate("element => element === document.activeElement"), (key, place)


def test_undo_leaves_the_focus_in_the_editor_where_its_place_is_gone(comfy, editor):
    editor.root.get_by_role("button", name="Draw a region").click()
    editor.drag((4, 4), (12, 12))
    editor.root.locator("[data-id=region_2]").focus()
    comfy.page.keyboard.press("Control+z")
    editor.wait_for(lambda document: len(document["regions"]) == 1)
    comfy.page.wait_for_timeout(700)
    comfy.page.keyboard.press("Control+a")
    comfy.page.keyboard.press("Delete")
    assert editor.document == EMPTY


def test_workflows_of_one_id_have_editors_of_their_own(comfy, editor):
    """Copies of a file share it; an editor belongs to one tab, and is still there when one comes back to it."""
    playhead = (
        "[...document.querySelectorAll('[role=slider]')].find((e) => e.isConnected && e.offsetParent).ariaValueNow"
    )
    comfy.page.keyboard.press("Escape")
    editor.root.get_by_role("application").focus()
    comfy.page.keyboard.press("End")
    workflow = comfy.saved()
    comfy.page.evaluate("text => probe.load(text)", json.dumps(workflow))
    settled(editor.root)
    assert comfy.page.evaluate(playhead) == "0"
    editor.drag(MIDDLE, (36, 20))
    comfy.command("Workspace.PreviousOpenedWorkflow")
    comfy.page.wait_for_function(f"{playhead} === '16'")
    assert editor.document == ONE
    comfy.command("Workspace.NextOpenedWorkflow")
    comfy.page.wait_for_function(f"{playhead} === '0'")
    assert box_of(editor.document)["x"] == 24


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


def test_a_stroke_is_as_wide_as_the_pen_presses(comfy, editor):
    editor.root.get_by_role("button", name="Paint a mask").click()
    pen = comfy.page.context.new_cdp_session(comfy.page)

    def height(y: int, pressure: float) -> int:
        before = len(editor.document["regions"])
        points = [editor.point(x, y) for x in (10, 30, 50)]
        for kind, (left, top) in zip(("mousePressed", "mouseMoved", "mouseReleased"), points, strict=True):
            where = {"type": kind, "x": left, "y": top, "button": "left", "buttons": 1, "clickCount": 1}
            pen.send("Input.dispatchMouseEvent", where | {"pointerType": "pen", "force": pressure})
        regions = editor.wait_for(lambda document: len(document["regions"]) > before)["regions"]
        for _ in range(2):  # the tool, then the selection: what follows is another mask, not more of this one
            comfy.page.keyboard.press("Escape")
        editor.root.get_by_role("button", name="Paint a mask").click()
        return regions[-1]["box"]["height"]

    soft, hard = height(12, 0.2), height(48, 1.0)
    assert hard >= 14 and 4 <= soft <= hard / 2


def test_picker_shows_folders_and_finds(comfy, editor):
    folder = comfy.server.base_directory / "input" / "shots" / "day 1"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLES / "yellow_square.png", folder / "square.png")
    editor.root.get_by_role("button", name="Add to the canvas").click()
    editor.root.get_by_role("dialog").get_by_role("button", name="Input folder").click()
    search = editor.root.get_by_role("searchbox")
    search.fill("no such file")
    editor.root.get_by_text("No file of that name").wait_for()
    search.fill("day 1/")
    found = editor.root.get_by_role("option", name="shots/day 1/square.png")
    found.wait_for()
    comfy.page.keyboard.press("ArrowDown")
    wait_until(comfy.page, lambda: found.evaluate("e => e === document.activeElement"))
    comfy.page.keyboard.press("Enter")
    document = editor.wait_for(lambda document: document["placements"])
    assert [media["file"] for media in document["media"].values()] == ["shots/day 1/square.png"]


def test_upload_that_is_cancelled_changes_nothing(comfy, editor):
    with held_upload(comfy, lambda route: None):
        editor.drop(EXAMPLES / "yellow_square.png", 20, 30)
        editor.root.get_by_text("Uploading yellow_square.png").wait_for()
        editor.root.get_by_role("button", name="Cancel").click()
        editor.root.get_by_text("The upload of yellow_square.png was cancelled.").wait_for()
        assert editor.root.get_by_role("progressbar").count() == 0
    assert editor.document == ONE


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda route: route.fulfill(status=413), "it is larger than this server takes as an upload"),
        (lambda route: route.fulfill(status=500, body="<html>"), "ComfyUI did not take it (status 500)"),
        (lambda route: route.abort(), "ComfyUI does not answer: the connection is lost"),
    ],
    ids=["413", "500", "lost"],
)
def test_upload_that_fails_changes_nothing(comfy, editor, answer, message):
    with held_upload(comfy, answer):
        editor.drop(EXAMPLES / "yellow_square.png", 20, 30)
        editor.root.get_by_role("alert").get_by_text(f"yellow_square.png was not added: {message}").wait_for()
    assert editor.document == ONE and editor.root.get_by_role("progressbar").count() == 0


def test_upload_that_is_too_large_is_not_sent(comfy, editor):
    with held_upload(comfy, lambda route: pytest.fail("it was sent")):
        comfy.page.evaluate("window.size = Object.getOwnPropertyDescriptor(Blob.prototype, 'size')")
        comfy.page.evaluate("Object.defineProperty(Blob.prototype, 'size', { get: () => 2 ** 32, configurable: true })")
        editor.drop(EXAMPLES / "yellow_square.png", 20, 30)
        alert = editor.root.get_by_role("alert").get_by_text("it has 4096 MB, and this ComfyUI takes uploads of up to")
        alert.wait_for()
        comfy.page.evaluate("Object.defineProperty(Blob.prototype, 'size', window.size)")
        assert "--max-upload-size 4097" in alert.inner_text()
    assert editor.document == ONE


@contextmanager
def held_upload(comfy, answer):
    """Answers uploads itself. What the browser says of it in its console is no complaint."""
    comfy.page.route("**/upload/image", answer)
    yield
    comfy.page.unroute("**/upload/image")
    comfy.problems[:] = [text for text in comfy.problems if "/upload/image" not in text]


def test_plan_is_that_of_the_model_that_is_wired(comfy):
    """The server of the tests has a tiny LTX-2.3, whose latent frames are 8 frames long."""
    comfy.clear()
    editor = CanvasEditor(comfy, EMPTY, x=400)
    cost = editor.root.locator(".skycanvas-status-cost")
    ruler = editor.root.get_by_role("slider", name="Playhead")

    def check(family: str, tokens: int, latent: str) -> None:
        wait_until(comfy.page, lambda: cost.inner_text().startswith(f"{family}{tokens} tokens"), cost.inner_text)
        place = settled(ruler)
        comfy.page.mouse.move(place["x"] + 5.5 / 17 * (place["width"] - 12), place["y"] + 20)
        comfy.page.mouse.move(place["x"] + 5.5 / 17 * (place["width"] - 12), place["y"] + 40)
        editor.root.get_by_text(latent).wait_for()

    mini = ("", 103, "Latent frame 2: frames 5 to 8")
    ltx = ("LTX-2 · ", 39, "Latent frame 1: frames 1 to 8")
    check(*mini)
    loader, encode = comfy.add("CheckpointLoaderSimple"), comfy.add("SkyCanvasEncode", x=1250)
    comfy.connect(editor.node, 0, encode, "canvas")
    comfy.connect(loader, 0, encode, "model")
    comfy.write(loader, "ckpt_name", comfy.server.get("/api/models/checkpoints")[0])
    check(*ltx)
    comfy.foreseen = ("/skycanvas/plan",)  # of a length that does not fit
    comfy.write(editor.node, "document", canonical(EMPTY | {"frames": 13}))
    editor.root.get_by_text("length 13 is not 8n+1: use 9 or 17").wait_for()
    comfy.write(editor.node, "document", canonical(EMPTY))
    comfy.select(loader)
    comfy.command("Comfy.Canvas.DeleteSelectedItems")
    check(*mini)
    comfy.command("Comfy.Undo")
    check(*ltx)
    comfy.select(loader, encode)
    comfy.command("Comfy.Graph.ConvertToSubgraph")
    comfy.page.wait_for_function("app.graph.nodes.some((node) => node.subgraph)")
    check(*ltx)


def test_all_that_takes_the_focus_has_a_role_and_a_name(comfy, editor):
    """In all states of the editor; the accessibility tree is what screen readers get."""
    inspected = comfy.page.context.new_cdp_session(comfy.page)
    press = comfy.page.keyboard.press

    def check(state: str, least: int) -> None:
        comfy.page.wait_for_timeout(200)  # the inspector shows itself on the next frame of the screen
        nodes = {node["nodeId"]: node for node in inspected.send("Accessibility.getFullAXTree")["nodes"]}
        own = [
            node for node in nodes.values() if said(node, "role") == "group" and said(node, "name") == "Canvas editor"
        ]
        inside, found = own[:], []
        for node in inside:  # which grows meanwhile
            inside += [nodes[child] for child in node.get("childIds", ()) if child in nodes]
            takes = {"name": "focusable", "value": {"type": "booleanOrUndefined", "value": True}}
            if takes in node.get("properties", ()) and not node["ignored"]:
                found.append((said(node, "role"), said(node, "name")))
        assert len(own) == 1 and len(found) >= least, (state, found)
        bad = [(role, name) for role, name in found if not name.strip() or role in ("generic", "none", "")]
        assert not bad, (state, bad)

    check("nothing selected", 30)
    editor.items().first.focus()
    press("End")
    press("k")
    check("a region that moves", 35)
    for tool in ("r", "b", "e"):
        press(tool)
        check(tool, 35)
    press("v")
    for name in ("Keys", "Notes on this canvas"):
        editor.root.get_by_role("button", name=name, exact=True).click()
        check(name, 36)
        press("Escape")
    editor.drop(EXAMPLES / "yellow_square.png", 20, 30)
    editor.wait_for(lambda document: document["placements"])
    check("a picture", 35)
    editor.root.get_by_role("button", name="Add to the canvas").click()
    check("what can be added", 40)
    editor.root.get_by_role("dialog").get_by_role("button", name="Input folder").click()
    editor.root.get_by_role("option", name="yellow_square.png").first.wait_for()
    check("files", 36)
    press("Escape")
    live = editor.root.locator("[aria-live=polite], [role=status]")
    assert live.count() >= 4  # uploads, messages, what is given and what it costs, moves on the timeline


def said(node: dict, what: str) -> str:
    return node.get(what, {}).get("value", "")


def test_arrow_keys_choose_and_move_nothing(comfy, editor):
    editor.items().first.focus()
    editor.root.get_by_role("radio", name="Made again").focus()
    comfy.page.keyboard.press("ArrowRight")
    assert editor.document == ONE | {"regions": [REGION | {"action": "keep"}]}
    kept = editor.root.get_by_role("radio", name="Kept")
    expect(kept).to_be_checked()  # the inspector shows itself on the next frame of the screen
    expect(kept).to_be_focused()
    expect(kept).to_have_attribute("tabindex", "0")


def test_mask_of_several_pictures_says_that_it_stays_whole(comfy, editor):
    media = {"kind": "mask", "width": 24, "height": 24, "frames": 17, "fps": None, "samples": None,
             "sample_rate": None, "channels": None, "file": None, "input": "mask_0"}  # fmt: skip
    mask = REGION | {"kind": "mask", "media": "mask_0"}
    text = canonical(EMPTY | {"media": {"mask_0": media}, "regions": [mask]})
    comfy.page.evaluate("([id, text]) => probe.write(id, 'document', text)", [editor.node, text])
    editor.items().first.focus()
    for key in (".", ".", "s", "["):
        comfy.page.keyboard.press(key)
        if key in "s[":
            editor.root.get_by_role("alert").get_by_text(
                "has a mask with a picture for each of its 17 frames"
            ).wait_for()
            editor.root.get_by_role("alert").get_by_role("button", name="Close").click()
            editor.items().first.focus()
    assert editor.text == text


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
