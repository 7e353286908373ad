"""The DICOM node: how fast it takes objects, and what a kill costs.

    python bench/pacs.py rates [--objects 400] [--rounds 5]
    python bench/pacs.py kill [--kills 100] [--objects 500] [--work .cache/pacs]
    python bench/pacs.py study [--rounds 5]

rates: CT slices of 512 x 512 (0.5 MB) by C-STORE over loopback. Each is on the disk, whole, flushed and under
its name, before its sender has an answer. One sender, then four processes at a time: in Python, where the
senders take more of the cores than the node does, then dcmsend. Printed beside it: the same bytes written,
flushed and renamed without any network, which no receiver can beat on this disk.

kill: a node gets SIGKILL at a random moment of a sender's objects, again and again. Whatever it has
acknowledged must be there, whole and with its bytes; nothing that is half must be visible. After every fifth
kill the sender sends everything once more to the next node, and each object is there once. The tally is
written after each kill, so the same command goes on where it was stopped, and with more --kills from there.
study: a chest film goes to a node by dcmsend, and its answer comes back into Orthanc. Seconds from the last
object in to the last result back, without the quiet time and without the job itself. Needs Debian's orthanc
and dcmtk, and MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from medprior.io.served.queue import Job, JobQueue
from medprior.pacs.node import PacsNode
from medprior.pacs.settings import PacsSettings, Peer, Rule, Station

SENDER = "SENDER"
PYTHON, DCMTK = "pynetdicom", "dcmsend of dcmtk"
AGAIN = 5
"""After every so many kills a new node gets everything once more."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("rates", "kill", "study"))
    parser.add_argument("--objects", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path(".cache/pacs"))
    chosen = parser.parse_args()
    if chosen.what == "rates":
        rates(chosen.objects or 400, chosen.rounds)
    elif chosen.what == "study":
        study(chosen.rounds)
    else:
        kill(chosen.kills, chosen.objects or 500, chosen.work)


PATIENCE = 120
"""Seconds in which a sender begins again."""

# a node in a process of its own


def node_of(folder: Path) -> PacsNode:
    """A node whose rules never fire."""
    rule = Rule(when={"Modality": "NONE"}, prior="chest-ct", name="none")
    known = PacsSettings(me=Station(port=0), peers=(Peer(ae=SENDER, may=("store",)),), rules=(rule,))
    queue = JobQueue(folder / "queue.sqlite")
    return PacsNode(known, folder / "runs", queue, lambda verb, values, task: Job("0", verb, ()))


def serve(folder: Path, pipe: object) -> None:
    node = node_of(folder)
    node.start()
    pipe.send(node.listener.port)  # type: ignore[attr-defined]
    time.sleep(3600)


def started(folder: Path) -> tuple[multiprocessing.Process, int]:
    """(its process, its port)."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(folder, theirs), daemon=True)
    process.start()
    return process, mine.recv()


# what is sent


def slice_of(n: int, side: int, series: str = "1") -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[series, str(n)])
    made.StudyInstanceUID = generate_uid(entropy_srcs=["study", series])
    made.SeriesInstanceUID = generate_uid(entropy_srcs=["series", series])
    made.PatientID, made.PatientName, made.Modality = "bench", "bench", "CT"
    made.Rows = made.Columns = side
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.PixelData = np.random.default_rng(n).integers(0, 4096, (side, side)).astype("<u2").tobytes()
    return made


def send(port: int, images: Sequence[Dataset]) -> list[Dataset]:
    """Those that were acknowledged, in order, until the line is cut."""
    entity = AE(SENDER)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    line = entity.associate("127.0.0.1", port, ae_title="MEDPRIOR")
    taken: list[Dataset] = []
    for image in images:
        try:
            status = line.send_c_store(image).get("Status")
        except RuntimeError:
            break
        if status != 0:
            break
        taken.append(image)
    if line.is_established:
        line.release()
    return taken


def sender(port: int, series: str, objects: int, ready: object, go: object) -> None:
    images = [slice_of(n, 512, series) for n in range(objects)]
    ready.release()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    if len(send(port, images)) != objects:
        sys.exit(1)


# rates


def rates(objects: int, rounds: int) -> None:
    disk = [by_disk_alone(objects // 2) for _ in range(rounds)]
    print(f"disk alone: {told(disk)} objects of 0.5 MB a second, flushed and renamed ({rounds} rounds)")
    for how in (PYTHON, *([DCMTK] if shutil.which("dcmsend") else [])):
        for n in (1, 4):
            found = [by_senders(how, n, objects // n, f"{n}-{turn}") for turn in range(rounds)]
            rate, cpu = zip(*found, strict=True)
            print(f"{n} sender{'s' * (n > 1)} ({how}): {told(rate)} objects a second, acknowledged;")
            print(f"  the node takes {1000 * statistics.median(cpu):.1f} ms CPU an object", flush=True)
    print(f"load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def told(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def by_senders(how: str, n: int, objects: int, name: str) -> tuple[float, float]:
    """Objects a second, and CPU seconds of the node for one."""
    with tempfile.TemporaryDirectory() as folder:
        process, port = started(Path(folder) / "node")
        before = cpu_of(process.pid)
        if how == PYTHON:
            seconds = by_python(port, n, objects, name)
        else:
            seconds = by_dcmsend(Path(folder) / "sent", port, n, objects, name)
        cpu = cpu_of(process.pid) - before
        ended(process)
        kept = len(list(Path(folder).rglob("instances/*/*.dcm")))
    if kept != n * objects:
        raise SystemExit("an object was not taken")
    return n * objects / seconds, cpu / (n * objects)


def cpu_of(process: int | None) -> float:
    """Seconds of a process (Linux)."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def by_python(port: int, n: int, objects: int, name: str) -> float:
    ready, go = multiprocessing.Semaphore(0), multiprocessing.Event()
    senders = [
        multiprocessing.Process(target=sender, args=(port, f"{name}-{k}", objects, ready, go))
        for k in range(n)
    ]
    for one in senders:
        one.start()
    for _ in senders:
        ready.acquire()
    began = time.monotonic()
    go.set()
    for one in senders:
        one.join()
    return time.monotonic() - began


