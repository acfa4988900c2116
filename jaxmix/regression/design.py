"""What all regressions share: an event of a response and its covariates, and a solved design."""

from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import as_array
from .._refittable import Refittable
from .identified import check_design

EVENT = "(y, x), a response and its vector of covariates"


class Regressed(Refittable):
    """The base of regressions: coefficients of covariates, and an intercept; maybe an offset."""

    coefficients: eqx.AbstractVar[Array]
    intercept: eqx.AbstractVar[Array]
    num_features = property(lambda self: self.coefficients.shape[-1])

    @classmethod
    def template(cls, num_features: int, *, offset: bool = False) -> Self:
        """A placeholder for a fit."""
        return super().template(num_features)._replace(offset=offset)

    def check_rows(self, rows: Any, names: Many[str] | None = None) -> None:
        """Refuse rows of covariates that determine one another."""
        check_design(rows[1], names)

    def stats(self, x: Any, origin: Any = None) -> Any:
        return jax.grad(self.pair)(self.zero_stats(), x, origin)


def taken_apart(event: Any, num_features: int, offset: bool, dtype) -> tuple[Any, Array, Array]:
    """Response, covariates and offset of one event.

    Raises:
        ValueError: for an event that is no such pair, or covariates of another number.
    """
    if not isinstance(event, tuple | list) or len(event) != (3 if offset else 2):
        form = "(y, x, offset)" if offset else EVENT
        given = f"a {type(event).__name__}" + (
            f" of {len(event)}" if isinstance(event, tuple | list) else ""
        )
        raise ValueError(f"An event of this regression is {form}; it was given {given}.")
    y, x, *more = event
    x = as_array(x).astype(dtype)
    if x.shape != (num_features,):
        raise ValueError(
            f"This regression has {num_features} covariates; those of one event had shape "
            f"{x.shape}. For many events: jax.vmap(model.log_prob)(events)."
        )
    return y, x, as_array(more[0]).astype(dtype) if offset else jnp.zeros((), dtype)


def response_of(y: Any, shape: tuple[int, ...], dtype) -> Array:
    """The response of one event as floats of this shape, or a sentence."""
    y = as_array(y)
    if y.shape != shape:
        wanted = "a scalar" if shape == () else f"a vector {shape}"
        raise ValueError(
            f"The response of one event is {wanted}; it had shape {y.shape}. For many events: "
            "jax.vmap(model.log_prob)(events)."
        )
    return y.astype(dtype)


def with_intercept(x: Float[Array, " p"]) -> Float[Array, " q"]:
    """Covariates, and behind them the constant 1."""
    return jnp.concatenate([x, jnp.ones((1,), x.dtype)])


def chunk_with_intercept(take: Callable, events: Any) -> tuple[Any, Float[Array, "q rows"]]:
    """What `take` makes of each event but its covariates, and these with a row of ones below."""
    *others, x = jax.vmap(take)(events)
    ones = jnp.ones((1, x.shape[0]), x.dtype)
    return others[0] if len(others) == 1 else others, jnp.concatenate([x.T, ones])


def joined(coefficients: Float[Array, "*s p"], intercept: Float[Array, "*s"]) -> Array:
    """Coefficients, and behind them the intercept."""
    return jnp.concatenate([coefficients, intercept[..., None]], -1)


def solved(matrix: Float[Array, "*s q q"], right: Float[Array, "*s q r"]) -> Float[Array, "*s q r"]:
    """matrix^-1 right, in units in which the diagonal is 1: covariates have units of their own.

    NaN where the matrix is not positive definite: covariates that determine one another.
    """
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    scale = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, jnp.ones_like(diagonal)))
    root = jnp.linalg.cholesky(matrix * scale[..., :, None] * scale[..., None, :])
    solve = jax.scipy.linalg.solve_triangular
    one = lambda root, b: solve(root, solve(root, b, lower=True), lower=True, trans=1)
    answer = jnp.vectorize(one, signature="(q,q),(q,r)->(q,r)")(root, right * scale[..., None])
    return scale[..., None] * answer
