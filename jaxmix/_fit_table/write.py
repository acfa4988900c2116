"""The files that a fit to a table leaves: model, posteriors, imputed table, pictures, report."""

from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import plot
from .._page import save
from ..combinators import Composite, Sequence
from ..combinators import Optional as OptionalField
from ..combinators._conditioning import plain
from ..data import Imputed, decode
from ..data.numbers import present_values
from ..families import BernoulliSet
from ..plot._canvas import each, fonts_for
from .choose import Found
from .describe import described, probs_of, share
from .report import comparison, markdown, on_a_part, report
from .rows import filled_in
from .summary import Summary, paragraph

DRAWN = 24  # columns beyond which a picture is a scroll
FILES = {
    "model.npz": "`model.npz`: the model; `jm.load` reads it.",
    "posteriors.csv": "`posteriors.csv`: each row's probability of each component, in the table's "
    "order.",
    "apply": "What it says of every row: `python -m jaxmix apply model.npz TABLE`.",
    "imputed.csv": "`imputed.csv`: the table with missing entries filled in (a number by its mean "
    "given the row's other columns, a label by the likeliest), and columns of 1 where one was.",
    "joint.npz": "`joint.npz`: the mixture with correlated numbers as one density, a vector.",
    "fields.png": "`fields.png`, `assignments.png`, `history.png`: pictures.",
}


def write(
    folder: Path,
    read: Any,
    proposed: Any,
    found: Found,
    asked: Any,
    told: Summary,
    posterior: np.ndarray,
    joint: list[str],
) -> None:
    """Write everything but the model into a folder that exists."""
    # On the host its parts are picked without a program for each.
    model, data, frame = jax.tree.map(np.asarray, found.best.model), found.data, read.frame
    fields = [column for column in frame.columns if column in data]
    drawn_fields = list(told.separation)[:DRAWN]
    said: list[str] = []
    if not asked.only_summary:
        if read.long is None:
            posteriors(folder, posterior)
            filled = imputed(model, proposed.template, data, frame, posterior)
            if filled is not None:
                filled.to_csv(folder / "imputed.csv", index=False)
        drawn = {
            "fields": lambda: plot.fields(model, data, drawn_fields, posterior=posterior)[0],
            "assignments": lambda: plot.assignments(model, data, posterior=posterior),
            "history": lambda: plot.history(found.best),
        }
        with fonts_for(_texts(frame, fields)) as said:
            save(folder, drawn)
    files = {"model.npz", *(file.name for file in folder.iterdir())}
    blocks = _report(read, fields, proposed, found, model, told, posterior, files, said, joint)
    report(folder, blocks)


def _texts(frame: Any, fields: list[str]) -> set[str]:
    """What the pictures write: names of columns, and labels."""
    texts = set(fields)
    for name in fields:
        if frame[name].dtype.kind not in "iufb":
            texts |= set(map(str, frame[name].dropna()))
    return texts


def posteriors(folder: Path, posterior: np.ndarray, first: bool = True) -> None:
    """Write them, or the next of them."""
    with open(folder / "posteriors.csv", "w" if first else "a", encoding="utf-8") as file:
        names = ",".join(f"component {k}" for k in range(posterior.shape[1]))
        np.savetxt(file, posterior, "%.6g", ",", header=names if first else "", comments="")


def imputed(
    model: Any,
    template: Composite,
    data: Any,
    frame: Any,
    posterior: np.ndarray,
    ends: Imputed | None = None,
) -> Any:
    """The table with its missing entries filled in, and columns of 1 where one was; None if none.

    A number is filled in by its mean given the row's other fields, a label by the likeliest;
    `ends` are those of intervals.
    """
    fields = dict(template.items())
    gaps = {name: part.value for name, part in fields.items() if isinstance(part, OptionalField)}
    if not gaps:
        return None
    full = None
    for name, part in gaps.items():
        column = frame[name].tolist()
        absent = ~present_values(column)
        if isinstance(plain(part), Composite | Sequence | BernoulliSet):
            full = each(model, "impute", data) if full is None else full
            values, said = jax.tree.map(lambda a, gone=absent: a[gone], full[name]), []
        else:
            values, *said = filled_in(model, name, posterior[absent])
            if ends is not None and name in ends.low:
                said += [ends.low[name][absent], ends.high[name][absent]]
        new = iter(decode(plain(part), values)) if absent.any() else iter(())
        filled = [next(new) if gone else old for old, gone in zip(column, absent, strict=True)]
        spread = np.full((len(said), len(absent)), np.nan)
        spread[:, absent] = np.reshape(said, (len(said), absent.sum()))
        frame = filled_up(frame, name, absent, [filled, *spread])
    return frame