def by_dcmsend(folder: Path, port: int, n: int, objects: int, name: str) -> float:
    """Its start and its look at the files count, too."""
    for k in range(n):
        (folder / str(k)).mkdir(parents=True)
        for m in range(objects):
            dcmwrite(folder / f"{k}/{m}.dcm", slice_of(m, 512, f"{name}-{k}"), enforce_file_format=True)
    words = ["dcmsend", "-aet", SENDER, "-aec", "MEDPRIOR", "--max-send-pdu", "131072", "+sd"]
    began = time.monotonic()
    senders = [subprocess.Popen([*words, "127.0.0.1", str(port), f"{folder}/{k}"]) for k in range(n)]
    for one in senders:
        one.wait()
    return time.monotonic() - began


def by_disk_alone(objects: int) -> float:
    data = slice_of(0, 512).PixelData
    with tempfile.TemporaryDirectory() as folder:
        home = os.open(folder, os.O_RDONLY)
        began = time.monotonic()
        for n in range(objects):
            path = Path(folder) / f"{n}.part"
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            path.rename(Path(folder) / f"{n}.dcm")
            os.fsync(home)
        seconds = time.monotonic() - began
        os.close(home)
    return objects / seconds


# kills


@dataclass
class Tally:
    """What kills have done so far. span: seconds that all objects take undisturbed. during: kills while
    objects came. lost: of those acknowledged. wrong: times an object was missing, other or there twice after
    all were sent again. unsent: times not all could be sent again. cut: lines cut meanwhile.
    """

    objects: int
    span: float
    kills: int = 0
    during: int = 0
    taken: int = 0
    lost: int = 0
    partial: int = 0
    again: int = 0
    wrong: int = 0
    unsent: int = 0
    cut: int = 0


def kill(kills: int, objects: int, work: Path) -> None:
    """Up to so many kills in all: the tally of those before lies in ``work``."""
    images = [slice_of(n, 64) for n in range(objects)]
    known = work / f"kills-of-{objects}.json"
    tally = Tally(**json.loads(known.read_text())) if known.is_file() else Tally(objects, duration(images))
    whole = encoded(images)
    work.mkdir(parents=True, exist_ok=True)
    while tally.kills < kills:
        with tempfile.TemporaryDirectory() as folder:
            one_kill(tally, images, whole, Path(folder))
        tally.kills += 1
        part = known.with_suffix(".part")
        part.write_text(json.dumps(asdict(tally)))
        part.rename(known)
    objects, span = tally.objects, tally.span
    print(f"{tally.kills} kills, {tally.during} of them while objects came")
    print(f"({objects} objects, {span:.1f} s undisturbed)")
    print(f"{tally.taken} objects acknowledged, {tally.lost} of them lost, {tally.partial} partial visible")
    print(f"sent once more to the next node {tally.again} times: {tally.unsent} times not all within")
    print(f"{PATIENCE} s, {tally.wrong} times an object was missing, other or there twice;")
    print(f"{tally.cut} lines cut before their end")
    if tally.lost or tally.partial or tally.wrong:
        raise SystemExit(1)


def one_kill(tally: Tally, images: Sequence[Dataset], whole: dict[str, str], home: Path) -> None:
    """At a moment that the number of the kill alone decides."""
    process, port = started(home)
    moment = random.Random(tally.kills).uniform(0, tally.span)
    killer = multiprocessing.Process(target=killed, args=(process.pid, moment))
    killer.start()
    acknowledged = send(port, images)
    killer.join()
    ended(process)
    tally.taken += len(acknowledged)
    tally.during += len(acknowledged) < len(images)
    there = visible(home)
    tally.lost += sum(there.get(uid := str(image.SOPInstanceUID)) != whole[uid] for image in acknowledged)
    tally.partial += sum(digest not in whole.values() for digest in there.values())
    if tally.kills % AGAIN:
        return
    process, port = started(home)
    left, until = images, time.monotonic() + PATIENCE
    while left and time.monotonic() < until:  # as a sender does whose line is cut on a busy machine
        left = left[len(send(port, left)) :]
        tally.cut += bool(left)
    ended(process)
    tally.again += 1
    tally.unsent += bool(left)
    tally.wrong += not left and visible(home) != whole


