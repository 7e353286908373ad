"""What the place of a file in its folder says: the layouts that the field uses, and plain folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ...errors import FileProblem
from ..disk.files import read_json
from ..groups import Tags, age_band, sex_named
from .layout import AS_MASK, CHANNEL_NAME, LEARN, SPLITS, Layout, Listed, Listing, stem
from .tables import rows_of

__all__ = ["label_map_reason", "listed_by_place", "place"]

_CONTAINERS = {
    *("image", "images", "img", "imgs", "imagestr", "imagests", "imagesva", "picture", "pictures"),
    *(
        "scan",
        "scans",
        "data",
        "dataset",
        "raw",
        "dicom",
        "dcm",
        "nifti",
        "nii",
        "png",
        "jpg",
        "jpeg",
        "tif",
        "tiff",
    ),
}
"""Names of folders that only say that images lie in them: never a label."""
_MAP_WORDS = (
    r"(?:labels?|label-?maps?|segs?|dseg|aseg|probseg|segmentations?|manual|ground[ _-]?truths?|gt|anno"
    r"|annotations?|contours?|masks?)"
)
_LABEL_MAP = re.compile(
    rf"(?:^|[._ -]|(?<=[a-z])(?=mask)){_MAP_WORDS}(?:[._ -]?[0-9]+)?$"
    r"|^(?:masks?|segs?|segmentations?|gt)[_-]",
    re.IGNORECASE,
)
"""What the name of a label map, without its suffixes, looks like: how it ends, or begins."""
_LABEL_FOLDER = re.compile(
    rf"(?:^|[._ -]|(?<=[a-z])(?=mask|segmentation|ground))(?:{_MAP_WORDS}|ground|masks?[_-]?[0-9]+)"
    r"(?:[ _-]?(?:images?|imgs?|png|jpe?g|tiff?|nii|nifti|dcm|dicom|class|objects?|files?|data))*$"
    r"|^labels(?:tr|ts|va|val|train|test)$",
    re.IGNORECASE,
)
"""How the name of a folder of label maps ends."""
_SUBJECT = re.compile(r"sub-[A-Za-z0-9+]+")
_NOT_RAW = {"derivatives", "sourcedata", "code", "phenotype", "stimuli"}
_NOT_ONE_IMAGE = {"func", "dwi", "fmap", "perf", "eeg", "meg", "ieeg", "beh"}
"""BIDS: folders of series and field maps."""
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})$")
_DIGIT = re.compile(r"[0-9]")
_FEWEST_PATIENTS = 5


@dataclass(frozen=True, slots=True)
class _Tree:
    """A folder with the relative paths of its images to be, faults among them."""

    folder: Path
    files: tuple[tuple[PurePosixPath, str], ...]
    layout: Layout

    def images(self) -> list[PurePosixPath]:
        return [path for path, fault in self.files if not fault]

    def listed(self, path: PurePosixPath, fault: str, **said: str) -> Listed:
        return Listed(self.folder / path, fault=fault, **said)  # type: ignore[arg-type]


def listed_by_place(
    folder: Path, found: Sequence[tuple[PurePosixPath, str]], passed: Sequence[str], layout: Layout
) -> Listing:
    """The listing of a folder without a scans.csv. found: (relative path, fault) of what may be an image.

    A stated meaning of the folders (``layout.folders``) goes before the layouts that are recognised.
    """
    tree = _Tree(folder, tuple(found), layout)
    how: Callable[[_Tree], Listing] = _by_folders
    if layout.folders == "auto":
        how = _bids if _is_bids(tree, passed) else _nnunet if _is_nnunet(tree) else _by_folders
    listing = how(tree)
    return replace(listing, passed=tuple(passed))


def label_map_reason(path: PurePosixPath) -> str:
    """Why a name looks like that of a label map, or ""."""
    if found := _LABEL_MAP.search(stem(path)):
        return f"label map, by its name (...{found[0]})"
    folder = next((part for part in path.parts[:-1] if _LABEL_FOLDER.search(part)), "")
    return f"label map, by its folder ({folder})" if folder else ""


def place(path: PurePosixPath) -> tuple[str, str]:
    """(label, split) by the folders that a relative path names. A folder called train, val or test is a
    split. The first other one is the label, unless its name only says that images lie in it.
    """
    names = _names(path)
    split = next((SPLITS[f.lower()] for f in path.parts[:-1] if f.lower() in SPLITS), "")
    return names[0] if names else "", split


def _names(path: PurePosixPath) -> list[str]:
    return [f for f in path.parts[:-1] if not _says_nothing(f)]


def _says_nothing(folder: str) -> bool:
    """Whether a folder is a split, or its name only says that images lie in it: images_001, CXR_png no."""
    name = folder.lower()
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", folder)]
    plain = [word for word in words if not (word.isdigit() or word in SPLITS)]
    return (
        name in SPLITS or name in _CONTAINERS or (bool(plain) and all(word in _CONTAINERS for word in plain))
    )


def _parted(tree: _Tree, why: Callable[[PurePosixPath], tuple[str, str]]) -> tuple[_Tree, list]:
    """The tree without what is no image to learn from, and what that is, each with its reason and remedy.

    A folder of nothing but such files is taken as it is: they are what is meant.
    """
    reasons = {path: why(path) for path, fault in tree.files if not fault}
    if all(reason for reason, _ in reasons.values()):
        return tree, []
    kept = tuple((path, fault) for path, fault in tree.files if fault or not reasons[path][0])
    out = [(tree.folder / path, *reason) for path, reason in reasons.items() if reason[0]]
    return replace(tree, files=kept), out


def _mask(path: PurePosixPath) -> tuple[str, str]:
    return (reason, AS_MASK) if (reason := label_map_reason(path)) else ("", "")


def _by_folders(tree: _Tree) -> Listing:
    tree, out = _parted(tree, _mask)
    industrial = _is_mvtec(tree, out)
    deeper = set() if tree.layout.folders != "auto" else _patient_folders(tree)
    files, explicit = [], tree.layout.folders == "patients"
    for path, fault in tree.files:
        names = _names(path)
        label, split = place(path)
        patient = names[0] if explicit and names else next((n for n in names[1:] if n in deeper), "")
        split = LEARN if industrial and split == "train" else split
        entry = tree.listed(path, fault, label="" if explicit else label, patient=patient, split=split)
        files.append(replace(entry, guessed=not explicit))
    name = "MVTec" if industrial else "folders as patients" if explicit else "folders as labels"
    notes = ("patients: named by the folders below the labels",) if deeper else ()
    return Listing(tuple(files), left_out=tuple(out), layout=name, notes=notes)


def _is_mvtec(tree: _Tree, out: Sequence[tuple[Path, str, str]]) -> bool:
    """train and test, nothing to validate with, and a folder of masks that is called ground_truth."""
    splits = {place(path)[1] for path in tree.images()}
    truth = any("ground_truth" in path.relative_to(tree.folder).parts for path, *_ in out)
    return truth and splits == {"train", "test"}


def _patient_folders(tree: _Tree) -> set[str]:
    """The folders below the labels, where they read like numbers of patients: each holds a digit, and they
    are many.
    """
    names = [_names(path) for path in tree.images()]
    below = {parts[1] for parts in names if len(parts) > 1}
    named = all(len(parts) > 1 for parts in names if parts)
    return below if named and len(below) >= _FEWEST_PATIENTS and all(map(_DIGIT.search, below)) else set()


def _subject(path: PurePosixPath) -> str:
    return next((part for part in path.parts[:-1] if _SUBJECT.fullmatch(part)), "")


def _is_bids(tree: _Tree, passed: Sequence[str]) -> bool:
    images = tree.images()
    subjects = sum(bool(_subject(path)) for path in images)
    return subjects > 0 and ("dataset_description.json" in passed or 2 * subjects > len(images))


def _bids(tree: _Tree) -> Listing:
    """sub-XX is the patient, whatever the session; participants.tsv says age and sex."""
    series = any(not _NOT_ONE_IMAGE & set(path.parts) for path in tree.images() if _subject(path))

    def why(path: PurePosixPath) -> tuple[str, str]:
        below = next((part for part in path.parts[:-1] if part in _NOT_RAW), "")
        kind = next((part for part in path.parts[:-1] if series and part in _NOT_ONE_IMAGE), "")
        if below:
            return f"BIDS: in {below}, so no raw scan", "scan that folder itself to use it"
        if kind:
            return f"BIDS: {kind} data, no single image", "scan a folder of these alone to use them"
        return _mask(path)

    tree, out = _parted(tree, why)
    told = _participants(tree.folder)
    files = []
    for path, fault in tree.files:
        subject = _subject(path)
        entry = tree.listed(path, fault, patient=subject, split=place(path)[1])
        files.append(replace(entry, tags=told.get(subject, entry.tags)))
    kinds = Counter(stem(path).rpartition("_")[2] for path in tree.images() if _subject(path))
    mixed = ", ".join(f"{name} {n}" for name, n in sorted(kinds.items()))
    notes = (f"several kinds of image are learned as one: {mixed}",) if len(kinds) > 1 else ()
    return Listing(tuple(files), left_out=tuple(out), layout="BIDS", notes=notes)


def _participants(folder: Path) -> dict[str, Tags]:
    """Sex and age of each sub-XX by participants.tsv; nothing where there is none, or nobody can read it."""
    try:
        _, rows = rows_of(folder / "participants.tsv")
    except Exception:  # a table of extras is worth no refusal
        return {}
    found = {}
    for row in rows:
        who = row.get("participant_id", "").strip()
        name = who if who.startswith("sub-") else f"sub-{who}"
        found[name] = Tags(sex=sex_named(row.get("sex", "")), age=age_band(row.get("age", "")))
    return found


def _is_nnunet(tree: _Tree) -> bool:
    return any("imagesTr" in path.parts[:-1] for path in tree.images())


def _nnunet(tree: _Tree) -> Listing:
    """nnU-Net, the Decathlon, AMOS: imagesTr is learned from, imagesTs is the test set, imagesVa validates,
    CASE_0001 is the second channel of CASE_0000.
    """
    labelled = {stem(path) for path, fault in tree.files if not fault and path.parent.name == "labelsTr"}
    tree, out = _parted(tree, _mask)
    held_out = {"imagesTs": "test", "imagesVa": "val", "imagesVal": "val"}
    places = {path.parent.name for path in tree.images()}
    for_training = "train" if places & {"imagesVa", "imagesVal"} else LEARN if "imagesTs" in places else ""
    # the map of CASE_0000 is called CASE; where it is called CASE_0000, that number is no channel's
    has_channels = not any(stem(p) in labelled for p in tree.images() if p.parent.name == "imagesTr")

    cases: dict[tuple[PurePosixPath, str], list[tuple[str, PurePosixPath]]] = {}
    files = []
    for path, fault in tree.files:
        found = None if fault or not has_channels else _CHANNEL.fullmatch(stem(path))
        split = next((held_out[part] for part in path.parts if part in held_out), for_training)
        if found and path.parent.name in ("imagesTr", *held_out):
            cases.setdefault((path.parent, found["case"]), []).append((found["channel"], path))
        else:
            files.append(tree.listed(path, fault, patient="" if fault else stem(path), split=split))
    names = _channel_names(tree.folder)
    for (_, case), channels in cases.items():
        channels.sort()
        first = channels[0][1]
        own, *others = [_called(number, names) for number, _ in channels]
        split = held_out.get(first.parent.name, for_training)
        entry = tree.listed(first, "", patient=case, split=split)
        beside = tuple((name, str(path)) for name, (_, path) in zip(others, channels[1:], strict=True))
        files.append(replace(entry, called=own, beside=beside))
    return Listing(
        tuple(sorted(files, key=lambda entry: entry.path)), left_out=tuple(out), layout="nnU-Net or Decathlon"
    )


def _called(number: str, names: dict[int, str]) -> str:
    at = int(number)
    return names.get(at, "image" if at == 0 else f"channel{at}")


def _channel_names(folder: Path) -> dict[int, str]:
    """Of a dataset.json: channel_names, or modality in the older form; none where a name cannot serve."""
    for path in sorted({folder / "dataset.json", *folder.glob("*/dataset.json")}):
        try:
            said = read_json(path)
            table = said.get("channel_names") or said.get("modality") or {}
            names = {int(number): str(name) for number, name in table.items()}
        except (FileProblem, ValueError, AttributeError):
            continue
        usable = all(CHANNEL_NAME.fullmatch(name) and name != "mask" for name in names.values())
        if len(names) > 1 and usable and len(set(names.values())) == len(names):
            return names
    return {}
