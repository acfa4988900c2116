"""Mixtures: of any list of densities, or of a stack of one family."""

import functools
from collections.abc import Sequence as Many
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._arguments import density, named, takes, whole
from .._density import as_part, is_density, stack_size
from .._log_sums import weighted_logsumexp
from .._refittable import check_declared
from .._stack import outcome_log_probs, over_stack, pick, repeat
from ..families import DiagonalNormal, MultivariateNormal, SphericalNormal, TiedMultivariateNormal
from ..families.categorical import Categorical
from ._abstract_mixture import AbstractMixture
from ._conditioning import split
from ._labels import as_law, entered, from_logs


def _checked(owner: str, weights, components, logits) -> PyTree:
    """The law of the labels; or a sentence for arguments that are swapped or forgotten."""
    if is_density(components) or isinstance(components, list | tuple):
        return as_law(*entered(owner, weights=weights, logits=logits))
    if any(map(is_density, weights if isinstance(weights, list | tuple) else [weights])):
        raise TypeError(f"{owner} takes the weights first, then the components; they are swapped.")
    raise TypeError(
        f"{owner} takes weights (or logits) and `components`; the components given are a "
        f"{type(components).__name__}, which is no density."
    )


class MixtureSameFamily(AbstractMixture):
    """Mixture of a stack of one family: log p(x) = log sum_k weights[k] p_k(x), in nats.

    Args:
        weights: probabilities (k,), or a density over 0, ..., k - 1.
        components: a stack of k densities.
        logits: logarithms of the weights up to a constant (k,), any numbers, instead of them.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts).posterior(jnp.array(0.0))
        Array([0.5, 0.5], dtype=float32)
    """

    mixing: PyTree
    components: PyTree

    def __init__(self, weights=None, components=None, *, logits=None):
        self.mixing = _checked("MixtureSameFamily", weights, components, logits)
        self.components = components
        size = stack_size(components, "The components of MixtureSameFamily")
        if isinstance(self.mixing, Categorical) and self.mixing.size != size:
            raise ValueError(f"{self.mixing.size} weights were given for {size} components.")

    num_components = property(lambda self: self.mixing.size)

    def _of_each(self, name):
        return getattr(self.components, name)

    def _over(self, function):
        return over_stack(function, self.components)

    def _component_call(self, index, function, *args):
        return function(pick(self.components, index), *args)

    def split(self, event, field):
        others, parts = over_stack(lambda c: split(c, event, field), self.components)
        given = outcome_log_probs(self.mixing, others.shape[0]), others
        return weighted_logsumexp(*given), MixtureSameFamily(from_logs(*given), parts)

    def marginal(self, fields):
        return MixtureSameFamily(self.mixing, self.components.marginal(fields))


class Mixture(AbstractMixture):
    """Mixture of any densities of one event: log p(x) = log sum_k weights[k] p_k(x), in nats.

    Args:
        weights: probabilities (k,), or a density over 0, ..., k - 1.
        components: a list of k densities, of any families.
        logits: logarithms of the weights up to a constant (k,), any numbers, instead of them.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> mixture = jm.Mixture(jnp.array([0.5, 0.5]), [jm.Normal(0, 1), jm.Exponential(1)])
        >>> mixture.posterior(jnp.array(-1.0))
        Array([1., 0.], dtype=float32)
    """

    mixing: PyTree
    components: tuple[PyTree, ...]

    def __init__(self, weights=None, components: Many[PyTree] | None = None, *, logits=None):
        self.mixing = _checked("Mixture", weights, components, logits)
        if is_density(components):
            raise TypeError("Mixture takes a list of densities; for a stack, MixtureSameFamily.")
        self.components = tuple(components)  # pyright: ignore[reportArgumentType]
        for k, component in enumerate(self.components):
            as_part(f"Component {k} of Mixture", component)
        if isinstance(self.mixing, Categorical) and self.mixing.size != len(self.components):
            raise ValueError(
                f"{self.mixing.size} weights were given for {len(self.components)} components."
            )

    num_components = property(lambda self: len(self.components))

    def _of_each(self, name):
        return jnp.stack([getattr(c, name) for c in self.components], self.weights.ndim - 1)

    def _over(self, function):
        return jnp.stack([function(component) for component in self.components])

    def _component_call(self, index, function, *args):
        # Every branch is given the key, and one uses it: it goes in as data. Plain functions,
        # since `switch` hashes its branches, and a density's method has no hash.
        *args, key = args
        kind = jax.random.key_impl(key)

        def call(component, data, *args):
            return function(component, *args, jax.random.wrap_key_data(data, impl=kind))

        calls = [functools.partial(call, component) for component in self.components]
        return jax.lax.switch(index, calls, jax.random.key_data(key), *args)

    def split(self, event, field):
        others, parts = zip(*(split(c, event, field) for c in self.components), strict=True)
        others = jnp.stack(others)
        given = outcome_log_probs(self.mixing, others.shape[0]), others
        return weighted_logsumexp(*given), Mixture(from_logs(*given), parts)

    def marginal(self, fields):
        return Mixture(self.mixing, [c.marginal(fields) for c in self.components])

    @classmethod
    def template(cls, components: Many[PyTree]) -> Self:
        """A placeholder with equal weights for a fit."""
        return cls(np.full(len(components), 1 / len(components)), components)


@takes(template=density, k=whole(1))
def mixture_of(template: PyTree, k: int) -> MixtureSameFamily:
    """A template of a mixture of `k` components like `template`, with equal weights.

    Raises:
        ValueError: if `k` is not a positive integer.

    Example:
        >>> import jaxmix as jm
        >>> jm.mixture_of(jm.Normal.template(), 3).components.stack_shape
        (3,)
    """
    check_declared(template)
    return MixtureSameFamily(np.full(k, 1 / k), repeat(template, k))


COVARIANCES = {
    "full": MultivariateNormal,
    "tied": TiedMultivariateNormal,
    "diag": DiagonalNormal,
    "spherical": SphericalNormal,
}


@takes(k=whole(1), dim=whole(1), covariance=named(*COVARIANCES))
def gaussian_mixture(k: int, dim: int, covariance: str = "full") -> MixtureSameFamily:
    """A template of a mixture of `k` normal densities of `dim` coordinates.

    Args:
        k: number of components.
        dim: number of coordinates.
        covariance: "full", "tied" (one full matrix for all), "diag" or "spherical".

    Raises:
        ValueError: for another name of a covariance.

    Example:
        >>> import jaxmix as jm
        >>> jm.gaussian_mixture(3, 2, covariance="tied").components.covariance.shape
        (3, 2, 2)
    """
    return mixture_of(COVARIANCES[covariance].template(dim), k)
