"""Kullback-Leibler divergences between densities, with their errors; entropies and their bounds."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from ._arguments import density, key, rows, takes, whole
from ._exponential import ExponentialFamily
from ._log_sums import weighted_logsumexp
from ._stack import pick
from .combinators._conditioning import plain
from .combinators.mixture import MixtureSameFamily
from .combinators.natural import family_parts, same_family
from .families._special import LOG_2_PI


class Divergence(NamedTuple):
    """An estimate in nats, its standard error, and how many events it is a mean over."""

    value: Scalar
    std_error: Scalar
    num_events: int


@takes(p=density, q=density, data=rows)
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


@takes(key=key, p=density, q=density, num_samples=whole(1))
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


def entropy(density: PyTree) -> Array:
    """Entropy of normal, exponential, Bernoulli ... densities, or a stack of them, in nats.

    H = -E log p = -<natural, E T>, of a family without a base measure; the sum over the parts of a
    `Composite`. That of a mixture has no closed form: see `entropy_bounds`.

    Raises:
        ValueError: for other densities.

    Example:
        >>> import jaxmix as jm
        >>> jm.divergences.entropy(jm.Normal(0, 1)).round(4)  # log(2 pi e) / 2
        Array(1.4189, dtype=float32)
    """
    terms = []
    for part in family_parts(density):
        leaf = part.leaf
        if type(leaf).log_base is not ExponentialFamily.log_base:
            raise ValueError(
                f"The entropy of a {type(leaf).__name__} is not known in closed form here: normal "
                "families have one."
            )
        pairs = zip(leaf.natural(leaf.origin), leaf.mean_stats(leaf.origin), strict=True)
        own = [_pairing(a, jnp.zeros_like(a), mean, leaf.stack_shape) for a, mean in pairs]
        terms.append(-part.times * sum(own))
    return sum(terms[1:], terms[0])


class Bounds(NamedTuple):
    """A lower and an upper bound in nats, the same where the value is known."""

    lower: Scalar
    upper: Scalar


def entropy_bounds(density: PyTree) -> Bounds:
    """Bounds of the differential entropy of a mixture of normal densities, in nats.

    With components p_i of entropies H_i, sum_i w_i H_i - sum_i w_i log sum_j w_j exp(-D(p_i, p_j))
    is below the entropy for Bhattacharyya's divergence D, above it for that of Kullback and Leibler
    (Kolchinsky and Tracey 2017, doi:10.3390/e19070361). Tight where components coincide or lie
    apart. A normal density with the mixture's covariance bounds it above too (Huber et al. 2008,
    doi:10.1109/MFI.2008.4648062).

    Args:
        density: a mixture of a stack of normal densities, such as what `conditional` of a Gaussian
            mixture gives; or a density whose `entropy` is known.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-9.0, 9.0]), jnp.ones(2))
        >>> bounds = jm.divergences.entropy_bounds(jm.MixtureSameFamily(jnp.ones(2) / 2, parts))
        >>> [round(float(b), 3) for b in bounds]  # log(2 pi e) / 2 + log 2
        [2.112, 2.112]
    """
    density = plain(density)
    if not isinstance(density, MixtureSameFamily):
        value = entropy(density)
        return Bounds(value, value)
    return _mixture_bounds(density)


@eqx.filter_jit
def _mixture_bounds(density: MixtureSameFamily) -> Bounds:
    parts = plain(density.components)
    size = density.num_components
    at = lambda i: pick(parts, i)
    own = entropy(parts)
    every = jnp.arange(size)
    over_pairs = lambda f: jax.vmap(lambda i: jax.vmap(lambda j: f(at(i), at(j)))(every))(every)
    weights = density.weights

    def of(divergence):
        near = jax.vmap(lambda row: weighted_logsumexp(jnp.log(weights), row))(
            -over_pairs(divergence)
        )
        return jnp.sum(jnp.where(weights > 0, weights * (own - near), jnp.zeros_like(own)))

    covariance = (
        density.covariance if hasattr(parts, "covariance") else density.variance[None, None]
    )
    dim = covariance.shape[-1]
    whole = 0.5 * (dim * (1 + LOG_2_PI) + jnp.linalg.slogdet(covariance)[1])
    return Bounds(of(_bhattacharyya), jnp.minimum(of(kl), whole))


def _bhattacharyya(p: PyTree, q: PyTree) -> Scalar:
    """-log of the integral of sqrt(p q), of one exponential family about one origin."""
    origin = p.origin
    a, b = p.natural(origin), q.natural(origin)
    middle = jax.tree.map(lambda x, y: 0.5 * (x + y), a, b)
    return -middle.count - p.log_normaliser(middle, origin)
