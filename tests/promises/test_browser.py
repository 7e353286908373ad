"""The page as a person uses it: a headless Chromium and a server, both started and ended here, on loopback.

Skipped with a message where there is no Chromium or no driver for it (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.runs.page.blocks import Charts, Compare, Fold, Grid, Picture, Section, Table
from medprior.runs.page.charts import Chart, Series
from medprior.runs.page.store import write_report
from tests.corpus.dicom_parts import axial, changed, save_all
from tests.unit.runs.conftest import bright_model, save_tiny, scene

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytest.importorskip("fastapi", reason="the extra 'web' is not installed")

from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / ".cache" / "node_modules" / "axe-core" / "axe.min.js"
HOSTILE_WORDS = (
    "<img src=x onerror=\"document.title='PWNED'\">",
    "<script data-bad>document.title='PWNED'</script>",
    "\" autofocus onfocus=\"document.title='PWNED'",
    "<svg onload=document.title='PWNED'>",
    "</style><style>*{display:none}</style><iframe srcdoc=x>",
    "<a href=javascript:document.title='PWNED'>x</a>",
    "javascript:document.title='PWNED'",
    "${document.title='PWNED'} {{constructor.constructor('pwned=1')()}}",
    "\u202egnp.PWNED\u202c",
    "\u05e9\u05dc\u05d5\u05dd <b>\u0645\u0631\u062d\u0628\u0627</b>",
    "\U0001f4a9\U0001f469\u200d\U0001f52c <img src=x>",
    "\x1b[31mPWNED\x1b[0m\x07 <img src=x>",
    "null\x00<object data=x>",
    "&lt;img src=x&gt; &#x3c;img src=x&#x3e;",
    "]]><!--<embed src=x>-->",
    "<img src=x>" * 40,
)
PATIENCE = 150.0
LOCAL = r"(http://127\.0\.0\.1:\d+/|blob:|data:|chrome|about:)"


class Server:
    """``medprior serve`` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process, self.address = folder, None, ""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medprior", "serve", "runs", "--port", "0"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(sign)
        self.process.wait(20)
        self.process.stdout.close()

    @property
    def origin(self) -> str:
        return self.address.partition("/#")[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("serve"))
    yield made
    made.end()


def chromium(*options: str) -> Any:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no chromium or chromedriver: apt-get install chromium chromium-driver")
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = browser
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1440,900",
        *options,
    ):
        chosen.add_argument(option)
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=chosen, service=webdriver.ChromeService(driver))


class Page:
    """A browser with few words. asked: addresses that it has asked for; said: lines of its console."""

    def __init__(self, driver: Any, server: Server) -> None:
        self.driver, self.server = driver, server
        self.asked: list[str] = []
        self.said: list[str] = []
        self.extra: list[str] = []
        driver.get(server.address)
        self.wait("main h1")

    def hear(self) -> None:
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
        self.said += [line["message"] for line in self.driver.get_log("browser")]

    def go(self, page: str) -> None:
        self.driver.execute_script("location.hash = arguments[0]", f"/{page}")
        self.wait("main h1")

    def until(self, what: Callable[[], Any], why: str = "") -> Any:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            try:
                if found := what():
                    return found
            except StaleElementReferenceException:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{why}: {self.driver.find_element(By.TAG_NAME, 'body').text[:1500]}")

    def wait(self, css: str, text: str = "") -> Any:
        def look() -> Any:
            found = self.driver.find_elements(By.CSS_SELECTOR, css)
            return next((one for one in found if text in one.text), None)

        return self.until(look, f"{css} {text!r}")

    def script(self, code: str, *values: object) -> Any:
        return self.driver.execute_script(code, *values)

    def hand_in(self, *files: Path) -> None:
        self.go("scans")
        box = self.wait("main").find_element(By.CSS_SELECTOR, ".pick-files, input[type=file]")
        box.send_keys("\n".join(map(str, files)))

    def keys(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, there: Callable[[], bool]) -> None:
        for _ in range(80):
            self.keys(Keys.TAB)
            if there():
                return
        raise AssertionError("not reached by the tab key")

    def press(self, words: str) -> None:
        """Go to a link or a button by the tab key, and press it."""
        self.tab_to(lambda: self.driver.switch_to.active_element.text == words)
        self.keys(Keys.ENTER)

    def sized(self, width: int, height: int, dark: bool = False) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    driver = chromium("--disable-gpu", "--disable-3d-apis")
    made = Page(driver, server)
    yield made
    driver.quit()


