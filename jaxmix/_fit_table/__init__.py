"""`python -m jaxmix fit TABLE`: a mixture over the columns of a file, chosen by BIC."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._page import ROOM, door, expect_pictures, heading, quickly_compiled, table
from ..combinators import Composite, Sequence
from ..combinators import Optional as OptionalField
from ..data import save as save_model
from ..families import BernoulliSet, Categorical
from .apply import apply
from .asked import Asked, as_text, components_of, covariates, proposed
from .choose import FEW_ROWS, choose, compared
from .joint import joint_said, tried_jointly
from .long import kept
from .read import Table, note_reading, of_its_sample, read_table
from .regressions import complete, regress
from .report import on_a_part
from .rows import rows_under
from .summary import overlaps, summary
from .work import Place, at_work, said_while_it_lasts, stopped_by_ctrl_c
from .write import write


@said_while_it_lasts()
def fit_table(path: Path, folder: Path, asked: Asked) -> None:
    """Fit mixtures of each size to a table, and write the best one and what it says."""
    if asked.given is not None and asked.response is None:
        raise ValueError("--given names covariates of a --response, and there is none.")
    if asked.decimal is not None and asked.decimal == asked.thousands:
        raise ValueError(f"--decimal and --thousands are both {asked.decimal!r}.")
    if not asked.dry_run:
        door(folder)
    read = read_table(path, asked)
    if read.rows < 2:
        raise ValueError(f"{read.name} has 1 row: a mixture needs at least 2.")
    if asked.response is not None:
        read = of_its_sample(read, "This")
        read = complete(read, asked.response, covariates(asked, list(read.frame.columns)))
    weights = _weights(read.frame, asked.weights)
    if asked.dry_run:
        print(*(f"# {note}\n" for note in read.notes), sep="", end="")
        print(as_text(read.name, proposed(read.frame, asked)))
        return
    most = read.rows
    if asked.components[0] > most:
        raise ValueError(f"{asked.components[0]} components are more than the {most} rows.")
    # Posteriors and the imputed table, or the encoded rows of a long one.
    columns = asked.components[-1] + len(read.frame.columns)
    door(folder, ROOM + 12 * most * columns)
    place = Place(folder, asked.force)
    with stopped_by_ctrl_c(place):
        proposal = proposed(read.frame, asked)
        if asked.response is not None:
            regress(place, read, proposal, asked, weights)
            return
        heading(f"{read.name}: {most} rows, {len(read.frame.columns)} columns")
        for note in read.notes:
            print(note)
        print(f"{proposal}\n")
        if not asked.only_summary:
            expect_pictures()
        # A file's numbers may need every digit: dates as seconds, measurements far from 0.
        with jax.enable_x64(True), quickly_compiled(most <= FEW_ROWS):
            source, rows_at = None, place.part / "rows"
            if read.long is not None:
                of_piece = lambda frame, first: _weights(frame, asked.weights, first)
                cases = None if asked.weights is None else of_piece
                source = kept(rows_at, read.pieces(), proposal.template, most, cases)
            keep = lambda model, words="the model": _keep(place, read, asked, model, words)
            found = choose(
                proposal.template, read.frame, asked.components, asked.restarts, asked.seed,
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
            again = overlaps(proposal.template, found, rows.posterior, resamples, asked.seed)
            told = summary(rows, found.data, _numbers(proposal.template), again)
            said = _jointly(place, read, proposal, found, asked, weights, told)
            at_work("Writing the report")
            write(place.part, read, proposal, found, asked, told, rows.posterior, said)
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
        raise ValueError(f"--weights {column}, row {row}: {value} is no number from 0 up.")
    return weights


__all__ = ["Asked", "apply", "components_of", "fit_table", "read_table"]
