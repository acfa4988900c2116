"""The mass that a density of a number has between two ends, by its log-density alone.

So the tilt of a fit passes through it, which no distribution function would let. The nodes lie
where the quartiles of a constant copy say that the density is; no gradient passes through them.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Scalar

from .._density import is_density
from .._log_sums import logsumexp
from .._stand_ins import constant
from .._trees import float_of
from ..families._special import unit_nodes
from ..families._support import Domain
from .hurdle import domain_of_value

NODES, SIZES = unit_nodes(40)


def _ladder() -> tuple[np.ndarray, np.ndarray]:
    """Distances of whole numbers, and as how many each counts: all of 96, then by powers of 3.

    Each stands in the middle of those it counts for, so that the sum is a midpoint rule whose
    intervals are a 30th to a 100th of the distance: as exact for a Poisson(1) as for a scale of
    1e4. Beyond 4.7e5 nothing is taken to be.
    """
    distances: list[np.ndarray] = [np.arange(96)]
    counts: list[np.ndarray] = [np.ones(96)]
    end = 96
    for stride in 3 ** np.arange(1, 9):
        distances.append(end + stride * np.arange(48) + stride // 2)
        counts.append(np.full(48, stride))
        end += 48 * stride
    return np.concatenate(distances).astype(float), np.concatenate(counts).astype(float)


DISTANCES, COUNTS = _ladder()


def _free(support: Domain) -> tuple[Callable, Callable, Callable]:
    """To a coordinate without ends, back from it, and the logarithm of the derivative back."""
    low, high = support.low, support.high
    if np.isfinite(low) and np.isfinite(high):
        share = lambda x: (x - low) / (high - low)
        to = lambda x: jnp.log(share(x)) - jnp.log1p(-share(x))
        bend = lambda y: -jnp.abs(y) - 2 * jnp.log1p(jnp.exp(-jnp.abs(y)))
        return (
            to,
            lambda y: low + (high - low) * jax.nn.sigmoid(y),
            lambda y: bend(y) + np.log(high - low).item(),
        )
    if np.isfinite(low):
        return lambda x: jnp.log(x - low), lambda y: low + jnp.exp(y), lambda y: y
    if np.isfinite(high):
        return lambda x: -jnp.log(high - x), lambda y: high - jnp.exp(-y), lambda y: -y
    return lambda x: x, lambda y: y, jnp.zeros_like


def _place_of(values: Sequence[PyTree], support: Domain, to: Callable) -> tuple[Array, Array]:
    """Where a product of densities is in a coordinate: its median and half a quartile distance.

    Of densities, or of what stands for them in a fit; of several, by their precisions. Quartiles
    are of what a density has within the support.
    """
    (shares,) = as_numbers(values, np.array([0.25, 0.5, 0.75]))

    def within(value):
        value = constant(value)
        own, at = domain_of_value(value), shares
        if support.low > own.low or support.high < own.high:
            below = value.cdf(support.low) if support.low > own.low else 0.0
            above = value.cdf(support.high) if support.high < own.high else 1.0
            at = below + (above - below) * shares
        return to(jax.vmap(value.quantile)(at))

    quartiles = [within(value) for value in values]
    places = [(middle, 0.5 * (upper - lower)) for lower, middle, upper in quartiles]
    precision = functools.reduce(operator.add, [spread**-2 for _, spread in places])
    weighed = functools.reduce(operator.add, [middle * spread**-2 for middle, spread in places])
    middle = weighed / precision
    return jax.lax.stop_gradient((middle, precision**-0.5))


def number_domain(owner: str, value: Any) -> Domain:
    """The domain of a density of a number, or a sentence."""
    domain = domain_of_value(value) if is_density(value) else None
    if domain is None or domain.dim is not None or not callable(getattr(value, "cdf", None)):
        raise ValueError(
            f"{owner} takes a density of a number with a cdf; a {type(value).__name__} was given."
        )
    if domain.also:
        raise ValueError(
            f"{owner} takes a density without atoms, which no quadrature sees; this "
            f"{type(value).__name__} has some at {', '.join(map(str, domain.also))}."
        )
    return domain


def as_numbers(value: PyTree, *numbers: Any) -> tuple[Array, ...]:
    """Numbers in the dtype of a density's parameters."""
    return tuple(jnp.asarray(number).astype(float_of(value)) for number in numbers)


