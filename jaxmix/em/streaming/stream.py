"""EM over data that do not fit in memory: one pass over the batches a step, read ahead."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ..._hooks import offers
from ..._results import name
from ..._trees import alone, as_sums, float_of, in_numpy, merged, num_rows, take, values_of
from ..checks import checked_data, of_dtype
from ..chunks import rows_of_chunk
from ..drive import Keeper, Progress, belonging, drive
from ..entry import Options, row_log_probs, shown_row
from ..expected import Expected, expect, log_likelihood
from ..in_memory import fit_arrays
from ..m_step import maximise
from ..parts import take_apart
from ..priors.prior import FLOOR_ROWS, folded
from ..search.initialise import has_zeros, supported
from ..search.restarts import GOES, SEARCH_ROWS, Searched, continued, floor_prior, table_of
from ..sharded import everyone, together
from ..solution import Fit, Restarts, answer, entropy
from ..solver import result_of
from ..state import begin, judge, propose
from .batches import Pieces, ahead, sampled


def _as_values(sums: Any) -> Expected:
    """Sums over all batches as a pass gives them, with only the log-likelihoods running sums."""
    return sums._replace(
        weight=sums.weight.value,
        rows=sums.rows.value,
        stats=values_of(sums.stats),
        gradient=values_of(sums.gradient),
    )


@eqx.filter_jit
def _absorb(totals, model, batch, weights, assignment, chunk):
    # Every statistic is a running sum, so that millions of batches lose nothing.
    fresh = as_sums(expect(model, batch, weights, assignment=assignment, chunk_size=chunk))
    return fresh if totals is None else merged(totals, fresh)


_begin = eqx.filter_jit(begin)
_propose = eqx.filter_jit(propose)
_result = eqx.filter_jit(result_of)


@eqx.filter_jit
def _judge(state, trial, totals, rules):
    return judge(state, trial, _as_values(totals), rules)


class Stream:
    """A source as a fit sees it: whole passes, of one compiled step each batch."""

    def __init__(self, pieces: Pieces, model: PyTree, assignment: str, bar: Progress):
        self.pieces, self.assignment, self.bar = pieces, assignment, bar
        self.chunk = rows_of_chunk(model, pieces.shapes[0])

    def expect(self, model: PyTree) -> Expected | None:
        """Sums over all rows under a model; None if it was interrupted."""
        totals = before = None
        for piece in ahead(self.pieces):
            if self.bar.interrupted:
                return None
            totals = _absorb(totals, model, piece.rows, piece.weights, self.assignment, self.chunk)
            # At most two batches are on their way: else all the data would queue up in memory.
            jax.block_until_ready(before)
            before = totals
        return together(totals)

    def check(self, model: PyTree) -> None:
        """Name the first row whose log-density is NaN or -inf.

        Raises:
            ValueError: if there is one.
        """
        for piece in ahead(self.pieces):
            values = np.asarray(row_log_probs(model, piece.rows))[: piece.count]
            bad = ~np.isfinite(values) & (piece.weights[: piece.count] > 0)
            if np.any(bad):
                row = int(np.argmax(bad))
                event = shown_row(piece.rows, row)
                raise ValueError(
                    f"Row {piece.first + row}, {event}, has log-density {values[row]} under the "
                    "start: it is not finite, or off the support of every component."
                )

    def sum_of(self, function: Any) -> float:
        """Total of `function(rows, weights)` over all batches and processes."""
        total = 0.0
        for piece in ahead(self.pieces):
            total += float(function(piece.rows, jnp.asarray(piece.weights)))
        return float(together(as_sums(jnp.asarray(total))).value)


def fit_source(
    key: Key[Array, ""] | None, template: PyTree, source: Any, weights: Any, options: Options
) -> Fit:
    """`jm.fit` over a source of batches.

    Restarts are searched on at most 16,384 rows spread over the source; the best one goes on over
    all. With several processes each gives its own rows, and all get the same model.
    """
    sample, rows = sampled(source, SEARCH_ROWS)
    sample = checked_data(everyone(sample, SEARCH_ROWS), template)
    if take_apart(template).loose:
        raise ValueError(
            f"{type(template).__name__} has arrays without sufficient statistics, which a streamed "
            "fit cannot move: wrap that part in jm.frozen, or fit data in memory."
        )
    fold, prior = folded(options.prior, template, sample)
    case_weights = None if weights is None else np.asarray(weights)
    pieces = Pieces(source, in_numpy(sample), float_of(sample), case_weights, fold)
    belongs = belonging(key, template, sample, rows, options)
    belongs["processes"] = jax.process_count()
    searched, blank = None, fold.model(of_dtype(template, sample))
    start, held = blank, options.validation
    if options.init == "search":
        search = options._replace(checkpoint=None, throw=False)
        searched = fit_arrays(key, template, sample, None, search)
        start = fold.model(searched.model)
    if prior is None:
        few = fold.data(_few(source, sample, template))
        prior = floor_prior(start, few, None, options.floor)
    if held is not None:
        options = options._replace(validation=fold.data(checked_data(held, template)))
    with Progress(options.max_steps, options.progress) as bar:
        stream = Stream(pieces, start, options.assignment, bar)
        keeper, state, trace = None, None, []
        first = (*stream.pieces.shapes, options.solver)
        if options.checkpoint is not None:
            keeper = Keeper(options.checkpoint, belongs, options)
            state, trace = keeper.resume(_begin, start, *first)
        if state is None:
            if options.init == "search" and has_zeros(start):  # one pass more, for the labels
                whole = stream.expect(blank)
                start = start if whole is None else _supported(start, blank, whole)
            state = _begin(start, *first)
        rules = options.rules(prior)
        step = functools.partial(_step, stream, rules)
        state, trace = drive(step, state, trace, bar, keeper)
        if bool(state.num_steps < 0):  # not one pass was made
            raise KeyboardInterrupt
        found = _finished(state, trace, stream, rules, options, searched, num_rows(sample))
        return fold.undone(found, template)


def _step(stream, rules, state, trace):
    """A pass over the batches under what is proposed; None once the state has stopped running."""
    del trace
    if not bool(state.running):
        return None
    trial = _propose(state, None, None, rules)
    totals = stream.expect(trial.maximised.model)
    if totals is None:
        return None
    is_step = bool(state.num_steps >= 0)
    state, entry = _judge(state, trial, totals, rules)
    if is_step:
        return state, [jax.tree.map(lambda value: np.asarray(value)[None, None], entry)]
    if not bool(jnp.isfinite(state.expected.objective.value)):
        stream.check(state.model)
    return state, []


@eqx.filter_jit
def _supported(start, template, totals):
    """No label that some row has is left with probability 0 because the sample lacked it."""
    whole = maximise(template, _as_values(totals), None).model
    lifted = supported(alone(start), whole)
    return take(lifted, 0)


def _few(source, sample, template):
    """The rows that a fit in memory takes its floor from, where the source can give them."""
    if jax.process_count() > 1 or not offers(source, "num_rows", "take"):
        return sample
    return checked_data(sampled(source, FLOOR_ROWS)[0], template)


def _told(searched: Fit, last: Restarts, share: float, held: np.ndarray | None) -> Restarts:
    """The table of a search on a sample, of which the best restart has gone on over all rows."""
    table, validated = searched.restarts, None
    best = int(np.argmax(table.log_likelihood == float(searched.log_likelihood)))
    if held is not None:
        validated = np.full_like(table.log_likelihood, np.nan)
        validated[best] = held[0]
    left = [code if code.startswith("twin of ") else "dropped" for code in table.result]
    table = table._replace(result=left, validation_log_likelihood=validated)
    return continued(table, last, [best], share)


def _finished(state, trace, stream, rules, options, searched, sample_rows) -> Fit:
    """The outcome, after one more pass for the entropy."""
    stopped, weight = stream.bar.interrupted, float(state.expected.weight)
    codes = [name(_result(state, rules))]
    found = Searched(in_numpy(alone(state)), trace, codes, np.full(1, GOES), np.zeros(1, int))
    held, table = None, table_of(found)
    if options.validation is not None:
        held = np.asarray(log_likelihood(state.model, options.validation).value)[None]
    if searched is not None:
        table = _told(searched, table, weight / sample_rows, held)
    entropy_of = lambda model, _: stream.sum_of(functools.partial(entropy, model))
    return answer(
        found, table, held, weight, (lambda *_: math.nan) if stopped else entropy_of,
        interrupted=stopped, throw=options.throw,
    )  # fmt: skip
