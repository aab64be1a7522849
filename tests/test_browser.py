"""JupyterLab in a real browser: notebooks run there, and their explorers answer. Only in `make test-browser`."""

import os
import shutil
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

# One a kind of explorer; the others are made of the same controls.
EXPLORERS = ["00_start", "12_lccvae_anchors", "13_lccvae_completion", "14_lccvae_ablations", "15_lccvae_sampling"]
EXPLORERS += ["32_levda_surrogates", "33_levda_benchmarks", "34_levda_irregular", "36_levda_uncertainty"]
EXPLORERS += ["37_levda_cost", "38_levda_sensors", "39_levda_starts"]
EXPLORERS += ["20_llaae_adjustment", "21_llaae_ablation", "22_llaae_extremes"]
EXPLORERS += ["23_llaae_disentanglement", "24_llaae_chlorophyll", "40_slams_latents"]
EXPLORERS += ["41_slams_cases", "42_slams_ablation", "43_slams_modalities"]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Start JupyterLab on a copy of the notebooks, which it saves by itself, and return its address."""
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
    own |= {
        "LATENTKIT_ROOT": ROOT,
        "LATENTKIT_FIGURES": home / "figures",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
    }
    options = [f"--ServerApp.port={port}", "--IdentityProvider.token=", "--ServerApp.password=", "--no-browser"]
    shutil.copytree(ROOT / "notebooks", home / "project" / "notebooks")
    options += [f"--ServerApp.root_dir={home / 'project'}", "--allow-root", "--ServerApp.ip=127.0.0.1"]
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


def changed(page, shown: str, control: str) -> str:
    """Return what the picture shows after it has changed and settled."""
    wait_until(lambda: page.evaluate(SHOWN, 0) != shown, 60, f"the picture changed with {control}")
    return settled(page)


@pytest.fixture
def page(browser):
    """Open a page, and keep a picture of how it looked at the end, whatever came of it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    yield page
    page.screenshot(path=SCREENSHOTS / "page.png")


def run_all(page, lab, name: str, seconds: float):
    """Open a notebook, run all its cells, and return the picture of its explorer."""
    # A workspace of its own: in a shared one JupyterLab opens the notebooks of earlier tests, too, and hides some.
    page.goto(f"{lab}/lab/workspaces/{name}/tree/notebooks/{name}.ipynb", timeout=120_000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    # Asked to run before its kernel is there, JupyterLab opens a dialog instead.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    image = page.locator(".jupyter-widgets.widget-image").first
    image.wait_for(state="attached", timeout=1000 * seconds)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=1000 * seconds)
    image.scroll_into_view_if_needed()
    return image


@pytest.mark.parametrize("name", EXPLORERS)
def test_every_control_of_an_explorer_changes_its_picture(page, lab, name):
    image = run_all(page, lab, name, 400)
    shown = settled(page)
    image.screenshot(path=SCREENSHOTS / f"{name}_before.png")
    readouts = page.locator(".jupyter-widgets .widget-readout")
    for place in range(readouts.count()):
        readout, said = readouts.nth(place), readouts.nth(place).inner_text()
        page.locator(".noUi-handle").nth(place).focus()
        for key in ["ArrowRight"] + ["ArrowLeft"] * 2:  # ends one step down, also where it began at its upper end
            page.keyboard.press(key)
        wait_until(lambda readout=readout, said=said: readout.inner_text() != said, 30, f"slider {place} moved")
        shown = changed(page, shown, f"slider {place}")
    menus = page.locator(".jupyter-widgets.widget-dropdown select")
    for place in range(menus.count()):
        menu = menus.nth(place)
        chosen = menu.evaluate("menu => menu.selectedIndex")
        menu.select_option(index=0 if chosen else 1)
        shown = changed(page, shown, f"menu {place}")
    buttons = page.locator(".jupyter-widgets.widget-toggle-button")
    if buttons.count():  # a board
        buttons.first.click()
        shown = changed(page, shown, "a button of the board")
    assert readouts.count() + menus.count(), f"{name} has no control"
    image.screenshot(path=SCREENSHOTS / f"{name}_after.png")
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
