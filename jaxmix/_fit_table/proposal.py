"""A proposal as text: a line a column, to be edited and given back."""

import json
from pathlib import Path
from typing import Any

OUT = "ignored"


def as_text(name: str, inferred: Any) -> str:
    """The proposal's lines, `column = Family  # why`."""
    choices = [*inferred.choices, *inferred.ignored]
    pairs = [(_quoted(c.column), OUT if c.family == OUT else c.family, c.reason) for c in choices]
    width = max(len(column) for column, _, _ in pairs)
    wide = max(len(family) for _, family, _ in pairs)
    head = f"# {name}: edit the families, or write {OUT}; then give it back with --proposal FILE."
    lines = [f"{c.ljust(width)} = {f.ljust(wide)}  # {' '.join(r.split())}" for c, f, r in pairs]
    return "\n".join([head, *lines])


def _quoted(column: str) -> str:
    plain = column == column.strip() and not set(column) & set('="#\n') and column
    return column if plain else json.dumps(column, ensure_ascii=False)


def read_proposal(path: Path) -> tuple[list[str], dict[str, str]]:
    """The columns to leave out, and the family of each other.

    Raises:
        ValueError: for a line that is no `column = Family`.
    """
    out, families = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if line.startswith('"'):
                column, end = json.JSONDecoder().raw_decode(line)
                rest = line[end:].strip().removeprefix("=")
            else:
                column, rest = line.split("=", 1)
        except ValueError:
            raise ValueError(
                f"{path.name}, line {number}: `column = Family` was expected."
            ) from None
        column, family = column.strip(), rest.split("#")[0].strip()
        if family == OUT:
            out.append(column)
        else:
            families[column] = family
    return out, families


def pair(text: str) -> tuple[str, str]:
    """`COLUMN=Family` of the command line.

    Example:
        >>> pair("age=Gamma")
        ('age', 'Gamma')
    """
    column, mark, family = text.rpartition("=")
    if not (mark and column and family):
        raise ValueError(f"--as takes COLUMN=Family; it was {text!r}.")
    return column, family
