"""What leads to the shipped workflows, and helps with them: templates, links and help; and what holds without it."""

import pytest
from browser_tools import SHOW, ComfyPage, check_opening
from server_tools import ROOT, read_workflow, workflow_names

from launcher.workflow import to_prompt

DOCS = sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md"))
classic = pytest.mark.parametrize("page", ["classic"], indirect=True)
scriptless = pytest.mark.parametrize("page", ["scriptless"], indirect=True)


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


@scriptless
@pytest.mark.parametrize("name", workflow_names())
def test_workflow_opens_without_our_scripts(comfy, object_info, name):
    check_opening(comfy, object_info, name)
