"""The command line: one verb a job; every option is a field of its request (runs/requests.py)."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter, ValidationError
from cyclopts.config import Yaml
from pydantic import ValidationError as Invalid

from . import __version__
from .errors import FileProblem, MedpriorError, OutOfDistribution, printable
from .runs.ask.request import ADVANCED
from .runs.ask.requests import (
    Adapt,
    Augment,
    CalibrateDetect,
    CalibrateReconstruct,
    CalibrateSynthesize,
    Detect,
    EvaluateAugment,
    EvaluateDetect,
    EvaluateReconstruct,
    Reconstruct,
    Request,
    Scan,
    Synthesize,
    Train,
    explained,
)

if TYPE_CHECKING:
    from .runs.core.run import RunFolder

__all__ = ["main"]

HELP = """One generative prior from your own scans: it reconstructs, augments, synthesizes and detects.

Research use only, not for diagnosis. Nothing is downloaded and nothing is sent. Start with: medprior demo"""

WHERE = "the maintainers (CONTRIBUTING.md says how)"


@dataclass(frozen=True, slots=True)
class Screen:
    """How to speak: json prints one JSON object on standard output; debug shows tracebacks."""

    json: bool = False
    debug: bool = False


Shown = Annotated[Screen, Parameter(parse=False)]
Options = Parameter(name="*")

app = App(
    name="medprior",
    help=HELP,
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False


@app.command
def detect(request: Annotated[Detect, Options], *, screen: Shown) -> None:
    """Find what looks unlike healthy scans: map, score, p-value, healthy twin."""
    run(request, screen)


@app.command
def reconstruct(request: Annotated[Reconstruct, Options], *, screen: Shown) -> None:
    """Reconstruct an image from a poor measurement: measured, or simulated from a scan."""
    run(request, screen)


@app.command
def augment(request: Annotated[Augment, Options], *, screen: Shown) -> int:
    """Vary a scan, or each scan of a data set: new images with its label, grid and unit."""
    return run(request, screen)


@app.command
def synthesize(request: Annotated[Synthesize, Options], *, screen: Shown) -> None:
    """Draw new images from a prior."""
    run(request, screen)


@app.command
def train(request: Annotated[Train, Options], *, screen: Shown) -> None:
    """Learn a prior from a folder of scans; the same command again continues."""
    from .runs.learn.train import run_train

    with progress(screen) as listen:
        done = run_train(request, listen)
    if done is None:  # a helper of a run on several processes: rank 0 speaks
        return
    finish(screen, done)


@app.command
def adapt(request: Annotated[Adapt, Options], *, screen: Shown) -> None:
    """Teach a prior a new class, organ or scanner from 5 to 50 scans; the same command again continues."""
    from .runs.learn.adapt import run_adapt

    with progress(screen) as listen:
        done = run_adapt(request, listen)
    finish(screen, done)


evaluate = App(
    name="evaluate",
    help="Measure a prior on a folder of scans, beside plain methods.",
    help_format="plaintext",
)
app.command(evaluate)


@evaluate.command(name="reconstruct")
def evaluate_reconstruct(request: Annotated[EvaluateReconstruct, Options], *, screen: Shown) -> None:
    """PSNR and SSIM of simulated measurements of a folder's scans, with intervals over patients."""
    from .runs.studies.reconstruct import run_evaluate_reconstruct

    with progress(screen) as listen:
        done = run_evaluate_reconstruct(request, listen)
    finish(screen, done)


@evaluate.command(name="detect")
def evaluate_detect(request: Annotated[EvaluateDetect, Options], *, screen: Shown) -> None:
    """AUROC and false-positive rate of detection on a labelled folder, with intervals over patients."""
    from .runs.studies.detect import run_evaluate_detect

    with progress(screen) as listen:
        done = run_evaluate_detect(request, listen)
    finish(screen, done)


@evaluate.command(name="augment")
def evaluate_augment(request: Annotated[EvaluateAugment, Options], *, screen: Shown) -> None:
    """Is it worth it? A classifier or segmenter trained with and without generated images, and the verdict in
    plain words.
    """
    from .runs.studies.augment import run_evaluate_augment

    with progress(screen) as listen:
        done = run_evaluate_augment(request, listen)
    finish(screen, done)


calibrate = App(
    name="calibrate",
    help="Measure on other patients how far a prior's results may be off.",
    help_format="plaintext",
)
app.command(calibrate)


