"""The promise: a folder imports only from lower floors, so that any floor can be read, tested and replaced
without what stands on it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "medprior"
FLOORS = [
    {"nets", "errors"},
    {"data"},
    {"augmentation", "io", "operators", "prior"},
    {"sampling", "training"},
    {"evidence", "healthy", "downstream", "explanation", "learning"},
    {"jobs"},
    {"runs"},
    {"web", "pacs"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}

INSIDE = {
    "runs": [
        {"ask", "page"},
        {"core"},
        {
            "deidentify",
            "detect",
            "doctor",
            "explain",
            "info",
            "label",
            "learn",
            "reading",
            "rebuild",
            "reconstruct",
            "scan",
            "synthesize",
        },
        {"studies"},
        {"augment", "curves", "many"},
        {"execute"},
        {"demo", "verbs"},
    ],
    "io": [
        {"disk", "groups", "source_order"},
        {"dicom/codecs", "dicom/terms", "onnx_gradients"},
        {"dicom/read", "hdf5", "nifti", "onnx_model", "pictures"},
        {"arrays", "dicom/deidentify", "dicom/write"},
        {"dicom/deidentify_files", "read", "write"},
        {"dataset"},
        {"served"},
    ],
}
"""Floors inside the two large rooms: a file or folder of the room, named from there."""


def imported(source: str, package: list[str]) -> Iterator[tuple[int, str]]:
    """(line, "medprior.room.module") of every import of our own, those inside functions too. package: of the
    file, e.g. ["medprior", "io"].
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "medprior"
            )
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            if name.split(".")[0] == "medprior":
                yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def wrong(source: str, file: Path) -> list[str]:
    """Each import of one file that goes up or sideways, as "file:line imports name". file: relative to
    src/medprior.
    """
    room = file.parts[0].removesuffix(".py")
    found = []
    for line, name in imported(source, ["medprior", *file.parts[:-1]]):
        other = name.split(".")[1]
        # the version is a word, not a room
        if other not in (room, "__version__") and FLOOR.get(other, 99) >= FLOOR[room]:
            found.append(f"{file}:{line} imports {name}: floor {FLOOR[room]} -> {FLOOR.get(other, 'none')}")
    return found


def files() -> list[Path]:
    """Every file below a room; the package's own __init__ and __main__ see the whole house."""
    return [
        p
        for p in sorted(SOURCE.rglob("*.py"))
        if p.relative_to(SOURCE).as_posix() not in ("__init__.py", "__main__.py")
    ]


def test_every_file_stands_in_a_known_room() -> None:
    assert {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in files()} <= set(FLOOR)


def test_imports_go_down_only() -> None:
    assert [
        line for p in files() for line in wrong(p.read_text(encoding="utf-8"), p.relative_to(SOURCE))
    ] == []


def test_no_circle_of_modules() -> None:
    """Inside a room, too: no module reaches itself by its imports."""
    modules = {
        ".".join(["medprior", *p.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__"): p
        for p in files()
    }
    edges = {}
    for module, path in modules.items():
        named = [
            name
            for _, name in imported(
                path.read_text(encoding="utf-8"), ["medprior", *path.relative_to(SOURCE).parts[:-1]]
            )
        ]
        # "from ..io import files" names a module, "from ..io.files import sha256" something in one
        edges[module] = {n if n in modules else n.rpartition(".")[0] for n in named} & set(modules) - {module}
    while ends := {
        m for m in edges if not edges[m] & set(edges) or not any(m in others for others in edges.values())
    }:
        edges = {m: others for m, others in edges.items() if m not in ends}
    assert sorted(edges) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("io/dicom.py", "from ..jobs.detect import detect"),
        ("io/dicom.py", "from ..operators import fourier"),
        ("prior/prior.py", "def f():\n    from medprior.io.disk.files import load_weights"),
        ("data/volume.py", "import medprior.runs.execute"),
        ("web/site.py", "from ..cli import main"),
        ("web/site.py", "from ..pacs import door"),
        ("nets/unet.py", "from ..errors import BadOption"),
        ("jobs/detect.py", "from .. import load"),
    ],
)
def test_the_rule_bites(file: str, source: str) -> None:
    """Up, sideways, lazily, absolutely, between faces, and through the package's own door."""
    assert wrong(source, Path(file))


def test_the_rule_lets_pass() -> None:
    assert (
        wrong("from ..errors import BadOption\nfrom .dicom import read\nimport numpy", Path("io/read.py"))
        == []
    )
    assert wrong("from .runs import execute", Path("cli.py")) == []


def inner_room(house: str, parts: list[str]) -> str | None:
    """The room inside a house that holds a module: "dicom/read" of ["dicom", "read", "open"], or None."""
    known = {room for rooms in INSIDE[house] for room in rooms}
    heads = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((head for head in heads if head in known), None)


def wrong_inside(source: str, file: Path) -> list[str]:
    """Each import of a file that goes up or sideways inside its house. file: relative to src/medprior."""
    house = file.parts[0]
    floor = {room: number for number, rooms in enumerate(INSIDE[house], 1) for room in rooms}
    room = inner_room(house, list(file.with_suffix("").parts[1:]))
    found = []
    for line, name in imported(source, ["medprior", *file.parts[:-1]]):
        if (
            name.split(".")[1] == house
            and (other := inner_room(house, name.split(".")[2:])) not in (room, None)
            and floor[other] >= floor.get(room or "", 0)
        ):
            found.append(f"{file}:{line} imports {name}: {room} -> {other}")
    return found


def inner_files(house: str) -> list[Path]:
    return [p for p in sorted((SOURCE / house).rglob("*.py")) if p.name != "__init__.py"]


@pytest.mark.parametrize("house", INSIDE)
def test_every_file_of_a_large_room_has_a_floor_there(house: str) -> None:
    homeless = [
        p
        for p in inner_files(house)
        if not inner_room(house, list(p.relative_to(SOURCE / house).with_suffix("").parts))
    ]
    assert homeless == []


@pytest.mark.parametrize("house", INSIDE)
def test_imports_inside_a_large_room_go_down_only(house: str) -> None:
    wrongs = [
        line for p in inner_files(house) for line in wrong_inside(p.read_text("utf-8"), p.relative_to(SOURCE))
    ]
    assert wrongs == []


def test_the_inner_rule_bites() -> None:
    assert wrong_inside("from ..augment.state import State", Path("runs/studies/augment.py"))
    assert wrong_inside("from ...read import read", Path("io/dicom/read/open.py"))
    assert wrong_inside("from ..detect import run", Path("runs/reconstruct/run.py"))
    assert wrong_inside("from ..core import record", Path("runs/reconstruct/run.py")) == []


MOST_FILES = 14


def test_no_folder_is_a_drawer() -> None:
    """A folder holds at most ``MOST_FILES`` modules: beyond that nobody finds anything in it."""
    count = {d: len([*d.glob("*.py")]) for d in (SOURCE, *(p for p in SOURCE.rglob("*") if p.is_dir()))}
    assert {str(d.relative_to(SOURCE)): n for d, n in count.items() if n > MOST_FILES + 1} == {}
