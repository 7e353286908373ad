"""What is handed in gets a place of its own; what strangers call it never becomes a path."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medprior.errors import BadOption, Corrupt, FileProblem, TooLarge
from medprior.io.served.scans import ScanStore
from tests.corpus.dicom_parts import axial, save_all


@pytest.fixture
def store(tmp_path: Path) -> ScanStore:
    return ScanStore(tmp_path / "own", 10_000_000)


def ids() -> Iterator[str]:
    return (f"{n:016x}" for n in itertools.count(1))


def png(seed: int = 0) -> bytes:
    out = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24), np.uint8)).save(out, "PNG")
    return out.getvalue()


def hand_in(store: ScanStore, files: dict[str, bytes], **more):
    upload = store.begin("f" * 16)
    for name, content in files.items():
        with store.receive(upload, name) as write:
            write(content)
    return store.finish(upload, ids(), **more)


def test_a_picture_becomes_a_study_with_a_thumbnail(store: ScanStore) -> None:
    (study,), refused = hand_in(store, {"=cmd()<script>.png": png()})
    assert (study.name, study.kind, study.shape, refused) == ("=cmd()<script>.png", "image", (20, 24), [])
    assert store.path(study).name == "scan.png" and store.small(study).startswith(b"\x89PNG")
    assert store.get(study.id) == study and store.all() == [study] and len(study.digest) == 64
    store.remove(study)
    assert store.all() == [] and store.get(study.id) is None


@pytest.mark.parametrize("name", ["../x.png", "a/b.png", "a\\b.png", "", ".", "..", "a\nb", "x" * 300])
def test_a_name_that_could_be_a_path_is_refused(store: ScanStore, name: str) -> None:
    upload = store.begin("f" * 16)
    with pytest.raises(BadOption, match="plain name"), store.receive(upload, name):
        pass
    assert list(upload.folder.iterdir()) == []


def test_bytes_are_counted_as_they_come(tmp_path: Path) -> None:
    store = ScanStore(tmp_path, largest=100)
    upload = store.begin("f" * 16)
    with store.receive(upload, "a") as write:
        write(b"x" * 60)
    with pytest.raises(TooLarge), store.receive(upload, "b") as write:
        write(b"x" * 41)
    assert [path.stat().st_size for path in upload.folder.iterdir()] == [60]


def test_what_cannot_be_used_is_named_with_its_reason(store: ScanStore) -> None:
    found, refused = hand_in(store, {"good.png": png(), "letter.txt": b"Dear colleague", "empty.png": b""})
    assert [one.name for one in found] == ["good.png"]
    assert {one.name for one in refused} == {"letter.txt", "empty.png"}
    assert all(str(store.root) not in one.reason and one.reason for one in refused)


def test_the_files_of_a_series_become_one_study(store: ScanStore, tmp_path: Path) -> None:
    source = save_all(tmp_path / "series", axial())
    files = {path.name: path.read_bytes() for path in sorted(source.iterdir())}
    (study,), refused = hand_in(store, {**files, "report.txt": b"x"})
    assert len(study.shape) == 3 and store.path(study).is_dir() and study.placed and len(refused) == 1
    assert {p.name for p in store.path(study).iterdir()} == {f"{n:06}.dcm" for n in range(1, len(files) + 1)}


def zipped(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_an_archive_is_expanded(store: ScanStore) -> None:
    found, _ = hand_in(store, {"all.zip": zipped({"a/1.png": png(1), "b/1.png": png(2)})})
    assert [one.name for one in found] == ["1.png", "1.png"] and found[0].digest != found[1].digest


def test_a_hostile_archive_leaves_nothing(store: ScanStore) -> None:
    bomb, out = zipped({"zeros": bytes(60_000_000)}), zipped({"../../out.png": png()})
    found, refused = hand_in(store, {"bomb.zip": bomb, "out.zip": out})
    assert found == [] and [one.name for one in refused] == ["bomb.zip", "out.zip"]
    assert [path.name for path in store.root.parent.rglob("*.png")] == []


def test_a_data_set_keeps_its_folders(store: ScanStore) -> None:
    (study,), _ = hand_in(
        store, {"set.zip": zipped({"sick/1.png": png(1), "well/2.png": png(2)})}, as_set="Lungs"
    )
    assert (study.kind, study.name) == ("set", "Lungs")
    assert (store.path(study) / "sick" / "1.png").is_file()
    with pytest.raises(Corrupt, match="one zip archive"):
        hand_in(store, {"1.png": png()}, as_set="Lungs")


def test_a_table_is_kept_as_a_table(store: ScanStore) -> None:
    (study,), _ = hand_in(store, {"labels.csv": b"image,label\n1.png,sick\n"})
    assert study.kind == "table" and store.path(study).read_bytes().startswith(b"image")
    with pytest.raises(FileProblem):
        store.small(study)


def test_a_killed_upload_is_swept_at_the_next_start(store: ScanStore) -> None:
    upload = store.begin("f" * 16)
    with store.receive(upload, "a") as write:
        write(b"half")
    again = ScanStore(store.root, 100)
    assert list((store.root / "incoming").iterdir()) == []
    with pytest.raises(FileProblem, match="not open"):
        again.opened("f" * 16)


def test_its_folder_is_private(store: ScanStore) -> None:
    assert store.root.stat().st_mode & 0o077 == 0
    assert store.get("../../etc") is None


def test_a_model_keeps_the_file_that_describes_it(store: ScanStore) -> None:
    (study,), refused = hand_in(store, {"net.onnx": b"\x08\x07onnx", "net.json": b"{}", "other.json": b"{}"})
    assert (study.kind, study.name, refused) == ("model", "net.onnx", [])
    assert store.path(study).with_suffix(".json").read_bytes() == b"{}"
