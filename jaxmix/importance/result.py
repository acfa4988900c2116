"""An estimate with its error, its diagnostics, and sentences on what is wrong with it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._pareto import SWAMPED, swamped
from .._steps import without_slopes
from .totals import Summary
from .upper import limits, log_limit
from .values import unflatten

MAX_ROWS = 40
MAX_SHARE = 0.05  # of a value, by one draw, above which its interval is not trusted


class Estimate(eqx.Module):
    """Expectations of f under J targets, each with its error.

    Every field but `num_draws` has the structure of f's value with a leading axis of targets
    (none for a single target).

    Attributes:
        value: estimates of the expectations.
        std_error: stratified standard errors (n - 1); where nothing was hit, `upper`. It has no
            derivative in the proposals, nor have limits and diagnostics: see `second_moments`.
        ess: effective number of draws behind the value, (sum |t|)^2 / sum t^2 of its terms t.
        max_weight: share of the value that is due to its largest single term.
        pareto_k: tail shape of the terms: above 0.7 neither value nor error can be trusted; inf
            with too few hits to tell, NaN where it was not computed. It cannot see a part of the
            target that no draw reached.
        upper: upper 95 % limit. Where nothing was hit by a boolean f it follows from the number
            of draws: exact if the target is itself a proposal, else it adds the part of the
            target's mass that the draws did not see; inf for other f and for targets that are
            not normalised.
        hits: how many draws had a term that is not 0.
        log_value: log |value|, of any size, where the value itself under- or overflows.
        log_std_error: standard error of `log_value`, by the delta method; inf where it is -inf.
        mass: estimate of each target's total mass by the same draws (1 where all is seen of a
            normalised target).
        mass_error: its standard error.
        log_mass: logarithm of the mass, of any size: the log evidence of an unnormalised target.
        log_mass_error: its standard error, by the delta method.
        undrawn: share of the mixture's weight that is on proposals without a draw.
        covariance: of the flattened values, targets by values twice; None unless asked for.
        num_draws: draws used.
        normalised: for each target whether it is known to integrate to 1; None if unknown.
        reached: whether the proposals were adapted to the event itself.
    """

    value: PyTree
    std_error: PyTree
    ess: PyTree
    max_weight: PyTree
    pareto_k: PyTree
    upper: PyTree
    hits: PyTree
    log_value: PyTree
    log_std_error: PyTree
    mass: Float[Array, "*j"]
    mass_error: Float[Array, "*j"]
    log_mass: Float[Array, "*j"]
    log_mass_error: Float[Array, "*j"]
    undrawn: Float[Array, "*j"]
    covariance: Any
    num_draws: int = eqx.field(static=True)
    normalised: tuple[bool | None, ...] = eqx.field(static=True)
    reached: bool = eqx.field(static=True, default=True)

    def interval(self, level: float = 0.95) -> tuple[PyTree, PyTree]:
        """Normal interval; from 0 to the upper limit where nothing was hit.

        Args:
            level: coverage; the limit where nothing was hit is at 95 % whatever the level.
        """
        reach = jax.scipy.special.ndtri(jnp.asarray(0.5 + level / 2, self.mass.dtype))

        def side(sign):
            def one(value, error, hits, upper):
                edge = value + sign * reach * error
                return jnp.where(hits > 0, edge, upper if sign > 0 else jnp.zeros_like(edge))

            return jax.tree.map(one, self.value, self.std_error, self.hits, self.upper)

        return side(-1), side(1)

    @property
    def log_upper(self) -> PyTree:
        """Logarithm of `upper`, -inf where that is not positive."""
        given = self.value, self.log_value, self.log_std_error, self.upper, self.hits
        return jax.tree.map(log_limit, *given)

    @property
    def variance(self) -> PyTree:
        """Squared standard errors."""
        return jax.tree.map(jnp.square, self.std_error)

    def problems(self) -> list[str]:
        """Sentences on what is wrong, from the worst; empty if nothing was seen to be."""
        found, rows = [], _rows(self)

        def tell(which, sentence):
            bad = [r["name"] for r in rows if which(r)]
            if bad:
                found.append(f"{_list(bad)}: {sentence}")

        hit, k = lambda r: r["hits"] > 0, lambda r: r["pareto_k"]
        of_target = lambda r: r["value_index"] == 0
        # A value may overflow where its logarithm does not.
        finite = lambda r: (
            np.isfinite([r["value"], r["log_value"]]).any() and not np.isnan(r["log_mass"])
        )
        known = lambda r: np.isfinite(r["std_error"]) or np.isfinite(r["log_std_error"])
        tell(
            lambda r: not finite(r),
            "the value is not finite; f or a log-density gave NaN or overflowed.",
        )
        tell(lambda r: of_target(r) and swamped(r["log_mass"]), SWAMPED)
        tell(
            lambda r: finite(r) and r["hits"] and not r["undrawn"] and not known(r),
            "the error is not finite; it may have overflowed.",
        )
        tell(
            lambda r: of_target(r) and r["undrawn"] > 0,
            "weights are on proposals without a draw; their part is missing from the value, and its "
            "error is unknown. Draw from every proposal of weight.",
        )
        if not self.reached:
            found.append(
                "the proposals were not adapted to the event itself: it was not reached by the "
                "levels of `adapt`, and likelier parts of it may never have been drawn."
            )
        tell(lambda r: finite(r) and r["hits"] == 0, "no draw hit; the limit is all that is known.")
        tell(
            lambda r: hit(r) and k(r) == np.inf,
            "too few hits to tell whether value and error can be trusted. Draw more, or adapt the "
            "proposals.",
        )
        tell(
            lambda r: hit(r) and 0.7 < k(r) < np.inf,
            "Pareto k above 0.7; value and error cannot be trusted. Draw more, or adapt the "
            "proposals.",
        )
        tell(
            lambda r: hit(r) and not k(r) > 0.7 and r["max_weight"] > MAX_SHARE,
            f"one draw makes more than {MAX_SHARE:.0%} of the value; others like it may be missing, "
            "and the interval is then too low. Draw more, or adapt with more components.",
        )
        unseen = [
            f"{r['name']} ({r['mass']:.3g})"
            for r in rows
            if of_target(r) and r["normalised"] and r["mass"] + 4 * r["mass_error"] < 1
        ]
        if unseen:
            found.append(
                f"{_list(unseen)}: the draws saw only this much of the target's mass, of 1; "
                "what f does in the rest is unknown. Add a defensive proposal."
            )
        return found

    def __str__(self) -> str:
        rows = _rows(self)
        width = max(len(r["name"]) for r in rows)
        lines = [
            f"{'target':<{width}}  {'value':>10}  {'std_error':>9}  {'ess':>8}  {'max':>6}  "
            f"{'k':>5}  {'mass':>6}"
        ]
        for r in rows[:MAX_ROWS]:
            shown = "" if r["hits"] else f"  at most {r['upper']:.3g} (no hits)"
            value = f"{r['value']:.4g}"
            if r["hits"] and not 0 < abs(r["value"]) < np.inf and np.isfinite(r["log_value"]):
                value = f"e^{r['log_value']:.7g}"
                shown += f"  log error {r['log_std_error']:.2g}"
            lines.append(
                f"{r['name']:<{width}}  {value:>10}  {r['std_error']:>9.2g}  "
                f"{r['ess']:>8.1f}  {r['max_weight']:>6.2f}  {r['pareto_k']:>5.2f}  "
                f"{r['mass']:>6.3g}{shown}"
            )
        if len(rows) > MAX_ROWS:
            lines.append(f"... and {len(rows) - MAX_ROWS} more")
        return "\n".join([*lines, f"{self.num_draws} draws", *self.problems()])


OF_VALUES = (
    "value", "std_error", "ess", "max_weight", "pareto_k", "upper", "hits", "log_value",
    "log_std_error",
)  # fmt: skip
OF_TARGETS = ("mass", "mass_error", "log_mass", "undrawn", "normalised")


def _rows(estimate: Estimate) -> list[dict]:
    targets = {name: np.atleast_1d(getattr(estimate, name)) for name in OF_TARGETS}
    size = targets["mass"].size
    leaves = lambda name: jax.tree.leaves(getattr(estimate, name))
    table = lambda name: [np.asarray(leaf).reshape(size, -1) for leaf in leaves(name)]
    values = {name: np.concatenate(table(name), 1) for name in OF_VALUES}
    num = values["value"].shape[1]
    return [
        {
            "name": f"{j}" if num == 1 else f"{j}, value {m}",
            "value_index": m,
            **{name: column[j] for name, column in targets.items()},
            **{name: column[j, m] for name, column in values.items()},
        }
        for j in range(size)
        for m in range(num)
    ]


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"target {shown}" if len(names) == 1 else f"targets {shown}"


OF_DRAWS = (
    "std_error", "log_std_error", "mass_error", "log_mass_error", "upper", "covariance", "ess",
    "max_weight", "pareto_k",
)  # fmt: skip
HELD = (
    "How well proposals serve (errors, limits, ess, ...) has no derivative in them here: the draws "
    "are held. Minimise jm.importance.second_moments(f, targets, proposals, draws), whose derivative "
    "it is, or hold the proposals by jax.lax.stop_gradient."
)


def of_held(out: Estimate, proposals: PyTree) -> Estimate:
    """The estimate, whose errors and diagnostics refuse a derivative in the proposals."""
    told = {name: getattr(out, name) for name in OF_DRAWS}
    return dataclasses.replace(out, **without_slopes(told, proposals, HELD))


def make_estimate(
    summary: Summary,
    upper: Array,
    pareto: Array,
    matrix: Any,
    like: PyTree,
    single: bool,
    n: int,
    normalised: tuple[bool | None, ...] | None = None,
    reached: bool = True,
) -> Estimate:
    """Flat results (j, m) in the structure of one value of f, `like`."""
    size = summary.mass.shape[0]
    normalised = (None,) * size if normalised is None else normalised
    unbounded = np.array([known is False for known in normalised])[:, None]
    std_error, limit = limits(summary, upper, unbounded)
    found = summary._asdict() | {"std_error": std_error, "upper": limit, "pareto_k": pareto}

    def shaped(flat):
        of_values, flat = flat.ndim == 2, flat[0] if single else flat
        return unflatten(flat, like, flat.ndim - 1) if of_values else flat

    return Estimate(
        **{name: shaped(flat) for name, flat in found.items()},
        covariance=matrix,
        num_draws=n,
        normalised=normalised,
        reached=reached,
    )
