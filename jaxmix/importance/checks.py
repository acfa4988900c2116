"""What an estimate is given, looked at before any work."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

DRAWS_PER_VARIATE = 50


def check_controls(controls: Array, self_normalised: bool) -> None:
    """A sentence where control variates cannot be used, and a warning where they hardly can."""
    if self_normalised:
        raise ValueError("Control variates need targets of known mass; drop self_normalised.")
    per_variate = controls.shape[0] / controls.shape[1]
    if per_variate < DRAWS_PER_VARIATE:
        warnings.warn(
            f"{controls.shape[1]} control variates are fitted on {per_variate:.0f} draws "
            f"each; below {DRAWS_PER_VARIATE} they may cost more than they gain.",
            stacklevel=4,
        )


def checked_weights(weights: Array, expected: tuple[int, ...], dtype) -> Array:
    """Rows that sum to 1; a sentence where they cannot be read so."""
    weights = jnp.asarray(weights).astype(dtype)
    if weights.shape != expected:
        raise ValueError(
            f"weights must have a row for each target and a column for each proposal, {expected}; "
            f"their shape is {weights.shape}."
        )
    if not isinstance(weights, jax.core.Tracer):  # pyright: ignore[reportAttributeAccessIssue]
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


def refuse_nan(flat: Array) -> None:
    """A sentence if f gave NaN at a draw."""
    if isinstance(flat, jax.core.Tracer):  # pyright: ignore[reportAttributeAccessIssue]
        return
    bad = np.isnan(np.asarray(flat)).any(1)
    if bad.any():
        raise ValueError(
            f"f gave NaN at {int(bad.sum())} of {bad.size} draws, first at draw "
            f"{int(np.argmax(bad))}; an expectation of NaN has no value."
        )
