"""The scans, data sets and tables that were handed in on the page: each in a private folder with a random
name.

What strangers call a file is kept as text and never becomes a path.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from ...data.volume import Volume
from ...errors import BadOption, Corrupt, FileProblem, MedpriorError, TooLarge, printable
from ..disk.archives import extract, member_names
from ..disk.files import digest_of_files, read_json, sweep, write_file, write_json
from ..disk.limits import Limits
from ..read import kind_of, read

__all__ = ["Incoming", "Refusal", "ScanStore", "Study", "Writer"]

_ID = re.compile(r"[0-9a-f]{16}")
_TABLES = (".csv", ".tsv", ".yaml", ".yml")
_LARGEST_TABLE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Study:
    """One thing that was handed in. kind: "image", "measurement", "set", "table" or "model". name: as its
    owner calls it. file: below its folder, what a job is given. digest: SHA-256 of an image, as runs name
    their input. said_unit, said_modality: what its owner says where the file does not.
    """

    id: str
    name: str
    kind: str
    file: str
    added: float
    digest: str = ""
    modality: str = ""
    unit: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    placed: bool = False
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    said_unit: str = ""
    said_modality: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """Files on their way in. names: as their owner calls them, by number."""

    id: str
    folder: Path
    names: dict[int, str]


class Writer:
    """Bytes of one file as they come, counted. Raises TooLarge at the first byte too many."""

    def __init__(self, file: IO[bytes], path: Path, most: int) -> None:
        self.file, self.path, self.left = file, path, most

    def __call__(self, piece: bytes) -> None:
        self.left -= len(piece)
        if self.left < 0:
            raise TooLarge(self.path.name, "is larger than the page takes", "raise --largest")
        self.file.write(piece)


class ScanStore:
    """root: its folder, for its owner alone. largest: bytes of one upload. most: files of one upload.
    on_read: gets each image that was read, so that it need not be read again.
    """

    def __init__(self, root: Path, largest: int, most: int = 20_000) -> None:
        self.root, self.largest, self.most = root, largest, most
        self.limits = Limits(files=most)
        for folder in (root, root / "scans", root / "incoming"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        for left in (root / "incoming").iterdir():  # a server that was killed has left it
            shutil.rmtree(left, ignore_errors=True)
        sweep(root / "scans")
        self.on_read: Callable[[Study, Volume], None] = lambda study, volume: None
        self._open: dict[str, Incoming] = {}

    def begin(self, name: str) -> Incoming:
        """A new upload. name: a random id."""
        if len(self._open) >= 8:
            raise BadOption("upload: eight uploads are open already", "wait for one of them")
        one = Incoming(name, self.root / "incoming" / name, {})
        one.folder.mkdir(mode=0o700)
        self._open[name] = one
        return one

    def opened(self, name: str) -> Incoming:
        """Raises FileProblem for an upload that is not open."""
        if name not in self._open:
            raise FileProblem("upload", "is not open", "begin it again")
        return self._open[name]

    @contextmanager
    def receive(self, upload: Incoming, name: str) -> Iterator[Writer]:
        """A writer for the next file of an upload. Raises BadOption for a name that could be a path, TooLarge
        for too many files or bytes; then nothing of the file is kept.
        """
        named = _plain_name(name)
        if len(upload.names) >= self.most:
            raise TooLarge("upload", f"more than {self.most:,} files", "hand in a part of them")
        number = len(upload.names) + 1
        upload.names[number] = named
        path = upload.folder / f"{number:06}"
        taken = sum(entry.stat().st_size for entry in os.scandir(upload.folder))
        try:
            with open(path, "xb") as file:
                yield Writer(file, path, min(self.largest - taken, shutil.disk_usage(path.parent).free))
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def copy(self, upload: Incoming, path: Path) -> None:
        """A file of this machine as the next file of an upload."""
        with open(path, "rb") as source, self.receive(upload, path.name) as write:
            while piece := source.read(2**20):
                write(piece)

    def drop(self, upload: Incoming) -> None:
        """Forget an upload and what came of it."""
        self._open.pop(upload.id, None)
        shutil.rmtree(upload.folder, ignore_errors=True)

    def finish(
        self, upload: Incoming, ids: Iterator[str], *, as_set: str = ""
    ) -> tuple[list[Study], list[Refusal]]:
        """What the files of an upload are: each image, series, measurement or table gets a place of its own.

        ids: random names. as_set: keep an archive together as a data set of this name.
        """
        found, refused = [], []
        try:
            files = {upload.folder / f"{n:06}": name for n, name in upload.names.items()}
            files = {path: name for path, name in files.items() if path.is_file()}
            if as_set:
                return [self._keep_set(files, next(ids), as_set)], []
            files, refused = self._expanded(files)
            for study, paths in self._sorted(files, ids, refused):
                try:
                    found.append(self._keep(study, paths))
                except MedpriorError as error:
                    refused.append(Refusal(study.name, _without_place(error, paths)))
        except MedpriorError as error:
            raise Corrupt("upload", _without_place(error, [upload.folder])) from error
        finally:
            self.drop(upload)
        return found, refused

    def _expanded(self, files: dict[Path, str]) -> tuple[dict[Path, str], list[Refusal]]:
        """With the members of archives in their place."""
        whole, refused = {}, []
        for path, name in files.items():
            try:
                if kind_of(path, self.limits) == "zip":
                    folder = path.with_name(path.name + "-members")
                    whole |= {one: one.name for one in extract(path, folder, self.limits)}
                    continue
            except MedpriorError as error:
                if not name.lower().endswith((*_TABLES, ".onnx", ".json")):
                    refused.append(Refusal(name, _without_place(error, [path])))
                    continue
            whole[path] = name
        return whole, refused

    def _sorted(
        self, files: dict[Path, str], ids: Iterator[str], refused: list[Refusal]
    ) -> Iterator[tuple[Study, Sequence[Path]]]:
        """Each study with its files, named by the content of each file."""
        dicom, described = [], {name: path for path, name in files.items() if name.lower().endswith(".json")}
        for path, name in files.items():
            suffix = Path(name).suffix.lower()
            if suffix == ".json":
                continue  # it describes the model of the same name, or nothing
            if suffix == ".onnx":
                beside = described.get(f"{Path(name).stem}.json")
                yield _new(ids, name, "model", "model.onnx"), [path, *([beside] if beside else [])]
                continue
            if suffix in _TABLES and path.stat().st_size <= _LARGEST_TABLE:
                yield _new(ids, name, "table", f"table{suffix}"), [path]
                continue
            try:
                kind = kind_of(path, self.limits)
            except MedpriorError as error:
                refused.append(Refusal(name, _without_place(error, [path])))
                continue
            if kind == "dicom":
                dicom.append(path)
                continue
            measured = kind == "hdf5" or (
                kind == "npz" and {"kspace.npy", "sinogram.npy"} & set(member_names(path, self.limits))
            )
            yield _new(ids, name, "measurement" if measured else "image", _file_name(kind, path)), [path]
        if dicom:
            yield from self._series(dicom, files, ids, refused)

    def _series(
        self, paths: Sequence[Path], files: dict[Path, str], ids: Iterator[str], refused: list[Refusal]
    ) -> Iterator[tuple[Study, Sequence[Path]]]:
        from ..dicom.read.tree import index_files  # pydicom is heavy: NIfTI and pictures are taken without it

        tree, _ = index_files(sorted(paths), self.limits, slim=True)
        refused += [Refusal(files[one.path], one.reason) for one in (*tree.faults, *tree.others)]
        for series in tree.series:
            own = list(dict.fromkeys(series.paths))
            name = printable(series.description)[:80] or files[own[0]]
            file = "scan" if len(own) > 1 else "scan/000001.dcm"
            yield _new(ids, name, "image", file), own

    def _keep(self, study: Study, paths: Sequence[Path]) -> Study:
        """Move files into their place and read them once; what cannot be read leaves again."""
        home = self.root / "scans" / study.id
        home.mkdir(mode=0o700)
        try:
            target = home / study.file
            series = study.file.partition("/")[0] == "scan"
            targets = [home / "scan" / f"{n:06}.dcm" for n, _ in enumerate(paths, 1)] if series else [target]
            targets += [target.with_suffix(".json")] * (len(paths) - len(targets))
            targets[0].parent.mkdir(exist_ok=True)
            for path, place in zip(paths, targets, strict=True):
                path.replace(place)
            return self._written(study, home)
        except MedpriorError as error:
            shutil.rmtree(home, ignore_errors=True)
            raise BadOption(_without_place(error, [home])) from error

    def _written(self, study: Study, home: Path) -> Study:
        if study.kind == "image":
            volume = self.volume(study)
            write_file(home / "small.png", _small(volume))
            self.on_read(study, volume)
            study = replace(
                study,
                digest=digest_of_files(volume.provenance.sources),
                modality=volume.modality,
                unit=volume.unit,
                shape=volume.shape,
                spacing_mm=volume.spacing_mm,
                placed=volume.affine is not None,
                synthetic=volume.provenance.synthetic,
                notes=volume.provenance.warnings,
            )
        write_json(home / "study.json", asdict(study))
        return study

    def _keep_set(self, files: dict[Path, str], name: str, title: str) -> Study:
        """An archive expanded as it is, for the jobs that take a folder."""
        if len(files) != 1:
            raise BadOption("a data set comes as one zip archive", "put the folder into a zip archive")
        (path,) = files
        if kind_of(path, self.limits) != "zip":
            raise BadOption("a data set comes as one zip archive", "put the folder into a zip archive")
        home = self.root / "scans" / name
        home.mkdir(mode=0o700)
        try:
            members = extract(path, home / "data", self.limits)
            study = Study(name, title, "set", "data", time.time(), notes=(f"{len(members)} files",))
            write_json(home / "study.json", asdict(study))
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        return study

    def all(self) -> list[Study]:
        """Newest first; what is not whole is passed over."""
        found = []
        for place in (self.root / "scans").glob("*/study.json"):
            try:
                found.append(_study(read_json(place)))
            except (MedpriorError, TypeError):
                continue
        return sorted(found, key=lambda one: -one.added)

    def get(self, name: str) -> Study | None:
        """The study of that id."""
        place = self.root / "scans" / name / "study.json"
        return _study(read_json(place)) if _ID.fullmatch(name) and place.is_file() else None

    def volume(self, study: Study) -> Volume:
        """Its numbers. Raises what ``io.read`` raises."""
        unit, modality = study.said_unit or None, study.said_modality or None
        return read(self.path(study), unit=unit, modality=modality, limits=self.limits)

    def told(self, study: Study, unit: str, modality: str) -> Study:
        """What an image is, where its file does not say. Raises BadOption for a file that says it itself."""
        said = replace(study, said_unit=unit, said_modality=modality)
        return self._written(said, self.root / "scans" / study.id)

    def path(self, study: Study) -> Path:
        """What a job is given."""
        return self.root / "scans" / study.id / study.file

    def small(self, study: Study) -> bytes:
        """The thumbnail, PNG. Raises FileProblem where there is none."""
        place = self.root / "scans" / study.id / "small.png"
        if not place.is_file():
            raise FileProblem("thumbnail", "this has none")
        return place.read_bytes()

    def remove(self, study: Study) -> None:
        """Delete it from the disk."""
        shutil.rmtree(self.root / "scans" / study.id, ignore_errors=True)


def _new(ids: Iterator[str], name: str, kind: str, file: str) -> Study:
    return Study(next(ids), name, kind, file, time.time())


def _study(stored: dict[str, object]) -> Study:
    lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    return Study(**stored | lists)  # type: ignore[arg-type]


def _plain_name(name: str) -> str:
    """Raises BadOption for a name that is none: with a separator, dots alone, control characters."""
    if not name or len(name) > 255 or re.search(r"[/\\\x00-\x1f\x7f]", name) or name.strip(". ") == "":
        raise BadOption("name: wanted the plain name of a file", "leave folders out")
    return name


def _file_name(kind: str, path: Path) -> str:
    """Our own name, with the suffix that tells the kind."""
    with open(path, "rb") as file:
        start = file.read(8)
    if kind == "nifti":
        return "scan.nii.gz" if start[:2] == b"\x1f\x8b" else "scan.nii"
    suffixes = {b"\x89P": ".png", b"\xff\xd8": ".jpg", b"II": ".tif", b"MM": ".tif"}
    return "scan" + {"npz": ".npz", "hdf5": ".h5"}.get(kind, suffixes.get(start[:2], ""))


def _small(volume: Volume, side: int = 320) -> bytes:
    from ...data.views import as_png, grey, quick_window, upright

    image = grey(upright(volume), quick_window(volume))
    image.thumbnail((side, side))
    return as_png(image)


def _without_place(error: MedpriorError, paths: Sequence[Path]) -> str:
    """What is wrong, without the folder that only this machine knows."""
    text = " ".join(str(error).split())
    for path in paths:
        text = text.replace(f"{path}: ", "").replace(str(path), path.name)
    return text
