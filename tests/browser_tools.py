"""ComfyUI's page in a real Chromium: open a workflow, read the graph, press Run, draw with the mouse."""

import base64
import json
import mimetypes
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response
from server_tools import ROOT, Prompt, read_workflow

from launcher.server import Server
from launcher.workflow import to_prompt
from run import BROWSERS

ARTEFACTS = ROOT / "output" / "browser"
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # a container's root may not use it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing but the server can be reached
]
MODES = ("classic", "nodes 2.0")
# So that nothing but the workflow is on the screen, and nothing is left of the page before.
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # else the template browser opens by itself
    "Comfy.Workflow.Persist": False,
    "Comfy.Validation.Workflows": True,  # a toast for what does not fit ComfyUI's schema of workflows
    "Comfy.UseNewMenu": "Top",
    "Comfy.Locale": "en",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Canvas.SelectionToolbox": False,
    "Comfy.EnableTooltips": False,
    "Comfy.Appearance.DisableAnimations": True,
    "Comfy.Window.UnloadConfirmation": False,
    "Comfy.ConfirmClear": False,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}
# What ComfyUI's page says by itself on a server that nobody has used yet.
USUAL = (
    "/user.css",
    "/en.md",  # the help of a node in the language of the page, before the one for all languages
    "userdata?dir=",
    "comfy.templates.json",
    "graph accessed before initialization",
    "legacy queue/history menu",
    "open_maskeditor is deprecated",
    "huggingface.co",  # it asks how large the models of its own default workflow are
)
PACK_SCRIPTS = "/extensions/skycanvas/"
LOAD, RUN, SHOW = 120_000, 120_000, 30_000  # ms
# Values leave the page as JSON text: playwright would turn `undefined` into null.
PROBE = """
window.probe = {
  missing: null,
  loaded: false,
  ended: {},
  async prompt() { return JSON.stringify((await app.graphToPrompt()).output) },
  saved() { return JSON.stringify(app.graph.serialize()) },
  async load(text) { await app.loadGraphData(JSON.parse(text)) },
  // Of the graph that is shown, which may be a subgraph.
  node(id) { return app.canvas.graph.getNodeById(id) },
  add(type, x, y) {
    const node = LiteGraph.createNode(type)
    node.pos = [x, y]
    app.graph.add(node)
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
    return node.id
  },
  widget(id, name) { return probe.node(id)?.widgets.find((widget) => widget.name === name) },
  write(id, name, value) {
    const widget = probe.widget(id, name)
    widget.value = value
    widget.callback?.(value)
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
  },
  connect(from, output, to, name) {
    const [source, target] = [from, to].map((id) => app.graph.getNodeById(id))
    source.connect(output, target, target.inputs.findIndex((input) => input.name === name))
  },
  inPlace(id) {
    app.canvas.setDirty(true, true)
    const { x, y } = probe.widget(id, 'editor').element.getBoundingClientRect()
    return x >= 60 && y >= 60
  },
  view(scale, x, y) {
    app.canvas.ds.scale = scale
    app.canvas.ds.offset = [x, y]
    app.canvas.setDirty(true, true)
  },
  async closeOthers() {
    const store = app.extensionManager.workflow
    for (const workflow of [...store.openWorkflows])
      if (!store.isActive(workflow)) await store.closeWorkflow(workflow)
  },
  // The element that shows the file `name`, once that is loaded. Pictures of classic nodes are drawn, not in the page.
  shown(name) {
    const wanted = 'filename=' + encodeURIComponent(name)
    return [...document.querySelectorAll('video, audio, img'), ...app.graph.nodes.flatMap((node) => node.imgs ?? [])]
      .find((element) => element.src.includes(wanted) && (element.readyState >= 2 || element.naturalWidth > 0))
  },
  // The picture of a template, after scrolling to it; nothing before its card is made.
  scrollToTemplate(name) {
    const cards = [...document.querySelectorAll('[data-testid^=template-workflow-]')]
    const card = cards.find((card) => card.dataset.testid === 'template-workflow-' + name)
    ;(card ?? cards.at(-1))?.scrollIntoView()
    return card?.querySelector('img')
  },
  // The loudest sample of its sound, decoded as for playing.
  async loudest(name) {
    const content = await (await fetch(probe.shown(name).src)).arrayBuffer()
    const sound = await new OfflineAudioContext(1, 1, 44100).decodeAudioData(content)
    return sound.getChannelData(0).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)
  },
}
app.registerExtension({
  name: 'tests.probe',
  afterConfigureGraph(missing) { probe.missing = missing.map((node) => node.type ?? node) },
})
const load = app.loadGraphData
app.loadGraphData = async function (...workflow) {
  try { return await load.apply(this, workflow) } finally { probe.loaded = true }
}
for (const end of ['execution_success', 'execution_error', 'execution_interrupted'])
  app.api.addEventListener(end, ({ detail }) => { probe.ended[detail.prompt_id] = end })
"""

