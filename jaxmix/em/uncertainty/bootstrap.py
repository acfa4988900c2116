"""Refits to resampled data under one `vmap`, their components matched."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ..._arguments import density, real, rows, takes, whole
from ..._compile import FAIR, Quick
from ..._refuse import checked_key
from ..._results import RESULTS
from ..._sharding import on_automatic_axes
from ..._stack import pick
from ..._trees import float_of, in_numpy, is_traced, num_rows, take
from ...combinators._columns import Fold
from ...combinators._labels import posterior_of
from ..chunks import densities
from ..entry import enter
from ..priors.prior import Prior, folded
from ..search.padding import bucket_of_components, can_widen, padded_rows, resized
from ..solve import fixed_point

ELEMENTS = 2_000_000  # rows x densities x resamples up to which compiling costs more than running


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
        level = real(0, 1)(level, "level")
        tails = jnp.array([0.5 - level / 2, 0.5 + level / 2])
        return jnp.nanquantile(self.values(function), tails, axis=0)


@takes(num=whole(1), max_steps=whole(1, traced=True))
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
    checked_key(key, "bootstrap")
    given = model
    data, weights = enter(model, data, weights)
    fold, prior = (Fold(), prior) if parametric else folded(prior, model, data)  # draws are records
    model, data = fold.model(model), fold.data(data)
    rows, dtype = num_rows(data), float_of(model)
    refits = functools.partial(_refits, num, parametric, key)
    if not _can_pad(key, model, data, weights, prior, max_steps, num):
        case = jnp.ones(rows, dtype) if weights is None else jnp.asarray(weights, dtype)
        found = refits(model, data, case, None, prior, max_steps)
    else:
        # Another number of rows, components or steps compiles nothing.
        data, case = padded_rows(in_numpy(data), weights, dtype)
        numbers = (np.asarray(rows), prior, np.asarray(max_steps))
        wide = model
        if prior is None and can_widen(model):
            wide = resized(in_numpy(model), bucket_of_components(model.mixing.size))
        found = refits(wide, data, case, *numbers)
        if wide is not model:
            found = found._replace(models=_narrowed(found.models, wide, model.mixing.size))
    if not fold.groups:
        return found
    return found._replace(models=jax.jit(jax.vmap(lambda m: fold.unfolded(m, given)))(found.models))


def _can_pad(key, model, data, weights, prior, max_steps, num) -> bool:
    """Whether the refits are so few that running over padding costs less than compiling anew."""
    leaves = jax.tree.leaves((key, model, data, weights, prior, max_steps))
    if is_traced(leaves) or any(len(a.devices()) > 1 for a in leaves if isinstance(a, jax.Array)):
        return False
    # Of a single row it is the items that are counted.
    return num_rows(data) > 1 and num_rows(data) * max(1, densities(model)) * num <= ELEMENTS


def _narrowed(models: PyTree, wide: PyTree, size: int) -> PyTree:
    """A stack of widened models without the components that were added, on the host."""
    if size == wide.mixing.size:
        return models
    places = jax.tree.map(lambda a: np.arange(np.size(a)).reshape(np.shape(a)), wide)
    cut = lambda a, kept: np.asarray(a).reshape(len(a), -1)[:, kept]
    return jax.device_put(jax.tree.map(cut, models, resized(places, size)))


def _is_brief(num, parametric, key, model, data, case, *_) -> bool:
    """Whether the refits take less time than compiling them well."""
    room = num_rows(case)
    return isinstance(room, int) and room * max(1, densities(model)) * num <= 2 * ELEMENTS


def _resampled(num, parametric, key, model, data, case, rows, prior, max_steps):
    """The refits; of the rows only the first `rows` are there, or all for None.

    What is drawn for a row depends on its number alone, not on how many there are.
    """
    room = num_rows(case)
    rows = room if rows is None else rows
    there = jnp.arange(room) < rows

    def refit(key):
        events, weights = data, case
        if parametric:
            events = jax.vmap(model.sample)(jax.random.split(key, room))
        else:
            drawn = jax.random.randint(key, (room,), 0, rows)
            weights = case * jnp.zeros_like(case).at[drawn].add(there.astype(case.dtype))
        found = fixed_point(model, events, weights=weights, prior=prior, max_steps=max_steps)
        return _in_order(found.model, model, events, there), found.result

    return Bootstrap(*jax.vmap(refit)(jax.random.split(key, num)))


_refits = Quick(_resampled, _is_brief, FAIR)


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
    logits = lambda m: getattr(getattr(m, "mixing", None), "logits", None)
    counts = [getattr(logits(m), "shape", None) for m in (model, reference)]
    if counts[0] != counts[1]:
        raise ValueError(
            "matched compares two mixtures with weights of their own and as many components; the "
            f"model is a {type(model).__name__} with weights of shape {counts[0]}, the reference "
            f"a {type(reference).__name__} with {counts[1]}."
        )
    data, _ = enter(model, data)
    enter(reference, data, name="reference")
    return _in_order(model, reference, data)


def _in_order(model, reference, data, there=None):
    """The same; with the rows that are there marked, where not all are."""
    if not eqx.is_inexact_array(getattr(getattr(model, "mixing", None), "logits", None)):
        return model
    own, other = (jax.vmap(lambda x, m=m: posterior_of(m, x))(data) for m in (reference, model))
    own = own if there is None else jnp.where(there[:, None], own, jnp.zeros_like(own))
    shared = jnp.dot(own.T, other, precision="highest")
    # What has no weight in either, and agrees with nothing, stays where it is.
    gone = jnp.isneginf(model.mixing.logits) & jnp.isneginf(reference.mixing.logits)
    shared = jnp.where(jnp.diag(gone), len(gone) * num_rows(data), shared)
    import optax  # when it is used: it takes a tenth of a second

    listed = isinstance(model.components, tuple)
    parts = list(model.components) if listed else model.components
    shapes = lambda part: tuple(jnp.shape(a) for a in jax.tree.leaves(part))
    kinds = [(jax.tree.structure(p), shapes(p)) for p in parts] if listed else [0] * len(gone)
    order = jnp.arange(len(gone))
    for kind in dict.fromkeys(kinds):  # only those of one kind change places
        at = np.array([k for k, other in enumerate(kinds) if other == kind])
        rows, columns = optax.assignment.hungarian_algorithm(-shared[np.ix_(at, at)])
        moved = jnp.zeros_like(columns).at[rows].set(columns)
        order = order.at[at].set(jnp.asarray(at)[moved])
        if listed:
            stack = jax.tree.map(lambda *a, m=moved: jnp.stack(a)[m], *(parts[k] for k in at))
            for i, k in enumerate(at):
                parts[k] = take(stack, i)
    changed = model.mixing.logits[order], tuple(parts) if listed else pick(parts, order)
    return eqx.tree_at(lambda m: (m.mixing.logits, m.components), model, changed)
