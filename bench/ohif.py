"""Are results of the DICOM node seen in OHIF? Orthanc holds a made-up CT with a Segmentation and a Parametric
Map as medprior writes them; OHIF is served from this machine and opened in headless Chromium.

    npm pack @ohif/app && tar xf ohif-app-*.tgz
    python bench/ohif.py --ohif package/dist

Prints the coloured pixels of the viewer before and after each result was opened (a CT alone is grey), and
the origins that the page has asked. Needs Debian's orthanc, orthanc-dicomweb, chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
from pacs import ORTHANC, free_port, run
from PIL import Image
from scipy.ndimage import gaussian_filter
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from medprior.data.volume import Volume
from medprior.io.read import read
from medprior.io.write import write

SHAPE = (96, 96, 16)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--window-size=1400,900"),
)
PATIENCE = 120.0
GREY = 40
"""Two channels of a grey pixel differ by less; the colours of the viewer's own frame are cut off."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ohif", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home, store, site = Path(folder), free_port(), free_port()
        study = fill(stack, home, store)
        address = f"http://127.0.0.1:{site}"
        server = ThreadingHTTPServer(("127.0.0.1", site), handler(chosen.ohif, store, address))
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        look(f"{address}/viewer?StudyInstanceUIDs={study}", address, chosen.pictures)


def fill(stack: ExitStack, home: Path, port: int) -> str:
    """An Orthanc with a CT, findings and a map; gives the UID of the study."""
    rng = np.random.default_rng(0)
    grid = np.linalg.norm(np.mgrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)][:2], axis=0)
    body = np.where(grid < 0.8, 40 + 30 * gaussian_filter(rng.normal(size=SHAPE), 2), -1000)
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    scan = Volume(body[None].astype(np.float32), affine, "HU", "CT")
    write(scan, home / "ct", kind="converted")
    scan = read(home / "ct")
    mask = np.zeros((1, *SHAPE), np.float32)
    mask[0, 40:60, 30:50, 5:11] = 1
    write(replace(scan, data=mask, unit="label"), home / "seg.dcm", like=scan, kind="mask")
    level = gaussian_filter(mask, (0, 4, 4, 1)) * 9
    write(replace(scan, data=level, unit="z"), home / "map.dcm", like=scan, kind="map")
    plugin = {"Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"], "DicomPort": free_port()}
    places = {"StorageDirectory": f"{home}/db", "IndexDirectory": f"{home}/db", "HttpPort": port}
    (home / "orthanc.json").write_text(
        json.dumps(ORTHANC | plugin | places | {"UnknownSopClassAccepted": True})
    )
    run(stack, ["Orthanc", f"{home}/orthanc.json"], home / "orthanc.log")
    ends = time.monotonic() + PATIENCE
    for path in sorted(home.rglob("*.dcm")):
        while True:
            with suppress(URLError, ConnectionError):
                urlopen(Request(f"http://127.0.0.1:{port}/instances", path.read_bytes()), timeout=20).close()
                break
            if time.monotonic() > ends:
                raise SystemExit("Orthanc does not take objects")
            time.sleep(0.1)
    with urlopen(f"http://127.0.0.1:{port}/studies?expand", timeout=20) as answer:
        return json.loads(answer.read())[0]["MainDicomTags"]["StudyInstanceUID"]


def handler(dist: Path, store: int, address: str) -> Any:
    """OHIF's files, its settings, and DICOMweb under one address."""
    web = f"{address}/dicom-web"
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "dicomweb",
        "configuration": {
            "friendlyName": "Orthanc",
            "name": "orthanc",
            "wadoUriRoot": web,
            "qidoRoot": web,
            "wadoRoot": web,
            "qidoSupportsIncludeField": False,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsWildcard": True,
            "bulkDataURI": {"enabled": True},
        },
    }
    settings = {"routerBasename": "/", "extensions": [], "modes": [], "showStudyList": True}
    settings |= {"defaultDataSourceName": "dicomweb", "dataSources": [source], "maxNumberOfWebWorkers": 2}
    script = f"window.config = {json.dumps(settings)};".encode()

    class Site(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(dist))

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/app-config.js":
                self.answer(200, "text/javascript", script)
            elif path.startswith("/dicom-web/"):
                self.passed_on()
            else:
                if not (dist / path.lstrip("/")).is_file():
                    self.path = "/index.html"
                super().do_GET()

        def passed_on(self) -> None:
            headers = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
            try:
                with urlopen(Request(f"http://127.0.0.1:{store}{self.path}", headers=headers)) as found:
                    self.answer(found.status, found.headers["Content-Type"], found.read())
            except HTTPError as error:
                self.answer(error.code, "text/plain", b"")

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Not a line for each file."""

    return Site


def look(address: str, own: str, pictures: Path | None) -> None:
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        browser.set_page_load_timeout(PATIENCE)
        browser.get(address)
        until(lambda: browser.find_elements(By.CSS_SELECTOR, "canvas"), "a picture")
        clicked(browser, "Skip all", 20)
        clicked(browser, "Confirm and hide", 5)
        time.sleep(5)
        counts = {"CT alone": coloured(browser, pictures, "ct")}
        for words, name in (("AI findings", "segmentation"), ("AI anomaly map", "map")):
            opened(browser, words)
            clicked(browser, "Yes", 10)
            time.sleep(8)
            counts[name] = coloured(browser, pictures, name)
        asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    finally:
        browser.quit()
    for name, n in counts.items():
        print(f"{name}: {n} coloured pixels")
    others = sorted({urlsplit(name).netloc for name in asked if not name.startswith((own, "blob:", "data:"))})
    print(f"{len(asked)} requests, {len(others)} other origins {others or ''}".strip())
    if not counts["CT alone"] < min(counts["segmentation"], counts["map"]) or others:
        raise SystemExit(1)


def until(found: Any, what: str) -> Any:
    ends = time.monotonic() + PATIENCE
    while not (answer := found()):
        if time.monotonic() > ends:
            raise SystemExit(f"{what} has not come")
        time.sleep(0.5)
    return answer


def clicked(browser: Any, text: str, seconds: float) -> None:
    """A button of that name, where it comes in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for button in browser.find_elements(By.XPATH, f"//button[contains(., '{text}')]"):
            with suppress(Exception):  # it may be gone again
                button.click()
                return
        time.sleep(0.5)


def opened(browser: Any, words: str) -> None:
    """Double click on the thumbnail of a series."""
    (thumbnail, *_) = until(
        lambda: browser.find_elements(By.XPATH, f"//*[contains(text(), '{words}')]"), words
    )
    ActionChains(browser).move_to_element(thumbnail).double_click().perform()
    time.sleep(4)


def coloured(browser: Any, pictures: Path | None, name: str) -> int:
    """Pixels of the middle of the window that are not grey."""
    content = browser.get_screenshot_as_png()
    if pictures is not None:
        (pictures / f"ohif-{name}.png").write_bytes(content)
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)[120:640, 350:1050]
    return int((np.ptp(seen, axis=2) > GREY).sum())


if __name__ == "__main__":
    main()
