"""The index of a data set: every file decoded once, what cannot be used, equal images, patients, splits.

A data set is a folder. Its sub-folders are labels (train, val, test are splits), or a table says more. That
is a scans.csv (path, label, patient, split, mask; sex, age, scanner, site, protocol; channel:NAME,
number:NAME), or any table of labels (``Layout``). BIDS, nnU-Net, the Decathlon and MVTec are recognised.
DICOM is indexed by series, and a folder with the DICOM of one patient only is that patient's folder, not a
label. Without a scans.csv, what looks like a label map is left out and listed as such.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ... import __version__
from ...errors import FileProblem, MedpriorError
from ..disk.limits import Limits
from ..disk.workers import in_processes
from ..pictures import ahead
from ..read import kind_of
from .index import Index, Item, Unusable
from .layout import AS_MASK, LEARN, PLAIN, Layout, Listed
from .listing import file_state, folder_state, list_files
from .persons import check_labels, prefixes
from .pixels.looking import FileFacts, PixelFacts, Task, look_at_file, look_at_series, said_of
from .pixels.twins import groups, near_pairs
from .store import SCHEMA, load_index, previous, save_index, secret_key, stored_thumbnails

if TYPE_CHECKING:
    from ..dicom.read.tree import DicomSeries

__all__ = ["Index", "Item", "Unusable", "dicom_files", "load_index", "scan", "scanned", "series_homes"]

_SHARES = (("train", 70), ("val", 85), ("test", 100))
_SHARES_TO_LEARN = (("train", 82), ("val", 100))
"""Of what a layout gives for training, with a test set of its own."""
_A_FILE, _A_BYTE = 0.004, 2e-8
"""Seconds to decode a file, and a byte of it."""
_ORDER = {"train": 0, "val": 1, "test": 2, "": 0}


def scan(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    unit: str | None = None,
    modality: str | None = None,
    colour: str | None = None,
    layout: Layout = PLAIN,
    limits: Limits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Index:
    """Decode every file of a data set once. out: a folder for index.sqlite and unusable.csv, each written
    whole or not at all. Without it nothing is written.

    A second scan with the same ``out`` decodes only what has changed, and opens no file where nothing has.
    unit, modality, colour: for files that cannot say, as in ``read``. layout: where labels and patients are
    read from, where the folder alone does not say it. on_progress: called with (files done, files in all).
    Raises FileProblem when the folder is empty or cannot be read, and when ``out`` cannot be written or holds
    a foreign index. Raises Corrupt or BadOption for a table that cannot be used, and BadOption for labels
    that look like patients.
    """
    said = {"unit": unit, "modality": modality, "colour": colour, "layout": str(layout)}
    options = {k: v for k, v in said.items() if v is not None}
    target = Path(out) if out is not None else None
    return scanned(Path(folder), target, options, layout, limits or Limits(), on_progress)


def scanned(
    folder: Path,
    target: Path | None,
    options: dict[str, str],
    layout: Layout,
    limits: Limits,
    on_progress: Callable[[int, int], None] | None = None,
    keep_splits: bool = True,
) -> Index:
    """As ``scan``. options: as an index holds them. keep_splits: those that an earlier scan gave; else the
    result is that of a first scan.
    """
    old, state = None, ""
    if target is not None:
        state = f"{SCHEMA} {__version__} {limits} {keep_splits} {folder_state(folder, layout)}"
        old, before = previous(target, folder, options) or (None, "")
        if old is not None and before == state:
            return old
    listing = list_files(folder, layout)
    if not (listing.files or listing.left_out or listing.passed):
        raise FileProblem(folder, "is empty", "name the folder that holds the scans")
    key = secret_key(target) if target is not None else secrets.token_bytes(32)
    scanner = _Scanner(folder, options, limits, key, _known(target, old))
    scanner.left_out += [
        Unusable(scanner.relative(path), reason, remedy) for path, reason, remedy in listing.left_out
    ]
    scanner.keep_labels = layout.folders == "labels"
    total, done = len(listing.files), 0
    for n_files in scanner.work(listing.files):
        done += n_files
        if on_progress is not None:
            on_progress(done, total)
    if layout.folders == "auto":
        check_labels(scanner.by_folder)
    found = _finished(folder, scanner, listing.passed, options, old if keep_splits else None)
    index = replace(found, layout=listing.layout, notes=listing.notes)
    if target is not None:
        save_index(index, target, state)
    return index


def _known(target: Path | None, old: Index | None) -> dict[tuple[str, str], tuple[Item, str]]:
    """The scans of an earlier index, each with its thumbnail; none where these are lost: then all are read
    again.
    """
    if old is None or target is None:
        return {}
    thumbs = [item.thumb for item in old.items]
    if not any(thumbs):
        thumbs = stored_thumbnails(target) or []
    both = zip(old.items, thumbs, strict=False) if len(thumbs) == len(old.items) else ()
    return {(item.path, item.part): (item, thumb) for item, thumb in both}


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Where an image was found. signature: state of its files. files: of a series that shares its folder with
    others. stem: of a DICOM series, its id without the name of the volume.
    """

    where: str
    kind: str
    signature: str
    files: tuple[str, ...] = ()
    stem: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done with a DICOM series: leave it out, take a known item, refuse or decode it."""

    series: DicomSeries
    entry: Listed
    home: Path
    known: Item | None = None
    fault: MedpriorError | None = None
    decode: _Decoded | None = None

    def torn(self, folders: set[Path]) -> bool:
        """Whether it is a stack that has files in one of ``folders``."""
        return self.series.n_slices > 1 and any(path.parent in folders for path in self.series.paths)


class _Scanner:
    """Collects items and faults while it goes through the files."""

    def __init__(
        self,
        folder: Path,
        options: dict[str, str],
        limits: Limits,
        key: bytes,
        old: dict[tuple[str, str], tuple[Item, str]],
    ) -> None:
        self.folder, self.key, self.old = folder, key, old
        self.task = Task(folder, options, limits)
        self.items: list[Item] = []
        self.unusable: list[Unusable] = []
        self.left_out: list[Unusable] = []
        self.dicom: dict[Path, Listed] = {}
        self.stacks: dict[str, list[Item]] = {}
        self.by_folder: Counter[str] = Counter()
        self.series: set[str] = set()
        self.keep_labels = False
        for item, _ in old.values():
            self.stacks.setdefault(item.path, []).append(item)

    def relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def refuse(self, path: Path, error: MedpriorError) -> None:
        self.unusable.append(Unusable(self.relative(path), *said_of(error)))

    def work(self, files: Sequence[Listed]) -> Iterator[int]:
        """Everything, one file or series after the other; gives the number of files that each step was."""
        yield 0
        new: list[tuple[Listed, str, str]] = []
        for entry in files:
            if (found := self.waits(entry)) is None:
                yield 1
            elif found[0] != "dicom":
                new.append((entry, *found))
        jobs = [(self.task, entry, kind) for entry, kind, _ in new]
        looked = in_processes(look_at_file, jobs, _seconds(entry.path for entry, *_ in new), self.ahead)
        for (entry, kind, signature), found in zip(new, looked, strict=True):
            where = self.relative(entry.path)
            for seen in found.seen:
                self.add(entry, _Decoded(where, kind, signature), seen)
            if found.fault is not None:
                self.unusable.append(Unusable(where, *found.fault))
            yield 1
        yield from self.look_at_dicom()

    def ahead(self, jobs: Sequence[tuple[Task, Listed, str]]) -> Iterator[tuple[Task, Listed, str]]:
        return ahead(jobs, lambda job: job[1].path, self.task.limits)

    def waits(self, entry: Listed) -> tuple[str, str] | None:
        """(kind, signature) of a file that is to be decoded, alone or, where it is DICOM, with the rest of
        its series; None for one that is known or cannot be used.
        """
        try:
            if entry.fault:
                raise FileProblem(entry.path, entry.fault)
            kind = kind_of(entry.path)
            if kind == "dicom":
                self.dicom |= dict.fromkeys(dicom_files(entry.path), entry)
                return (kind, "") if entry.path in self.dicom else None
            signature = file_state([entry.path, *self.companions(entry)])
        except MedpriorError as error:
            self.refuse(entry.path, error)
            return None
        before = self.stacks.get(self.relative(entry.path), [])
        known = [item for item in before if item.signature == signature and _as_before(item, entry)]
        if entry.members is not None and len(known) > 1:  # their own labels are only in the file
            known = []
        self.items += [self.renewed(item, entry) for item in known]
        return None if known else (kind, signature)

    def look_at_dicom(self) -> Iterator[int]:
        """Every series among the DICOM files that were met. One bad file costs itself, and the stack that it
        says it is a slice of.
        """
        if not self.dicom:
            return
        from ..dicom.read.tree import index_headers

        tree = index_headers(sorted(self.dicom), self.task.limits)
        for fault in tree.faults:
            self.refuse(fault.path, fault)
        self.left_out += [
            Unusable(self.relative(other.path), other.reason, other.remedy) for other in tree.others
        ]
        labels = _label_folders((self.dicom[one.paths[0]], one.patient) for one in tree.series)
        homes = series_homes(tree.series)
        shared = Counter(path for one in tree.series for path in one.paths)
        counted: set[Path] = set()
        torn = {fault.path.parent for fault in tree.stray}
        yield sum(self.dicom[entry.path].path == entry.path for entry in (*tree.faults, *tree.others))
        plans = [
            self.plan(one, homes, labels, alone=all(shared[path] == 1 for path in one.paths))
            for one in tree.series
        ]
        new = [plan for plan in plans if plan.decode]
        jobs = [(self.task, plan.entry, _lean(plan.series), plan.torn(torn)) for plan in new]
        seconds = _seconds(path for plan in new for path in plan.series.paths)
        looked = in_processes(look_at_series, jobs, seconds)
        for plan in plans:
            self.follow(plan, next(looked) if plan.decode else None)
            yield sum(self.dicom[path].path == path for path in plan.series.paths if path not in counted)
            counted.update(plan.series.paths)

    def plan(self, one: DicomSeries, homes: Mapping[str, Path], labels: set[str], alone: bool) -> _Plan:
        """What is to be done with a series. alone: none of its files holds planes of another stack, so the
        item can name them.
        """
        from ..dicom.read.groups import tags_in_header
        from ..dicom.read.tree import check_series

        entry = self.dicom[one.paths[0]]
        if one.localizer:
            return _Plan(one, entry, one.paths[0])
        if entry.label not in labels and not entry.stated and not self.keep_labels:
            entry = replace(entry, label="")
        entry = replace(entry, tags=entry.tags.over(tags_in_header(one.planes[0].header)))
        home = one.paths[0] if one.n_files == 1 else homes[one.uid]
        where, files = self.relative(home), tuple[str, ...]()
        if alone and one.n_files > 1:
            files = tuple(Path(os.path.relpath(path, home)).as_posix() for path in one.paths)
        try:
            signature = file_state([*one.paths, *self.companions(entry)])
            known, _ = self.old.get((where, one.id), (None, ""))
            same = known is not None and known.signature == signature and _as_before(known, entry)
            if known is not None and same and not one.damaged:
                return _Plan(one, entry, home, known=known)
            check_series(one)
        except MedpriorError as error:
            return _Plan(one, entry, home, fault=error)
        found = _Decoded(where, "dicom", signature, files, one.stem)
        return _Plan(one, entry, home, decode=found)

    def follow(self, plan: _Plan, looked: FileFacts | None) -> None:
        one = plan.series
        if one.localizer:
            self.left_out += [Unusable(self.relative(path), "localizer of a series") for path in one.paths]
        elif plan.known is not None:
            self.items.append(self.renewed(plan.known, plan.entry, one.patient, one.stem))
        elif plan.fault is not None:
            self.refuse(plan.home, plan.fault)
        elif plan.decode is not None and looked is not None:
            for seen in looked.seen:
                self.add(plan.entry, plan.decode, seen)
            if looked.fault is not None:
                self.unusable.append(Unusable(plan.decode.where, *looked.fault))

    def opaque(self, kind: str, text: str) -> str:
        return (
            kind
            + hmac.new(self.key, f"{kind}|{text}".encode(errors="replace"), hashlib.sha256).hexdigest()[:16]
        )

    def later(self, where: str, stem: str, volume: str) -> bool:
        """Whether a volume of the same series came before."""
        key = stem or where
        met = bool(volume) and key in self.series
        self.series.add(key)
        return met

    def renewed(self, item: Item, entry: Listed, patient: str = "", stem: str = "") -> Item:
        """An unchanged item with what the folder or the table says about it now. patient: as its file says,
        where it is DICOM.
        """
        changes: dict = {
            "split": entry.split,
            "given": entry.split not in ("", LEARN),
            "leaks": False,
            "later": self.later(item.path, stem, item.volume),
            "tags": entry.tags.hidden(self.opaque),
            "called": entry.called,
            "numbers": entry.numbers,
            "thumb": self.old[item.path, item.part][1],
        }
        stack = item.kind == "npz" and item.part  # its own labels and patients are not read again
        if entry.label or not stack:
            changes["label"] = entry.label
            self.by_folder.update([entry.label] if entry.label and not entry.stated else [])
        if (entry.patient and not entry.guessed) or not (stack and item.patient):
            own = (stem if item.volume else "") or item.part
            named = _first(entry, patient)
            changes["patient"] = self.opaque("p", named) if named else ""
            changes["bucket"] = _bucket("patient", named) if named else _bucket("file", f"{item.path}|{own}")
        return replace(item, **changes)

    def add(self, entry: Listed, found: _Decoded, seen: PixelFacts) -> None:
        """An item for a decoded image; a label map without a table is left out."""
        if seen.label_map:
            self.left_out.append(Unusable(found.where, "label map, as its header says", AS_MASK))
            return
        entry = entry.of(seen.part)
        patient = _first(entry, seen.patient)
        own = found.stem if seen.volume else seen.part
        if entry.label and not entry.stated:
            self.by_folder[entry.label] += 1
        self.items.append(
            Item(
                id=self.opaque("i", f"{found.where}|{seen.part}"),
                path=found.where,
                part=seen.part,
                label=entry.label or seen.label,
                patient=self.opaque("p", patient) if patient else "",
                split=entry.split,
                mask=entry.mask,
                kind=found.kind,
                shape=seen.shape,
                channels=seen.channels,
                unit=seen.unit,
                modality=seen.modality,
                spacing_mm=seen.spacing_mm,
                synthetic=seen.synthetic,
                digest=seen.digest,
                thumb=seen.thumb,
                bucket=_bucket("patient", patient) if patient else _bucket("file", f"{found.where}|{own}"),
                given=entry.split not in ("", LEARN),
                leaks=False,
                signature=found.signature,
                warnings=seen.warnings,
                files=found.files,
                tags=entry.tags.hidden(self.opaque),
                called=entry.called,
                beside=entry.beside,
                numbers=entry.numbers,
                classes=seen.classes,
                others=seen.others,
                values=seen.values,
                volume=seen.volume,
                later=self.later(found.where, found.stem, seen.volume),
            )
        )

    def companions(self, entry: Listed) -> list[Path]:
        """The files that the table names beside an image: when one changes, the image is looked at again."""
        return [
            self.folder / name
            for name in (entry.mask, *(path for _, path in entry.beside))
            if name and (self.folder / name).is_file()
        ]


def _first(entry: Listed, own: str) -> str:
    """The patient of a scan. own: as its file says."""
    return (own or entry.patient) if entry.guessed else (entry.patient or own)


def _as_before(item: Item, entry: Listed) -> bool:
    return item.mask == entry.mask and item.beside == entry.beside


def _seconds(paths: Iterable[Path]) -> float:
    """About how long it takes to decode these files."""
    return sum(_A_FILE + _A_BYTE * path.stat().st_size for path in paths if path.exists())


def _lean(one: DicomSeries) -> DicomSeries:
    """What ``read_series`` needs of a series that is sound."""
    planes = (replace(plane, header=plane.header.slim(())) for plane in one.planes)
    return replace(one, damaged=(), planes=tuple(planes))


def dicom_files(path: Path) -> list[Path]:
    """A DICOM file, or those of the folder of a series that a table names."""
    if not path.is_dir():
        return [path]
    from ..dicom.read.tree import files_below

    try:
        return list(files_below(path))
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error


def _label_folders(found: Iterable[tuple[Listed, str]]) -> set[str]:
    """The first folders that hold DICOM of two patients or more, or of patients that nobody names."""
    patients: dict[str, set[str]] = {}
    for entry, patient in found:
        patients.setdefault(entry.label, set()).add(patient)
    return {label for label, names in patients.items() if len(names) > 1 or names == {""}}


def series_homes(series: Sequence) -> dict[str, Path]:
    """For each series UID the deepest folder that holds all of its files."""
    paths: dict[str, list[str]] = {}
    for one in series:
        paths.setdefault(one.uid, []).extend(str(p.parent) for p in one.paths)
    return {uid: Path(os.path.commonpath(all_paths)) for uid, all_paths in paths.items()}


def _bucket(kind: str, text: str) -> int:
    """0 to 99, the same on every machine. One of a hundred says next to nothing about a patient; the id
    itself is never written.
    """
    return (
        int.from_bytes(
            hashlib.sha256(f"medprior split {SCHEMA}|{kind}|{text}".encode(errors="replace")).digest()[:8],
            "big",
        )
        % 100
    )


def _finished(
    folder: Path, scanner: _Scanner, passed: Sequence[str], options: dict[str, str], old: Index | None
) -> Index:
    """Twins found, splits given to those that have none, leaks marked."""
    items = sorted(scanner.items, key=lambda item: (item.path, len(item.part), item.part))
    same: dict[str, list[int]] = {}
    patients: dict[str, list[int]] = {}
    for n, item in enumerate(items):
        if not item.later:  # the volumes of one series resemble each other, and are not learned from
            same.setdefault(item.digest, []).append(n)
        if item.patient:
            patients.setdefault(item.patient, []).append(n)
    exact = [tuple(ns) for ns in same.values() if len(ns) > 1]
    firsts = [
        ns[0] for ns in same.values()
    ]  # one of each: a thousand equal images are no half a million near pairs
    near = [(firsts[a], firsts[b]) for a, b in near_pairs([items[n].thumb for n in firsts])]
    links = [(ns[0], n) for ns in (*exact, *(p for p in patients.values() if len(p) > 1)) for n in ns[1:]]
    links += near + _same_prefix(items)
    items = _split(
        items, groups(len(items), links), {i.id: i.split for i in old.items if not i.given} if old else {}
    )
    crossing = [name for name, ns in patients.items() if len({items[n].split for n in ns}) > 1]
    return Index(
        folder=folder,
        items=tuple(items),
        unusable=tuple(sorted(scanner.unusable, key=lambda u: u.path)),
        passed_over=tuple(sorted(passed)),
        left_out=tuple(sorted(scanner.left_out, key=lambda u: u.path)),
        duplicates=tuple(tuple(items[n].id for n in ns) for ns in exact),
        near_duplicates=tuple((items[a].id, items[b].id) for a, b in near),
        crossing=tuple(sorted(crossing)),
        options=options,
    )


def _same_prefix(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Pairs of scans without a patient whose file names begin alike, as those of one patient do: they share a
    split. Given splits are not judged by a guess.
    """
    loose = [n for n, item in enumerate(items) if not (item.patient or item.part or item.given)]
    owners, _ = prefixes([PurePosixPath(items[n].path).name for n in loose])
    first: dict[str, int] = {}
    return [(first.setdefault(who, n), n) for who, n in zip(owners, loose, strict=bool(owners)) if who]