def ended(process: multiprocessing.Process) -> None:
    process.kill()
    process.join()


def killed(process: int, moment: float) -> None:
    time.sleep(moment)
    os.kill(process, 9)


def duration(images: Sequence[Dataset]) -> float:
    """Seconds that all objects take."""
    with tempfile.TemporaryDirectory() as folder:
        process, port = started(Path(folder))
        began = time.monotonic()
        if len(send(port, images)) != len(images):
            raise SystemExit("an object was not taken")
        seconds = time.monotonic() - began
        ended(process)
    return seconds


def encoded(images: Sequence[Dataset]) -> dict[str, str]:
    """SHA-256 of the data set of each object, by its UID."""
    found = {}
    for image in images:
        with tempfile.TemporaryFile() as file:
            dcmwrite(file, image, implicit_vr=False, little_endian=True)
            file.seek(0)
            found[str(image.SOPInstanceUID)] = hashlib.sha256(file.read()[-8192:]).hexdigest()
    return found


def visible(folder: Path) -> dict[str, str]:
    """The same of every file that the node would work on."""
    from pydicom import dcmread

    found = {}
    for path in folder.rglob("instances/*/*.dcm"):
        found[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = hashlib.sha256(
            path.read_bytes()[-8192:]
        ).hexdigest()
    return found


# a study and its answer


ORTHANC = {"HttpBindAddresses": ["127.0.0.1"], "AuthenticationEnabled": False, "DicomAet": "ORTHANC"}
TOML = """me = {{ ae = "MEDPRIOR", port = {node} }}
peers = [{{ ae = "ORTHANC", port = {dicom}, send_back = true }}, {{ ae = "SENDER", may = ["store"] }}]
[[rules]]
when = {{ Modality = "CR" }}
prior = "chest-xray"
back = ["pm", "sr", "sc"]
quiet = 2
"""
QUIET, BACK = 2.0, 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def asked(url: str, token: str = "") -> list[dict]:
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=20) as answer:
        return json.loads(answer.read())


def film(png: Path, n: int) -> Dataset:
    """A radiograph of the data set as CR."""
    values = np.asarray(Image.open(png).convert("L"))
    made = slice_of(n, 8, f"film {n}")
    made.SOPClassUID, made.Modality, made.BurnedInAnnotation = ComputedRadiographyImageStorage, "CR", "NO"
    made.Rows, made.Columns = values.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelSpacing = [0.14 * 2048 / values.shape[0]] * 2
    made.PixelData = values.tobytes()
    return made


def study(rounds: int) -> None:
    data = Path(os.environ["MEDPRIOR_DATA"]) / "chest_xray_nih" / "test"
    pictures = sorted(data.rglob("*.png"))[:rounds]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home, dicom, web, node = Path(folder), free_port(), free_port(), free_port()
        places = {"StorageDirectory": f"{home}/db", "IndexDirectory": f"{home}/db"}
        ports = {"HttpPort": web, "DicomPort": dicom, "UnknownSopClassAccepted": True}
        (home / "orthanc.json").write_text(json.dumps(ORTHANC | places | ports))
        (home / "pacs.toml").write_text(TOML.format(node=node, dicom=dicom))
        run(stack, ["Orthanc", f"{home}/orthanc.json"], home / "orthanc.log")
        command = ["-m", "medprior", "serve", f"{home}/runs", "--port", "0", "--pacs", f"{home}/pacs.toml"]
        run(stack, [sys.executable, *command], home / "serve.log")
        while "token=" not in (home / "serve.log").read_text():
            time.sleep(0.1)
        address, _, token = (home / "serve.log").read_text().split()[-1].partition("/#token=")
        rests, jobs = [], []
        for n, picture in enumerate(pictures):
            dcmwrite(home / "film.dcm", film(picture, n), enforce_file_format=True)
            words = ["dcmsend", "-aet", SENDER, "-aec", "MEDPRIOR", "127.0.0.1", str(node)]
            subprocess.run([*words, f"{home}/film.dcm"], check=True, capture_output=True)
            began = time.time()
            while len(asked(f"http://127.0.0.1:{web}/instances")) < BACK * (n + 1):
                time.sleep(0.05)
            whole, job = time.time() - began, asked(f"{address}/api/jobs", token)[0]
            jobs.append(job["ended"] - job["started"])
            rests.append(whole - QUIET - jobs[-1])
    print(f"{rounds} films in, {BACK} objects back in Orthanc each; quiet time {QUIET:.0f} s")
    print(f"job: median {statistics.median(jobs):.1f} s ({min(jobs):.1f} to {max(jobs):.1f})")
    print(f"all else: median {statistics.median(rests):.1f} s ({min(rests):.1f} to {max(rests):.1f})")
    print(f"load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def run(stack: ExitStack, command: Sequence[str], log: Path) -> None:
    """A process that ends with the stack."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    stack.callback(process.wait)
    stack.callback(process.terminate)


if __name__ == "__main__":
    main()
