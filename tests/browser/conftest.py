"""A Chromium, and ComfyUI's page in it: one for each way of showing nodes, and one without the pack's scripts."""

import pytest

pytest.importorskip("playwright", reason="playwright is not installed: `python3 run.py test` installs it")
from browser_tools import CHROMIUM, CHROMIUM_ARGUMENTS, EDITOR_ENGINE, EDITOR_SELECTOR, ComfyPage  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

PAGES = {"classic": {}, "vue": {"vue_nodes": True}, "scriptless": {"scripts": False}}


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        playwright.selectors.register(EDITOR_SELECTOR, EDITOR_ENGINE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=PAGES)
def page(request, browser, server):
    """One page for all tests of its kind: loading it takes longer than any of them."""
    page = ComfyPage(browser, server, **PAGES[request.param])
    yield page
    page.close()


@pytest.fixture
def comfy(request, page):
    """The page; nothing may complain in its console, or be left open on the screen."""
    yield page
    problems, messages = page.problems[:], page.messages()
    page.problems.clear()
    page.foreseen = ()
    if problems or messages:
        page.screenshot(request.node.name)
        page.dismiss()
        pytest.fail("\n".join(["the page complains:", *problems, *messages]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and call.when == "call" and (comfy := item.funcargs.get("comfy")):
        report.sections.append(("screenshot", str(comfy.screenshot(item.name))))
        log = comfy.server.log_path.read_text(encoding="utf-8", errors="replace")
        report.sections.append(("last lines of ComfyUI's log", "\n".join(log.splitlines()[-40:])))
    return report
