"""Writes docs/api.md, one entry for each public name, from signatures and docstrings. It is run when the
documentation is built and is not kept in the repository.

    python bench/api.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import medprior as mp

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page: every name of ``medprior.__all__``, functions first."""
    things = {name: getattr(mp, name) for name in mp.__all__}
    order = sorted(things, key=lambda name: (inspect.isclass(things[name]), name.lower()))
    head = [
        "# Public names",
        "",
        f"Everything that `import medprior` offers, version {mp.__version__}. `import medprior as mp` is the usual way.",
        "",
    ]
    return "\n".join([*head, *(line for name in order for line in entry(name, things[name]))]).rstrip() + "\n"


def entry(name: str, thing: Any) -> list[str]:
    if isinstance(thing, ModuleType):
        names = ", ".join(f"`{each}`" for each in thing.__all__)
        return [f"## `medprior.{name}`", "", *text(thing), f"Names: {names}.", ""]
    lines = [f"## `medprior.{name}`", "", "```text", signature(name, thing), "```", "", *text(thing)]
    if inspect.isclass(thing):
        for member, what in methods(thing):
            lines += [f"- `{member}`: {what}"]
        lines += [""]
    return lines


def signature(name: str, thing: Any) -> str:
    """One parameter a line where one line would be too wide."""
    try:
        made = inspect.signature(thing)
    except ValueError:  # an exception without a signature of its own
        return name
    short = unquoted(f"{name}{made}")
    if len(short) <= 100:
        return short
    given = ",\n    ".join(unquoted(str(each)) for each in made.parameters.values())
    result = "" if made.return_annotation is made.empty else f" -> {made.return_annotation}"
    return f"{name}(\n    {given},\n){result}"


def unquoted(signature: str) -> str:
    """Annotations that are kept as text are printed without their quotation marks."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)


def text(thing: Any) -> list[str]:
    return [(inspect.getdoc(thing) or "").replace("``", "`"), ""]


def methods(thing: type) -> list[tuple[str, str]]:
    """Public methods and properties that the class itself defines, with the first line of what they say."""
    found = []
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(inner):
            found.append((unquoted(f"{name}{inspect.signature(inner)}"), first_line(inner)))
        elif isinstance(inner, property):
            found.append((name, first_line(inner)))
    return found


def first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")


if __name__ == "__main__":
    main()
