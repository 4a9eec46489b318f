"""The shipped workflows in the browser: opened, saved, and run from the Run button to what one sees and hears."""

import pytest
from browser_tools import check_opening
from server_tools import LTX_WORKFLOWS, MINI_WORKFLOWS

pytestmark = pytest.mark.parametrize("page", ["classic", "vue"], indirect=True)


def test_page_loads_without_a_complaint(comfy):
    assert not comfy.problems


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


@pytest.mark.parametrize("name", LTX_WORKFLOWS)
def test_workflow_for_ltx_opens(comfy, object_info, name):
    check_opening(comfy, object_info, name)  # at its own size, tiny weights would take long to run it


def files(entry: dict) -> list[tuple[str, str]]:
    """Node and name of each file that a run has saved."""
    return [
        (node, file["filename"])
        for node, output in entry["outputs"].items()
        for entries in output.values()
        for file in entries
        if isinstance(file, dict) and file.get("type") == "output"
    ]
