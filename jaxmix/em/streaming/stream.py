"""EM over data that do not fit in memory: one pass over the batches a step, read ahead."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ..._hooks import TakesRows
from ..._results import name
from ..._trees import alone, as_sums, float_of, in_numpy, merged, num_rows, take, values_of
from ..checks import checked_data, checked_weights, of_dtype
from ..chunks import rows_of_chunk
from ..drive import Keeper, Progress, belonging, drive
from ..entry import Options, row_log_probs, shown_row
from ..expected import Expected, expect, log_likelihood
from ..m_step import maximise
from ..parts import take_apart
from ..priors.prior import FLOOR_ROWS, folded
from ..search.initialise import has_zeros, supported
from ..search.restarts import GOES, SEARCH_ROWS, Searched, continued, floor_prior, table_of
from ..sharded import everyone, together
from ..solution import Fit, answer, entropy
from ..solver import Rules, result_of
from ..state import History, State, begin, judge, propose
from .batches import Pieces, ahead, sampled


def _as_values(sums: Any) -> Expected:
    """Sums over all batches as a pass gives them, with only the log-likelihoods running sums."""
    values = Expected(*map(values_of, sums))
    return values._replace(log_likelihood=sums.log_likelihood, objective=sums.objective)


@eqx.filter_jit
def _absorb(model, batch, weights, assignment, chunk):
    # Every statistic is a running sum, so that millions of batches lose nothing.
    return as_sums(expect(model, batch, weights, assignment=assignment, chunk_size=chunk))


_add, _begin = eqx.filter_jit(merged), eqx.filter_jit(begin)
_propose, _result = eqx.filter_jit(propose), eqx.filter_jit(result_of)


@eqx.filter_jit
def _judge(state, trial, sums, rules):
    return judge(state, trial, _as_values(sums), rules)


class Stream(NamedTuple):
    """A source as a fit sees it: whole passes, of one compiled step each batch."""

    pieces: Pieces
    assignment: str
    chunk: int
    bar: Progress

    def expect(self, model: PyTree) -> Any:
        """Running sums over all rows under a model; None if it was interrupted."""
        totals = None
        for piece in ahead(self.pieces):
            if self.bar.interrupted:
                return None
            before = totals
            totals = _absorb(model, piece.rows, piece.weights, self.assignment, self.chunk)
            totals = totals if before is None else _add(before, totals)
            # At most two batches are on their way: else all the data would queue up in memory.
            jax.block_until_ready(before)
        return together(totals)

    def check(self, model: PyTree) -> None:
        """Name the first row whose log-density is NaN or -inf.

        Raises:
            ValueError: if there is one.
        """
        for piece in ahead(self.pieces):
            values = np.asarray(row_log_probs(model, piece.rows))
            bad = ~np.isfinite(values) & (piece.weights > 0)
            if bad.any():
                row = int(np.argmax(bad))
                raise ValueError(
                    f"Row {piece.first + row}, {shown_row(piece.rows, row)}, has log-density "
                    f"{values[row]} under the start: it is not finite, or off the support of every "
                    "component."
                )

    def entropy(self, model: PyTree, _: int) -> float:
        """That of the responsibilities, over all batches and processes; NaN after an interrupt."""
        if self.bar.interrupted:
            return math.nan
        total = sum(entropy(model, p.rows, jnp.asarray(p.weights)) for p in ahead(self.pieces))
        return float(together(as_sums(jnp.asarray(total))).value)

    def step(
        self, rules: Rules, state: State, _: list[History]
    ) -> tuple[State, list[History]] | None:
        """A pass over the batches under what is proposed; None once the state has stopped running."""
        if not bool(state.running):
            return None
        trial = _propose(state, None, None, rules)
        totals = self.expect(trial.maximised.model)
        if totals is None:
            return None
        first = bool(state.num_steps < 0)
        state, entry = _judge(state, trial, totals, rules)
        if not first:
            return state, [jax.tree.map(lambda value: np.asarray(value)[None, None], entry)]
        if not bool(jnp.isfinite(state.expected.objective.value)):
            self.check(state.model)
        return state, []


def fit_source(
    in_memory: Callable[..., list[Fit]],
    key: Key[Array, ""] | None,
    template: PyTree,
    source: Any,
    weights: Any,
    options: Options,
) -> Fit:
    """`jm.fit` over a source of batches, by that over arrays `in_memory`.

    Restarts are searched on at most 16,384 rows spread over the source; the best one goes on over
    all. With several processes each gives its own rows, and all get the same model.
    """
    sample, index, rows = sampled(source, SEARCH_ROWS)
    sample = checked_data(sample, of_dtype(template, sample))
    case = in_numpy(checked_weights(weights, rows, float_of(sample)))
    of_rows = lambda at: None if case is None or not case[at].any() else case[at]
    sample, share = jax.tree.map(jnp.asarray, everyone((sample, of_rows(index)), SEARCH_ROWS))
    if take_apart(template).loose:
        raise ValueError(
            f"{type(template).__name__} has arrays without sufficient statistics, which a streamed "
            "fit cannot move: wrap that part in jm.frozen, or fit data in memory."
        )
    fold, prior = folded(options.prior, template, sample)
    pieces = Pieces(source, in_numpy(sample), float_of(sample), case, fold)
    data = sample if case is None else (sample, case)
    belongs = belonging(key, template, data, rows, options)
    belongs["processes"] = jax.process_count()
    searched, blank = None, fold.model(of_dtype(template, sample))
    start, held = blank, options.validation
    if options.init == "search":
        search = options._replace(checkpoint=None, throw=False)
        searched = in_memory([key], [template], sample, share, search)[0]
        start = fold.model(searched.model)
    if prior is None:
        few, of_few = sample, share
        if jax.process_count() == 1 and isinstance(source, TakesRows):  # as a fit in memory does
            few, index, _ = sampled(source, FLOOR_ROWS)
            few, of_few = checked_data(few, of_dtype(template, few)), of_rows(index)
        prior = floor_prior(start, fold.data(few), of_few, options.floor)
    if held is not None:
        held = fold.data(checked_data(held, template))
        options = options._replace(validation=held)
    with Progress(options.max_steps, options.progress) as bar:
        chunk = rows_of_chunk(start, pieces.shapes[0])
        stream = Stream(pieces, options.assignment, chunk, bar)
        keeper, state, trace = None, None, []
        first = (*pieces.shapes, options.solver)
        if options.checkpoint is not None:
            keeper = Keeper(options.checkpoint, belongs, options)
            state, trace = keeper.resume(_begin, start, *first)
        if state is None:
            if options.init == "search" and has_zeros(start):  # one pass more, for the labels
                whole = stream.expect(blank)
                start = start if whole is None else _supported(start, blank, whole)
            state = _begin(start, *first)
        rules = options.rules(prior)
        state, trace = drive(functools.partial(stream.step, rules), state, trace, bar, keeper)
        if bool(state.num_steps < 0):  # not one pass was made
            raise KeyboardInterrupt
        codes = [name(_result(state, rules))]
        found = Searched(in_numpy(alone(state)), trace, codes, np.full(1, GOES), np.zeros(1, int))
        table, weight, validated = table_of(found), float(state.expected.weight), None
        if held is not None:
            validated = np.asarray(log_likelihood(state.model, held).value)[None]
        if searched is not None:
            sampled_weight = num_rows(sample) if share is None else float(share.sum())
            table, lanes = _told(searched, table, weight / sampled_weight)
            found = found._replace(lanes=lanes)
        fit = answer(
            found, table, validated, weight, stream.entropy,
            interrupted=bar.interrupted, throw=options.throw,
        )  # fmt: skip
        return fold.undone(fit, template)


@eqx.filter_jit
def _supported(start, template, totals):
    """No label that some row has is left with probability 0 because the sample lacked it."""
    whole = maximise(template, _as_values(totals), None).model
    return take(supported(alone(start), whole), 0)


def _told(searched: Fit, last: Any, share: float) -> tuple[Any, list[int]]:
    """The table of a search on a sample, and the best restart, which has gone on over all rows."""
    table = searched.restarts
    best = [int(np.argmax(table.log_likelihood == float(searched.log_likelihood)))]
    left = [code if code.startswith("twin of ") else "dropped" for code in table.result]
    return continued(table._replace(result=left), last, best, share), best