# Playwright looks an editor up by the id of its node, anew at each step: undo makes nodes and their elements anew.
EDITOR_SELECTOR = "editor"
EDITOR_ENGINE = """{
  query(root, id) {
    const element = probe.widget(id, 'editor')?.element
    return element?.isConnected ? element : null
  },
  queryAll(root, id) { return [this.query(root, id)].filter(Boolean) },
}"""


class ComfyPage:
    """ComfyUI's page, ready for use. It reaches nothing but its server.

    vue_nodes: nodes as Vue components ("Nodes 2.0") rather than drawn.
    scripts: whether the pack's JavaScript loads.
    query: such as "?template=...".
    """

    def __init__(
        self, browser: Browser, server: Server, *, vue_nodes: bool = False, scripts: bool = True, query: str = ""
    ) -> None:
        self.server, self.vue_nodes, self._scripts = server, vue_nodes, scripts
        self.problems: list[str] = []  # errors and warnings in the console, but for the usual ones
        self.foreseen: tuple[str, ...] = ()  # words of problems that a test brings about on purpose
        server.post("/api/settings", SETTINGS | {"Comfy.VueNodes.Enabled": vue_nodes})
        context = browser.new_context(viewport={"width": 1600, "height": 1000}, locale="en-US")
        self.page = context.new_page()
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        if not scripts:  # any route slows every request down
            self.page.route(f"**{PACK_SCRIPTS}**/*.js", lambda route: route.abort())
        self.page.goto(f"{server.url}/{query}", wait_until="domcontentloaded", timeout=LOAD)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        self.page.wait_for_function("window.graph && window.app?.extensionManager?.spinner === false", timeout=LOAD)
        self.page.wait_for_selector("#splash-loader", state="detached")
        self.page.evaluate(PROBE)

    def _listen(self, message: ConsoleMessage) -> None:
        text = f"{message.type}: {message.text} ({message.location.get('url', '')})"
        usual = (*USUAL, *self.foreseen, *(() if self._scripts else (PACK_SCRIPTS,)))
        if message.type in ("error", "warning") and not any(words in text for words in usual):
            self.problems.append(text)

    def close(self) -> None:
        self.page.context.close()

    def refresh(self) -> None:
        """Load the page anew, the way of F5."""
        self.page.reload(wait_until="domcontentloaded", timeout=LOAD)
        self._wait_until_ready()

    def open(self, workflow: Path | Mapping[str, Any]) -> None:
        """Open a workflow file, or the workflow itself as one, the way of 'Open' in the menu."""
        file: Any = workflow
        if not isinstance(workflow, Path):
            content = json.dumps(workflow).encode()
            file = {"name": "workflow.json", "mimeType": "application/json", "buffer": content}
        self.page.evaluate("Object.assign(probe, { missing: null, loaded: false })")
        self.page.locator("#comfy-file-input").set_input_files(file)
        self.page.wait_for_function("probe.loaded", timeout=SHOW)
        self.page.evaluate("probe.closeOthers()")

    def reload(self, workflow: Mapping[str, Any]) -> None:
        """Open a workflow by ComfyUI's own function for it."""
        self.page.evaluate("text => probe.load(text)", json.dumps(workflow))
        self.page.evaluate("probe.closeOthers()")

    def missing_nodes(self) -> list[str] | None:
        """The types in the opened workflow that ComfyUI does not know; None where it could not be opened."""
        return self.page.evaluate("probe.missing")

    def messages(self) -> list[str]:
        """The texts of all toasts and dialogs on the screen."""
        return self.page.locator(".p-toast-message:visible, [role=dialog]:visible").all_inner_texts()

    def dismiss(self) -> None:
        """Close all toasts and dialogs."""
        self.page.evaluate("app.extensionManager.toast.removeAll()")
        for _ in self.messages():
            self.page.keyboard.press("Escape")

    def saved(self) -> dict[str, Any]:
        """The graph as 'Save' writes it."""
        return json.loads(self.page.evaluate("probe.saved()"))

    def prompt(self) -> Prompt:
        """The graph in the API format, as Run sends it."""
        return json.loads(self.page.evaluate("probe.prompt()"))

    def run(self) -> dict[str, Any]:
        """Press Run; return the entry of the history once it has come to a good end.

        Fails where the server refuses the prompt, or finds fault with any node of it.
        """
        return self.finish(self.queue())

    def queue(self) -> str:
        """Press Run; return the id of the prompt, which the server has found no fault with."""
        response = self._press_run()
        assert response.ok, response.text()
        answer = response.json()
        assert answer["node_errors"] == {}
        return answer["prompt_id"]

    def finish(self, prompt_id: str) -> dict[str, Any]:
        """The entry of the history once the prompt has come to a good end."""
        end = self.page.wait_for_function("id => probe.ended[id]", arg=prompt_id, timeout=RUN).json_value()
        # the page is told a moment before the history has it
        entry = wait_until(self.page, lambda: self.server.get(f"/history/{prompt_id}").get(prompt_id))
        assert end == "execution_success", entry["status"]
        return entry

    def refusal(self) -> str:
        """Press Run, which the server refuses; return the reasons, once the page has told that there are any."""
        response = self._press_run()
        assert response.status == 400, response.text()
        overlay = self.page.get_by_test_id("error-overlay")
        overlay.get_by_test_id("error-overlay-dismiss").click(timeout=SHOW)
        overlay.wait_for(state="hidden")
        errors = [error for node in response.json()["node_errors"].values() for error in node["errors"]]
        return "\n".join(error["details"] for error in errors)

    def _press_run(self) -> Response:
        with self.page.expect_response("**/api/prompt", timeout=SHOW) as response:
            self.page.get_by_test_id("queue-button").click()
        return response.value

    def show(self, node: str | int) -> None:
        """Bring the node to the middle of the screen."""
        self.page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", node)

    def wait_until_shown(self, file: str) -> str:
        """Wait for the element that shows an output file; return its kind: VIDEO, AUDIO or IMG."""
        self.page.wait_for_function("name => probe.shown(name)", arg=file, timeout=SHOW)
        return self.page.evaluate("name => probe.shown(name).tagName", file)

    def loudest(self, file: str) -> float:
        """The loudest sample (0..1) of a file that is shown. Fails where it has no sound track."""
        return self.page.evaluate("name => probe.loudest(name)", file)

    def clear(self) -> None:
        """A new workflow without nodes, whose origin is right of the side bar and below the menu."""
        blank = {"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "version": 0.4}
        self.reload(blank | {"id": str(uuid.uuid4())})
        self.view(1.0)

    def view(self, scale: float) -> None:
        """Zoom; the origin stays right of the side bar and below the menu."""
        self.page.evaluate("scale => probe.view(scale, 80 / scale, 100 / scale)", scale)

    def add(self, node_type: str, x: float = 0, y: float = 0) -> str:
        """Add a node; return its id."""
        return self.page.evaluate("([type, x, y]) => probe.add(type, x, y)", [node_type, x, y])

    def enter_subgraph(self) -> None:
        """Open the only subgraph of the graph, its origin right of the side bar and below the menu."""
        self.page.evaluate("app.canvas.openSubgraph(app.graph.nodes.find((node) => node.subgraph).subgraph)")
        self.view(1.0)

    def setting(self, name: str, value: Any) -> None:
        """Change one of ComfyUI's settings."""
        self.page.evaluate("setting => app.extensionManager.setting.set(...setting)", [name, value])

    def select(self, *nodes: str) -> None:
        self.page.evaluate("ids => app.canvas.selectItems(ids.map((id) => app.graph.getNodeById(id)))", nodes)

    def connect(self, node: str, output: int, to: str, name: str) -> None:
        """Wire an output to the input called `name`."""
        self.page.evaluate("wire => probe.connect(...wire)", [node, output, to, name])

    def write(self, node: str, widget: str, value: Any) -> None:
        """Give a widget a value, as one step of undo."""
        self.page.evaluate("given => probe.write(...given)", [node, widget, value])

    def value(self, node: str, widget: str) -> Any:
        return json.loads(
            self.page.evaluate("([id, name]) => JSON.stringify(probe.widget(id, name).value)", [node, widget])
        )

    def command(self, name: str) -> None:
        """Execute one of ComfyUI's commands, such as Comfy.Undo."""
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def drag(self, start: tuple[float, float], to: tuple[float, float], key: str | None = None) -> None:
        """Drag with the left button, in pixels of the page; `key` is held while the mouse moves."""
        self.page.mouse.move(*start)
        self.page.mouse.down()
        if key:
            self.page.keyboard.down(key)
        self.page.mouse.move(*to, steps=6)
        self.page.mouse.up()
        if key:
            self.page.keyboard.up(key)

    def screenshot(self, name: str) -> Path:
        path = ARTEFACTS / (re.sub(r"[^\w.-]+", "_", name) + ".png")
        self.page.screenshot(path=path)
        return path


def wait_until(page: Page, holds: Callable[[], Any], seen: Callable[[], Any] = lambda: None) -> Any:
    """What `holds` gives, once it gives something; `seen` is what to show where it never does."""
    deadline = time.monotonic() + SHOW / 1000
    while not (result := holds()):
        assert time.monotonic() < deadline, seen()
        page.wait_for_timeout(50)
    return result


def settled(element: Locator) -> dict[str, float]:
    """Where the element is, once it stays there: x, y, width and height in pixels of the page."""
    element.wait_for(state="visible", timeout=SHOW)
    last = None
    while (box := element.bounding_box()) != last or box is None:
        last = box
        element.page.wait_for_timeout(100)
    return dict(box)


class CanvasEditor:
    """The canvas editor of one node: its document, and gestures in pixels of the canvas.

    node: one that is there; None: a new one, at `x`.
    """

    def __init__(
        self,
        comfy: ComfyPage,
        document: Mapping[str, Any] | str | None = None,
        x: float = 0,
        node: str | None = None,
    ) -> None:
        self.comfy, self.page = comfy, comfy.page
        self.node = node or comfy.add("SkyCanvasEditor", x=x)
        if document is not None:
            text = document if isinstance(document, str) else canonical(document)
            comfy.write(self.node, "document", text)
        # a drawn node takes its element along only when it is drawn: until then that fills the corner of the page
        self.page.wait_for_function("id => probe.inPlace(id)", arg=self.node, timeout=SHOW)
        settled(self.root)

    @property
    def root(self) -> Locator:
        """The editor in its node."""
        return self.page.locator(f"{EDITOR_SELECTOR}={self.node}")

    @property
    def text(self) -> str:
        return self.comfy.value(self.node, "document")

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.text)

    def wait_for(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The document, once it holds."""
        wait_until(self.page, lambda: holds(self.document), lambda: self.document)
        return self.document

    def items(self) -> Locator:
        """What lies on the timeline."""
        return self.root.get_by_role("listbox", name="Items of the timeline").get_by_role("option")

    def point(self, x: float, y: float, within: Locator | None = None) -> tuple[float, float]:
        """Where a pixel of the canvas is on the page, while the stage shows all of the frame."""
        stage = (within or self.root).get_by_role("application")
        place, document = settled(stage), self.document
        width, height = stage.evaluate("element => [element.clientWidth, element.clientHeight]")
        margin = 10 if width < 320 or height < 200 else 22  # as the stage keeps around the frame
        scale = min((width - 2 * margin) / document["width"], (height - 2 * margin) / document["height"])
        left, top = (width - scale * document["width"]) / 2, (height - scale * document["height"]) / 2
        zoom = place["width"] / width  # of the graph
        return place["x"] + zoom * (left + x * scale), place["y"] + zoom * (top + y * scale)

    def drag(self, start: tuple[float, float], to: tuple[float, float], within: Locator | None = None) -> None:
        """Drag on the stage, without snapping."""
        self.comfy.drag(self.point(*start, within), self.point(*to, within), key="Control")

    def drop(self, file: Path, x: float, y: float) -> None:
        """Drop a file on the stage."""
        left, top = self.point(x, y)
        data = self.page.evaluate_handle(
            """async ([name, type, content]) => {
              const data = new DataTransfer()
              const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))
              data.items.add(new File([bytes], name, { type }))
              return data
            }""",
            [file.name, mimetypes.guess_type(file.name)[0], base64.b64encode(file.read_bytes()).decode()],
        )
        event = {"dataTransfer": data, "clientX": left, "clientY": top}
        for name in ("dragenter", "dragover", "drop"):
            self.root.get_by_role("application").dispatch_event(name, event)


class ClipView:
    """The player of the only 'View Clip' on the page."""

    def __init__(self, comfy: ComfyPage) -> None:
        self.page = comfy.page
        self.root = self.page.locator(".skycanvas-view")
        self.pictures = self.root.locator(".skycanvas-view-pictures")
        self.counter = self.root.locator(".skycanvas-view-counter")

    @property
    def mode(self) -> str | None:
        return self.root.get_attribute("data-mode")

    @property
    def frame(self) -> int:
        return int(self.counter.input_value())

    def press(self, *keys: str) -> None:
        """Press keys while the player has the focus."""
        self.root.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def video(self, name: str) -> dict[str, Any]:
        """The video `name` (result or source): its file, how long it is and where it stands in seconds, and so on."""
        return self.root.locator(f"video.skycanvas-view-{name}").evaluate(
            """(video) => ({
              file: video.src && new URL(video.src).searchParams.get('filename'),
              ready: video.readyState >= 2 && !video.seeking,
              playing: !video.paused,
              muted: video.muted,
              time: video.currentTime,
              duration: video.duration,
            })"""
        )

    def wait_until_loaded(self, *names: str) -> list[dict[str, Any]]:
        """The videos, once they show the frames that they are to show."""
        wait_until(self.page, lambda: all(self.video(name)["ready"] for name in names))
        return [self.video(name) for name in names]

    def colours(self) -> list[tuple[int, int]]:
        """The least and the most of red, green and blue in what is seen of the pictures, but at their edges."""
        with Image.open(BytesIO(self.pictures.screenshot())) as image:
            return ImageOps.crop(image.convert("RGB"), border=8).getextrema()


def canonical(document: Mapping[str, Any]) -> str:
    """The document as the editor writes it."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def check_opening(comfy: ComfyPage, object_info: dict[str, Any], name: str) -> Prompt:
    """Open a shipped workflow: nothing is missing, and nothing changes, also after it is saved. Return its prompt."""
    workflow = read_workflow(name)
    comfy.open(ROOT / "workflows" / f"{name}.json")
    assert (comfy.missing_nodes(), comfy.messages()) == ([], [])
    saved, prompt = comfy.saved(), comfy.prompt()
    assert values(saved) == values(workflow)
    assert prompt == to_prompt(workflow, object_info)
    if not comfy.vue_nodes:  # the graph is the same there, and its nodes take long to be made
        comfy.reload(saved)
        assert comfy.prompt() == prompt
    return prompt


def values(workflow: dict[str, Any]) -> dict[int, Any]:
    """The values of all widgets, by node."""
    return {node["id"]: node["widgets_values"] for node in workflow["nodes"] if node.get("widgets_values")}
