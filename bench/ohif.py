"""Are results of the DICOM node seen in OHIF? Orthanc holds a made-up CT with a Segmentation and a Parametric
Map as medprior writes them; OHIF is served from this machine and opened in headless Chromium.

    npm pack @ohif/app && tar xf ohif-app-*.tgz
    python bench/ohif.py --ohif package/dist [--node]

--node: the results are made on the way. The CT is sent from Orthanc to a DICOM node with a small prior, and
the map comes back by itself; the seconds are printed.

Prints the coloured pixels of the viewer before and after each result was opened (a CT alone is grey), and
the origins that the page has asked. Needs Debian's orthanc, orthanc-dicomweb, chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
from pacs import ORTHANC, QUIET, TOML, asked, free_port, run
from PIL import Image
from scipy.ndimage import gaussian_filter
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from medprior.data.volume import Volume
from medprior.io.read import read
from medprior.io.write import write
from tests.corpus.dicom_parts import ct_slice, save, uid
from tests.unit.runs.conftest import save_tiny, scene

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
    parser.add_argument("--node", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home, store, site = Path(folder), free_port(), free_port()
        study, results = answered(stack, home, store) if chosen.node else fill(stack, home, store)
        address = f"http://127.0.0.1:{site}"
        server = ThreadingHTTPServer(("127.0.0.1", site), handler(chosen.ohif, store, address))
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        look(f"{address}/viewer?StudyInstanceUIDs={study}", address, chosen.pictures, results)


FINDINGS, MAP, REPORT = "AI findings", "AI anomaly map", "AI anomaly report"
"""Descriptions of the series of results."""


def fill(stack: ExitStack, home: Path, port: int) -> tuple[str, list[str]]:
    """An Orthanc with a CT, findings and a map; gives the UID of the study and the results to look at."""
    scan = made(home)
    mask = np.zeros((1, *SHAPE), np.float32)
    mask[0, 40:60, 30:50, 5:11] = 1
    write(replace(scan, data=mask, unit="label"), home / "seg.dcm", like=scan, kind="mask")
    level = gaussian_filter(mask, (0, 4, 4, 1)) * 9
    write(replace(scan, data=level, unit="z"), home / "map.dcm", like=scan, kind="map")
    return orthanc(stack, home, port, DicomPort=free_port()), [FINDINGS, MAP]


def answered(stack: ExitStack, home: Path, port: int) -> tuple[str, list[str]]:
    """The same, but Orthanc sends the CT to a node, whose results come back into the study."""
    node, dicom = free_port(), free_port()
    foreign(home / "ct")
    study = orthanc(
        stack, home, port, DicomPort=dicom, DicomModalities={"n": ["MEDPRIOR", "127.0.0.1", node]}
    )
    save_tiny(home / "tiny", modality="CT", unit="HU")
    toml = TOML.format(node=node, dicom=dicom).replace('"CR"', '"CT"').replace("chest-xray", "tiny")
    toml = toml.replace("send_back = true", 'send_back = true, may = ["store"]')
    (home / "pacs.toml").write_text(toml.replace("back = [", 'back = ["seg", '))
    command = ["-m", "medprior", "serve", f"{home}/runs", "--port", "0", "--pacs", f"{home}/pacs.toml"]
    run(stack, [sys.executable, *command], home / "serve.log")
    until(lambda: "token=" in (home / "serve.log").read_text(), "the node")
    address, _, token = (home / "serve.log").read_text().split()[-1].partition("/#token=")
    (whole,) = asked(f"http://127.0.0.1:{port}/studies")
    urlopen(Request(f"http://127.0.0.1:{port}/modalities/n/store", str(whole).encode()), timeout=60).close()
    began = time.time()
    until(lambda: {MAP, REPORT} <= set(described(port)), "an answer", 0.05)
    seconds, job = time.time() - began, asked(f"{address}/api/jobs", token)[0]
    job = job["ended"] - job["started"]
    print(f"study sent to the node; quiet time {QUIET:.0f} s, job {job:.1f} s,")
    print(f"all else {seconds - QUIET - job:.1f} s until its map and its report are in Orthanc")
    return study, [name for name in (FINDINGS, MAP) if name in described(port)]


def foreign(folder: Path) -> None:
    """A made-up CT that does not say that medprior has made it: the node works on none of its own."""
    folder.mkdir()
    for n in range(6):
        pixels = np.rint(scene(n % 3)[0] * 8).astype(np.uint16)
        image = ct_slice(pixels, position=(0, 0, 3.0 * n), PatientID="bench", PatientName="bench")
        image.PixelSpacing, image.SliceThickness, image.Modality = [2.0, 2.0], 3.0, "CT"
        image.SOPInstanceUID = uid("ohif", n)
        image.StudyInstanceUID, image.SeriesInstanceUID = uid("ohif study"), uid("ohif series")
        save(folder / f"{n}.dcm", image)


def described(port: int) -> list[str]:
    """Descriptions of all series."""
    series = asked(f"http://127.0.0.1:{port}/series?expand")
    return [one["MainDicomTags"].get("SeriesDescription", "") for one in series]


def made(home: Path) -> Volume:
    """A made-up CT, written and read."""
    rng = np.random.default_rng(0)
    grid = np.linalg.norm(np.mgrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)][:2], axis=0)
    body = np.where(grid < 0.8, 40 + 30 * gaussian_filter(rng.normal(size=SHAPE), 2), -1000)
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    write(Volume(body[None].astype(np.float32), affine, "HU", "CT"), home / "ct", kind="converted")
    return read(home / "ct")


def orthanc(stack: ExitStack, home: Path, port: int, **more: Any) -> str:
    """An Orthanc that holds every DICOM file below ``home``; gives the UID of the study."""
    plugin = {"Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"], **more}
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
    return asked(f"http://127.0.0.1:{port}/studies?expand")[0]["MainDicomTags"]["StudyInstanceUID"]


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


def look(address: str, own: str, pictures: Path | None, results: Sequence[str]) -> None:
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
        for words in results:
            name = {FINDINGS: "segmentation", MAP: "map"}[words]
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
    plain = counts.pop("CT alone")
    if not plain < min(counts.values()) or others:
        raise SystemExit(1)


def until(found: Any, what: str, pause: float = 0.5) -> Any:
    ends = time.monotonic() + PATIENCE
    while not (answer := found()):
        if time.monotonic() > ends:
            raise SystemExit(f"{what} has not come")
        time.sleep(pause)
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
