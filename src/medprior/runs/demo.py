"""The demo: the four jobs on real, openly licensed scans that come inside of installed packages, and one page
that shows them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .. import __version__
from ..errors import FileProblem, MissingExtra
from .ask.requests import Augment, Detect, Reconstruct, Synthesize, WithPrior
from .core.outputs import Outcome, Summary
from .core.progress import Event, OnEvent
from .core.run import Run, RunFolder
from .execute import Performed, prepared
from .page.blocks import Section, Table

__all__ = ["SCANS", "DemoScan", "requests", "run_demo", "scan_paths"]


@dataclass(frozen=True, slots=True)
class DemoScan:
    """A scan inside of a wheel. distribution: as pip names it; module: as Python imports it."""

    distribution: str
    module: str
    path: str
    what: str


SCANS = {
    "chest": DemoScan(
        "pydicom-data", "data_store", "data/RG1_UNCR.dcm", "chest radiograph (CR), pydicom-data, MIT"
    ),
    "abdomen": DemoScan(
        "pydicom-data",
        "data_store",
        "data/explicit_VR-UN.dcm",
        "CT of the abdomen, TCIA Pancreas-CT, CC BY 3.0, from pydicom-data",
    ),
    "brain": DemoScan(
        "nilearn",
        "nilearn",
        "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        "T1 template of 152 heads (ICBM 2009a), from nilearn",
    ),
}

PRIORS = {"chest-xray": "chest-xray", "brain-t1": "brain-t1", "chest-ct": "chest-ct"}


def scan_paths() -> dict[str, Path]:
    """Where the demo's scans lie. Raises MissingExtra when a package is not installed, FileProblem when its
    file is gone; nothing is downloaded.
    """
    found = {}
    for name, scan in SCANS.items():
        spec = find_spec(scan.module)
        roots = [] if spec is None else list(spec.submodule_search_locations or [])
        if not roots:
            raise MissingExtra(scan.distribution, "demo", "the demo")
        path = Path(roots[0]) / scan.path
        if not path.is_file():
            raise FileProblem(
                path, f"is not in this version of {scan.distribution}", "pip install 'medprior[demo]'"
            )
        found[name] = path
    return found


def requests(
    paths: Mapping[str, Path], seed: int, priors: Mapping[str, str] = PRIORS
) -> dict[str, WithPrior]:
    """What the demo does, by the name of each part's folder."""
    chest, ct, brain = priors["chest-xray"], priors["chest-ct"], priors["brain-t1"]
    return {
        "reconstruct-mri": Reconstruct(
            input=paths["brain"], prior=brain, modality="MR", task="mri", n=8, baselines="all", seed=seed
        ),
        "reconstruct-ct": Reconstruct(
            input=paths["abdomen"], prior=ct, task="ct", views=60, n=4, steps=20, baselines="quick", seed=seed
        ),
        "detect": Detect(input=paths["chest"], prior=chest, seed=seed),
        "augment": Augment(input=paths["chest"], prior=chest, n=3, strength=0.4, seed=seed),
        "synthesize-no-finding": Synthesize(prior=chest, n=8, label="no_finding", size=(128, 128), seed=seed),
        "synthesize-pneumonia": Synthesize(prior=chest, n=8, label="pneumonia", size=(128, 128), seed=seed),
    }


def run_demo(
    out: Path,
    seed: int,
    on_event: OnEvent,
    *,
    fresh: bool = False,
    wanted: Mapping[str, WithPrior] | None = None,
) -> RunFolder:
    """Do every part and write one folder: a run folder for each part, and report.html over all. Complete
    already, it is returned at once.

    wanted: other requests than the demo's own, by name. Raises what ``scan_paths`` and ``execute`` raise;
    then nothing has been written.
    """
    started = time.monotonic()
    works = {name: prepared(request) for name, request in (wanted or requests(scan_paths(), seed)).items()}
    identity = {
        "job": "demo",
        "medprior": __version__,
        "parts": {name: work.run.identity for name, work in works.items()},
    }
    device = next(iter(works.values())).run.device
    run = Run("demo", identity, out, fresh, device, started)
    if (done := run.done(on_event)) is not None:
        return done
    parts: dict[str, Performed] = {}
    for number, (name, work) in enumerate(works.items(), start=1):
        on_event(Event("note", f"{number} of {len(works)}: {name}"))
        parts[name] = work.perform(on_event)
    own = {name: part.record["seconds"]["job"] for name, part in parts.items()}
    seconds = {"all": time.monotonic() - started, **own}
    outcome = _outcome(parts, seconds)
    record = run.record(
        outcome,
        seconds=seconds,
        request={"job": "demo", "seed": seed},
        scans=[] if wanted else [scan.what for scan in SCANS.values()],
        parts={name: part.record for name, part in parts.items()},
    )

    def fill(folder: Path) -> None:
        for name, part in parts.items():
            part.outcome.fill(folder / name, part.record)

    return run.publish(outcome, record, fill)


def _outcome(parts: Mapping[str, Performed], seconds: Mapping[str, float]) -> Outcome:
    lines = [
        line
        for name, part in parts.items()
        for line in (
            f"{name} ({seconds[name]:.1f} s)",
            *(f"  {said}" for said in part.outcome.summary.headline),
        )
    ]
    sections = [section for part in parts.values() for section in part.outcome.sections]
    return Outcome(
        {},
        [_glance(parts), *sections, _timings(seconds)],
        [view for part in parts.values() for view in part.outcome.preview[-1:]],
        Summary(tuple(lines), f"{len(parts)} jobs"),
        title="One prior, four jobs",
        lead="Real scans, small priors, this computer. One generative prior reconstructs, detects, varies "
        "and draws; each number stands beside a plain method's.",
    )


def _glance(parts: Mapping[str, Performed]) -> Section:
    """One line a part."""
    rows = [["job", "prior", "result"]]
    rows += [
        [part.record["job"], part.record["prior"]["name"], part.outcome.summary.result]
        for part in parts.values()
    ]
    return Section("At a glance", "", [Table(rows, words=True)])


def _timings(seconds: Mapping[str, float]) -> Section:
    rows = [
        ["part", "seconds"],
        *([name, f"{value:.1f}"] for name, value in seconds.items() if name != "all"),
        ["all, with reading", f"{seconds['all']:.1f}"],
    ]
    return Section(
        "How long it took",
        "",
        [Table(rows, best=len(rows) - 1)],
        caveats=(
            "The priors are small and learned from few scans of few sites; train your own for your patients: "
            "medprior train FOLDER.",
            "The brain is an average of 152 heads, smoother than any patient; the abdomen lies at the edge "
            "of what the chest prior has seen.",
        ),
    )
