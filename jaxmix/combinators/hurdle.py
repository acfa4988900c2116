"""Numbers of which some values come in lumps, and counts with more zeros than their law has."""

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import LogDensity, as_part, is_density, one_event
from .._hooks import SaysDomain
from ..families._entrances import of_field
from ..families._support import REAL, Domain
from ..families.bernoulli import Bernoulli
from ._labels import HiddenLabel, as_law, entered


class Hurdle(LogDensity):
    """Density of a number that is an atom with positive probability, else continuous, in nats.

    log p(a_i) = log w_i at the atom a_i; log p(x) = log(1 - sum_i w_i) + log q(x) elsewhere, with
    q the density of the value (Cragg 1971, doi:10.2307/1909582). It is a density with respect to
    length plus a unit mass at each atom. A fit is closed wherever that of the value is. For counts,
    whose law has a probability at the atom of its own, see `ZeroInflated`.

    Args:
        value: density of what is no atom, of any continuous family.
        weights: probabilities of the atoms and, last, of the rest; or a `Categorical` of them.
        atoms: the atoms (static).
        logits: logarithms of the probabilities up to a constant, any numbers, instead of them.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> claim = jm.Hurdle(jm.LogNormal(6, 1), jnp.array([0.75, 0.25]))
        >>> claim.log_prob(jnp.array(0.0)).round(4)
        Array(-0.2877, dtype=float32)
    """

    value: PyTree
    which: PyTree
    atoms: tuple[float, ...] = eqx.field(static=True)
    weights = of_field("which", "probs")

    def __init__(self, value, weights=None, atoms: Sequence[float] = (0.0,), *, logits=None):
        if not isinstance(atoms, Sequence) or not all(isinstance(a, int | float) for a in atoms):
            raise TypeError(f"The atoms of Hurdle are a list of numbers; got {atoms!r}.")
        self.atoms = tuple(float(atom) for atom in atoms)
        if domain_of_value(as_part("The value of Hurdle", value)).whole:
            raise ValueError(
                f"Hurdle takes a continuous density; {type(value).__name__} is of whole numbers, "
                "which may be an atom by themselves: see ZeroInflated."
            )
        if not self.atoms or len(set(self.atoms)) < len(self.atoms):
            raise ValueError(f"Hurdle takes one or more atoms, all different; got {self.atoms}.")
        self.value = value
        self.which = as_law(*entered("Hurdle", weights=weights, logits=logits))
        if getattr(self.which, "size", None) != len(self.atoms) + 1:
            raise ValueError(
                f"Hurdle takes {len(self.atoms) + 1} weights, one an atom and one of the rest; "
                f"got {getattr(self.which, 'size', type(self.which).__name__)}."
            )

    @classmethod
    def template(cls, value, atoms: Sequence[float] = (0.0,)) -> Self:
        """A placeholder for a fit: a template of the value."""
        return cls(value, jnp.full(len(atoms) + 1, 1 / (len(atoms) + 1)), atoms)

    @property
    def domain(self) -> Domain:
        inner = domain_of_value(self.value)
        listed = ", ".join(f"{atom:g}" for atom in self.atoms)
        return inner._replace(words=f"{inner.words}, or {listed}", also=self.atoms)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        w = self.weights
        atoms = jnp.asarray(self.atoms, w.dtype)
        return jnp.dot(w[..., :-1], atoms, precision="highest") + w[..., -1] * self.value.mean

    @property
    def variance(self) -> Float[Array, "*stack"]:
        w, mean = self.weights, self.mean
        away = jnp.stack([(atom - mean) ** 2 for atom in self.atoms], -1)
        spread = self.value.variance + (self.value.mean - mean) ** 2
        return jnp.sum(w[..., :-1] * away, -1) + w[..., -1] * spread

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        hit = x == jnp.asarray(self.atoms, x.dtype)
        atom = jnp.any(hit)
        which = jnp.where(atom, jnp.argmax(hit), len(self.atoms))
        value = self.value.log_prob(x)
        # Selected, never added: off the support of the value an atom has -inf there.
        return self.which.log_prob(which) + jnp.where(atom, jnp.zeros_like(value), value)

    def cdf(self, x: Scalar) -> Scalar:
        w = self.weights
        reached = x >= jnp.asarray(self.atoms, w.dtype)
        return jnp.sum(jnp.where(reached, w[..., :-1], 0)) + w[..., -1] * self.value.cdf(x)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        k_which, k_value = jax.random.split(key)
        drawn = self.value.sample(k_value)
        return jnp.append(jnp.asarray(self.atoms, drawn.dtype), drawn)[self.which.sample(k_which)]


def domain_of_value(density: PyTree) -> Domain:
    """Where a number's density lives; the real line where it does not say."""
    return density.domain if isinstance(density, SaysDomain) else REAL


class ZeroInflated(HiddenLabel):
    """Density of a count that is 0 for one more reason, in nats.

    log p(x) = log(p_zero [x = 0] + (1 - p_zero) p(x)).

    Args:
        count: density of a count, of any family.
        p_zero: probability of the extra zero, or a density of it (`Bernoulli`).
        logits: log(p_zero / (1 - p_zero)), any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.ZeroInflated(jm.Poisson(2.0), 0.5).log_prob(jnp.array(0)).round(4)
        Array(-0.5662, dtype=float32)
    """

    count: PyTree
    extra: PyTree
    p_zero, domain = of_field("extra", "prob"), of_field("count", "domain")

    def __init__(self, count, p_zero=None, *, logits=None):
        self.count = as_part("The count of ZeroInflated", count)
        self.extra = p_zero if is_density(p_zero) else Bernoulli(p_zero, logits=logits)

    @classmethod
    def template(cls, count) -> Self:
        """A placeholder for a fit: a template of the count."""
        return cls(count, 0.5)

    mean = property(lambda self: (1 - self.p_zero) * self.count.mean)

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return (1 - self.p_zero) * (self.count.variance + self.p_zero * self.count.mean**2)

    def log_parts(self, x) -> tuple[Float[Array, " 2"], Float[Array, " 2"]]:
        """Of its being a count, and of its being the extra zero."""
        x = one_event(x, (), self)
        counted = self.count.log_prob(x)
        zero = jnp.where(
            x == jnp.zeros_like(x), jnp.zeros_like(counted), jnp.full_like(counted, -jnp.inf)
        )
        which = [self.extra.log_prob(jnp.asarray(extra)) for extra in (False, True)]
        return jnp.stack(which), jnp.stack([counted, zero])

    def cdf(self, x: Scalar) -> Scalar:
        below = self.p_zero + (1 - self.p_zero) * self.count.cdf(x)
        return jnp.where(x >= 0, below, jnp.zeros_like(below))

    def sample(self, key: Key[Array, ""]) -> PyTree:
        k_extra, k_count = jax.random.split(key)
        drawn = self.count.sample(k_count)
        return jnp.where(self.extra.sample(k_extra), jnp.zeros_like(drawn), drawn)