@calibrate.command(name="reconstruct")
def calibrate_reconstruct(request: Annotated[CalibrateReconstruct, Options], *, screen: Shown) -> None:
    """Intervals that hold, for one kind of measurement: into the prior's trust.json."""
    from .runs.studies.calibrate_reconstruct import run_calibrate_reconstruct

    with progress(screen) as listen:
        done = run_calibrate_reconstruct(request, listen)
    finish(screen, done)


@calibrate.command(name="detect")
def calibrate_detect(request: Annotated[CalibrateDetect, Options], *, screen: Shown) -> None:
    """Healthy scans are learned and others held against them: p-values and the map's scale, into the prior's
    folder.
    """
    from .runs.studies.calibrate_detect import run_calibrate_detect

    with progress(screen) as listen:
        done = run_calibrate_detect(request, listen)
    finish(screen, done)


@calibrate.command(name="synthesize")
def calibrate_synthesize(request: Annotated[CalibrateSynthesize, Options], *, screen: Shown) -> None:
    """Test whether generated images copy training patients, with positive and negative controls."""
    from .runs.studies.calibrate_synthesize import run_calibrate_synthesize

    with progress(screen) as listen:
        done = run_calibrate_synthesize(request, listen)
    finish(screen, done)


@app.command
def scan(request: Annotated[Scan, Options], *, screen: Shown) -> None:
    """Read every file of a data set once, and say what was understood and what cannot be used."""
    from .runs.scan import run_scan

    with progress(screen) as listen:
        done = run_scan(request, listen)
    finish(screen, done)


@app.command
def deidentify(
    source: Annotated[Path, Parameter(help="DICOM file, or a folder of them.")],
    *,
    out: Annotated[Path, Parameter(help="New folder for the files without identity.")],
    key: Annotated[
        Path | None,
        Parameter(help="File of a secret key: the same key gives the same new names. Made if it is missing."),
    ] = None,
    allow_burned_in: Annotated[
        bool, Parameter(help="Also take pixels that may carry text. Look at them first.")
    ] = False,
    screen: Shown,
) -> int:
    """Copy DICOM files without the identity of patients (PS3.15 Annex E)."""
    from .runs.deidentify import run_deidentify

    with progress(screen) as listen:
        record, lines, code = run_deidentify(source, out, key, allow_burned_in, listen)
    say(screen, record, lines)
    return code


@app.command
def info(
    prior: Annotated[
        str, Parameter(help="Name of a bundled prior or a folder; none lists the bundled ones.")
    ] = "",
    /,
    *,
    screen: Shown,
) -> None:
    """Show the card of a prior and what was measured of it."""
    from .runs.info import card_lines, card_record

    say(screen, card_record(prior), card_lines(prior))


@app.command
def report(
    *runs: Annotated[
        Path,
        Parameter(
            help="Folders of runs: one has its report.html made again, several are compared on one page."
        ),
    ],
    out: Annotated[
        Path | None, Parameter(help="Folder for the comparison; default runs/report-XXXXXXXX.")
    ] = None,
    fresh: Annotated[bool, Parameter(help="Replace another comparison in that folder.")] = False,
    screen: Shown,
) -> None:
    """Make the report of a run again from its folder, or compare several runs on one page."""
    from .runs.rebuild import reported

    done = reported(runs, out, fresh=fresh)
    say(
        screen,
        done.record,
        [f"report  {printable(done.report)}{' (nothing has changed)' if done.reused else ''}"],
    )


@app.command
def doctor(*, screen: Shown) -> int:
    """Check this installation."""
    from .runs.doctor import diagnose

    rows = diagnose()
    signs = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
    lines = [
        f"{signs[row.status]}  {row.subject}: {row.found}"
        + (f"\n         -> {row.remedy}" if row.remedy else "")
        for row in rows
    ]
    say(
        screen,
        {
            "checks": [
                {"subject": r.subject, "status": r.status, "found": r.found, "remedy": r.remedy} for r in rows
            ]
        },
        lines,
    )
    return int(any(row.status == "problem" for row in rows))


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for the results.")] = Path("runs/demo"),
    seed: Annotated[int, Parameter(help="Seed of every random draw.")] = 0,
    fresh: Annotated[bool, Parameter(help="Start over, also where the demo is already complete.")] = False,
    screen: Shown,
) -> None:
    """The four jobs on real scans that come with the installation; needs no data."""
    from .runs.demo import run_demo

    with progress(screen) as listen:
        done = run_demo(out, seed, listen, fresh=fresh)
    finish(screen, done)


