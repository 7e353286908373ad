"""The demo: the four jobs on real, openly licensed scans that come inside of installed packages, and one page that shows them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import FileProblem, MissingExtra
from ..io.files import write_file, write_folder, write_json
from .events import Event, OnEvent
from .execute import Performed, facts_of, peak_mib, prepared, versions
from .folder import RunFolder, finished, run_id, vacant
from .pictures import contact_sheet
from .report import Page, Section, Table, page_bytes
from .requests import Augment, Detect, Reconstruct, Synthesize, WithPrior

__all__ = ["SCANS", "Scan", "requests", "run_demo", "scan_paths"]


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan inside of a wheel. distribution: as pip names it; module: as Python imports it."""

    distribution: str
    module: str
    path: str
    what: str


SCANS = {
    "chest": Scan("pydicom-data", "data_store", "data/RG1_UNCR.dcm", "chest radiograph (CR), pydicom-data, MIT"),
    "abdomen": Scan("pydicom-data", "data_store", "data/explicit_VR-UN.dcm", "CT of the abdomen, TCIA Pancreas-CT, CC BY 3.0, from pydicom-data"),
    "brain": Scan(
        "nilearn", "nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", "T1 template of 152 heads (ICBM 2009a), from nilearn"
    ),
}

PRIORS = {"chest-xray": "chest-xray", "brain-t1": "brain-t1", "chest-ct": "chest-ct"}


def scan_paths() -> dict[str, Path]:
    """Where the demo's scans lie. Raises MissingExtra when a package is not installed, FileProblem when its file is gone; nothing is downloaded."""
    found = {}
    for name, scan in SCANS.items():
        spec = find_spec(scan.module)
        roots = [] if spec is None else list(spec.submodule_search_locations or [])
        if not roots:
            raise MissingExtra(scan.distribution, "demo", "the demo")
        path = Path(roots[0]) / scan.path
        if not path.is_file():
            raise FileProblem(path, f"is not in this version of {scan.distribution}", "pip install 'medprior[demo]'")
        found[name] = path
    return found


def requests(paths: Mapping[str, Path], seed: int, priors: Mapping[str, str] = PRIORS) -> dict[str, WithPrior]:
    """What the demo does, by the name of each part's folder."""
    chest, ct, brain = priors["chest-xray"], priors["chest-ct"], priors["brain-t1"]
    return {
        "reconstruct-mri": Reconstruct(input=paths["brain"], prior=brain, modality="MR", task="mri", n=8, seed=seed),
        "reconstruct-ct": Reconstruct(input=paths["abdomen"], prior=ct, task="ct", views=60, n=4, steps=20, baselines="quick", seed=seed),
        "detect": Detect(input=paths["chest"], prior=chest, seed=seed),
        "augment": Augment(input=paths["chest"], prior=chest, n=3, strength=0.4, seed=seed),
        "synthesize-no-finding": Synthesize(prior=chest, n=8, label="no_finding", size=(128, 128), seed=seed),
        "synthesize-pneumonia": Synthesize(prior=chest, n=8, label="pneumonia", size=(128, 128), seed=seed),
    }


def run_demo(out: Path, seed: int, on_event: OnEvent, *, fresh: bool = False, wanted: Mapping[str, WithPrior] | None = None) -> RunFolder:
    """Do every part and write one folder: a run folder for each part, and report.html over all. Complete already, it is returned at once.

    wanted: other requests than the demo's own, by name. Raises what ``scan_paths`` and ``execute`` raise; then nothing has been written.
    """
    started = time.monotonic()
    works = {name: prepared(request) for name, request in (wanted or requests(scan_paths(), seed)).items()}
    identifier = run_id({"job": "demo", "medprior": __version__, "parts": {name: work.identity for name, work in works.items()}})
    if not fresh and (done := finished(out, identifier)):
        on_event(Event("note", "the demo is complete already; use --fresh to repeat it"))
        return done
    vacant(out, identifier, fresh=fresh)
    parts: dict[str, Performed] = {}
    for number, (name, work) in enumerate(works.items(), start=1):
        on_event(Event("note", f"{number} of {len(works)}: {name}"))
        parts[name] = work.perform(on_event)
    record = _record(identifier, seed, parts, time.monotonic() - started)
    write_folder(out, lambda folder: _fill(folder, parts, record))
    return RunFolder(out, record)