def _split(items: list[Item], roots: list[int], before: dict[str, str]) -> list[Item]:
    """What belongs together (patient, twins) gets one split: the given one, the one of an earlier scan, or by
    the bucket of its first member. Where buckets leave nothing to learn from, as where all scans of a small
    folder resemble each other, the largest group is learned from.

    Where given splits tear a group apart they stay as given, and all but the strictest part of the group is
    marked as a leak.
    """
    members: dict[int, list[int]] = {}
    for n, root in enumerate(roots):
        members.setdefault(root, []).append(n)
    result = list(items)
    for together in members.values():
        given = [items[n].split for n in together if items[n].given]
        known = [before[items[n].id] for n in together if before.get(items[n].id)]
        bucket = items[together[0]].bucket
        learn = all(items[n].split == LEARN for n in together)
        shares = _SHARES_TO_LEARN if learn else _SHARES
        fallback = (
            max(given, key=_ORDER.__getitem__)
            if given
            else known[0]
            if known
            else next(s for s, share in shares if bucket < share)
        )
        splits = {n: items[n].split if items[n].given else fallback for n in together}
        strictest = max(_ORDER[s] for s in splits.values())
        for n in together:
            result[n] = replace(items[n], split=splits[n], leaks=_ORDER[splits[n]] < strictest)
    if not any(one.split == "train" or one.given or one.id in before for one in result):
        for n in max(members.values(), key=len, default=[]):
            result[n] = replace(result[n], split="train")
    return result