def run(request: Request, screen: Screen) -> int:
    """Execute a request and say where the results are."""
    from .runs.execute import execute

    with progress(screen) as listen:
        done = execute(request, listen)
    return finish(screen, done)


def finish(screen: Screen, done: RunFolder) -> int:
    """What was found in a few words, and where things are. Gives the exit code."""
    outputs = [path for path in done.outputs if not path.name.endswith(".medprior.json")]
    lines = [*done.summary.headline, *(f"output  {printable(path)}" for path in outputs[:12])]
    if len(outputs) > 12:
        lines.append(f"        and {len(outputs) - 12} more in {printable(done.path / 'outputs')}")
    lines.append(f"report  {printable(done.report)}")
    if (prior := done.path / "prior").is_dir():
        lines += [f"prior   {printable(prior)}", f"use it  --prior {printable(done.path)}"]
    say(screen, done.record, lines)
    return done.summary.code


def say(screen: Screen, record: dict[str, Any], lines: Sequence[str]) -> None:
    """The result on standard output: one JSON object, or lines for a person."""
    print(jsonlib.dumps(record, indent=1) if screen.json else "\n".join(lines))


def progress(screen: Screen) -> Any:
    """A context that gives the listener of a run; what it shows goes to standard error, so that --json stays
    clean.
    """
    from .runs.core.progress import shown

    return shown(quiet=screen.json)


@app.meta.default
def _every_verb(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[
        Path | None, Parameter(help="YAML file with options. The command line wins.", group=ADVANCED.group)
    ] = None,
    json: Annotated[bool, Parameter(help="Print the result as one JSON object.")] = False,
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.", group=ADVANCED.group)] = False,
) -> int:
    if config is not None:
        if not config.is_file():
            raise FileProblem(config, "no such file", "give a YAML file with options, or leave --config out")
        app.config = (Yaml(config, must_exist=True, search_parents=False, use_commands_as_keys=False),)
    try:
        command, bound, hidden = app.parse_args(tokens, exit_on_error=False, print_error=False)
    finally:
        app.config = ()
    if "screen" in hidden:
        bound.arguments["screen"] = Screen(json, debug)
    return command(*bound.args, **bound.kwargs) or 0


def main(tokens: Sequence[str] | None = None) -> int:
    """Exit code: 0 done; 1 an error of ours; 2 an error that the user can fix (one line, no traceback); 3 a
    scan unlike the prior's; 4 some of many scans failed. 130 means interrupted.
    """
    given = list(sys.argv[1:] if tokens is None else tokens)
    debug = "--debug" in given
    try:
        return (
            app.meta(
                given or ["--help"], exit_on_error=False, print_error=False, result_action="return_value"
            )
            or 0
        )
    except OutOfDistribution as error:
        return refused(readable(error), error if debug else None, code=3)
    except (MedpriorError, CycloptsError) as error:
        return refused(readable(error), error if debug else None)
    except KeyboardInterrupt as error:
        return refused(
            str(error) or "interrupted; nothing half written is left", error if debug else None, code=130
        )
    except MemoryError as error:
        return refused(
            "out of memory (ask for fewer images at once with --n, or a smaller scan)",
            error if debug else None,
        )
    except BrokenPipeError:
        return 0
    except Exception as error:  # whatever we did not foresee: said in one line, in full with --debug
        what = " ".join(str(error).split())[:300]
        text = (
            f"unexpected {type(error).__name__}: {what}. Please report it to {WHERE}, with what --debug "
            "prints"
        )
        return refused(text, error if debug else None, code=1)


def readable(error: MedpriorError | CycloptsError) -> str:
    """One line: what, wanted, got, remedy."""
    if isinstance(error, ValidationError):
        cause = error.__cause__ or error.__context__
        if isinstance(cause, Invalid):
            return str(explained(cause))
    return " ".join(str(error).split())


def refused(text: str, error: BaseException | None, code: int = 2) -> int:
    """One line on standard error; the traceback before it where it was asked for."""
    if error is not None:
        import traceback

        traceback.print_exception(error)
    print(f"medprior: {text}", file=sys.stderr)
    return code
