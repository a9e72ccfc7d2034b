"""The page in a real browser. Skipped where Chromium and its driver are not installed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait

from daq_deploy.html_report import ReportContent, render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no Chromium and chromedriver on this machine: the page is not opened"
)

Browser = webdriver.Chrome


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900"),
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Browser, content: ReportContent, tmp_path: Path) -> Iterator[Browser]:
    """The page, open; nothing may be written to the console until the test ends."""
    path = tmp_path / "report.html"
    path.write_text(render(content), encoding="utf-8")
    browser.get(path.as_uri())
    wait(browser, "document.getElementById('between').textContent !== ''")
    yield browser
    assert browser.get_log("browser") == []


def wait(browser: Browser, condition: str) -> None:
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(f"return {condition}"))


def text(browser: Browser, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def choose(browser: Browser, mode: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"input[name=mode][value={mode}]").click()


def divider(browser: Browser) -> float:
    return float(browser.execute_script("return parseFloat(document.getElementById('divider').style.left)"))


def test_nothing_is_asked_of_the_network(page: Browser):
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_the_divider_follows_keys_and_pointer_and_uncovers_the_picture(page: Browser):
    position, before = page.find_element(By.ID, "position"), divider(page)
    position.send_keys(Keys.ARROW_RIGHT * 10)
    assert divider(page) > before
    before = divider(page)
    page.find_element(By.ID, "stage").send_keys(Keys.ARROW_LEFT * 5)
    assert divider(page) < before
    before = divider(page)
    ActionChains(page).drag_and_drop_by_offset(page.find_element(By.ID, "divider"), -150, 0).perform()
    assert divider(page) == pytest.approx(before - 150, abs=3)
    cut = page.execute_script("return document.getElementById('pane-right').style.clipPath")
    assert f"{divider(page):g}"[:5] in cut


def test_zoom_and_movement_stay_in_step(page: Browser):
    choose(page, "side")
    for _ in range(3):
        page.find_element(By.ID, "in").click()
    page.find_element(By.ID, "stage").send_keys(Keys.ARROW_DOWN)
    left, right = (
        page.execute_script(f"return document.querySelector('#pane-{side} img').style.transform")
        for side in ("left", "right")
    )
    assert left == right
    scale = float(left.rpartition("scale(")[2].rstrip(")"))
    assert text(page, "#zoom") == f"{100 * scale:.0f} %"
    page.find_element(By.ID, "fit").click()
    fitted = page.execute_script("return document.querySelector('#pane-left img').style.transform")
    assert float(fitted.rpartition("scale(")[2].rstrip(")")) < scale


def test_the_difference_is_that_of_the_pixels(page: Browser, content: ReportContent):
    by_name = {version.name: version.pixels.astype(int) for version in content.versions}
    Select(page.find_element(By.ID, "left")).select_by_visible_text("bicubic")
    Select(page.find_element(By.ID, "right")).select_by_visible_text("2 bits")
    choose(page, "difference")
    difference = np.abs(by_name["bicubic"] - by_name["2 bits"])
    expected = 10 * math.log10(255**2 / (difference.astype(float) ** 2).mean())
    sentence = f"bicubic and 2 bits, part shown: PSNR {expected:.2f} dB, largest difference {difference.max()} of 255."
    wait(page, f"document.getElementById('between').textContent === {sentence!r}")
    Select(page.find_element(By.ID, "gain")).select_by_visible_text("4 ×")
    wait(page, "document.getElementById('ramp-end').textContent === '0 to 63'")
    drawn = page.execute_script(
        "const c = document.querySelector('#pane-difference canvas');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    brightness = np.array(drawn).reshape(*difference.shape[:2], 4)[..., :3].sum(axis=2)
    largest = difference.max(axis=2)
    assert brightness[largest == 0].max(initial=4) <= 4
    assert brightness[largest > 6].min() > brightness[largest == 1].max()
    assert text(page, "#tag-left") == "|bicubic − 2 bits|"


def test_a_picture_is_picked_in_the_strip(page: Browser):
    item = page.find_element(By.CSS_SELECTOR, '.strip li[data-name="8 bits"]')
    ActionChains(page).move_to_element(item).click(item.find_element(By.CLASS_NAME, "to-left")).perform()
    assert text(page, "#tag-left") == "8 bits"
    page.find_element(By.ID, "swap").click()
    assert text(page, "#tag-right") == "8 bits"


def column(browser: Browser, index: int) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, ".sortable tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[index].text for row in rows]


def test_the_table_sorts_by_number_and_leaves_what_is_missing_last(page: Browser):
    file = page.find_elements(By.CSS_SELECTOR, ".sortable thead th")[5]
    file.find_element(By.TAG_NAME, "button").click()
    assert column(page, 0) == ["2 bits", "8 bits", "float", "bicubic"]
    assert file.get_attribute("aria-sort") == "ascending"
    file.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert column(page, 0) == ["float", "8 bits", "2 bits", "bicubic"]
    assert file.get_attribute("aria-sort") == "descending"
    page.find_element(By.CSS_SELECTOR, ".sortable thead th button").click()
    assert column(page, 0) == ["bicubic", "float", "8 bits", "2 bits"]
    assert file.get_attribute("aria-sort") == "none"


def test_a_layer_is_chosen_in_the_chart_or_by_name(page: Browser):
    target = page.find_element(By.CSS_SELECTOR, '.target[data-layer="2"]')
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    ActionChains(page).move_to_element(target).click().perform()
    assert Select(page.find_element(By.ID, "layer")).first_selected_option.text.startswith("tail")
    assert "Widest range: channel 5, -3.00 to 4.50" in text(page, "#heat-read")
    page.find_element(By.ID, "heat").send_keys(Keys.ARROW_RIGHT * 2)
    assert text(page, "#heat-read") == "Channel 1: levels from -1.00 to 1.50, values from -2.00 to 2.00."
    Select(page.find_element(By.ID, "layer")).select_by_index(0)
    assert "it has no ranges" in text(page, "#heat-read")
    assert "reads the picture" in text(page, "#layer-reason")
    assert text(page, "#layer-table tbody tr:last-child td:nth-child(3)") == "float"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_width_and_text_has_contrast(page: Browser, width: int, scheme: str):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    colours = page.execute_script(
        "const s = getComputedStyle(document.documentElement);"
        "return ['--paper', '--panel', '--ink', '--soft', '--accent', '--accent-ink'].map((n) => s.getPropertyValue(n))"
    )
    paper, panel, ink, soft, accent, accent_ink = map(luminance, colours)
    for background in (paper, panel):
        assert min(contrast(ink, background), contrast(soft, background)) >= 4.5
    assert contrast(accent, accent_ink) >= 4.5
    assert (paper > ink) == (scheme == "light")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour.strip()[1 + 2 * index : 3 + 2 * index], 16) / 255 for index in range(3)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