@pytest.fixture(scope="module")
def radiograph() -> Path:
    """A real radiograph as DICOM, out of an installed package."""
    from medprior.errors import MedpriorError
    from medprior.runs.demo import scan_paths

    try:
        return scan_paths()["chest"]
    except MedpriorError as error:
        pytest.skip(str(error))


COLOURED = """
const map = document.querySelector('.canvas img.map');
if (!map || !map.complete || !map.naturalWidth) return 0;
const canvas = document.createElement('canvas');
canvas.width = map.naturalWidth; canvas.height = map.naturalHeight;
const context = canvas.getContext('2d');
context.drawImage(map, 0, 0);
const values = context.getImageData(0, 0, canvas.width, canvas.height).data;
let count = 0;
for (let n = 0; n < values.length; n += 4) if (values[n + 3] > 0 && values[n] > values[n + 2] + 20) count++;
return count;
"""
SLIDE = """
const named = (one) => one.textContent.includes(arguments[0]);
const box = [...document.querySelectorAll('label.slider')].find(named);
const slider = box.querySelector('input');
slider.value = arguments[1];
slider.dispatchEvent(new Event('input', {bubbles: true}));
"""


def test_an_empty_page_says_what_to_do_next(page: Page) -> None:
    assert page.wait(".empty h2", "No scan at hand?") and page.wait("button", "Run the demo's scans")
    for name, words in (
        ("runs", "Nothing has been done"),
        ("jobs", "No job yet"),
        ("reading", ""),
        ("labels", ""),
    ):
        page.go(name)
        assert page.wait(".empty" if words else "h1", words)
        assert "Research use only, not for diagnosis" in page.wait(".notice").text


def test_a_real_dicom_is_handed_in_examined_and_seen_with_its_overlay(page: Page, radiograph: Path) -> None:
    page.hand_in(radiograph)
    page.wait(".viewer .canvas img.base")
    page.wait("aside a", "Find what looks unusual").click()
    page.until(lambda: page.wait("form select").get_attribute("value"), "the scan is chosen")
    assert "medprior detect runs/.serve/scans/" in page.wait(".command code").text
    page.wait("form button.main", "Start").click()
    page.wait(".state", "running")
    page.driver.refresh()  # in mid-run
    page.wait("main h1", "Find what looks unusual")
    page.wait("a.button.main", "Open the result").click()
    page.wait(".headline", "healthy patients")
    page.wait(".canvas img.map")
    page.script(SLIDE, "Colours begin", 0.1)
    assert page.until(lambda: page.script(COLOURED), "coloured pixels") > 100
    page.script(SLIDE, "Opacity", 0)
    assert page.script("return getComputedStyle(document.querySelector('img.map')).opacity") == "0"
    before = page.script("return getComputedStyle(document.querySelector('.twin')).clipPath")
    page.script(SLIDE, "to Healthy twin", 20)
    assert page.script("return getComputedStyle(document.querySelector('.twin')).clipPath") != before
    assert "runs/detect-" in page.wait("aside .command code").text


def test_a_report_opens_in_a_tab_of_its_own(page: Page) -> None:
    page.go("runs")
    page.wait("a.card").click()
    in_report(page, lambda: page.wait("h1", "detect") and page.script("return document.scripts.length") == 1)


def started(page: Page, address: str) -> str:
    """Start the job of a form whose options stand in its address, and give the address of its page."""
    page.go(address)
    page.until(lambda: page.wait("form button.main").is_enabled(), "the form is complete")
    page.wait("form button.main", "Start").click()
    page.wait(".state")
    return page.script("return location.hash").removeprefix("#/")


def scan_id(page: Page) -> str:
    page.go("scans")
    return page.wait(".card[href*='scan/']").get_attribute("href").rpartition("/")[2]


def test_a_cancelled_job_stops_and_leaves_nothing_half_written(page: Page, server: Server) -> None:
    started(page, f"new/augment-classical?input={scan_id(page)}&n=5000")
    page.wait(".state", "running")
    page.wait("button", "Cancel").click()
    page.wait(".state", "cancelled")
    assert page.wait("button", "Try again")
    again = page.wait("main a.button", "Change and do it again").get_attribute("href")
    assert "new/augment-classical?" in again and "n=5000" in again
    assert [path.name for path in (server.folder / "runs").glob("augment-*")] == []


