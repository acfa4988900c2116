"""What an estimate is given, looked at before any work."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import numbers
from .._pareto import efficiency, in_full, refuse_symbolic
from .._sharding import gathered
from .._trees import is_traced
from .._warn import warn

DRAWS_PER_VARIATE = 50


def check_controls(controls: Array, self_normalised: bool) -> None:
    """A sentence where control variates cannot be used, and a warning where they hardly can."""
    if self_normalised:
        raise ValueError("Control variates need targets of known mass; drop self_normalised.")
    per_variate = controls.shape[0] / controls.shape[1]
    if per_variate < DRAWS_PER_VARIATE:
        warn(
            f"{controls.shape[1]} control variates are fitted on {per_variate:.0f} draws "
            f"each; below {DRAWS_PER_VARIATE} they may cost more than they gain."
        )


def checked_weights(weights: Array, expected: tuple[int, ...]) -> Array:
    """Rows that sum to 1; a sentence where they cannot be read so."""
    weights = numbers(floating=True)(weights, "weights")
    if weights.shape != expected:
        raise ValueError(
            f"weights must have a row for each target and a column for each proposal, {expected}; "
            f"their shape is {weights.shape}."
        )
    if not is_traced(weights):
        rows = np.asarray(weights)
        off = ~(np.abs(rows.sum(1) - 1) < 1e-3) | (rows < 0).any(1)
        if off.any():
            j = int(np.argmax(off))
            raise ValueError(
                f"Each row of weights must be non-negative and sum to 1; row {j} is "
                f"{rows[j].tolist()} with sum {rows[j].sum():.6g}."
            )
    # The estimate does not depend on a row's scale; exact rows make its parts agree.
    return weights / jnp.sum(weights, 1, keepdims=True)


def as_table(table, role: str) -> Array:
    """A floating (n, k) table of log-densities, none of them NaN or +inf where they are known."""
    table = gathered(numbers()(table, role))
    if table.ndim:
        refuse_symbolic(table.shape[0])
    if table.ndim != 2 or 0 in table.shape or not jnp.issubdtype(table.dtype, jnp.floating):
        raise ValueError(
            f"{role} must be real numbers (n, k), a row a draw and a column a density; its shape "
            f"is {table.shape}, its dtype {table.dtype}."
        )
    table = in_full(table)
    if not is_traced(table):
        bad = ~(np.asarray(table) < np.inf)
        if bad.any():
            n, k = np.argwhere(bad)[0].tolist()
            raise ValueError(
                f"{role} holds {table[n, k]} at draw {n}, density {k}: a log-density is a number "
                "or -inf."
            )
    return table


def checked_counts(counts, rows: int, size: int) -> Array:
    """One whole number of draws for each density, `rows` in all."""
    counts = gathered(jnp.asarray(counts))
    if counts.shape != (size,) or not jnp.issubdtype(counts.dtype, jnp.integer):
        raise ValueError(
            f"log_table must be (n, k) with k counts, whole numbers; its shape is {(rows, size)}, "
            f"and counts have shape {counts.shape} and dtype {counts.dtype}."
        )
    if not is_traced(counts):
        known = np.asarray(counts)
        if (known < 0).any() or known.sum() != rows:
            raise ValueError(
                f"counts must not be negative and add up to the {rows} draws of log_table; they "
                f"are {known.tolist()}, {known.sum()} in all."
            )
    return counts


def checked_efficiencies(r_eff, size: int, dtype) -> Array | None:
    """Effective draws a draw of each proposal (k,); None where all are independent."""
    if r_eff is None or (isinstance(r_eff, int | float) and r_eff == 1):
        return None
    r_eff = numbers()(r_eff, "r_eff").astype(dtype)
    if r_eff.shape not in ((), (size,)):
        raise ValueError(
            f"r_eff is one number, or one for each of the {size} proposals; its shape is "
            f"{r_eff.shape}."
        )
    if not is_traced(r_eff) and not (np.asarray(r_eff) > 0).all():
        raise ValueError(f"r_eff, effective draws a draw, must be positive; it was {r_eff}.")
    return jnp.broadcast_to(r_eff, (size,))


def least_of(r_eff) -> float:
    """The least of efficiencies that were checked: the length of a tail, a shape, depends on it."""
    known = r_eff is not None and not is_traced(r_eff)
    return efficiency(
        float(np.min(np.asarray(r_eff))) if known else 1.0 if r_eff is None else r_eff
    )


def refuse_nan(bad: tuple[Array, Array]) -> None:
    """A sentence if f gave NaN at a draw that counts: their number, and the first."""
    count, first = bad
    if not is_traced(count) and count > 0:
        raise ValueError(
            f"f gave NaN at {int(count)} draws on the support of a target, first at draw "
            f"{int(first)}; an expectation of NaN has no value."
        )
