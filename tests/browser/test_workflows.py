"""The shipped workflows in the browser: opened, saved, run, found as templates; and what helps with them."""

import pytest
from browser_tools import SHOW, ComfyPage
from server_tools import LTX_WORKFLOWS, MINI_WORKFLOWS, ROOT, read_workflow, workflow_names

from launcher.workflow import to_prompt

DOCS = sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md"))
classic_and_vue = pytest.mark.parametrize("page", ["classic", "vue"], indirect=True)
classic = pytest.mark.parametrize("page", ["classic"], indirect=True)
scriptless = pytest.mark.parametrize("page", ["scriptless"], indirect=True)


@classic_and_vue
def test_page_loads_without_a_complaint(comfy):
    assert not comfy.problems


@classic_and_vue
@pytest.mark.parametrize("name", MINI_WORKFLOWS)
def test_workflow_opens_and_runs(comfy, object_info, name):
    prompt = check_opening(comfy, object_info, name)
    entry = comfy.run()
    outputs = {key for key, node in prompt.items() if object_info[node["class_type"]]["output_node"]}
    assert set(entry["prompt"][4]) == outputs  # the server leaves out those that are not valid
    ((node, file),) = files(entry)
    comfy.show(node)
    kind = comfy.wait_until_shown(file)
    assert kind == {"png": "IMG", "flac": "AUDIO", "mp4": "VIDEO"}[file.rpartition(".")[2]]
    if kind != "IMG":
        assert comfy.loudest(file) > 0


@classic_and_vue
@pytest.mark.parametrize("name", LTX_WORKFLOWS)
def test_workflow_for_ltx_opens(comfy, object_info, name):
    check_opening(comfy, object_info, name)  # at its own size, tiny weights would take long to run it


@scriptless
@pytest.mark.parametrize("name", workflow_names())
def test_workflow_opens_without_our_scripts(comfy, object_info, name):
    check_opening(comfy, object_info, name)


def check_opening(comfy, object_info, name: str) -> dict:
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


def values(workflow: dict) -> dict:
    """The values of all widgets, by node."""
    return {node["id"]: node["widgets_values"] for node in workflow["nodes"] if node.get("widgets_values")}


def files(entry: dict) -> list[tuple[str, str]]:
    """Node and name of each file that a run has saved."""
    return [
        (node, file["filename"])
        for node, output in entry["outputs"].items()
        for entries in output.values()
        for file in entries
        if isinstance(file, dict) and file.get("type") == "output"
    ]


@classic
def test_templates_are_listed_with_pictures_and_open(comfy, object_info):
    comfy.command("Comfy.BrowseTemplates")
    dialog = comfy.page.get_by_role("dialog")
    dialog.get_by_text("skycanvas", exact=True).click()
    for name in workflow_names():
        # cards are made, and pictures loaded, as one scrolls to them
        comfy.page.wait_for_function("name => probe.scrollToTemplate(name)?.naturalWidth > 0", arg=name, timeout=SHOW)
    card = dialog.get_by_test_id("template-workflow-text_to_image")
    card.click()
    dialog.wait_for(state="hidden")
    comfy.page.wait_for_function("app.graph.nodes.length > 0")
    assert comfy.prompt() == to_prompt(read_workflow("text_to_image"), object_info)


def test_link_opens_a_template(browser, server, object_info):
    page = ComfyPage(browser, server, query="?template=any_place_patches&source=skycanvas")
    try:
        assert page.messages() == []
        assert page.prompt() == to_prompt(read_workflow("any_place_patches"), object_info)
    finally:
        page.close()


@classic
def test_help_of_every_node_is_shown_with_its_pictures(comfy):
    comfy.clear()
    toggle = comfy.page.get_by_role("button", name="Toggle properties panel")
    toggle.click()
    for name in DOCS:
        comfy.select(comfy.add(name))
        comfy.page.get_by_role("tab", name="Info").click()
        title = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        page = comfy.page.locator(".node-help-content")
        page.get_by_role("heading", name=title, exact=True).first.wait_for(timeout=SHOW)
        for picture in page.locator("img").element_handles():
            picture.wait_for_element_state("visible", timeout=SHOW)
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    toggle.click()
