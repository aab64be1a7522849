"""JupyterLab in a real browser: 00_start runs there, and its explorer answers. Only in `make test-browser`."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "runs" / "browser"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Start JupyterLab on the project and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("jupyter")
    page = home / "config" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)
    page.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    # Settings, workspaces and trust of their own, so that the test neither finds nor leaves anything of the user's.
    folders = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "run"}
    own = {f"JUPYTER_{name}": home / folder for name, folder in folders.items()}
    own |= {"LATENTKIT_FIGURES": home / "figures", "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces"}
    options = [f"--ServerApp.port={port}", "--IdentityProvider.token=", "--ServerApp.password=", "--no-browser"]
    options += [f"--ServerApp.root_dir={ROOT}", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    log = (home / "log.txt").open("w")
    env = os.environ | {key: str(value) for key, value in own.items()}
    server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert server.poll() is None, (home / "log.txt").read_text()
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


@pytest.fixture(scope="module")
def browser():
    """Start the Chromium that the variable CHROMIUM names."""
    executable = os.environ.get("CHROMIUM")
    if not executable:
        pytest.skip("the variable CHROMIUM names no browser: CHROMIUM=$(command -v chromium) make test-browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield browser
        browser.close()


SHOWN = """async place => {
    const image = document.querySelectorAll('.jupyter-widgets.widget-image')[place];
    const buffer = await (await fetch(image.src)).arrayBuffer();
    const digest = await crypto.subtle.digest('SHA-256', buffer);
    return [...new Uint8Array(digest)].map(byte => byte.toString(16)).join('');
}"""


def wait_until(condition, seconds: float, what: str) -> None:
    """Wait for a condition, or fail with what was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def settled(page) -> str:
    """Return what the picture shows once it no longer changes."""
    shown = None
    for _ in range(60):
        last, shown = shown, page.evaluate(SHOWN, 0)
        if shown == last:
            return shown
        page.wait_for_timeout(2000)
    raise AssertionError("the picture keeps changing")


@pytest.fixture
def page(browser):
    """Open a page, and keep a picture of how it looked at the end, whatever came of it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    yield page
    page.screenshot(path=SCREENSHOTS / "page.png")


def test_the_explorer_of_the_first_notebook_answers(page, lab):
    page.goto(f"{lab}/lab/tree/notebooks/00_start.ipynb", timeout=120_000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    # Asked to run before its kernel is there, JupyterLab opens a dialog instead.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    image = page.locator(".jupyter-widgets.widget-image").first
    image.wait_for(state="attached", timeout=180_000)
    image.scroll_into_view_if_needed()
    before = settled(page)
    image.screenshot(path=SCREENSHOTS / "explorer_before.png")

    readout = page.locator(".widget-readout").first
    said = readout.inner_text()
    page.locator(".noUi-handle").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_until(lambda: readout.inner_text() != said, 30, "the slider moved")
    wait_until(lambda: page.evaluate(SHOWN, 0) != before, 60, "the picture changed with the slider")
    slid = settled(page)
    image.screenshot(path=SCREENSHOTS / "explorer_slider.png")

    menu = page.locator(".jupyter-widgets.widget-dropdown select").first
    menu.select_option(index=1)
    wait_until(lambda: page.evaluate(SHOWN, 0) != slid, 60, "the picture changed with the menu")
    settled(page)
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