def test_a_killed_server_loses_no_job(page: Page, server: Server) -> None:
    job = started(page, f"new/augment-classical?input={scan_id(page)}&n=4")
    page.wait(".state", "running")
    server.end(signal.SIGKILL)
    try:
        page.wait("main .problem", "does not answer")
    finally:
        server.start()
    page.driver.get(server.address)
    page.driver.refresh()
    page.wait("nav a")
    page.go(job)
    page.wait(".state", "done")
    assert len([*(server.folder / "runs").glob("augment-*/run.json")]) == 1
    page.wait("a.button.main", "Open the result").click()
    assert page.wait(".gallery .shot img")


def pictures_of(folder: Path, names: Sequence[str]) -> list[Path]:
    for k, name in enumerate(names):
        write(Volume(scene(k)), folder / "any.png", kind="converted")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / "any.png").rename(folder / name)
    return [folder / name for name in names]


def pictures(folder: Path, count: int) -> list[Path]:
    return pictures_of(folder, [f"case{k}/image.png" for k in range(count)])


@pytest.fixture(scope="module")
def tiny(server: Server, page: Page) -> str:
    """A small prior of one's own, as the page names it."""
    save_tiny(server.folder / "runs" / "tiny")
    page.go("priors")
    return page.wait("a.card[href*='prior/']", "your own").get_attribute("href").rpartition("/")[2]


def test_a_blind_reading_ends_with_an_accuracy_and_its_interval(
    page: Page, tiny: str, tmp_path: Path
) -> None:
    page.hand_in(*[path.rename(tmp_path / f"real{k}.png") for k, path in enumerate(pictures(tmp_path, 3))])
    page.wait(".card b", "real2")
    started(page, f"new/synthesize?prior={tiny}&n=4&unproven=true")
    page.wait("a.button.main", "Open the result")
    page.go("reading")
    for label in page.until(lambda: page.driver.find_elements(By.CSS_SELECTOR, "fieldset label")):
        if "real" in label.text or "Draw new" in label.text:
            label.click()
    page.wait("button.main", "Make the reading").click()
    page.wait("#reader").send_keys("Ann", Keys.ENTER)
    for n in range(3):
        page.wait("p.soft", f"question {n + 1} of 3")
        assert "synthesize-" not in page.driver.page_source and "real0" not in page.driver.page_source
        page.until(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, ".pair img")) == 2)
        page.wait("body").send_keys("1")
    assert re.search(r"Ann \d of 3 \d+ % \d+ % to \d+ %", page.wait("table tbody tr").text)
    assert page.wait("button", "Save all answers as CSV")
    page.extra.append(page.script("return location.hash").removeprefix("#/"))


def test_a_batch_is_labelled_by_keys(page: Page, tiny: str, tmp_path: Path) -> None:
    pictures(tmp_path / "set", 8)
    archive = Path(shutil.make_archive(str(tmp_path / "eight"), "zip", tmp_path / "set"))
    page.go("scans")
    page.driver.find_element(By.CSS_SELECTOR, "input[accept='.zip']").send_keys(str(archive))
    data = page.wait("a.card[href*='scan/']", "eight").get_attribute("href").rpartition("/")[2]
    started(page, f"new/label?folder={data}&prior={tiny}&n=3&folders=patients&split=all")
    page.wait(".state", "done")
    page.go("labels")
    page.wait("a.card", "label-").click()
    page.wait("#reader").clear()
    page.wait("#reader").send_keys("Ann", Keys.ENTER)
    page.wait("aside p", "scan 1 of 3")
    page.wait("#other").send_keys("sick", Keys.ENTER)  # the first label of its kind is written
    page.wait("aside p", "1 labelled by you")
    page.wait(".stage").click()
    page.keys("1")
    page.wait("aside p", "2 labelled by you")
    page.keys("u")
    page.wait("aside p", "1 labelled by you")
    page.wait("body").send_keys("?")
    page.wait("aside p", "2 labelled by you, 6 without a label")
    page.wait("summary", "All readers together").click()
    assert page.wait("aside dd", "sick 1")
    page.extra.append(page.script("return location.hash").removeprefix("#/"))