def log_mass(values: Sequence[PyTree], support: Domain, low: Any, high: Any) -> Scalar:
    """log of the integral of a product of densities from low to high, low < high.

    Of whole numbers their sum, both ends included, low <= high.
    """
    low, high = as_numbers(values, low, high)
    low, high = jnp.maximum(low, support.low), jnp.minimum(high, support.high)
    if support.whole:
        return _log_sum(values, *_atoms(values, jnp.ceil(low), jnp.floor(high)))
    # Gauss's nodes of z = asinh((y - middle) / spread), had it a logistic law between the ends, y a
    # coordinate without ends: few serve narrow intervals, whole supports, and tails of all kinds.
    to, back, log_slope = _free(support)
    middle, spread = _place_of(values, support, to)
    a, b = (jnp.arcsinh((to(end) - middle) / spread) for end in (low, high))
    turn = a + b > 0  # counted from above, where what is below is all but 1
    a, b = jnp.where(turn, a, -b), jnp.where(turn, b, -a)
    above, ratio = -jax.nn.softplus(a), jnp.exp(jax.nn.softplus(a) - jax.nn.softplus(b))
    log_u = above + jnp.log(ratio + (1 - ratio) * jnp.asarray(NODES, low.dtype))
    log_rest = jnp.log(-jnp.expm1(log_u))
    z = jnp.where(turn, log_rest - log_u, log_u - log_rest)
    y = middle + spread * jnp.sinh(z)
    log_cosh = jnp.abs(z) + jnp.log1p(jnp.exp(-2 * jnp.abs(z))) - np.log(2).item()
    width = above + jnp.log1p(-ratio) + jnp.log(spread) + log_cosh - log_u - log_rest
    sizes = width + log_slope(y) + jnp.log(jnp.asarray(SIZES, low.dtype))
    x = jnp.clip(back(y), low, high)  # what rounding puts beyond an end
    return _log_sum(values, x, jax.lax.stop_gradient(sizes))


def _atoms(values: Sequence[PyTree], low: Array, high: Array) -> tuple[Array, Array]:
    """Whole numbers up and down from where the densities are, and the logarithms of their counts.

    What counts for several counts for those between the ends, and stands in their middle.
    """
    medians = [jax.lax.stop_gradient(constant(value).quantile(0.5)) for value in values]
    start = jnp.clip(jnp.round(functools.reduce(operator.add, medians) / len(medians)), low, high)
    half = jnp.asarray((COUNTS - 1) / 2, low.dtype)
    up, down = (jnp.asarray(DISTANCES[i:], low.dtype) for i in (0, 1))
    first = jnp.concatenate([start + up - half, start - down - half[1:]])
    last = jnp.concatenate([start + up + half, start - down + half[1:]])
    first, last = jnp.maximum(first, low), jnp.minimum(last, high)
    inside = first <= last
    count = jnp.where(inside, last - first + 1, jnp.ones_like(last))
    sizes = jnp.where(inside, jnp.log(count), jnp.full_like(count, -jnp.inf))
    return jnp.where(inside, jnp.round(first + (count - 1) / 2), start), sizes


def _log_sum(values: Sequence[PyTree], x: Array, sizes: Array) -> Scalar:
    """log sum_j exp(sizes_j + log p(x_j)): the value of the densities, the tilt of their stand-ins.

    Where a fit begins, stand-ins know no density: the shares are those of what they stand for.
    """
    log_prob = lambda values, x: jax.vmap(
        lambda x: functools.reduce(operator.add, [value.log_prob(x) for value in values])
    )(x)
    still = sizes + log_prob([constant(value) for value in values], x)
    lost = still == -jnp.inf  # so far out that slopes may be infinite: asked for elsewhere
    moved = log_prob(values, jnp.where(lost, x[jnp.argmax(still)], x))
    rise = jnp.where(lost, jnp.zeros_like(moved), moved - jax.lax.stop_gradient(moved))
    return logsumexp(still + rise)