def filled_up(frame: Any, name: str, absent: np.ndarray, columns: Many) -> Any:
    """The table with a column filled in, and beside it where, how sure, and from where to where."""
    ends = (f"{name} sd", f"{name} low", f"{name} high")
    more = dict(zip((name, *ends), columns, strict=False))
    return frame.assign(**{**more, f"{name} imputed": absent.astype(int)})


def _dependence(told: Summary) -> list[str]:
    if not told.correlated:
        return ["Within the components no two columns of numbers are correlated by more than 0.3."]
    lines = [(a, b, f"{r:.2f}") for a, b, r in told.correlated[:10]]
    return [
        markdown(["column", "column", "correlation within components"], lines),
        "The components take their columns for independent: part of this correlation may stand "
        "behind the number of components.",
    ]


def _components(read: Any, model: Any, told: Summary, posterior: np.ndarray) -> str:
    """A row a column, a column a component: what it is there, and what it tells."""
    which = posterior.argmax(1)
    counted = "rows" if read.long is None else "drawn"
    # The information of the rows about a component's own parameters, all others known.
    sizes = np.sum(posterior**2, 0) * read.rows / len(posterior)
    rows = [["share"]]
    for k, w in enumerate(probs_of(model.mixing)):
        rows[0].append(f"{share(w, read.rows)} ({(which == k).sum()} {counted})")
    for name, nats in told.separation.items():
        present = sizes * float(read.frame[name].notna().mean())
        fields = described(model, name, present.tolist(), told.tails.get(name))
        rows.append([name, *fields, f"{nats:.3f}"])
    names = (f"component {k}" for k in range(model.num_components))
    return markdown(["", *names, "tells (nats)"], [[*rows[0], ""], *rows[1:]])


def _report(read, fields, proposed, found, model, told, posterior, files, said, joint) -> list[str]:
    row = lambda place: place if read.long is None else read.long.numbers[place]
    columns = [[c.column, c.family, c.missing, c.reason] for c in proposed.choices]
    columns += [[c.column, "left out", c.missing, c.reason] for c in proposed.ignored]
    drawn = "fields.png" in files
    return [
        f"# A mixture of {found.chosen} over {read.name}",
        paragraph(read.name, read.rows, found, told, posterior),
        read.notes[-1] if read.long is not None else "",
        f"{read.rows} rows, {len(read.frame.columns)} columns, of which {len(fields)} are modelled.",
        "## The components",
        _components(read, model, told, posterior),
        "± is one standard error, all else known; where groups overlap, "
        "`jm.em.standard_errors` gives the whole of it.",
        "Columns are sorted by what they tell, each alone, of a row's component: their mutual "
        f"information in nats, at most {np.log(max(found.chosen, 1)):.3f}.",
        "![Every field by component](fields.png)" if drawn else "",
        f"Drawn are the {DRAWN} columns that tell most." if len(fields) > DRAWN else "",
        *said,
        "## Rows that fit badly",
        markdown(["row", "log-density (nats)"], [(row(r), f"{v:.2f}") for r, v in told.outliers]),
        "## What the components leave unsaid",
        *_dependence(told),
        "\n".join(joint),
        "![Rows by component](assignments.png)" if drawn else "",
        *comparison(
            found, "Smaller BIC, AIC and ICL are better; log-likelihoods are totals in nats.",
            *on_a_part(found, read.rows),
        ),
        "## The columns",
        markdown(["column", "family", "missing", "why"], columns),
        "Families are compared as components: by mixtures of up to three of each, on values held "
        "out. Of those within 2 nats of the best over the whole column, the first was taken.",
        "## The files",
        "\n".join(
            f"- {words}" for name, words in FILES.items()
            if name in files or (name == "apply" and read.long is not None)
        ),
    ]  # fmt: skip
