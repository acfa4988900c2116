"""Priors: pseudo-statistics for whichever densities of a model a user names."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..._arguments import density, real, takes
from ..._compile import Quick
from ..._refittable import Refittable
from ..._sharding import on_automatic_axes
from ..._trees import is_traced, spread
from ...combinators.constrained import Constrained
from ...combinators.tied import Borrowed
from ..entry import enter
from ..parts import take_apart
from .conjugacy import NEWTON_STEPS, Pseudo, PseudoRows, at_least, pseudo_statistics
from .prior import Prior, floor_prior, floors_of, pooled_stats


@takes(template=density, rows=real(0, ends=True), floor=real(0, ends=True))
@on_automatic_axes
def conjugate_prior(
    template: PyTree,
    data: PyTree | None,
    rules: Sequence[tuple[Any, Any]] = (),
    *,
    weights: Array | None = None,
    rows: float | Array = 0.0,
    floor: float | Array = 1e-9,
) -> Prior:
    """A prior for `jm.fit`, `jm.em.run` and whatever else takes `prior=`: a fit then ends at a MAP.

    Each rule is a pair (place, law). A place is a family, for all its densities, or a function
    from the model to one of its densities or a list of them, as in `jm.tie`. The densities of a
    stack have one law, or a stack of laws. Laws, in the usual parameters, in which the mode is:

    - probabilities (`Categorical`, mixture weights, `IntegerCategorical`, `Multinomial`):
      `jm.Dirichlet(a)`; one probability (`Bernoulli`, `BernoulliSet`, `Binomial`, `Geometric`):
      `jm.Beta(a, b)`; a number a for the symmetric one. Concentrations are at least 1.
    - the rate of `Poisson` or `Exponential`: `jm.Gamma(shape, rate)`.
    - mean and variance of `Normal`, `LogNormal` (of the logarithm), `DiagonalNormal` (each
      coordinate), `SphericalNormal`, `StudentT`: `jm.em.NormalInverseGamma`, `InverseGamma`.
    - mean and covariance of `MultivariateNormal`, `PartialNormal`, `TiedMultivariateNormal`:
      `jm.em.NormalInverseWishart`, `InverseWishart`.
    - coefficients of `LinearRegression`, `MultivariateLinearRegression`, `LogisticRegression`,
      `MultinomialRegression`, `PoissonRegression`, `GammaRegression`,
      `NegativeBinomialRegression`: `jm.em.Ridge(strength)`.
    - every family with statistics: `jm.em.PseudoEvents(events, count)`, `jm.em.PseudoRows(count)`.
      Where an M-step is a Newton step (regressions, `Weibull`, `Kumaraswamy`) the law with the mode
      and the curvature of the likelihood of those rows.

    Args:
        template: the model, or its template.
        data: the data, or a sample: floors and pseudo-rows are taken from it. None for none.
        rules: pairs (place, law); laws of one density add up.
        weights: case weights (rows,).
        rows: pseudo-rows of the global fit for every density of the model.
        floor: least variance as a share of the data's; it joins whatever else is asked for.

    Returns:
        A `Prior`: pseudo-statistics that join the data's, whose log-density joins the objective.

    Raises:
        ValueError: for a place that is no density of the model, or a law that is none of its.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([0, 1, 4])
        >>> prior = jm.em.conjugate_prior(jm.Poisson.template(), x, [(jm.Poisson, jm.Gamma(3, 2))])
        >>> jm.em.run(jm.Poisson.template(), x, prior=prior).model.rate.round(4)  # (5 + 2) / (3 + 2)
        Array(1.4, dtype=float32)
    """
    leaves = take_apart(template).leaves
    asked = [(index, law) for place, law in rules for index in _places(template, leaves, place)]
    if is_traced(rows) or np.any(np.asarray(rows) != 0):
        asked += [(index, PseudoRows(rows)) for index in range(len(leaves))]
    of_rows = any(isinstance(law, PseudoRows) for _, law in asked)
    if data is None and of_rows:
        raise ValueError("Pseudo-rows are rows like those of the data: give conjugate_prior data.")
    pooled, origins = [leaf.zero_stats() for leaf in leaves], [leaf.origin for leaf in leaves]
    totals: list[Any] = list(pooled)
    floors: list[Any] = []
    if data is not None:
        data, weights = enter(template, data, weights, name="template")
        turns = 2 if all(leaf.ascends for leaf in leaves) or not of_rows else NEWTON_STEPS
        pooled, origins = _pooled(template, data, weights, turns)
        prior = _floor(template, data, weights, floor)
        totals, floors = list(prior.stats), floors_of(prior)
    at_mean: list[Any] = [None] * len(leaves)
    for index, law in asked:
        leaf, near = leaves[index], origins[index]
        if isinstance(law, PseudoRows):
            pool, count = pooled[index], at_least(law.count, 0, "count", leaf)
            each = lambda total, p=pool, n=count: n * (total / spread(p.count, total.ndim))
            found = Pseudo(jax.tree.map(each, pool), near)
        else:
            found = pseudo_statistics(leaf, law)
        zero = leaf.zero_stats()
        stats = jax.tree.map(_like, found.stats, zero)
        if found.origin is not None and near is not None:
            stats = leaf.recentre(stats, jax.tree.map(_like, found.origin, near), near)
        totals[index] = jax.tree.map(jnp.add, totals[index], stats)
        if found.at_mean is not None:
            before = 0 if at_mean[index] is None else at_mean[index]
            at_mean[index] = before + _like(found.at_mean, zero.count)
    return Prior(totals, origins, at_mean, floors)


_pooled, _floor = Quick(pooled_stats), Quick(floor_prior)  # another call compiles nothing


def _like(a: Any, b: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(a), b.shape).astype(b.dtype)


def _places(template: PyTree, leaves: list[Refittable], place: Any) -> list[int]:
    """Positions among the model's leaves of what a rule names."""
    # Of a leaf some of whose fields are frozen or shared, the family's own density.
    own = [leaf.part if isinstance(leaf, Constrained) else leaf for leaf in leaves]
    if isinstance(place, type):
        found = [i for i, leaf in enumerate(own) if type(leaf) is place]
        if not found:
            names = ", ".join(sorted({type(leaf).__name__ for leaf in own}))
            raise ValueError(
                f"A rule of the prior is for {place.__name__}; what the fit moves here is "
                f"{names or 'nothing that has statistics'}."
            )
        return found
    named = place(template)
    found = []
    for node in named if isinstance(named, list | tuple) else [named]:
        node = node.lent if isinstance(node, Borrowed) else node
        at = [
            i
            for i, pair in enumerate(zip(leaves, own, strict=True))
            if any(n is node for n in pair)
        ]
        if not at:
            raise ValueError(
                f"A rule of the prior names a {type(node).__name__}; it must name a density of a "
                "family inside the model, such as `lambda m: m.mixing`, that is not frozen."
            )
        found += at
    return found
