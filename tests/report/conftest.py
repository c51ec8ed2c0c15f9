"""A Chromium that opens pages, for the tests of what a reader sees and can do."""

import shutil
import time

import pytest
from selenium import webdriver


@pytest.fixture(scope="module")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


@pytest.fixture
def visit(driver):
    """``visit(file, width=, dark=)`` opens a page; at the end it must have logged no error."""

    def visit(file, *, width=1400, dark=False):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get(f"file://{file}")
        deadline = time.monotonic() + 60
        while not driver.execute_script("return document.documentElement.dataset.ready"):
            assert time.monotonic() < deadline, driver.get_log("browser")
            time.sleep(0.05)
        return driver

    yield visit
    assert driver.get_log("browser") == []


CONTRASTS = """
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => parse(color).slice(0, 3)
        .map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const color = getComputedStyle(e).backgroundColor;
            if ((parse(color)[3] ?? 1) > 0) return color;
        }
    };
    const found = [];
    for (const e of document.querySelectorAll("body *")) {
        const own = Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !e.getClientRects().length || e.matches("script, style")) continue;
        const style = getComputedStyle(e);
        const text = e.namespaceURI.endsWith("svg") ? style.fill : style.color;
        const [a, b] = [light(text), light(behind(e))].sort((x, y) => y - x);
        found.push([(a + 0.05) / (b + 0.05), e.textContent.slice(0, 40)]);
    }
    return found;
"""


@pytest.fixture(scope="session")
def contrasts():
    """``driver -> [(contrast, text)]`` of all text that is shown."""
    return lambda driver: driver.execute_script(CONTRASTS)


WIDE = """
    return Array.from(document.querySelectorAll("main *"))
        .filter((e) => !e.closest(".scroll, svg, .plot"))
        .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
        .map((e) => e.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="session")
def too_wide():
    """``driver -> elements`` that a reader would have to scroll sideways for."""

    def find(driver):
        width = driver.execute_script(
            "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
        )
        return driver.execute_script(WIDE) + ([] if width <= 0 else [f"the page, by {width}"])

    return find
