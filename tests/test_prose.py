"""The promise: what users read is plain English. Pages, ``--help`` texts and public docstrings are measured
sentence by sentence: how many words, and no word of a private language.

``python -m tests.test_prose PAGE ...`` prints the longest sentences of a page, to mend them.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {"docs/api.md", "docs/figures.md"}
PAGES = [
    page
    for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if page.relative_to(ROOT).as_posix() not in GENERATED
]
MEDIAN, P90 = 18, 32
DOCSTRINGS_OVER, DOCSTRINGS_PRIVATE = 24, 0
"""Public docstrings may hold this many sentences of more than ``P90`` words, and with private words.
Only ever lower both.
"""
PRIVATE = re.compile(r"\b(of which|by whom|to whom|nobody\w*|(is|are) told(?! apart)|hears|by heart)\b", re.I)
WORD = re.compile(r"[^\W_][\w.,'’/%×·-]*")
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|et al|eq|Eq|Fig|vs|Nat|IEEE|Trans|Med|Proc|No|approx|cf)\. ?")


def prose_of(markdown: str) -> list[str]:
    """The sentences of a page without code, tables, pictures, addresses and headings."""
    text = re.sub(r"^```.*?^```$", "\n\n", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    lines = []
    for line in text.splitlines():
        if re.match(r"\s*(\||#|<|    )", line) or not line.strip():
            lines.append("")
        elif re.match(r"\s*(>|[-*+] |\d+\. )", line):
            lines += ["", re.sub(r"^\s*(>|[-*+] |\d+\. )\s*", "", line)]
        else:
            lines.append(line.strip())
    return sentences("\n".join(lines))


def sentences(text: str) -> list[str]:
    """A full stop, question mark, exclamation mark or an empty line ends a sentence."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.replace("*", "")):
        flat = ABBREVIATIONS.sub(r"\1 ", " ".join(paragraph.split()))
        found += re.split(r"(?<=[.!?])\)?[\"”]?\s+(?=[A-ZÄ0-9\"“(σ]|code)", flat)
    return [s for s in found if words(s) > 1]


def words(sentence: str) -> int:
    return len(WORD.findall(sentence))


def bars(found: list[str]) -> tuple[float, float]:
    """Median and 90th percentile of the words of a sentence."""
    counts = sorted(map(words, found))
    return statistics.median(counts), counts[min(len(counts) - 1, int(0.9 * len(counts)))]


def docstrings() -> Iterator[tuple[str, str]]:
    """(place, text) of every public module, class and function of the package."""
    for path in sorted((ROOT / "src" / "medprior").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from _docstrings(tree, path.relative_to(ROOT / "src").as_posix())


def _docstrings(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        if text := ast.get_docstring(node):
            yield place, text
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
                yield from _docstrings(child, f"{place}:{child.name}")


def plain(docstring: str) -> list[str]:
    """The sentences of a docstring without code, indented lines and tables; a "name: text" stands alone."""
    text = re.sub(r"``[^`]*``", "code", docstring)
    kept = [
        line if line.strip() and not re.match(r"\s{2,}|\s*\|", line) and "──" not in line else ""
        for line in text.splitlines()
    ]
    parted = re.sub(r"(?<=[.;])\s+(?=[a-z_]\w*(, \w+)*: )", "\n\n", "\n".join(kept))
    return sentences(parted)


def helps() -> list[str]:
    """The sentences of ``--help``: of each command and of each of its options."""
    from medprior.cli import app

    found = []
    for command in _commands(app):
        found += sentences(re.sub(r"``?[^`]*``?", "code", command.help or ""))
        if command.default_command is not None:
            for argument in command.assemble_argument_collection():
                text = argument.parameter.help or argument.field_info.help or ""
                found += sentences(re.sub(r"``?[^`]*``?", "code", text))
    return found


def _commands(app) -> Iterator:  # pyright: ignore[reportMissingParameterType]: a cyclopts App
    for name in app:
        if not name.startswith("-"):
            yield app[name]
            yield from _commands(app[name])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_page_is_plain_english(page: Path) -> None:
    found = prose_of(page.read_text(encoding="utf-8"))
    median, p90 = bars(found)
    assert median <= MEDIAN and p90 <= P90, f"median {median}, 90th percentile {p90} words"
    assert [s for s in found if PRIVATE.search(s)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_lines_of_a_page_are_not_wide(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    wide = [line for line in text.splitlines() if len(line) > 110 and not re.match(r"\s*(\||!?\[)", line)]
    assert wide == []


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130 and len(text.encode()) <= 8192


def test_help_is_plain_english() -> None:
    found = helps()
    assert len(found) > 150, "the options were found"
    median, p90 = bars(found)
    assert median <= MEDIAN and p90 <= P90, f"median {median}, 90th percentile {p90} words"
    assert [s for s in found if PRIVATE.search(s)] == []


def test_what_is_printed_has_no_private_words() -> None:
    """Every string of the package that is no docstring: errors, reports, the terminal."""
    found = []
    for path in sorted((ROOT / "src" / "medprior").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{path.name}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in notes
            and PRIVATE.search(node.value)
        ]
    assert found == []


def test_docstrings_are_plain_english() -> None:
    found = [(place, s) for place, text in docstrings() for s in plain(text)]
    median, p90 = bars([s for _, s in found])
    assert median <= MEDIAN and p90 <= P90, f"median {median}, 90th percentile {p90} words"
    long = [f"{words(s)} words in {place}: {s}" for place, s in found if words(s) > P90]
    assert len(long) <= DOCSTRINGS_OVER, "\n".join([f"{len(long)} long sentences", *sorted(long)[-20:]])
    private = [f"{place}: {s}" for place, s in found if PRIVATE.search(s)]
    assert len(private) <= DOCSTRINGS_PRIVATE, "\n".join([f"{len(private)} private words", *private])


def test_the_measure_sees_what_it_should() -> None:
    page = "# Title\n\nOne two three. Four five?\n\n- six seven\n- eight `a b c` nine\n\n| x | y |\n\n"
    page += "```\na b\n```\n"
    assert prose_of(page) == ["One two three.", "Four five?", "six seven", "eight code nine"]
    assert [words(s) for s in prose_of(page)] == [3, 2, 2, 3]
    assert bars(["a b", "a b c", "a b c d"]) == (3, 4)
    assert sentences("As in Lee et al. (2018), so. Done it is.") == [
        "As in Lee et al (2018), so.",
        "Done it is.",
    ]
    assert PRIVATE.search("patients, of which two are ill")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        found = (
            [s for _, text in docstrings() for s in plain(text)] if name == "docstrings"
            else helps() if name == "help"
            else prose_of(Path(name).read_text(encoding="utf-8"))
        )  # fmt: skip
        print(name, "median and 90th percentile", bars(found), "of", len(found))
        for sentence in sorted(found, key=words)[::-1][: 12 if len(sys.argv) < 4 else 0]:
            print(f"  {words(sentence):3d} {sentence}")
        for sentence in found:
            if PRIVATE.search(sentence):
                print("  private:", sentence[:300])
