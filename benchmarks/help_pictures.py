"""Pictures of the nodes for their help pages: `python3 run.py python -m benchmarks.help_pictures [node id ...]`.

Each node, or each of those named, as ComfyUI's page draws it in a real Chromium, goes to web/docs/<node id>/node.png.
The editor and the view, which are empty when they are new, have pictures of their own: docs/editor.png, docs/view.png.
"""

import argparse
import io
import json
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Route, sync_playwright

from launcher.cache import Cache, cache_root
from launcher.environment import prepare
from launcher.server import Server
from run import BROWSERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "web" / "docs"
DRAWN = {"SkyCanvasEditor": "editor.png", "SkyCanvasView": "view.png"}
MARGIN, TITLE = 12, 30  # pixels around a node; its title bar lies above its position
PLACE = (120, 160)  # clear of the page's own bars
COLOURS = 128
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
}
ADD = """([type, x, y]) => {
  app.graph.clear()
  const node = LiteGraph.createNode(type)
  node.pos = [x, y]
  app.graph.add(node)
  app.canvas.ds.scale = 1
  app.canvas.ds.offset = [0, 0]
  app.canvas.deselectAll?.()
  app.canvas.setDirty(true, true)
  return [...node.size]
}"""


def write(picture: Image.Image, node: str) -> None:
    path = DOCS / node / "node.png"
    path.parent.mkdir(exist_ok=True)
    few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(path.relative_to(ROOT), path.stat().st_size, flush=True)


def main() -> None:
    known = sorted(path.stem for path in DOCS.glob("*.md"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", nargs="*", metavar="node", help=f"ids: {', '.join(known)}")
    nodes = parser.parse_args().nodes or known
    if unknown := set(nodes) - set(known):
        parser.error(f"no node is called {', '.join(sorted(unknown))}: use {', '.join(known)}")
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        parser.error(f"no Chromium is found: install one ({', '.join(BROWSERS)})")
    setup = prepare(Cache(cache_root()), ROOT)
    with tempfile.TemporaryDirectory(prefix="skycanvas-") as folder, sync_playwright() as playwright:
        settings = Path(folder, "user", "default", "comfy.settings.json")
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(SETTINGS))
        with Server(
            python=setup.python,
            comfyui=setup.comfyui,
            pack=ROOT,
            base_directory=Path(folder),
            output_directory=Path(folder) / "output",
            port=0,
            cpu=True,
        ) as server:

            def own(route: Route) -> None:
                route.continue_() if route.request.url.startswith((server.url, "data:", "blob:")) else route.abort()

            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1200, "height": 1100})
            page.route("**/*", own)
            page.goto(server.url)
            page.wait_for_function("window.graph && window.app?.extensionManager?.spinner === false", timeout=120_000)
            for node in nodes:
                if node in DRAWN:
                    write(Image.open(ROOT / "docs" / DRAWN[node]), node)
                    continue
                width, height = page.evaluate(ADD, [node, *PLACE])
                page.wait_for_timeout(700)  # the page settles
                clip = {"x": PLACE[0] - MARGIN, "y": PLACE[1] - TITLE - MARGIN}
                clip |= {"width": width + 2 * MARGIN, "height": height + TITLE + 2 * MARGIN}
                write(Image.open(io.BytesIO(page.screenshot(clip=clip))), node)
            browser.close()


if __name__ == "__main__":
    main()