def _record(identifier: str, seed: int, parts: Mapping[str, Performed], seconds: float) -> dict[str, Any]:
    return {
        "id": identifier,
        "job": "demo",
        "request": {"job": "demo", "seed": seed},
        "parts": {name: part.record for name, part in parts.items()},
        "metrics": {},
        "versions": versions(),
        "seconds": {"all": round(seconds, 3), **{name: part.record["seconds"]["job"] for name, part in parts.items()}},
        "peak_mib": round(peak_mib(), 1),
        "complete": True,
    }


def _fill(folder: Path, parts: Mapping[str, Performed], record: dict[str, Any]) -> None:
    for name, part in parts.items():
        part.fill(folder / name)
    write_file(folder / "report.html", page_bytes(_page(parts, record)))
    write_file(folder / "preview.png", contact_sheet([view for part in parts.values() for view in part.outcome.preview[-1:]]))
    write_json(folder / "run.json", record)


def _page(parts: Mapping[str, Performed], record: dict[str, Any]) -> Page:
    sections = [section for part in parts.values() for section in part.outcome.sections]
    first = next(iter(parts.values())).record
    facts = [fact for fact in facts_of({**first, "id": record["id"], "input": None, "overrides": []}) if fact[0] not in ("Prior", "Time", "Finished")]
    facts += [
        ("Prior", f"{name}, SHA-256 {digest[:16]}")
        for name, digest in sorted({(p.record["prior"]["name"], p.record["prior"]["sha256"]) for p in parts.values()})
    ]
    facts += [("Scan", scan.what) for scan in SCANS.values()]
    facts.append(("Peak memory", f"{record['peak_mib']:.0f} MiB"))
    return Page(
        "One prior, four jobs",
        "Real scans, small priors, this computer. One generative prior reconstructs, detects, varies and draws; each number stands beside a plain method's.",
        [_glance(parts), *sections, _timings(record)],
        facts,
    )


def _glance(parts: Mapping[str, Performed]) -> Section:
    """One line a part."""
    rows = [["job", "prior", "result"]]
    rows += [[part.request.job, part.record["prior"]["name"], _result(part.record["metrics"])] for part in parts.values()]
    return Section("At a glance", "", [Table(rows, words=True)])


def _result(metrics: Mapping[str, Any]) -> str:
    """The number that matters, beside the best plain method's."""
    if "methods" in metrics:
        (ours, found), *plain = reversed(metrics["methods"].items())
        name, best = max(plain, key=lambda item: item[1]["psnr_db"])
        return f"{found['psnr_db']:.1f} dB ({ours}); {best['psnr_db']:.1f} dB ({name})"
    if "p_value" in metrics:
        return f"p = {metrics['p_value']:.2g} from {metrics['n_healthy']} healthy patients" if metrics["p_value"] is not None else str(metrics["refused"])
    if "correlation_with_source" in metrics:
        found = metrics["correlation_with_source"]
        return f"{len(found)} variations, correlation with the source {min(found):.2f} to {max(found):.2f}"
    return f"{metrics['n']} images of {' x '.join(map(str, metrics['size']))}, label {metrics['label'] or 'any'}"


def _timings(record: dict[str, Any]) -> Section:
    rows = [
        ["part", "seconds"],
        *([name, f"{value:.1f}"] for name, value in record["seconds"].items() if name != "all"),
        ["all, with reading", f"{record['seconds']['all']:.1f}"],
    ]
    return Section(
        "How long it took",
        "",
        [Table(rows, best=len(rows) - 1)],
        caveats=(
            "The priors are small and learned from few scans of few sites; train your own for your patients: medprior train FOLDER.",
            "The brain is an average of 152 heads, smoother than any patient; the abdomen lies at the edge of what the chest prior has seen.",
        ),
    )
