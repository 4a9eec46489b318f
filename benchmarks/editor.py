"""How smooth the canvas editor is: `python3 run.py python -m benchmarks.editor`.

A canvas of 1920 x 1088 pixels, 241 frames and 200 placements, in a real Chromium on ComfyUI's page. Each gesture is
made with the mouse; the browser says how long its main thread computed for it, not counting what other programs took.
Writes benchmarks/results/editor.md.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import CDPSession, Page, Route, sync_playwright

from benchmarks.speed.table import grid
from canvas.document import Document
from launcher.cache import Cache, cache_root
from launcher.environment import prepare
from launcher.server import Server
from run import BROWSERS

ROOT = Path(__file__).parents[1]

PLACEMENTS, WIDTH, HEIGHT, FRAMES, FPS = 200, 1920, 1088, 241, 24.0
MOVES = 60  # of the mouse in one gesture
WAIT = 60_000  # ms
PARTS = {"ScriptDuration": "script", "RecalcStyleDuration": "style", "LayoutDuration": "layout", "TaskDuration": "all"}
MEDIA = ("white_circle.png", "yellow_square.png", "face.png", "red_circle.mkv", "low_voice.flac")


def crowded() -> Document:
    """Pictures and clips all over the frame and the timeline, every third of them in motion, and some sounds."""
    placements, media = [], {}
    for i in range(PLACEMENTS):
        file = MEDIA[i % 4]
        clip = file.endswith("mkv")
        media[file] = {"kind": "clip" if clip else "image", "file": file, "width": 64, "height": 64}
        media[file] |= {"frames": 17, "fps": 16.0} if clip else {}
        frame, frames = (i * 37) % 220, 12 if clip else 20
        box = {"x": (i * 211) % 1700, "y": (i * 97) % 900, "width": 200, "height": 200}
        path = [{"at": frames - 1, "box": box | {"x": 1700 - box["x"]}}] if i % 3 == 0 else []
        placements.append(
            {"id": f"item_{i}", "media": file, "frame": frame, "frames": frames, "box": box, "path": path}
        )
    media["voice"] = {"kind": "sound", "file": "low_voice.flac"}
    sounds = [{"id": f"sound_{i}", "media": "voice", "time": i * 0.9, "duration": 0.5} for i in range(10)]
    return Document(
        width=WIDTH, height=HEIGHT, frames=FRAMES, fps=FPS, media=media, placements=placements, sounds=sounds
    )


class Gestures:
    """Gestures on the editor, which fills the screen."""

    def __init__(self, page: Page):
        self.page = page
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def times(self) -> dict[str, float]:
        """Seconds that the main thread has computed so far."""
        return {metric["name"]: metric["value"] for metric in self.session.send("Performance.getMetrics")["metrics"]}

    def measured(self, gesture: Callable[[], None]) -> list[float]:
        """Milliseconds of a gesture per move of the mouse: PARTS, then the longest script of one event."""
        self.page.evaluate("longest = 0")
        before = self.times()
        gesture()
        self.page.wait_for_timeout(200)  # what it leaves to be drawn
        after = self.times()
        longest = self.page.evaluate("longest")
        return [1000 * (after[name] - before[name]) / MOVES for name in PARTS] + [longest]

    def drag(self, place: tuple[float, float], right: float, down: float) -> None:
        x, y = place
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        for i in range(1, MOVES + 1):
            self.page.mouse.move(x + right * i / MOVES, y + down * i / MOVES)
        self.page.mouse.up()

    def place(self, selector: str, across: float = 0.5, along: float = 0.5) -> tuple[float, float]:
        box = self.page.locator(selector).first.bounding_box()
        assert box is not None, selector
        return box["x"] + across * box["width"], box["y"] + along * box["height"]


# The longest that one event kept the page, by the wall clock: other programs count, so look at the least of some runs.
WATCH = """() => {
  window.longest = 0
  const all = new WeakMap()
  const timed = (listener) => function (...given) {
    const begin = performance.now()
    try { return listener.apply(this, given) } finally { longest = Math.max(longest, performance.now() - begin) }
  }
  const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype
  EventTarget.prototype.addEventListener = function (type, listener, options) {
    if (typeof listener === 'function' && type.startsWith('pointer')) {
      if (!all.has(listener)) all.set(listener, timed(listener))
      listener = all.get(listener)
    }
    return add.call(this, type, listener, options)
  }
  EventTarget.prototype.removeEventListener = function (type, listener, options) {
    remove.call(this, type, listener, options)
    if (all.has(listener)) remove.call(this, type, all.get(listener), options)
  }
}"""


def measure(page: Page) -> dict[str, list[float]]:
    """Milliseconds by gesture, see Gestures.measured."""
    gestures = Gestures(page)
    page.evaluate(WATCH)
    item, stage = "[data-id=item_0]", ".skycanvas-stage"
    page.locator(item).first.click()
    rows = {
        "move on the timeline": lambda: gestures.drag(gestures.place(item), 120, 0),
        "trim": lambda: gestures.drag(gestures.place(item, across=0.985), 60, 0),
        "move on the stage": lambda: gestures.drag(gestures.place(stage), 80, 40),
        "draw a region": lambda: gestures.drag(gestures.place(stage, 0.4, 0.4), 120, 80),
        "scrub": lambda: gestures.drag(gestures.place(".skycanvas-timeline-ruler", across=0.1), 500, 0),
    }
    keys = {"draw a region": "r"}
    times = {}
    for name, gesture in rows.items():
        if name in keys:
            page.keyboard.press(keys[name])
        times[name] = gestures.measured(gesture)
    return times


def open_editor(page: Page, server: Server) -> None:
    """The editor with the crowded canvas, on the full screen, when all its media are there."""

    def own(route: Route) -> None:
        route.continue_() if route.request.url.startswith((server.url, "data:", "blob:")) else route.abort()

    page.route("**/*", own)
    page.goto(server.url)
    page.wait_for_function("window.graph && window.app?.extensionManager?.spinner === false", timeout=2 * WAIT)
    page.evaluate(
        """(text) => {
          app.graph.clear()
          app.graph.id = crypto.randomUUID()
          const node = LiteGraph.createNode('SkyCanvasEditor')
          app.graph.add(node)
          const widget = node.widgets.find((widget) => widget.name === 'document')
          widget.value = text
          widget.callback(text)
        }""",
        crowded().json(),
    )
    page.locator(".skycanvas-editor").focus()
    page.keyboard.press("f")
    page.wait_for_load_state("networkidle", timeout=WAIT)
    page.wait_for_timeout(3000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each gesture; the least of them counts")
    parser.add_argument("--picture", type=Path, help="also write a picture of the screen")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "editor.md")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        parser.error(f"no Chromium is found: install one ({', '.join(BROWSERS)})")
    setup = prepare(Cache(cache_root()), ROOT)
    with tempfile.TemporaryDirectory(prefix="skycanvas-") as folder, sync_playwright() as playwright:
        base = Path(folder)
        (base / "input").mkdir()
        (base / "user" / "default").mkdir(parents=True)
        (base / "user" / "default" / "comfy.settings.json").write_text(json.dumps({"Comfy.TutorialCompleted": True}))
        for name in MEDIA:
            shutil.copy(ROOT / "example_media" / name, base / "input")
        with Server(
            python=setup.python,
            comfyui=setup.comfyui,
            pack=ROOT,
            base_directory=base,
            output_directory=base / "output",
            port=0,
            cpu=True,
        ) as server:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            open_editor(page, server)
            runs = [measure(page) for _ in range(options.runs)]
            if options.picture:
                page.screenshot(path=options.picture)
            browser.close()
    rows = [[name, *(f"{min(run[name][i] for run in runs):.1f}" for i in range(5))] for name in runs[0]]
    titles = ["gesture", *(f"{part} (ms)" for part in PARTS.values()), "longest event (ms)"]
    about = (
        f"A canvas of {WIDTH} x {HEIGHT} pixels, {FRAMES} frames and {PLACEMENTS} placements in Chromium without a\n"
        f"GPU. Time of the page's main thread for one of {MOVES} mouse moves (a 60 Hz screen gives it 16.7 ms),\n"
        f"and the longest that one event took by the clock. The least of {options.runs} runs.\n"
    )
    options.out.write_text(f"{about}\n{grid([titles, *rows])}\n", encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
