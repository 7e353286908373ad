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
from ...data.grids import on_grid_of
from ...data.labels import label_values
from ...data.volume import Volume
from ...errors import Corrupt, FileProblem, MedpriorError
from ..disk.limits import Limits
from ..pictures import ahead
from ..read import kind_of, read, read_all
from .index import LEAST_SIDE, Index, Item, Unusable, read_item
from .layout import AS_MASK, LEARN, PLAIN, Layout, Listed
from .listing import file_state, folder_state, list_files
from .persons import check_labels, prefixes
from .store import SCHEMA, load_index, previous, save_index, secret_key
from .twins import groups, near_pairs, pixel_hash, thumbnail

if TYPE_CHECKING:
    from ..dicom.read.tree import DicomSeries

__all__ = ["Index", "Item", "Unusable", "dicom_files", "load_index", "scan", "scanned", "series_homes"]

_SHARES = (("train", 70), ("val", 85), ("test", 100))
_SHARES_TO_LEARN = (("train", 82), ("val", 100))
"""Of what a layout gives for training, with a test set of its own."""
_DOUBT = "a damaged file lies beside its slices and may have been one of them"
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
    scanner = _Scanner(folder, options, limits, key, {(i.path, i.part): i for i in old.items} if old else {})
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


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Where an image was found and what its own file says. part: which image of a file or folder. signature:
    state of its files. files: of a series that shares its folder with others. stem: of a DICOM series, its
    id without the name of the volume.
    """

    where: str
    part: str
    kind: str
    signature: str
    label: str
    patient: str
    files: tuple[str, ...] = ()
    stem: str = ""


class _Scanner:
    """Collects items and faults while it goes through the files."""

    def __init__(
        self,
        folder: Path,
        options: dict[str, str],
        limits: Limits,
        key: bytes,
        old: dict[tuple[str, str], Item],
    ) -> None:
        self.folder, self.options, self.limits, self.key, self.old = folder, options, limits, key, old
        self.items: list[Item] = []
        self.unusable: list[Unusable] = []
        self.left_out: list[Unusable] = []
        self.dicom: dict[Path, Listed] = {}
        self.stacks: dict[str, list[Item]] = {}
        self.by_folder: Counter[str] = Counter()
        self.series: set[str] = set()
        self.keep_labels = False
        for item in old.values():
            self.stacks.setdefault(item.path, []).append(item)

    def relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def refuse(self, path: Path, error: MedpriorError) -> None:
        reason = error.reason if isinstance(error, FileProblem) else Exception.__str__(error)
        self.unusable.append(Unusable(self.relative(path), reason, error.remedy))

    def work(self, files: Sequence[Listed]) -> Iterator[int]:
        """Everything, one file or series after the other; gives the number of files that each step was."""
        yield 0
        known = set(self.stacks)

        def decoded(entry: Listed) -> Path | None:
            return None if entry.fault or self.relative(entry.path) in known else entry.path

        for entry in ahead(files, decoded, self.limits):
            if not self.waits(entry):
                yield 1
        yield from self.look_at_dicom()

    def waits(self, entry: Listed) -> bool:
        """One file: an item, several (a stack), an entry in a list of what is not used, or True for DICOM,
        which waits for the rest of its series.
        """
        try:
            if entry.fault:
                raise FileProblem(entry.path, entry.fault)
            kind = kind_of(entry.path)
            if kind == "dicom":
                self.dicom |= dict.fromkeys(dicom_files(entry.path), entry)
                return entry.path in self.dicom
            signature = file_state([entry.path, *self.companions(entry)])
            known = [
                i
                for i in self.stacks.get(self.relative(entry.path), [])
                if i.signature == signature and _as_before(i, entry)
            ]
            if known:
                self.items += [self.renewed(item, entry) for item in known]
                return False
            for part, volume, label, patient in self.volumes(entry.path, kind):
                found = _Decoded(self.relative(entry.path), part, kind, signature, label, patient)
                self.add(entry, found, volume)
        except MedpriorError as error:
            self.refuse(entry.path, error)
        return False

    def volumes(self, path: Path, kind: str) -> Iterator[tuple[str, Volume, str, str]]:
        """(part, volume, label, patient) of one file that is no DICOM."""
        if kind == "npz":
            from ..arrays import holds_stack, read_stack

            if holds_stack(path, self.limits):
                stack = read_stack(
                    path,
                    limits=self.limits,
                    unit=self.options.get("unit"),
                    modality=self.options.get("modality"),
                )
                for n, (image, label, patient) in enumerate(
                    zip(stack.images, stack.labels, stack.patients, strict=True)
                ):
                    yield str(n), image, label, patient
                return
        if kind == "nifti":
            unit, modality = self.options.get("unit"), self.options.get("modality")
            for one in read_all(path, limits=self.limits, unit=unit, modality=modality):
                yield one.provenance.volume, one, "", ""
            return
        yield "", read_item(path, kind, self.options, self.limits), "", ""

    def look_at_dicom(self) -> Iterator[int]:
        """Every series among the DICOM files that were met. One bad file costs itself, and the stack that it
        says it is a slice of.
        """
        if not self.dicom:
            return
        from ..dicom.read.tree import index_files

        tree, _ = index_files(sorted(self.dicom), self.limits, slim=True)
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
        for one in tree.series:
            if one.localizer:
                self.left_out += [
                    Unusable(self.relative(path), "localizer of a series") for path in one.paths
                ]
            else:
                home = one.paths[0] if one.n_files == 1 else homes[one.uid]
                beside = one.n_slices > 1 and any(path.parent in torn for path in one.paths)
                self.look_at_series(
                    one, home, labels, alone=all(shared[path] == 1 for path in one.paths), doubt=beside
                )
            yield sum(self.dicom[path].path == path for path in one.paths if path not in counted)
            counted.update(one.paths)

    def look_at_series(
        self, one: DicomSeries, home: Path, labels: set[str], alone: bool, doubt: bool
    ) -> None:
        """alone: none of its files holds planes of another stack, so the item can name them. doubt: a damaged
        file beside it may be one of its slices.
        """
        from ..dicom.read.groups import tags_in_header
        from ..dicom.read.series import read_series

        entry = self.dicom[one.paths[0]]
        if entry.label not in labels and not entry.stated and not self.keep_labels:
            entry = replace(entry, label="")
        entry = replace(entry, tags=entry.tags.over(tags_in_header(one.planes[0].header)))
        where = self.relative(home)
        try:
            signature = file_state([*one.paths, *self.companions(entry)])
            known = self.old.get((where, one.id))
            if (
                known is not None
                and known.signature == signature
                and _as_before(known, entry)
                and not one.damaged
            ):
                self.items.append(self.renewed(known, entry, one.patient, one.stem))
                return
            volume = read_series(one, limit=self.limits)
            if doubt:
                volume = replace(
                    volume,
                    provenance=replace(volume.provenance, warnings=(*volume.provenance.warnings, _DOUBT)),
                )
            files = (
                tuple(Path(os.path.relpath(path, home)).as_posix() for path in one.paths)
                if alone and one.n_files > 1
                else ()
            )
            found = _Decoded(where, one.id, "dicom", signature, "", one.patient, files, one.stem)
            self.add(entry, found, volume)
        except MedpriorError as error:
            self.refuse(home, error)

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

    def add(self, entry: Listed, found: _Decoded, volume: Volume) -> None:
        """An item for a decoded image; a label map without a table is left out. Raises Corrupt."""
        if volume.unit == "label" and not entry.stated and self.options.get("unit") != "label":
            self.left_out.append(Unusable(found.where, "label map, as its header says", AS_MASK))
            return
        patient = _first(entry, found.patient)
        values = _value_range(entry.path, found.part, volume)
        beside = self.check_beside(entry, volume)
        classes = self.classes_of(entry, beside["mask"]) if "mask" in beside else ()
        source = volume.provenance
        own = found.stem if source.volume else found.part
        if entry.label and not entry.stated:
            self.by_folder[entry.label] += 1
        self.items.append(
            Item(
                id=self.opaque("i", f"{found.where}|{found.part}"),
                path=found.where,
                part=found.part,
                label=entry.label or found.label,
                patient=self.opaque("p", patient) if patient else "",
                split=entry.split,
                mask=entry.mask,
                kind=found.kind,
                shape=volume.shape,
                channels=volume.data.shape[0],
                unit=volume.unit,
                modality=volume.modality,
                spacing_mm=volume.spacing_mm,
                synthetic=source.synthetic or any(other.provenance.synthetic for other in beside.values()),
                digest=pixel_hash(volume),
                thumb=thumbnail(volume),
                bucket=_bucket("patient", patient) if patient else _bucket("file", f"{found.where}|{own}"),
                given=entry.split not in ("", LEARN),
                leaks=False,
                signature=found.signature,
                warnings=source.warnings,
                files=found.files,
                tags=entry.tags.hidden(self.opaque),
                called=entry.called,
                beside=entry.beside,
                numbers=entry.numbers,
                classes=classes,
                others=_joined(beside),
                values=values,
                volume=source.volume,
                later=self.later(found.where, found.stem, source.volume),
            )
        )

    def companions(self, entry: Listed) -> list[Path]:
        """The files that the table names beside an image: when one changes, the image is looked at again."""
        return [
            self.folder / name
            for name in (entry.mask, *(path for _, path in entry.beside))
            if name and (self.folder / name).is_file()
        ]

    def check_beside(self, entry: Listed, volume: Volume) -> dict[str, Volume]:
        """Its other channels and its mask, by name. Raises Corrupt where one of them lies on another grid."""
        found: dict[str, Volume] = {}
        for name, path in entry.beside:
            other = read_item(self.folder / path, kind_of(self.folder / path), self.options, self.limits)
            if fault := on_grid_of(volume, other)[1]:
                raise Corrupt(
                    entry.path,
                    f"its channel {name} {fault}",
                    "resample it onto the scan, or leave the cell empty",
                )
            if other.data.shape[0] != 1:
                raise Corrupt(
                    entry.path,
                    f"its channel {name} holds {other.data.shape[0]} channels, wanted one",
                    "give each its own column",
                )
            found[name] = other
        if entry.mask:
            found["mask"] = read(self.folder / entry.mask, unit="label", limits=self.limits)
            if fault := on_grid_of(volume, found["mask"])[1]:
                raise Corrupt(
                    entry.path,
                    f"its mask {fault}",
                    "resample it onto the scan by nearest neighbour, or leave the cell empty",
                )
        return found

    def classes_of(self, entry: Listed, mask: Volume) -> tuple[int, ...]:
        """The values above 0 of a mask. Raises Corrupt where it is no label map."""
        try:
            return tuple(value for value in label_values(mask.data) if value)
        except ValueError as error:
            raise Corrupt(entry.path, f"its mask {error}", "round or threshold it first") from None


def _value_range(path: Path, part: str, volume: Volume) -> tuple[float, float]:
    """The lowest and the highest value. Raises Corrupt for an image from which nothing can be learned."""
    low, high = float(volume.data.min()), float(volume.data.max())
    if low == high:
        which = f" (image {part})" if part else ""
        raise Corrupt(path, f"is constant: every value is {low:g}{which}", "remove it")
    if sorted(volume.shape)[-2] < LEAST_SIDE:
        size, kind = " x ".join(map(str, volume.shape)), "picture" if volume.ndim == 2 else "volume"
        raise Corrupt(path, f"is a {kind} of {size}, too small for a network", "remove it")
    return low, high


def _joined(beside: Mapping[str, Volume]) -> str:
    """One digest of all that lies beside an image, "" where nothing does."""
    return (
        hashlib.sha256(
            "|".join(f"{name}:{pixel_hash(beside[name])}" for name in sorted(beside)).encode()
        ).hexdigest()
        if beside
        else ""
    )


def _first(entry: Listed, own: str) -> str:
    """The patient of a scan. own: as its file says."""
    return (own or entry.patient) if entry.guessed else (entry.patient or own)


def _as_before(item: Item, entry: Listed) -> bool:
    return item.mask == entry.mask and item.beside == entry.beside


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
    the bucket of its first member.

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
    return result
