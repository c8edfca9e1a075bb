"""A headless Chromium that looks at the live page."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 20.0

CONTRASTS = """
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const parts = (color) => color.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (node) => {
  const color = parts(getComputedStyle(node).backgroundColor);
  return color[3] === 0 ? behind(node.parentElement) : color;
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
  const style = getComputedStyle(node);
  const [one, other] = [parts(node instanceof SVGElement ? style.fill : style.color), behind(node)].map(luminance);
  found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), walker.currentNode.data]);
}
return found;
"""
"""The contrast of every text that is shown, as WCAG 2 computes it."""


class Browser:
    """A Chromium with one page in it."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str, *, width: int = 1280, scheme: str = "light") -> None:
        """Load a page in a window of some width, pixels, in the light or the dark scheme, without animations."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        media = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self.driver.get("about:blank")
        self.complaints()  # of the page before
        self.driver.get(url)

    def run(self, script: str, *args: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(script, *args)

    def wait(self, condition: Callable[[], Any], told: str) -> None:
        """Wait until a condition holds; `told` says what was waited for."""
        waiting = WebDriverWait(self.driver, PATIENCE, 0.03, (StaleElementReferenceException,))
        waiting.until(lambda _: condition(), told)

    def text(self, css: str) -> str:
        """The text of the first element that a selector finds; hidden text counts."""
        return self.driver.find_element(By.CSS_SELECTOR, css).get_attribute("textContent") or ""

    def texts(self, css: str) -> list[str]:
        """The texts of all elements that a selector finds."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)", css)

    def shows(self, css: str) -> bool:
        """Whether the element is to be seen."""
        return self.driver.find_element(By.CSS_SELECTOR, css).is_displayed()

    def at(self, place: str) -> str:
        """What the page shows for a place of the document."""
        return self.text(f"[data-at='{place}']")

    def complaints(self) -> list[str]:
        """Errors in the console since the last time: of scripts, of files that are missing, of the content policy."""
        return [each["message"] for each in self.driver.get_log("browser") if each["level"] == "SEVERE"]

    def keep(self, file: str) -> None:
        """Take a picture of the whole page."""
        size = self.run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.save_screenshot(file)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium of its own; the test is skipped where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("there is no Chromium; install the Debian packages chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    # Root, as in a container, has no sandbox; /dev/shm may be small there.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options, Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()
