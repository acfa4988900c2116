"""Kullback-Leibler divergences between densities, with their errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .combinators.natural import family_parts, same_family


class Divergence(NamedTuple):
    """An estimate in nats, its standard error, and how many events it is a mean over."""

    value: Scalar
    std_error: Scalar
    num_events: int


def empirical_kl(p: PyTree, q: PyTree, data: PyTree) -> Divergence:
    """Mean of log p(x) - log q(x) over events, taken as draws from p.

    Infinite, with an infinite error, where an event is impossible under q alone.

    Args:
        p: a density.
        q: another density of the same events.
        data: events, stacked along a leading axis.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> float(jm.empirical_kl(jm.Normal(0, 1), jm.Normal(0, 1), jnp.arange(3.0)).value)
        0.0
    """
    log_p, log_q = jax.vmap(p.log_prob)(data), jax.vmap(q.log_prob)(data)
    ratio = log_p - log_q
    count = ratio.shape[0]
    finite = jnp.all(jnp.isfinite(ratio))
    safe = jnp.where(jnp.isfinite(ratio), ratio, jnp.zeros_like(ratio))
    value = jnp.where(finite, jnp.mean(safe), jnp.mean(ratio))
    error = jnp.std(safe, ddof=1) / jnp.sqrt(jnp.asarray(count, safe.dtype))
    return Divergence(value, jnp.where(finite, error, jnp.full_like(error, jnp.inf)), count)


def kl_divergence(key: Key[Array, ""], p: PyTree, q: PyTree, *, num_samples: int) -> Divergence:
    """Monte Carlo estimate of KL(p || q) from draws of p.

    Args:
        key: a typed key.
        p: a density that can be sampled.
        q: another density of the same events.
        num_samples: how many draws.

    Example:
        >>> import jax, jaxmix as jm
        >>> draws = jm.kl_divergence(
        ...     jax.random.key(0), jm.Normal(0, 1), jm.Normal(1, 1), num_samples=1000
        ... )
        >>> bool(abs(draws.value - 0.5) < 4 * draws.std_error)
        True
    """
    return empirical_kl(p, q, jax.vmap(p.sample)(jax.random.split(key, num_samples)))


def kl(p: PyTree, q: PyTree) -> Array:
    """Exact KL(p || q) between members of one exponential family, in nats.

    KL = <natural(p) - natural(q), E_p T>, heads included, about one origin; the sum over the
    parts of a `Composite`, and n times one observation's of a `Repeated`. inf where q rules out
    what p does not.

    Args:
        p: a density, or a stack of them.
        q: a density of the same family (a stack of the same shape).

    Raises:
        ValueError: if they are not of one family, or of no exponential family.

    Example:
        >>> import jaxmix as jm
        >>> float(jm.divergences.kl(jm.Normal(0, 1), jm.Normal(2, 1)))
        2.0
    """
    why = same_family(p, q)
    if why:
        raise ValueError(f"Exact divergences are of members of one family; {why}.")
    terms = []
    for mine, theirs in zip(family_parts(p), family_parts(q), strict=True):
        a, b = mine.leaf, theirs.leaf
        origin = a.origin
        mean = a.mean_stats(origin)
        natural = zip(
            *map(jax.tree.leaves, (a.natural(origin), b.natural(origin), mean)), strict=True
        )
        terms.append(mine.times * sum(_pairing(x, y, m, a.stack_shape) for x, y, m in natural))
    return sum(terms[1:], terms[0])


def _pairing(x, y, mean, stack):
    # What never happens under p says nothing, whatever the logarithms of 0.
    never = mean == 0
    gap = jnp.where(never, jnp.zeros_like(x), x) - jnp.where(never, jnp.zeros_like(y), y)
    return jnp.sum(gap * mean, tuple(range(len(stack), gap.ndim)))
