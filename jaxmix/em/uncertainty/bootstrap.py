"""Refits to resampled data under one `vmap`, their components matched."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ..._arguments import density, rows, takes, whole
from ..._results import RESULTS
from ..._sharding import on_automatic_axes
from ..._stack import pick
from ..._trees import float_of, num_rows, take
from ...combinators._labels import posterior_of
from ..entry import check_key, enter
from ..maximise import Prior
from ..solve import fixed_point


class Bootstrap(NamedTuple):
    """Refits to resampled data: a stack of models, and each one's outcome.

    A statistic of the resamples leaves out those whose refit collapsed (`failed` marks them).
    """

    models: PyTree
    result: RESULTS

    @property
    def failed(self) -> Array:
        """Resamples whose refit collapsed onto a floor or left the finite."""
        return (self.result == RESULTS.degenerate) | (self.result == RESULTS.nonfinite)

    def values(self, function: Callable[[PyTree], Array]) -> Array:
        """A function of the model, one value a resample; NaN where its refit failed."""
        values = jax.vmap(function)(self.models)
        failed = self.failed.reshape((-1,) + (1,) * (values.ndim - 1))
        return jnp.where(failed, jnp.nan, values)

    def std(self, function: Callable[[PyTree], Array]) -> Array:
        """Its standard deviation over the resamples."""
        return jnp.nanstd(self.values(function), axis=0, ddof=1)

    def interval(self, function: Callable[[PyTree], Array], level: float = 0.95) -> Array:
        """Its percentile interval, lower and upper along a leading axis."""
        tails = jnp.array([0.5 - level / 2, 0.5 + level / 2])
        return jnp.nanquantile(self.values(function), tails, axis=0)


@takes(num=whole(1))
@functools.partial(on_automatic_axes, checked=False)
def bootstrap(
    key: Key[Array, ""],
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    num: int = 200,
    parametric: bool = False,
    prior: Prior | None = None,
    max_steps: int = 500,
) -> Bootstrap:
    """Refit to `num` resamples of the rows at once, components matched to the model's own.

    Each resample is a vector of multinomial weights (Efron 1979), which multiply the case weights,
    or with `parametric` as many events drawn from the model, and is solved from the model. Labels
    may switch: components of one family are permuted to agree best with the model's
    responsibilities (see `matched`).

    Args:
        key: a typed key.
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        weights: case weights (rows,): a row is drawn with its weight.
        num: resamples.
        parametric: draw from the model instead of from the rows.
        prior: pseudo-statistics, if the fit used any.
        max_steps: passes over the data for each refit.

    Raises:
        ValueError: for case weights with `parametric`: rows drawn from the model have none.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.linspace(-1.0, 1.0, 50)
        >>> model = jm.em.solve(jm.Normal(0, 1), x)
        >>> boot = jm.em.bootstrap(jax.random.key(0), model, x, num=20)
        >>> boot.models.mean.shape
        (20,)
    """
    if parametric and weights is not None:
        raise ValueError(
            "A parametric bootstrap draws its rows from the model, and rows so drawn have no case "
            "weights; leave out `weights`, or resample the rows with parametric=False."
        )
    check_key(key)
    data, weights = enter(model, data, weights)
    return _refits(key, model, data, weights, num, parametric, prior, max_steps)


@eqx.filter_jit
def _refits(key, model, data, weights, num, parametric, prior, max_steps):
    rows = num_rows(data)
    dtype = float_of(model)

    def refit(data, weights):
        found = fixed_point(model, data, weights=weights, prior=prior, max_steps=max_steps)
        return matched(found.model, model, data), found.result

    if parametric:
        keys = jax.random.split(key, (num, rows))
        return Bootstrap(*jax.vmap(lambda ks: refit(jax.vmap(model.sample)(ks), None))(keys))
    drawn = jax.random.randint(key, (num, rows), 0, rows)
    case = jnp.ones((rows,), dtype) if weights is None else jnp.asarray(weights, dtype)
    count = lambda index: case * jnp.zeros((rows,), dtype).at[index].add(1)
    return Bootstrap(*jax.vmap(lambda index: refit(data, count(index)))(drawn))


@takes(model=density, reference=density, data=rows)
@functools.partial(on_automatic_axes, checked=False)
def matched(model: PyTree, reference: PyTree, data: PyTree) -> PyTree:
    """A mixture with its components in the order that agrees best with another's.

    The order that maximises the summed products of both models' responsibilities (the Hungarian
    method); in a list of components only those of one structure change places. Any model other
    than a mixture with weights of its own is returned as it is.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> pair = lambda means: jm.MixtureSameFamily(
        ...     jnp.array([0.5, 0.5]), jax.vmap(jm.Normal)(jnp.array(means), jnp.ones(2))
        ... )
        >>> x = jnp.array([-1.0, 0.0, 1.0])
        >>> jm.em.matched(pair([0.9, -1.1]), pair([-1.0, 1.0]), x).components.mean
        Array([-1.1,  0.9], dtype=float32)
    """
    if not hasattr(model, "components"):
        return model
    if not eqx.is_inexact_array(getattr(model.mixing, "logits", None)):
        return model

    def posteriors(m):
        return jax.vmap(lambda x: posterior_of(m, x))(data)

    shared = jnp.dot(posteriors(reference).T, posteriors(model), precision="highest")
    size = shared.shape[0]
    listed = isinstance(model.components, tuple)
    kinds = [jax.tree.structure(part) for part in model.components] if listed else []
    if listed:
        alike = jnp.array([[a == b for b in kinds] for a in kinds])
        # A pair of different structures costs more than all that agreement could gain.
        shared = jnp.where(alike, shared, -size * num_rows(data))
    import optax  # when it is used: it takes a tenth of a second

    rows, columns = optax.assignment.hungarian_algorithm(-shared)
    order = jnp.zeros_like(columns).at[rows].set(columns)
    if listed:
        components = _reordered(model.components, kinds, order)
    else:
        components = pick(model.components, order)
    changed = (model.mixing.logits[order], components)
    return eqx.tree_at(lambda m: (m.mixing.logits, m.components), model, changed)


def _reordered(components, kinds, order):
    """A tuple of components by a traced order, which only exchanges those of one structure."""
    found = list(components)
    for kind in set(kinds):
        places = [k for k, other in enumerate(kinds) if other == kind]
        stack = jax.tree.map(lambda *parts: jnp.stack(parts), *(components[k] for k in places))
        for k in places:
            at = jnp.argmax(jnp.array(places) == order[k])
            found[k] = take(stack, at)
    return tuple(found)
