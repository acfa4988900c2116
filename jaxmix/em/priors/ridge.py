"""Ridge penalties: a normal prior of a regression's coefficients, as pseudo-statistics."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._trees import is_traced
from ...families._pairs import products_of_pairs
from ...regression import (
    GammaRegression,
    LinearRegression,
    LogisticRegression,
    MultinomialRegression,
    MultivariateLinearRegression,
    NegativeBinomialRegression,
    PoissonRegression,
)
from .conjugacy import Pseudo, rule_for


class Ridge(NamedTuple):
    """Prior of a regression's coefficients, the intercept free: log p = -strength |b|^2 / 2 + const.

    - `strength`: a precision, 0 or more; a vector (p,) has one for each covariate. Covariates have
      units: standardise them, or give each its own.
    - For `LinearRegression`, in units of the errors' variance: b ~ N(0, scale^2 / strength), the
      conjugate law (of columns, N(0, covariance / strength), for several responses); scikit-learn's
      `Ridge(alpha=strength)`.
    - For `MultinomialRegression`, of the labels' coefficients about their mean, so that no label is
      special. Scikit-learn's `LogisticRegression(C=1 / strength)`, as for two labels.

    Hoerl and Kennard 1970 (doi:10.1080/00401706.1970.10488634).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> data = (jnp.array([0.0, 1.0, 2.0]), jnp.array([[-1.0], [0.0], [1.0]]))
        >>> line = jm.LinearRegression.template(1)
        >>> prior = jm.em.conjugate_prior(line, data, [(jm.LinearRegression, jm.em.Ridge(2.0))])
        >>> jm.em.run(line, data, prior=prior).model.coefficients.round(4)  # 2 / (2 + 2)
        Array([0.5], dtype=float32)
    """

    strength: Any


def _squares(leaf, strength: Any) -> Array:
    """Sums of the pairs of (x, 1) of rows whose only squares are these strengths."""
    value = jnp.asarray(strength)
    value = value if eqx.is_inexact_array(value) else value.astype(leaf.intercept.dtype)
    if not is_traced(value) and not bool(jnp.all((value >= 0) & jnp.isfinite(value))):
        raise ValueError(
            f"The strength of a ridge of {type(leaf).__name__} is finite and 0 or more; it was "
            f"{float(jnp.min(value)):g}."
        )
    p = leaf.num_features
    if value.ndim and value.shape[-1] not in (1, p):
        raise ValueError(
            f"A ridge has one strength, or one for each of the {p} covariates; it was given "
            f"{value.shape[-1]}."
        )
    value = jnp.broadcast_to(value, (*value.shape[:-1], p))
    none = jnp.zeros((*value.shape[:-1], 1), value.dtype)
    units = jax.vmap(products_of_pairs)(jnp.eye(p + 1, dtype=value.dtype))
    return jnp.matmul(jnp.concatenate([value, none], -1), units, precision="highest")


@rule_for(
    LinearRegression,
    MultivariateLinearRegression,
    LogisticRegression,
    MultinomialRegression,
    PoissonRegression,
    GammaRegression,
    NegativeBinomialRegression,
)
def _ridge(leaf, law) -> Pseudo | None:
    if not isinstance(law, Ridge):
        return None
    squares = _squares(leaf, law.strength)
    zero, origin = leaf.zero_stats(), jax.tree.map(jnp.zeros_like, leaf.origin)
    if isinstance(leaf, LinearRegression | MultivariateLinearRegression):
        # The law's own normaliser: one logarithm of the scale for each coefficient that has it.
        penalised = jnp.broadcast_to(
            jnp.asarray(law.strength) > 0, (*squares.shape[:-1], leaf.num_features)
        )
        count = jnp.sum(penalised, -1).astype(squares.dtype)
        return Pseudo(zero._replace(gram=squares), origin, count)
    m = leaf.num_predictors
    among = jnp.eye(m, dtype=squares.dtype)
    if isinstance(leaf, MultinomialRegression):
        among = among - 1 / leaf.size
    return Pseudo(zero._replace(information=among[..., None] * squares[..., None, None, :]), origin)
