"""The shipped blueprints in the browser: found, added, with their widgets on the outside, and run."""

import pytest
from blueprint_tools import TEXT_TO_VIDEO, blueprint_names, read_blueprint, workflow_around

from launcher.workflow import to_prompt


@pytest.mark.parametrize("name", blueprint_names())
def test_blueprint_shows_its_widgets_and_converts(comfy, object_info, name):
    workflow = workflow_around(name, object_info)
    comfy.reload(workflow)
    assert (comfy.missing_nodes(), comfy.messages()) == ([], [])
    assert comfy.prompt() == to_prompt(workflow, object_info)

    (kind,) = (subgraph["id"] for subgraph in workflow["definitions"]["subgraphs"])
    before, after = (next(n for n in graph["nodes"] if n["type"] == kind) for graph in (workflow, comfy.saved()))
    assert after["widgets_values"] == before["widgets_values"]
    widgets = [slot["name"] for slot in before["inputs"] if "widget" in slot]
    assert comfy.page.evaluate(WIDGETS, before["id"]) == widgets
    if comfy.vue_nodes:
        comfy.show(before["id"])
        node = comfy.page.locator(f"[data-node-id='{before['id']}']")
        for widget in widgets:
            node.get_by_text(widget, exact=True).first.wait_for()


WIDGETS = "id => app.graph.getNodeById(id).widgets.map((widget) => widget.label ?? widget.name)"


def test_blueprint_is_found_added_and_run(comfy):
    """The way of a beginner: search, press Enter, click; connect 'Save Video', press Run."""
    comfy.clear()
    page = comfy.page
    comfy.foreseen = ("The trigger event was undefined",)  # ComfyUI's warning where no double click came before
    comfy.command("Workspace.SearchBox.Toggle")  # it misses a double click while it is busy
    page.wait_for_function("document.activeElement.matches('input')")  # else it takes letters as its shortcuts
    page.keyboard.type("text to video and sound")
    found = page.get_by_text("Subgraph Blueprints / SkyCanvas").first
    found.wait_for()
    page.keyboard.press("Enter")
    found.wait_for(state="hidden")
    page.wait_for_function("app.graph.nodes[0]?.flags.ghost")  # it hangs on the pointer until a click
    page.mouse.click(300, 300)
    page.wait_for_function("!app.graph.nodes[0].flags.ghost")
    assert page.evaluate("app.graph.nodes[0].title") == TEXT_TO_VIDEO
    save = comfy.add("SaveVideo", 800)
    page.evaluate(CONNECT, [save, {"steps": 2, "length": 5}])

    (blueprint,) = (node for node in comfy.saved()["nodes"] if node["type"] != "SaveVideo")
    (shipped,) = read_blueprint(TEXT_TO_VIDEO)["nodes"]
    assert [slot["name"] for slot in blueprint["inputs"]] == [slot["name"] for slot in shipped["inputs"]]
    entry = comfy.run()
    (file,) = entry["outputs"][str(save)]["images"]
    comfy.show(save)
    assert comfy.wait_until_shown(file["filename"]) == "VIDEO"
    assert comfy.loudest(file["filename"]) > 0


CONNECT = """([id, values]) => {
  const blueprint = app.graph.nodes.find((node) => node.subgraph)
  for (const widget of blueprint.widgets) widget.value = values[widget.name] ?? widget.value
  blueprint.connect(0, app.graph.getNodeById(id), 0)
}"""


def test_library_has_them_in_a_folder_of_their_own(comfy):
    comfy.clear()
    toggle = "app.extensionManager.sidebarTab.toggleSidebarTab('node-library')"
    page = comfy.page
    page.evaluate(toggle)
    for folder in ("Comfy Blueprints", "SkyCanvas"):
        page.get_by_text(folder, exact=True).first.click()
    for name in blueprint_names():
        page.get_by_text(name, exact=True).first.wait_for()
    page.evaluate(toggle)