def test_the_answer_of_a_model_is_explained(page: Page, tiny: str, tmp_path: Path) -> None:
    """A model is handed in beside a scan; its page begins with the answer."""
    pytest.importorskip("onnxruntime")
    model = bright_model(tmp_path, 0.3)
    page.hand_in(pictures(tmp_path, 1)[0].rename(tmp_path / "asked.png"), model, model.with_suffix(".json"))
    page.wait(".card", "bright.onnx")
    scan = page.wait("a.card[href*='scan/']", "asked").get_attribute("href").rpartition("/")[2]
    page.go(f"new/explain?input={scan}&prior={tiny}&n=1&particles=2&modality=DX")
    page.wait("form option", "bright.onnx").click()
    page.until(lambda: page.wait("form button.main").is_enabled(), "the form is complete")
    page.wait("form button.main", "Start").click()
    page.wait("a.button.main", "Open the result").click()
    page.wait("main", "The model answers")
    assert page.wait(".viewer .canvas img.base")
    page.extra.append(page.script("return location.hash").removeprefix("#/"))


def test_hostile_words_of_a_file_are_shown_as_words(page: Page, tmp_path: Path) -> None:
    """Sixteen kinds, as the words of a DICOM series and as the name of a picture, on every page with them."""
    series: list[Path] = []
    for n, words in enumerate(HOSTILE_WORDS):
        told: dict[str, str] = dict.fromkeys(("SeriesDescription", "StudyDescription"), words[:64])
        told["SpecificCharacterSet"] = "ISO_IR 192"
        told["PatientName"] = re.sub("[=^]", " ", words[:64])
        uids = {"SeriesInstanceUID": f"1.2.3.{n}"}
        images = [
            changed(one, SOPInstanceUID=f"1.2.3.{n}.{k}", **uids, **told) for k, one in enumerate(axial()[:3])
        ]
        files = save_all(tmp_path / str(n), images).iterdir()
        series += [path.rename(tmp_path / f"{n}-{path.name}") for path in files]
    names = [re.sub(r"[/\x00-\x1f\x7f]", "_", words)[:50] + ".png" for words in HOSTILE_WORDS]
    page.hand_in(*series, *pictures_of(tmp_path / "named", names))
    card = lambda: page.driver.find_elements(By.CSS_SELECTOR, ".cards .card")  # noqa: E731
    page.until(lambda: len(card()) >= 2 * len(HOSTILE_WORDS), "all are there")
    shown = page.script("return [...document.querySelectorAll('.card b')].map((one) => one.textContent)")
    assert set(names) <= set(shown) and sum("<" in one for one in shown) > 20 and unharmed(page)
    series_pages = [one.get_attribute("href").partition("#/")[2] for one in card() if ".png" not in one.text]
    for place in ("new/detect", "new/predict", "reading", *series_pages[: len(HOSTILE_WORDS)]):
        page.go(place)
        page.wait("img.base" if place.startswith("scan") else "form, .empty")
        assert unharmed(page), place
    page.hear()
    assert [line for line in page.said if "Content Security Policy" in line] == []


def test_hostile_words_of_a_run_are_shown_as_words(page: Page, server: Server) -> None:
    """On its page, in the list, beside another run and in its report: labels, verdicts, tables and charts."""
    words = list(HOSTILE_WORDS)
    chart = Chart(words[0], words[1], words[2], words[3], (Series("line", (0.0, 1.0), (0.0, 1.0), words[4]),))
    picture = Picture(Image.new("L", (8, 8)), words[5], words[6], synthetic=True)
    table = Table([words, words], words[7], words=True)
    blocks = [table, Grid([picture]), Compare(picture, picture), Charts([chart]), Fold(words[10], [table])]
    record: dict[str, object] = {"complete": True, "job": "explain", "id": "0" * 64, "peak_mib": 1.0}
    record |= {"finished": "2026-01-01T00:00:00+00:00", "seconds": {}, "versions": {"medprior": words[14]}}
    record["summary"] = {"headline": words, "result": words[0], "code": 0}
    record["metrics"] = {"answer": dict.fromkeys(words, 1 / len(words)), "given": words[0]}
    folder = server.folder / "runs" / "explain-hostile"
    folder.mkdir(parents=True)
    section = Section(words[8], words[9], blocks, words[11], words)
    write_report(folder, words[12], words[13], [section], record)
    page.go("runs")
    page.wait("a.card", "<img").click()
    page.wait(".report .chart")
    assert page.wait(".answer .said b", "<img") and unharmed(page)
    place = page.script("return location.hash").removeprefix("#/")
    page.extra.append(place)
    page.go(f"compare?runs={place.rpartition('/')[2]}")
    assert page.wait(".beside p", "<img") and unharmed(page)
    page.go(place)
    in_report(page, lambda: page.until(lambda: page.wait("h1") and unharmed(page)))


