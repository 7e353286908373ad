"""How fast the page is: ``medprior serve`` as a process of its own, asked over loopback.

    python bench/serve.py first        the first useful picture of a 200-slice CT after the start
    python bench/serve.py readers      20 readers at once who turn its pages
    python bench/serve.py doors        what claims too much, and whether health answers meanwhile
    python bench/serve.py weight       bytes of the page without data

The CT is a phantom of 200 slices of 512x512 as DICOM: an ellipse with noise of 20 HU. A reader waits for a slice,
looks 100 ms and turns on, one slice or one in twenty times to anywhere: ten slices a second, as somebody scrolls.
Other work on the machine counts in all figures; the load is printed.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_speed import make_series

SLICES, SIDE, READERS, SECONDS, LOOK = 200, 512, 20, 30.0, 0.1
WINDOW = {"low": -160, "high": 240, "colours": "grey", "channel": 0}


class Door:
    """One connection that is kept open, as a browser keeps its own."""

    def __init__(self, address: str) -> None:
        place, _, self.token = address.partition("/#token=")
        self.host = place.removeprefix("http://")
        self.line = http.client.HTTPConnection(self.host, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        sent = {
            "Authorization": f"Bearer {self.token}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        self.line.request(method, path, body, sent)
        answer = self.line.getresponse()
        return answer.status, answer.read()

    def json(self, method: str, path: str, value: object = None, raw: bytes | None = None) -> Any:
        body = raw if raw is not None else json.dumps(value or {}).encode() if method == "POST" else None
        status, answer = self.ask(method, path, body, Content_Type="application/json")
        if status >= 400:
            raise RuntimeError(f"{path}: {status} {answer[:300]!r}")
        return json.loads(answer) if answer else None


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server that was just started."""
    command = [sys.executable, "-m", "medprior", "serve", "runs", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def phantom(folder: Path) -> None:
    """Soft tissue in air, with noise, in the slices of ``dicom_speed.make_series``."""
    make_series(folder, SLICES, SIDE)
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = (rows / 0.7) ** 2 + (columns / 0.9) ** 2 < 1
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        values = np.where(body, 40 + rng.normal(0, 20, body.shape), -1000 + rng.normal(0, 3, body.shape))
        image.PixelData = (values + 1024).clip(0, 4095).astype(np.uint16).tobytes()
        image.save_as(path)


def handed_in(address: str, files: Path) -> str:
    door = Door(address)
    upload = door.json("POST", "/api/uploads")["upload"]
    for path in sorted(files.iterdir()):
        name = urllib.parse.quote(path.name)
        door.json("POST", f"/api/uploads/{upload}/files?name={name}", raw=path.read_bytes())
    return door.json("POST", f"/api/uploads/{upload}/end")["studies"][0]["id"]


def plane(study: str, at: int) -> str:
    return f"/api/studies/{study}/plane/scan?" + urllib.parse.urlencode(
        {"plane": "axial", "at": at, **WINDOW}
    )


def first(work: Path, study: str) -> None:
    """From the start of the process: what a browser asks for until the middle slice is there."""
    for turn in range(5):
        started, cpu = time.monotonic(), children()
        with served(work) as address:
            up = time.monotonic() - started
            door = Door(address)
            for path in ("/", "/style.css", "/js/app.js"):
                door.ask("GET", path)
            door.json("GET", "/api/studies")
            shown = door.json("GET", f"/api/studies/{study}/seen/scan")
            count = shown["planes"][0]["count"]
            status, png = door.ask("GET", plane(study, count // 2))
            took = time.monotonic() - started
        assert status == 200 and png[:4] == b"\x89PNG"
        print(
            f"first picture {turn + 1}: {took:.2f} s ({up:.2f} s until the address), CPU {children() - cpu:.2f} s, "
            f"load {os.getloadavg()[0]:.1f}"
        )


def children() -> float:
    found = os.times()
    return found.children_user + found.children_system


def readers(work: Path, study: str) -> None:
    """Two rounds: nothing was drawn before, then a part of it was."""
    with served(work) as address:
        Door(address).json("GET", f"/api/studies/{study}/seen/scan")
        for name in ("cold", "warm"):
            times: list[float] = []
            ends = time.monotonic() + SECONDS
            threads = [
                threading.Thread(target=scroll, args=(address, study, seed, ends, times))
                for seed in range(READERS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ms = np.quantile(times, (0.5, 0.95, 0.99, 1.0)) * 1000
            print(
                f"{READERS} readers, {name}: {len(times)} slices in {SECONDS:.0f} s, median {ms[0]:.0f} ms, 95 % "
                f"{ms[1]:.0f} ms, 99 % {ms[2]:.0f} ms, longest {ms[3]:.0f} ms, load {os.getloadavg()[0]:.1f}"
            )


def scroll(address: str, study: str, seed: int, ends: float, times: list[float]) -> None:
    rng, door = random.Random(seed), Door(address)
    at, step = rng.randrange(SLICES), rng.choice((-1, 1))
    while time.monotonic() < ends:
        started = time.monotonic()
        status, _ = door.ask("GET", plane(study, at))
        times.append(time.monotonic() - started)
        assert status == 200
        step = -step if not 0 <= at + step < SLICES else step
        at = rng.randrange(SLICES) if rng.random() < 0.05 else at + step
        time.sleep(LOOK)


def bomb() -> bytes:
    """A zip archive of 10 MB that holds 10 GB of zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for n in range(10):
            with archive.open(f"{n}.dcm", "w", force_zip64=True) as member:
                for _ in range(100):
                    member.write(b"\0" * 10_000_000)
    return out.getvalue()


def doors(work: Path, _: str) -> None:
    content = bomb()
    with served(work) as address:
        door, longest, stop = Door(address), [0.0], threading.Event()
        watch = threading.Thread(target=healthy, args=(address, longest, stop))
        watch.start()
        upload = door.json("POST", "/api/uploads")["upload"]
        door.json("POST", f"/api/uploads/{upload}/files?name=bomb.zip", raw=content)
        started = time.monotonic()
        found = door.json("POST", f"/api/uploads/{upload}/end")
        took = time.monotonic() - started
        said = found["refused"][0]["reason"]
        print(f"zip of {len(content) / 1e6:.1f} MB for 10 GB: refused in {took:.2f} s ({said[:60]})")
        started = time.monotonic()
        line = http.client.HTTPConnection(door.host, timeout=20)
        line.putrequest("POST", "/api/uploads/x/files?name=a")
        line.putheader("Authorization", f"Bearer {door.token}")
        line.putheader("Content-Length", str(10**11))
        line.endheaders()
        status = line.getresponse().status
        print(f"claim of 100 GB: {status} in {time.monotonic() - started:.3f} s")
        stop.set()
        watch.join()
        print(f"health meanwhile: at most {longest[0] * 1000:.0f} ms, load {os.getloadavg()[0]:.1f}")


def healthy(address: str, longest: list[float], stop: threading.Event) -> None:
    door = Door(address)
    while not stop.is_set():
        started = time.monotonic()
        door.ask("GET", "/health")
        longest[0] = max(longest[0], time.monotonic() - started)
        time.sleep(0.02)


def weight() -> None:
    import medprior

    static = Path(medprior.__file__).parent / "web" / "static"
    sizes = {
        path.relative_to(static).as_posix(): path.stat().st_size
        for path in static.rglob("*")
        if path.is_file()
    }
    plain = sum(size for name, size in sizes.items() if "niivue" not in name)
    print(
        f"page without data: {sum(sizes.values()) / 1e6:.2f} MB in {len(sizes)} files, {plain / 1e3:.0f} kB until 3-D"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("first", "readers", "doors", "weight"))
    chosen = parser.parse_args()
    if chosen.what == "weight":
        return weight()
    with tempfile.TemporaryDirectory() as name:
        work, files = Path(name), Path(name) / "ct"
        files.mkdir()
        study = ""
        if chosen.what != "doors":
            phantom(files)
            with served(work) as address:
                study = handed_in(address, files)
        {"first": first, "readers": readers, "doors": doors}[chosen.what](work, study)
    return None


if __name__ == "__main__":
    main()
