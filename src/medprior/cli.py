"""The command line: one verb a job; every option is a field of its request (runs/requests.py)."""

from __future__ import annotations

import io
import json as jsonlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnknownCommandError, ValidationError
from cyclopts.config import Dict
from pydantic import ValidationError as Invalid

from . import __version__
from .errors import FileProblem, MedpriorError, OutOfDistribution, needs_posix, optional, printable
from .io.disk.files import give_back
from .runs.ask import requests as ask
from .runs.ask.config import options_in
from .runs.ask.request import ADVANCED
from .runs.ask.serve import Fetch, Serve
from .runs.verbs import VERBS, perform

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
SERVE = Serve()

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


FAMILIES = {
    "evaluate": "Measure a prior on a folder of scans, beside plain methods.",
    "calibrate": "Measure on other patients how far a prior's results may be off.",
}
"""Words that stand before others."""


def command(request: type[ask.Request | ask.Scan], where: str) -> Callable[..., int]:
    """A verb as a command. Its module is loaded when it runs, so help stays fast."""

    def verb(request: ask.Request | ask.Scan, *, screen: Shown) -> int:
        with progress(screen) as listen:
            done = perform(where, request, listen)
        return 0 if done is None else finish(screen, done)  # None: a helper of several processes

    verb.__annotations__ |= {"request": Annotated[request, Options], "screen": Shown}
    verb.__doc__ = " ".join((request.__doc__ or "").split())
    return verb


def _register() -> None:
    families = {name: App(name=name, help=text, help_format="plaintext") for name, text in FAMILIES.items()}
    for words, (request, where) in VERBS.items():
        family, _, name = words.rpartition(" ")
        families.get(family, app).command(command(request, where), name=name)
    for family in families.values():
        app.command(family)


_register()


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
def fetch(request: Annotated[Fetch, Options], *, screen: Shown) -> int:
    """Bring a training set from a PACS, without the identity of patients."""
    optional("pynetdicom", "pacs", "medprior fetch")
    from .pacs.fetch import fetch_set

    with progress(screen) as listen:
        record, lines, code = fetch_set(request, listen)
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
    say(screen, done.record, [f"report  {done.report}{' (nothing has changed)' if done.reused else ''}"])


@app.command
def merge(
    *runs: Annotated[Path, Parameter(help="Run folders of all shards of one command.")],
    out: Annotated[
        Path | None, Parameter(help="Folder for the whole run. Default: runs/JOB-XXXXXXXX.")
    ] = None,
    fresh: Annotated[bool, Parameter(help="Replace another run in that folder.")] = False,
    screen: Shown,
) -> int:
    """Join the shards of a run on many scans; refused, by name, where one is missing or differs."""
    from .runs.many.merge import merge_runs

    with progress(screen) as listen:
        done = merge_runs(runs, out, fresh=fresh, on_event=listen)
    return finish(screen, done)


@app.command
def doctor(*, screen: Shown) -> int:
    """Check this installation."""
    from .runs.doctor import described, diagnose

    rows = diagnose()
    say(screen, *described(rows))
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
    if not screen.json:
        print(f"look at it and go on in the browser: medprior serve {printable(out.parent)}")


@app.command
def serve(request: Annotated[Serve, Options] = SERVE, *, screen: Shown) -> None:
    """The page in a browser on this machine: look at scans, run jobs, read blindly. Nothing leaves it."""
    from .web.serve import run_serve

    attach = None
    if request.pacs is not None:
        optional("fastapi", "web", "medprior serve")
        optional("pynetdicom", "pacs", "medprior serve --pacs")
        from .pacs.routes import attach_pacs

        attach = partial(attach_pacs, request.pacs)
    run_serve(
        request, lambda address: say(screen, {"address": address}, [f"medprior is at {address}"]), attach
    )


pacs = App(name="pacs", help="Look after the DICOM node of medprior serve --pacs.", help_format="plaintext")
app.command(pacs)


@pacs.command(name="test")
def pacs_test(
    file: Annotated[Path, Parameter(help="A DICOM file.")],
    *,
    settings: Annotated[Path, Parameter(name="--pacs", help="pacs.toml.")] = Path("pacs.toml"),
    sender: Annotated[str, Parameter(help="AE title of its sender, for rules that ask for it.")] = "",
    screen: Shown,
) -> None:
    """Say which rule a file meets, and why not each of the others."""
    optional("pynetdicom", "pacs", "medprior pacs")
    from .pacs.tell import told_of_file

    say(screen, *told_of_file(file, settings, sender))


@pacs.command(name="failures")
def pacs_failures(
    folder: Annotated[Path, Parameter(help="Folder of runs, as medprior serve has it.")] = Path("runs"),
    *,
    again: Annotated[bool, Parameter(help="Try all of them again.")] = False,
    screen: Shown,
) -> int:
    """List what could not be answered or delivered, with the reason. The exit code is 4 if there is any."""
    optional("pynetdicom", "pacs", "medprior pacs")
    from .pacs.tell import told_of_failures

    record, lines, code = told_of_failures(folder, again)
    say(screen, record, lines)
    return code


