"""What a fit to a table is asked for: options, and a proposal of densities to be edited."""

import json
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any, NamedTuple

from ..data import infer_template
from .work import at_work

OUT = "ignored"


class Asked(NamedTuple):
    """What a fit to a table, or what is said of one, is asked for beside the table itself."""

    components: Many[int] = range(1, 9)
    ignore: Many[str] = ()
    families: Many[str] = ()
    proposal: Path | None = None
    weights: str | None = None
    prior: float = 0.0
    restarts: int = 16
    resamples: int = 6
    response: str | None = None
    given: Many[str] | None = None
    seed: int = 0
    na: Many[str] = ()
    decimal: str | None = None
    thousands: str | None = None
    date_parts: bool = False
    only_summary: bool = False
    joint: bool = False
    force: bool = False
    dry_run: bool = False
    memory: float | None = None
    checkpoint: Path | None = None


def components_of(text: str) -> range:
    """The numbers of components that `A:B` names, both ends included; `A` is that one alone."""
    first, _, last = text.partition(":")
    try:
        numbers = range(int(first), int(last or first) + 1)
    except ValueError:
        numbers = range(0)
    if not numbers or numbers[0] < 1:
        raise ValueError(f"--components must be A:B with 1 <= A <= B; it was {text!r}.")
    return numbers


def covariates(asked: Any, names: list[str]) -> list[str] | None:
    """Names of the covariates that were asked for: with commas between, or in options of their own."""
    if asked.given is None:
        return None
    whole = [one for one in asked.given if one in names]
    parts = [p.strip() for one in asked.given if one not in names for p in one.split(",")]
    return [*whole, *filter(None, parts)]


def proposed(frame: Any, asked: Asked) -> Any:
    """A density for each column of a table, or a regression, as far as nothing else was asked."""
    at_work("Choosing densities")
    ignore, families = list(asked.ignore), {}
    if asked.proposal is not None:
        out, families = read_proposal(asked.proposal)
        ignore += out
    families |= dict(map(pair, asked.families))
    names = list(frame.columns)
    for option, columns in ("--ignore", ignore), ("--as", list(families)):
        unknown = [name for name in columns if name not in names]
        if unknown:
            raise ValueError(f"{option} {unknown[0]}: the columns are {', '.join(names)}.")
    ignore += [] if asked.weights is None else [asked.weights]
    given = covariates(asked, names) if asked.response is not None else None
    return infer_template(
        frame, ignore=tuple(ignore), families=families, response=asked.response, given=given
    )


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
    """The columns to leave out, and the family of each other."""
    out, families = [], {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is no text: a proposal of --dry-run was expected."
        ) from error
    for number, line in enumerate(lines, 1):
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
    """`COLUMN=Family` of the command line."""
    column, mark, family = text.rpartition("=")
    if not (mark and column and family):
        raise ValueError(f"--as takes COLUMN=Family; it was {text!r}.")
    return column, family
