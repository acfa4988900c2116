"""`python -m jaxmix fit TABLE`: a mixture over the columns of a file, chosen by BIC."""

import shutil
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .._page import ROOM, door, expect_pictures, heading, quickly_compiled, table
from ..combinators import Composite, Sequence
from ..combinators import Optional as OptionalField
from ..data import infer_template
from ..data import save as save_model
from ..families import BernoulliSet, Categorical
from .apply import apply
from .choose import FEW_ROWS, choose, compared
from .joint import joint_said, tried_jointly
from .long import kept
from .proposal import as_text, pair, read_proposal
from .read import Table, components_of, note_reading, of_its_sample, read_table
from .regressions import complete, covariates, regress
from .report import on_a_part
from .rows import rows_under
from .summary import overlaps, summary
from .work import Place, at_work, said_while_it_lasts, stopped_by_ctrl_c
from .write import write


class Asked(NamedTuple):
    """What a fit to a table is asked for beside the table itself."""

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


@said_while_it_lasts()
def fit_table(path: Path, folder: Path, asked: Asked) -> None:
    """Fit mixtures of each size to a table, and write the best one and what it says.

    Raises:
        ValueError: for a file or a column that can't be used, by a sentence.
        OSError: for a file that can't be read, or a folder that can't be written.
    """
    if asked.given is not None and asked.response is None:
        raise ValueError("--given names covariates of a --response, and there is none.")
    if asked.decimal is not None and asked.decimal == asked.thousands:
        raise ValueError(f"--decimal and --thousands are both {asked.decimal!r}.")
    if not asked.dry_run:
        door(folder)
    read = read_table(
        path, na=asked.na, decimal=asked.decimal, thousands=asked.thousands,
        date_parts=asked.date_parts, memory=asked.memory, seed=asked.seed,
    )  # fmt: skip
    if read.rows < 2:
        raise ValueError(f"{read.name} has 1 row: a mixture needs at least 2.")
    if asked.response is not None:
        read = of_its_sample(read, "This")
        read = complete(read, asked.response, covariates(asked, list(read.frame.columns)))
    if asked.dry_run:
        print(*(f"# {note}\n" for note in read.notes), sep="", end="")
        print(as_text(read.name, _proposed(read, asked)))
        return
    weights = _weights(read.frame, asked.weights)
    most = read.rows
    if asked.components[0] > most:
        raise ValueError(f"{asked.components[0]} components are more than the {most} rows.")
    # Posteriors and the imputed table, or the encoded rows of a long one.
    columns = asked.components[-1] + len(read.frame.columns)
    door(folder, ROOM + 12 * most * columns)
    place = Place(folder, asked.force)
    with stopped_by_ctrl_c(place):
        proposed = _proposed(read, asked)
        if asked.response is not None:
            regress(place, read, proposed, asked, weights)
            return
        heading(f"{read.name}: {most} rows, {len(read.frame.columns)} columns")
        for note in read.notes:
            print(note)
        print(f"{proposed}\n")
        if not asked.only_summary:
            expect_pictures()
        # A file's numbers may need every digit: dates as seconds, measurements far from 0.
        with jax.enable_x64(True), quickly_compiled(most <= FEW_ROWS):
            source, rows_at = None, place.part / "rows"
            if read.long is not None:
                of_piece = lambda frame, first: _weights(frame, asked.weights, first)
                cases = None if asked.weights is None else of_piece
                source = kept(rows_at, read.pieces(), proposed.template, most, cases)
            keep = lambda model, words="the model": _keep(place, read, asked, model, words)
            found = choose(
                proposed.template, read.frame, asked.components, asked.restarts, asked.seed,
                weights=weights, prior=asked.prior, source=source, checkpoint=asked.checkpoint,
                at_random=None if read.long is None else read.long.at_random,
                keep=lambda model: keep(model, "the mixture of a part of the rows"),
            )  # fmt: skip
            if read.long is not None:
                shutil.rmtree(rows_at)
                read = of_its_sample(read, "The mixture is fitted to all rows; the rest")
            keep(found.best.model)
            table(*compared(found))
            print(*on_a_part(found, most), sep="\n", end="")
            print(f"\nChosen by BIC: K = {found.chosen}.\n{found.best}\n")
            rows = rows_under(found.best.model, found.data)
            resamples = asked.resamples if weights is None else 0
            again = overlaps(proposed.template, found, rows.posterior, resamples, asked.seed)
            told = summary(rows, found.data, _numbers(proposed.template), again)
            said = _jointly(place, read, proposed, found, asked, weights, told)
            at_work("Writing the report")
            write(place.part, read, proposed, found, asked, told, rows.posterior, said)
            place.keep()
    print(f"Written to {place.folder.resolve()}:")
    for file in sorted(place.folder.iterdir()):
        print(f"  {file.name}")


def _keep(place: Place, read: Table, asked: Asked, model: Any, words: str) -> None:
    """Save a model and how the columns were read, whatever becomes of the rest."""
    save_model(place.part / "model.npz", model)
    note_reading(place.part, read, [], asked.date_parts)
    place.keep("model.npz", "reading.json", words=words)


def _numbers(template: Any) -> list[str]:
    """Names of the fields of numbers, and of no labels."""
    kinds = (Categorical, Composite, Sequence, BernoulliSet)
    inner = lambda part: part.value if isinstance(part, OptionalField) else part
    return [name for name, part in template.items() if not isinstance(inner(part), kinds)]


def _jointly(place, read, proposed, found, asked, weights, told) -> list[str]:
    """Try correlated numbers as one density, keep that mixture if it is better, and say so."""
    if not asked.joint:
        return []
    joint = tried_jointly(
        proposed.template, read.frame, told.correlated, asked, weights=weights, prior=asked.prior
    )
    if joint is None:
        return ["No two columns of normal densities are correlated enough to be tried as one."]
    said = joint_said(joint, found)
    print(*said, sep="\n")
    if joint.bic < float(found.best.bic):
        save_model(place.part / "joint.npz", joint.found.best.model)
        note_reading(place.part, read, joint.blocks, asked.date_parts)
    return said


def _proposed(read: Table, asked: Asked) -> Any:
    at_work("Choosing densities")
    ignore, families = (list(asked.ignore), {})
    if asked.proposal is not None:
        out, families = read_proposal(asked.proposal)
        ignore += out
    families |= dict(map(pair, asked.families))
    names = list(read.frame.columns)
    for option, columns in (("--ignore", ignore), ("--as", list(families))):
        unknown = [name for name in columns if name not in names]
        if unknown:
            raise ValueError(f"{option} {unknown[0]}: the columns are {', '.join(names)}.")
    if asked.weights is not None:
        ignore.append(asked.weights)
    given = covariates(asked, names) if asked.response is not None else None
    return infer_template(
        read.frame, ignore=tuple(ignore), families=families, response=asked.response, given=given
    )


def _weights(frame: Any, column: str | None, first: int = 0) -> np.ndarray | None:
    if column is None:
        return None
    if column not in frame.columns:
        raise ValueError(f"--weights {column}: the columns are {', '.join(frame.columns)}.")
    try:
        weights = frame[column].to_numpy(float)
    except (TypeError, ValueError):
        weights = np.full(len(frame), np.nan)
    bad = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if bad.size:
        value, row = frame[column].iloc[bad[0]], first + bad[0]
        raise ValueError(f"--weights {column}, row {row}: {value!r} is no number from 0 up.")
    return weights


__all__ = ["Asked", "apply", "components_of", "fit_table", "read_table"]