def finish(screen: Screen, done: RunFolder) -> int:
    """What was found in a few words, and where things are. Gives the exit code."""
    outputs = done.outputs
    lines = [*done.summary.headline, *(f"output  {path}" for path in outputs[:12])]
    if len(outputs) > 12:
        lines.append(f"        and {len(outputs) - 12} more in {done.path / 'outputs'}")
    lines.append(f"report  {done.report}")
    if (prior := done.path / "prior").is_dir():
        lines += [f"prior   {prior}", f"use it  --prior {done.path}"]
    if (done.path / "head").is_dir():
        lines.append(f"use it  medprior predict SCAN_OR_FOLDER --head {done.path}")
    say(screen, done.record, lines)
    return done.summary.code


def say(screen: Screen, record: Mapping[str, Any], lines: Sequence[str]) -> None:
    """The result on standard output: one JSON object, or lines for a person."""
    text = jsonlib.dumps(record, indent=1) if screen.json else "\n".join(map(printable, lines))
    print(text, flush=True)


def progress(screen: Screen) -> Any:
    """A context that gives the listener of a run; what it shows goes to standard error, so that --json stays
    clean.
    """
    from .runs.core.progress import show_progress

    return show_progress(quiet=screen.json)


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
        app.config = (Dict(options_in(config), source=str(config), use_commands_as_keys=False),)
    try:
        command, bound, hidden = app.parse_args(tokens, exit_on_error=False, print_error=False)
    finally:
        app.config = ()
    if "screen" in hidden:
        bound.arguments["screen"] = Screen(json, debug)
    return command(*bound.args, **bound.kwargs) or 0


def main(tokens: Sequence[str] | None = None) -> int:
    """Gives the exit code. 0: done. 1: an error of ours. 2: an error that the user can fix. 3: a scan unlike
    the prior's. 4: some of many scans failed. 130: interrupted.
    """
    from .runs.core.progress import ended

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character must not cost the work
            stream.reconfigure(errors="backslashreplace")
    return ended(_main(list(sys.argv[1:] if tokens is None else tokens)))


def _main(given: list[str]) -> int:
    if given[:1] == ["help"]:
        given = [*given[1:], "--help"]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no library downloads, whatever it finds missing
    try:
        needs_posix()
        quiet = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}
        return app.meta(given or ["--help"], **quiet) or 0
    except BrokenPipeError:
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return refused(error, debug="--debug" in given, json="--json" in given)
    finally:
        give_back()


def refused(error: BaseException, *, debug: bool, json: bool) -> int:
    """One line on standard error. debug: the traceback before it. json: the same as one object on standard
    output, too. Gives the exit code.
    """
    code, text = explanation(error)
    if debug:
        import traceback

        traceback.print_exception(error)
    if json:
        kind = "BadOption" if isinstance(error, CycloptsError) else type(error).__name__
        print(jsonlib.dumps({"error": {"kind": kind, "message": text, "code": code}}, indent=1))
    print(f"medprior: {printable(text)}", file=sys.stderr)
    return code


def explanation(error: BaseException) -> tuple[int, str]:
    """(exit code, one line: what, wanted, got, remedy)."""
    if isinstance(error, ValidationError):
        cause = error.__cause__ or error.__context__
        return 2, str(ask.explained(cause) if isinstance(cause, Invalid) else error)
    if isinstance(error, MissingArgumentError):
        return 2, missing(error)
    if isinstance(error, UnknownCommandError):
        text = str(error).partition(" Available commands:")[0]
        return 2, f"{text} medprior --help lists all commands."
    if isinstance(error, MedpriorError | CycloptsError):
        return 3 if isinstance(error, OutOfDistribution) else 2, " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return 130, str(error) or "interrupted; nothing half written is left"
    if isinstance(error, OSError):
        return 2, f"{error.filename or 'a file'}: cannot be used ({error.strerror or error})"
    if isinstance(error, MemoryError):
        return 2, "out of memory (ask for fewer images at once with --n, or a smaller scan)"
    what = " ".join(str(error).split())[:300]
    name = type(error).__name__
    return 1, f"unexpected {name}: {what}. Please report it to {WHERE}, with what --debug prints"


def missing(error: MissingArgumentError) -> str:
    """What a command lacks, as it is given: a scan or a folder by its place, all else by name."""
    words = " ".join(error.command_chain or ())
    name = error.argument.name if error.argument is not None else ""
    place = name.removeprefix("--").upper()
    if place in ("INPUT", "FOLDER"):
        return f"{place} is missing: medprior {words} {place} (medprior {words} --help says more)"
    return f"{name} is missing (medprior {words} --help says more)"