def unharmed(page: Page) -> bool:
    """Nothing of the words has become a part of the page or has run."""
    bad = "script[data-bad], img[src=x], iframe, object, embed, [onload], [onfocus], a[href^=javascript]"
    bad = "script[data-bad], img[src=x], iframe, object, embed, [onload], [onfocus], a[href^=javascript]"
    code = "return window.pwned || document.querySelector(arguments[0])"
    return page.driver.title != "PWNED" and not page.script(code, bad)


def in_report(page: Page, look: Callable[[], Any]) -> None:
    """Look at the report of the run that is shown, in its own tab."""
    page.wait("button", "Open the report").click()
    own = page.driver.current_window_handle
    other = page.until(lambda: [one for one in page.driver.window_handles if one != own])[0]
    page.driver.switch_to.window(other)
    try:
        page.wait("h1")
        look()
    finally:
        page.driver.close()
        page.driver.switch_to.window(own)


def test_a_volume_is_read_by_keyboard_alone(page: Page, tmp_path: Path) -> None:
    """From the first page to a distance in millimetres, without a mouse."""
    data = np.zeros((1, 40, 44, 36), np.float32)
    data[0, 10:30, 12:32, 8:28] = 100
    write(Volume(data, np.diag([1.0, 1.0, 2.0, 1.0]), "HU", "CT"), tmp_path / "box.nii.gz", kind="converted")
    page.hand_in(tmp_path / "box.nii.gz")
    page.wait(".viewer .canvas img.base")
    page.tab_to(lambda: "stage" in (page.driver.switch_to.active_element.get_attribute("class") or ""))
    label = lambda: page.wait(".stage").get_attribute("aria-label")  # noqa: E731
    assert "axial, slice 19 of 36" in label()
    page.keys(Keys.ARROW_UP)
    page.until(lambda: "slice 20" in label())
    page.keys(Keys.PAGE_DOWN)
    page.until(lambda: "slice 10" in label())
    page.keys("c")
    page.until(lambda: "coronal, slice 23 of 44" in label())
    letters = {one.text for one in page.driver.find_elements(By.CSS_SELECTOR, ".edge")}
    assert letters == {"R", "L", "S", "I"}
    page.keys("m")
    page.keys(Keys.ENTER)
    for _ in range(10):
        page.keys(Keys.ARROW_RIGHT)
    page.keys(Keys.ENTER)
    assert page.wait(".measured", "10 mm")
    page.keys(Keys.ESCAPE)
    page.keys("2")
    page.until(lambda: page.wait(".bar select").get_attribute("value") in ("lung", "more contrast"))
    page.press("Find what looks unusual")
    page.until(lambda: page.wait("form button.main").is_enabled(), "the form is complete")
    page.press("Start")
    page.wait(".state")
    page.press("Cancel")
    page.wait(".state", "cancelled")


