"""The node among real systems: Debian's Orthanc with DICOMweb, and dcmtk. Each is started here on loopback at
a free port and ended by its number; without them the tests are skipped with a message.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medprior.cli import main
from medprior.io.dicom.write.marks import COPIED_IDENTITY
from tests.corpus.dicom_parts import ct_slice, radiograph, save, uid
from tests.promises.test_identity import CANARY, marked
from tests.unit.runs.conftest import save_tiny, scene

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path("/usr/share/orthanc/plugins")
NEEDED = ("Orthanc", "dcmsend")
HEALTHY = 220
"""Films, of which about 15 of 100 are held out: 19 are needed for a flag at 5 %."""
if missing := [name for name in NEEDED if shutil.which(name) is None]:
    pytest.skip(f"{', '.join(missing)} not installed (Debian: orthanc, dcmtk)", allow_module_level=True)
if not (PLUGINS / "libOrthancDicomWeb.so").exists():
    pytest.skip("Orthanc has no DICOMweb (Debian: orthanc-dicomweb)", allow_module_level=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


@dataclass
class Store:
    """An Orthanc. dicom, web: its ports. node, other: ports under which it knows MEDPRIOR and FETCHER."""

    dicom: int = field(default_factory=free_port)
    web: int = field(default_factory=free_port)
    node: int = field(default_factory=free_port)
    other: int = field(default_factory=free_port)

    def __call__(self, path: str, body: bytes | None = None) -> Any:
        """The answer of its REST interface."""
        with urlopen(Request(f"http://127.0.0.1:{self.web}{path}", body), timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def instances(self, modality: str = "") -> list[bytes]:
        """Every object, or those of one modality."""
        series = [one for one in self("/series?expand") if modality in ("", one["MainDicomTags"]["Modality"])]
        found = []
        for name in (name for one in series for name in one["Instances"]):
            with urlopen(f"http://127.0.0.1:{self.web}/instances/{name}/file", timeout=20) as answer:
                found.append(answer.read())
        return found

    def settings(self, folder: Path) -> dict[str, Any]:
        return {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
            "HttpPort": self.web,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": True,
            "DicomModalities": {
                "node": {
                    "AET": "MEDPRIOR",
                    "Host": "127.0.0.1",
                    "Port": self.node,
                    "AllowStorageCommitment": True,
                },
                "other": ["FETCHER", "127.0.0.1", self.other],
            },
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }


Running = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="module")
def run() -> Iterator[Running]:
    """Starts processes, and ends them by their number."""
    with ExitStack() as stack:

        def start(command: list[str], log: Path, **more: Any) -> subprocess.Popen[bytes]:
            file = stack.enter_context(open(log, "wb"))
            process: Any = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **more)
            stack.callback(ended, process)
            return process

        yield start


def ended(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(found: Callable[[], Any], seconds: float = 150.0) -> Any:
    ends = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < ends, "it has not happened"
        time.sleep(0.1)
    return answer


@pytest.fixture(scope="module")
def store(place: Path, run: Running) -> Store:
    made = Store()
    (place / "orthanc.json").write_text(json.dumps(made.settings(place)))
    run(["Orthanc", str(place / "orthanc.json")], place / "orthanc.log")

    def there() -> bool:
        try:
            return bool(made("/system"))
        except (URLError, ConnectionError):
            return False

    until(there, 20)
    return made


TOML = """me = {{ ae = "MEDPRIOR", port = {node} }}
[[peers]]
ae = "ORTHANC"
port = {dicom}
may = ["store"]
send_back = true
count = true
confirm = true
[[peers]]
ae = "WEB"
web = "http://127.0.0.1:{web}/dicom-web"
send_back = true
[[peers]]
ae = "DCMSEND"
may = ["store"]
[[rules]]
when = {{ Modality = "CT" }}
prior = "tiny"
back = ["seg", "pm", "sr", "sc"]
quiet = 1
[[rules]]
when = {{ Modality = "CR" }}
prior = "brain-t1"
back = ["sr"]
quiet = 1
"""


@dataclass
class Served:
    folder: Path
    address: str
    token: str

    def __call__(self, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self.token}"}
        with urlopen(Request(f"{self.address}{path}", headers=headers), timeout=20) as answer:
            return answer.read()

    @property
    def page(self) -> Any:
        return json.loads(self("/api/pacs"))


@pytest.fixture(scope="module")
def node(place: Path, store: Store, run: Running) -> Served:
    """``medprior serve --pacs`` as it is started by hand, with a small prior."""
    save_tiny(place / "tiny", modality="CT", unit="HU")
    (place / "pacs.toml").write_text(TOML.format(node=store.node, dicom=store.dicom, web=store.web))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medprior", "serve", "--port", "0", "--pacs", "pacs.toml"]
    process = run(command, place / "serve.log", cwd=place, env=environment)

    def address() -> list[str]:
        assert process.poll() is None, (place / "serve.log").read_text()
        return (place / "serve.log").read_text().split()[-1:]

    where, _, token = until(address, 30)[0].partition("/#token=")
    return Served(place, where, token)


def head_scan() -> list[Dataset]:
    """Six slices of a made-up CT with a canary in every text, in a study of their own."""
    found = []
    for n in range(6):
        pixels = np.rint(scene(n % 3)[0] * 8).astype(np.uint16)
        image = ct_slice(pixels, position=(0, 0, 3.0 * n), PatientID="p1", PatientName="p1")
        found.append(marked(image))
        image.PixelSpacing, image.SliceThickness = [2.0, 2.0], 3.0
        image.Modality = "CT"
        del image.ConvolutionKernel  # a term that readers need, and de-identification keeps
        image.SOPInstanceUID = uid("peers", n)
        image.StudyInstanceUID, image.SeriesInstanceUID = uid("peers study"), uid("peers series")
    return found


def sent(port: int, title: str, files: list[Path]) -> None:
    subprocess.run(
        ["dcmsend", "-aet", title, "-aec", "MEDPRIOR", "127.0.0.1", str(port), *map(str, files)],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_study_that_is_sent_gets_its_answer(node: Served, store: Store, tmp_path: Path) -> None:
    """By dcmsend and by Orthanc itself; map, report and picture come back into the study, by C-STORE to which
    Orthanc commits, and by STOW-RS. No word of it
    stands in logs, names and pages. Our own results sent once more get no job.
    """
    files = [save(tmp_path / f"{n}.dcm", image) for n, image in enumerate(head_scan())]
    sent(store.node, "DCMSEND", files)
    until(lambda: node.page["states"].get("delivery delivered") == 2)
    study = store("/tools/find", json.dumps({"Level": "Study", "Query": {}, "Expand": True}).encode())
    assert [one["MainDicomTags"]["StudyInstanceUID"] for one in study] == [uid("peers study")]
    kinds = sorted(one["MainDicomTags"]["SeriesDescription"] for one in store("/series?expand"))
    assert [kind for kind in kinds if kind != "AI findings"] == [
        *("AI anomaly map", "AI anomaly report", "AI detect")
    ]
    for content in store.instances():
        assert said_freely(content) == []
    assert validated(store.instances(), tmp_path) == []
    for name in store("/instances"):
        store("/modalities/node/store", name.encode())
    until(lambda: node.page["counters"]["received"] >= len(files) + 3)
    time.sleep(1.5)
    page = node.page
    assert len(page["scans"]) == 1 and page["faults"] == []
    logs = [*node.folder.glob("*.log"), *node.folder.rglob("jobs/*/log"), *node.folder.rglob("events.jsonl")]
    texts = [path.read_bytes() for path in logs] + [node("/api/pacs"), node("/metrics"), node("/api/jobs")]
    assert [text for text in texts if CANARY.encode() in text.upper()] == []
    assert [path for path in (node.folder / "runs").rglob("*") if CANARY in path.name.upper()] == []


def said_freely(content: bytes, *terms: str) -> list[str]:
    """Elements that hold a canary, but for those that a result may have. terms: VRs of codes, in which no
    person writes; then it is no result.
    """
    found = pydicom.dcmread(BytesIO(content))
    allowed = () if terms else COPIED_IDENTITY
    return [
        element.keyword
        for element in found.iterall()
        if CANARY in str(element.value).upper()
        and element.VR not in ("SQ", *terms)
        and element.keyword not in allowed
    ]


ALLOWED = ("(0x0008,0x001c)", "QUANTITY", "Laterality")
"""What dciodvfy of 2022 does not know yet."""


def validated(contents: list[bytes], folder: Path) -> list[str]:
    """Errors of dciodvfy."""
    if shutil.which("dciodvfy") is None:
        return []
    found = []
    for n, content in enumerate(contents):
        (folder / f"check{n}.dcm").write_bytes(content)
        done = subprocess.run(
            ["dciodvfy", str(folder / f"check{n}.dcm")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        found += [line for line in done.stderr.splitlines() if line.startswith("Error")]
    return [line for line in found if not any(word in line for word in ALLOWED)]


def test_a_scan_that_the_prior_is_not_for_gets_a_report_that_says_so(
    node: Served, store: Store, tmp_path: Path
) -> None:
    image = radiograph(StudyInstanceUID=uid("film study"), SeriesInstanceUID=uid("film"), PatientName="p")
    sent(store.node, "DCMSEND", [save(tmp_path / "film.dcm", image)])
    name = uid("film study")
    until(lambda: [c for c in store.instances("SR") if name.encode() in c])
    (answer,) = [c for c in store.instances("SR") if name.encode() in c]
    assert b"No result can be given" in answer and validated([answer], tmp_path) == []


@pytest.mark.parametrize("how", ["get", "move", "web"])
def test_a_training_set_is_fetched_without_identity(
    node: Served, store: Store, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """node: the store holds its results, too, and they stay away."""
    for image in head_scan():
        store("/instances", save(tmp_path / "one.dcm", image).read_bytes())
    (tmp_path / "pacs.toml").write_text(
        f'me = {{ ae = "FETCHER", port = {store.other} }}\nrules = []\n'
        f'[[peers]]\nae = "ORTHANC"\nport = {store.dicom}\nweb = "http://127.0.0.1:{store.web}/dicom-web"\n'
    )
    out = tmp_path / "set"
    words = ["fetch", "--query", "Modality=CT", "--out", str(out), "--pacs", str(tmp_path / "pacs.toml")]
    assert main([*words, "--how", how, "--allow-burned-in"]) == 0, capsys.readouterr().err
    files = list(out.rglob("*.dcm"))
    assert len(files) == 6 and [one for f in files for one in said_freely(f.read_bytes(), "CS", "AS")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.dcm", "pacs.toml", "set"]
    assert main(["scan", str(out), "--out", str(tmp_path / "scan")]) == 0
    assert "1 scan" in capsys.readouterr().out


def screening(n: int) -> Dataset:
    """A film of one of many healthy patients."""
    image = radiograph(PatientID=f"s{n}", PatientName=f"s{n}", StudyDescription="SCREENING")
    pixels = np.rint(scene(n)[0] * 8).astype(np.uint16)
    image.Rows, image.Columns = pixels.shape
    image.PixelData = pixels.tobytes()
    image.StudyInstanceUID, image.SeriesInstanceUID = uid("screening", n), uid("screening series", n)
    image.SOPInstanceUID = uid("screening film", n)
    return image


@pytest.mark.minutes
@pytest.mark.timeout(900)
def test_a_hospital_gets_answers_with_its_own_rate(store: Store, tmp_path: Path, run: Running) -> None:
    """The four commands of docs/pacs.md: fetch, train, calibrate, serve. Then a film gets a report that says
    how often healthy patients of this PACS are flagged. The training is short, and its prior of no use.
    """
    for n in range(HEALTHY):
        store("/instances", save(tmp_path / "one.dcm", screening(n)).read_bytes())
    title, port = "SITE", free_port()
    (tmp_path / "pacs.toml").write_text(
        f'me = {{ ae = "{title}", port = {port} }}\n'
        f'[[peers]]\nae = "ORTHANC"\nport = {store.dicom}\nsend_back = true\n'
        '[[peers]]\nae = "DCMSEND"\nmay = ["store"]\n'
        '[[rules]]\nwhen = { Modality = "CR" }\nprior = "site"\nback = ["sr"]\nquiet = 1\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}

    def command(line: str) -> None:
        words = [sys.executable, "-m", "medprior", *line.split()]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), done.stderr[-2000:]

    command("fetch --query Modality=CR --query StudyDescription=SCREENING* --peer ORTHANC --out films"
            " --allow-burned-in --pacs pacs.toml")  # fmt: skip
    assert len(list((tmp_path / "films").rglob("*.dcm"))) == HEALTHY
    command("train films --preset tiny --steps 4 --device cpu --out site")
    command("calibrate detect films --prior site")
    serve = [sys.executable, "-m", "medprior", "serve", "--port", "0", "--pacs", "pacs.toml"]
    log = tmp_path / "serve.log"
    run(serve, log, cwd=tmp_path, env=environment)
    until(lambda: "token=" in log.read_text(), 30)
    new = screening(HEALTHY)
    save(tmp_path / "new.dcm", new)
    words = ["dcmsend", "-aet", "DCMSEND", "-aec", title, "127.0.0.1", str(port), str(tmp_path / "new.dcm")]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    study = str(new.StudyInstanceUID).encode()
    (answer,) = until(lambda: [one for one in store.instances("SR") if study in one])
    said = re.search(rb"(\d+) held-out healthy patients.*Of healthy patients (\d+\.\d) % are flagged", answer)
    assert said is not None and 19 <= int(said[1]) < HEALTHY and 0 < float(said[2]) <= 5
    assert validated([answer], tmp_path) == []


@pytest.mark.skipif(not (PLUGINS / "libOrthancPython.so").exists(), reason="no orthanc-python (Debian)")
def test_the_example_of_orthanc_sends_a_quiet_series_and_has_a_button(tmp_path: Path, run: Running) -> None:
    """Its files as they stand, with free ports."""
    from pynetdicom import AE, evt

    example, store, got = ROOT / "examples" / "orthanc", Store(), []
    entity = AE("MEDPRIOR")
    for name in ("CT Image Storage", "Computed Radiography Image Storage"):
        entity.add_supported_context(uid_of(name))

    def take(event: evt.Event) -> int:
        got.append(str(event.dataset.Modality))
        return 0

    server = entity.start_server(("127.0.0.1", store.node), False, evt_handlers=[(evt.EVT_C_STORE, take)])
    assert server is not None
    settings = json.loads((example / "orthanc.json").read_text()) | {"StableAge": 1, "DicomPort": store.dicom}
    settings |= {"Plugins": [str(PLUGINS / "libOrthancPython.so")], "HttpPort": store.web}
    settings |= {"PythonScript": str(example / "medprior_plugin.py"), "PythonVerbose": False}
    settings |= {"StorageDirectory": str(tmp_path / "db"), "IndexDirectory": str(tmp_path / "db")}
    settings |= {"AuthenticationEnabled": False, "HttpBindAddresses": ["127.0.0.1"]}
    settings["DicomModalities"]["medprior"]["Port"] = store.node
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    run(["Orthanc", str(tmp_path / "orthanc.json")], tmp_path / "orthanc.log")

    def there() -> bool:
        try:
            return bool(store("/system"))
        except (URLError, ConnectionError):
            return False

    try:
        until(there, 20)
        store("/instances", save(tmp_path / "a.dcm", radiograph()).read_bytes())
        store("/instances", save(tmp_path / "b.dcm", radiograph(SeriesDescription="AI map")).read_bytes())
        until(lambda: got, 30)
        (name, *_) = store("/series")
        assert store(f"/medprior/{name}", b"") == {"sent": True}
        until(lambda: len(got) > 1, 30)
    finally:
        server.shutdown()
    assert set(got) == {"CR"}
    from medprior.pacs.settings import read_pacs_settings

    assert read_pacs_settings(example / "pacs.toml").me.ae == "MEDPRIOR"


def uid_of(name: str) -> str:
    from pydicom.uid import UID_dictionary

    return next(uid for uid, about in UID_dictionary.items() if about[0] == name)
