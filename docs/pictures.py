"""The pictures of the documentation, from the results of the demo.

    make demo && .venv/bin/python docs/pictures.py

Needs Chromium and its driver (Debian: chromium, chromium-driver).
"""

import base64
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from selenium import webdriver

from samfleet.config.schema import read_config
from samfleet.config.settings import settings_of
from samfleet.exports.job import export
from samfleet.results import report_file

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
IMAGES = ("dapi/field_04.png", "gfp/field_02.png", "mixed/magenta.png")
HEIGHT, GAP = 360, 10
WINDOW = (1366, 907)
THRESHOLDS = {"min_predicted_iou": 0.87, "min_area": 150}
MARKED = {"dapi/field_04.png": {0: True, 1: True, 32: False}}


def write_jpeg(name: str, picture: np.ndarray, quality: int) -> None:
    """Write a picture, (height, width, 3) uint8 with blue first, beside this file."""
    cv2.imwrite(str(ROOT / "docs" / name), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def outlined_images() -> np.ndarray:
    """Overlays of some images beside each other."""
    settings = settings_of(read_config(ROOT / "config" / "config.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        export(settings, RESULTS, "overlays", Path(folder) / "overlays", IMAGES)
        files = [Path(folder) / "overlays" / name for name in IMAGES]
        overlays = [np.asarray(cv2.imread(str(file))) for file in files]
    parts: list[np.ndarray] = []
    for overlay in overlays:
        scale = HEIGHT / overlay.shape[0]
        size = round(overlay.shape[1] * scale), HEIGHT
        parts += [cv2.resize(overlay, size, interpolation=cv2.INTER_CUBIC)]
        parts += [np.full((HEIGHT, GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def explorer_of_the_report() -> np.ndarray:
    """The report in the dark theme, with two thresholds moved and three objects marked."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    browser = webdriver.Chrome(options, service)
    try:
        size = {"width": WINDOW[0], "height": WINDOW[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(report_file(RESULTS).as_uri())
        while not browser.execute_script("return document.documentElement.dataset.ready"):
            time.sleep(0.1)
        browser.execute_script(
            """
            const [thresholds, marked] = arguments;
            const { explorer } = samfleet;
            document.documentElement.dataset.theme = "dark";
            document.documentElement.style.scrollBehavior = "auto";
            explorer.set({ ...explorer.settings, ...thresholds });
            for (const [image, marks] of Object.entries(marked)) {
              const tile = explorer.data.gallery.find((each) => each.image === image);
              for (const [candidate, right] of Object.entries(marks)) explorer.mark(tile, Number(candidate), right);
            }
            scrollTo(0, document.getElementById("thresholds").offsetTop - 40);
            """,
            THRESHOLDS,
            MARKED,
        )
        time.sleep(2)  # pictures decode as they come into view
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    finally:
        browser.quit()
    data = np.frombuffer(base64.b64decode(shot), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


if __name__ == "__main__":
    write_jpeg("demo.jpg", outlined_images(), 85)
    write_jpeg("report.jpg", explorer_of_the_report(), 85)