def test_a_finding_jumps_to_its_place(page: Page, server: Server) -> None:
    """A run as detect writes it: the line of the list shows the slice, a ring, and the colours of the map."""
    outputs, affine = server.folder / "runs" / "detect-found" / "outputs", np.diag([1.0, 1.0, 2.0, 1.0])
    data = np.zeros((1, 40, 44, 36), np.float32)
    data[0, 8:12, 30:34, 4:7] = 9
    for name, values, kind in (("healthy_twin", data * 0, "healthy twin"), ("map", data, "map")):
        write(Volume(values, affine), outputs / f"{name}.nii.gz", kind=kind)
    write(Volume(np.sign(data), affine, "label"), outputs / "findings.nii.gz", kind="mask")
    finding = {
        "number": 1,
        "voxels": 48,
        "size": 0.096,
        "centre": [9.5, 31.5, 10.0],
        "peak": 9.0,
        "p_value": 0.04,
    }
    summary = {"headline": ["1 finding"], "result": "1 finding", "code": 0}
    record: dict[str, object] = {"complete": True, "job": "detect", "finished": "2026", "summary": summary}
    record["metrics"] = {"map_high": 5.0, "findings": [finding]}
    (outputs.parent / "run.json").write_text(json.dumps(record))
    page.go("runs")
    page.wait("a.card", "1 finding").click()
    page.wait(".findings button", "Finding 1").click()
    page.until(lambda: "axial, slice 6 of 36" in page.wait(".stage").get_attribute("aria-label"))
    ring = page.wait(".marks .found")
    place = [float(ring.get_attribute(name)) for name in ("cx", "cy")]
    assert place == [
        pytest.approx(40 - 1 - 9.5, abs=0.6),
        pytest.approx(44 - 1 - 31.5, abs=0.6),
    ]  # right is left
    assert page.until(lambda: page.script(COLOURED), "coloured pixels") == 16


def test_nothing_was_asked_of_another_place_and_nothing_went_wrong(page: Page, server: Server) -> None:
    page.hear()
    others = [one for one in page.asked if not re.match(LOCAL, one)]
    assert others == [] and len(page.asked) > 50
    bad = [one for one in page.said if "SEVERE" in one or "Uncaught" in one or "Content Security" in one]
    assert bad == []


def test_three_planes_and_the_volume_with_webgl(server: Server, page: Page) -> None:
    """NiiVue, where the browser has WebGL2; here by software. It asks for nothing from elsewhere, too."""
    page.go("scans")
    box = page.wait("a.card[href*='scan/']", "box.nii.gz").get_attribute("href").partition("#/")[2]
    other = Page(chromium("--use-angle=swiftshader", "--enable-unsafe-swiftshader"), server)
    try:
        other.go(box)
        other.wait(".group button", "3-D").click()
        other.wait(".stage.solid canvas[data-ready='true']")
        other.hear()
        assert [line for line in other.said if "Content Security" in line or "Uncaught" in line] == []
        assert [one for one in other.asked if not re.match(LOCAL, one)] == []
    finally:
        other.driver.quit()


WHERE = (
    "scans",
    "runs",
    "jobs",
    "priors",
    "prior/chest-xray",
    "reading",
    "labels",
    "choose",
    "new/detect",
    "new/train",
)


def every_page(page: Page) -> list[str]:
    """The addresses of all kinds of pages that there are by now."""
    found: list[str] = [*WHERE]
    for where, kind in (("scans", "scan"), ("runs", "run"), ("jobs", "job")):
        page.go(where)
        links = page.until(
            lambda kind=kind: page.driver.find_elements(By.CSS_SELECTOR, f"main a[href^='#/{kind}/']")
        )
        found.append(links[0].get_attribute("href").partition("#/")[2])
    runs = [one.partition("/")[2] for one in found if one.startswith("run/")]
    return [*found, f"compare?runs={','.join(runs)}", *page.extra]


@pytest.mark.parametrize("width, height", [(1440, 900), (1024, 768), (390, 844)])
def test_no_page_is_wider_than_the_screen(page: Page, width: int, height: int) -> None:
    page.sized(width, height)
    try:
        for name in every_page(page):
            page.go(name)
            time.sleep(0.2)
            wide = page.script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, (name, width)
    finally:
        page.sized(1440, 900)


@pytest.mark.skipif(
    not AXE.is_file(), reason=f"no axe-core in {AXE.parent}: npm install --prefix .cache axe-core"
)
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_on_any_page(page: Page, dark: bool) -> None:
    page.sized(1440, 900, dark)
    try:
        every = every_page(page)
        for name in every:
            page.go(name)
            time.sleep(0.5)
            assert said_by_axe(page) == [], name
        page.go(next(name for name in every if name.startswith("run/")))
        found: list[Any] = []
        in_report(page, lambda: found.extend(said_by_axe(page)))
        assert found == [], "the report"
    finally:
        page.sized(1440, 900)


def said_by_axe(page: Page) -> list[tuple[str, str, str]]:
    """(rule, impact, where) of every finding."""
    page.script(AXE.read_text("utf-8"))
    found = page.driver.execute_async_script("axe.run().then(arguments[0])")
    return [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
