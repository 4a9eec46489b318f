"""'View Clip' in the browser: what a run has made is seen, heard, and compared with its source."""

import pytest
from browser_tools import ClipView, settled, wait_until

pytestmark = pytest.mark.parametrize("page", ["classic", "vue"], indirect=True)
FRAMES, FPS = 17, 16
SAME, OTHER = "red_circle.mkv", "green_square.mkv"
BLACK, BRIGHT = 8, 100  # of 255, four times as bright: Chromium rounds what it scales


def make(comfy, *clips: str, source: str | None = None) -> tuple[ClipView, dict]:
    """Example clips as a batch in 'View Clip', run; returns its player and what it was told."""
    comfy.clear()
    view = comfy.add("SkyCanvasView", 550)
    nodes = [example(comfy, name, 150 * index) for index, name in enumerate(clips)]
    images = nodes[0]
    if len(nodes) == 2:
        images = comfy.add("ImageBatch", 250)
        comfy.connect(nodes[0], 0, images, "image1")
        comfy.connect(nodes[1], 0, images, "image2")
        comfy.write(view, "clips", 2)
    comfy.connect(images, 0, view, "images")
    comfy.connect(nodes[0], 1, view, "audio")
    if source:
        comfy.connect(example(comfy, source, 400), 0, view, "source")
    (told,) = comfy.run()["outputs"][str(view)]["skycanvas_view"]
    player = ClipView(comfy)
    wait_until(comfy.page, lambda: player.video("result")["file"] == told["clips"][0]["video"]["filename"])
    player.wait_until_loaded("result", *(["source"] if source else []))
    settled(player.root)
    return player, told


def example(comfy, name: str, y: float) -> int:
    node = comfy.add("SkyCanvasExample", 0, y)
    comfy.write(node, "example", name)
    return node


def in_step(player: ClipView) -> bool:
    """Whether result and source, at rest, show the frame that the counter tells."""
    return all(int(video["time"] * FPS) == player.frame for video in player.wait_until_loaded("result", "source"))


def test_result_is_seen_and_heard_and_without_a_source_nothing_else(comfy):
    player, told = make(comfy, SAME)
    player.press("3", "5")
    assert player.mode == "result" and not player.video("source")["file"]
    assert not player.root.get_by_role("button", name="Difference").is_visible()
    (clip,) = told["clips"]
    result = player.video("result")
    assert result["duration"] == pytest.approx(FRAMES / FPS, abs=1 / FPS) and not result["muted"]
    assert comfy.loudest(clip["video"]["filename"]) > 0
    assert any(low != high for low, high in player.colours())
    (wave,) = player.root.locator(".skycanvas-view-waves:not(.skycanvas-view-played) path").all()
    assert wave.evaluate("path => path.getBBox().height") == pytest.approx(2 * max(clip["sound"]["peaks"][0]), abs=0.01)

    player.press(" ")
    wait_until(comfy.page, lambda: player.frame > 2)
    player.press(" ")
    assert not player.video("result")["playing"] and player.wait_until_loaded("result")
    assert int(player.video("result")["time"] * FPS) == player.frame


def test_keys_and_buttons_choose_what_is_compared(comfy):
    player, _ = make(comfy, SAME, source=OTHER)
    for number, mode in enumerate(["result", "source", "side", "wipe", "difference"], 1):
        player.press(str(number))
        assert player.mode == mode
    for name, mode in (("Side by side", "side"), ("Divider", "wipe"), ("Difference", "difference")):
        player.root.get_by_role("button", name=name, exact=True).click()
        assert player.mode == mode
    player.press("3")
    boxes = [player.root.locator(f"video.skycanvas-view-{name}").bounding_box() for name in ("source", "result")]
    source, result = boxes
    assert source["x"] + source["width"] <= result["x"] or source["y"] + source["height"] <= result["y"]


def test_divider_is_dragged_and_moved_by_keys(comfy):
    player, _ = make(comfy, SAME, source=OTHER)
    player.press("4")
    divider, box = player.root.get_by_role("slider", name="Divider"), player.pictures.bounding_box()
    assert divider.get_attribute("aria-valuenow") == "50"
    middle = box["y"] + box["height"] / 2
    comfy.drag((box["x"] + box["width"] / 2, middle), (box["x"] + box["width"] / 4, middle))
    assert divider.get_attribute("aria-valuenow") == "25" and not player.video("result")["playing"]
    divider.focus()
    comfy.page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "27" and player.frame == 0


def test_stepping_keeps_result_and_source_in_step(comfy):
    player, _ = make(comfy, SAME, source=OTHER)
    player.press("3")
    for key, frame in (
        ("ArrowRight", 1), ("Shift+ArrowRight", 11), ("ArrowLeft", 10), ("Shift+ArrowRight", 16), ("ArrowRight", 16),
        ("Shift+ArrowLeft", 6), ("End", 16), ("Home", 0),
    ):  # fmt: skip
        player.press(key)
        assert player.frame == frame and in_step(player), key
    player.counter.fill("9")
    assert in_step(player)
    timeline = player.root.get_by_role("slider", name="Time").bounding_box()
    comfy.page.mouse.click(timeline["x"] + timeline["width"] * 5.5 / FRAMES, timeline["y"] + timeline["height"] / 2)
    assert player.frame == 5 and in_step(player)


def test_result_and_source_play_in_step(comfy):
    player, _ = make(comfy, SAME, source=OTHER)
    player.press("3", " ")
    wait_until(comfy.page, lambda: player.frame > 4)
    assert player.video("source")["playing"] and player.video("source")["muted"]
    player.press(" ")
    assert in_step(player) and not player.video("source")["playing"]


def test_strip_chooses_a_clip_and_the_difference_of_equal_ones_is_black(comfy):
    player, told = make(comfy, SAME, OTHER, source=SAME)
    strip = player.root.get_by_role("group", name="Clips of the batch").get_by_role("button")
    assert strip.count() == 2
    player.press("5")
    for index, clip in enumerate(told["clips"]):
        strip.nth(index).click()
        wait_until(comfy.page, lambda name=clip["video"]["filename"]: player.video("result")["file"] == name)
        player.wait_until_loaded("result", "source")
        assert [button.get_attribute("aria-pressed") for button in strip.all()] == [
            str(index == other).lower() for other in range(2)
        ]
        expected = range(BRIGHT, 256) if index else range(BLACK + 1)
        # what is on the screen may be a frame of the clip before, for a moment
        wait_until(comfy.page, lambda values=expected: brightest(player) in values, lambda: brightest(player))


def brightest(player: ClipView) -> int:
    """The largest value of any colour that is seen."""
    return max(high for _, high in player.colours())


def test_result_stays_when_something_is_undone(comfy):
    player, told = make(comfy, SAME, source=OTHER)
    player.press("3")
    comfy.command("Comfy.Undo")
    wait_until(comfy.page, lambda: player.root.count() == 1 and player.video("result")["file"])
    player.wait_until_loaded("result", "source")
    assert player.video("result")["file"] == told["clips"][0]["video"]["filename"] and player.mode == "side"


def test_clip_that_is_gone_is_told(comfy):
    player, told = make(comfy, SAME)
    (clip,) = told["clips"]
    gone = f"**/view?*{clip['video']['filename']}*"
    comfy.page.route(gone, lambda route: route.fulfill(status=404))
    comfy.foreseen = ("404 (Not Found)",)
    comfy.command("Comfy.Undo")  # makes the node anew, which loads the clip anew
    player.root.get_by_text("This clip is gone").wait_for()
    comfy.page.unroute(gone)
