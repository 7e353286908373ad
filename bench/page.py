"""The pictures of the page in docs/pictures: page-look.png, page-detect.png, page-phone.png.

    python bench/page.py WORK        WORK keeps the server's folder; needs Chromium, its driver and the demo's scans

It starts ``medprior serve``, hands in the averaged brain and a synthetic radiograph with a drawn blob, runs detect on
the radiograph and takes the pictures. No patient is shown.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

from pictures import odd_radiograph
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

import medprior as mp
from medprior.runs.demo import scan_paths

OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
    ):
        options.add_argument(option)
    options.binary_location = shutil.which("chromium") or ""
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def wait(driver: webdriver.Chrome, css: str, text: str = "", seconds: float = 300.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for one in driver.find_elements(By.CSS_SELECTOR, css):
            if text in one.text:
                return one
        time.sleep(0.2)
    raise TimeoutError(f"{css} {text}")


def shot(driver: webdriver.Chrome, name: str, width: int, height: int, dark: bool, wide: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    time.sleep(3)
    image = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    image = image.resize((wide, round(image.height * wide / image.width)), Image.Resampling.LANCZOS)
    image.quantize(160, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        OUT / name, optimize=True
    )


def hand_in(driver: webdriver.Chrome, path: Path) -> str:
    driver.execute_script("location.hash = '/scans'")
    wait(driver, ".drop")
    driver.find_element(By.CSS_SELECTOR, ".pick-files").send_keys(str(path))
    wait(driver, ".viewer .canvas img.base")
    return driver.execute_script("return location.hash").rpartition("/")[2]


def taken(driver: webdriver.Chrome, address: str, work: Path) -> None:
    image = odd_radiograph(mp.load("chest-xray"), (128, 128))
    grey = Image.fromarray((image.data[0].clip(0, 1) * 255).astype("uint8"))
    grey.resize((512, 512), Image.Resampling.BICUBIC).save(work / "synthetic radiograph.png")
    driver.get(address)
    radiograph = hand_in(driver, work / "synthetic radiograph.png")
    hand_in(driver, scan_paths()["brain"])
    wait(driver, ".group button", "3-D").click()
    wait(driver, "canvas[data-ready='true']")
    shot(driver, "page-look.png", 1440, 900, True, 1200)
    form = f"/new/detect?input={radiograph}&prior=chest-xray&modality=DX&allow_other=true"
    driver.execute_script("location.hash = arguments[0]", form)
    wait(driver, ".command code", "medprior detect")
    wait(driver, "form button.main", "Start").click()
    wait(driver, "a.button.main", "Open the result").click()
    wait(driver, ".canvas img.map")
    shot(driver, "page-detect.png", 1440, 1010, False, 1200)
    driver.execute_script("document.querySelector('.viewer').scrollIntoView(); scrollBy(0, -130)")
    shot(driver, "page-phone.png", 390, 844, True, 390)


def main(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "medprior", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, text=True) as server:
        driver = browser()
        try:
            assert server.stdout is not None
            taken(driver, server.stdout.readline().split()[-1], work)
        finally:
            driver.quit()
            server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
