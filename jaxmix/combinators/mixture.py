"""Mixtures: of any list of densities, or of a stack of one family."""

import abc
import functools
from collections.abc import Sequence as Many
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import LogDensity, is_density, stack_size
from .._numerics import logsumexp
from .._stack import over_stack, pick, repeat
from ..families.categorical import Categorical
from ._conditioning import filled, from_log, typical


def _as_mixing(weights) -> PyTree:
    return weights if is_density(weights) else Categorical(weights)


class AbstractMixture(LogDensity):
    """Mixtures differ in how they hold their components; the rest is here.

    The weights are a `Categorical` child, so that freezing, tying and priors apply to them as
    to any other part.
    """

    mixing: eqx.AbstractVar[PyTree]

    @property
    @abc.abstractmethod
    def num_components(self) -> int:
        """How many components there are."""

    @abc.abstractmethod
    def component_log_probs(self, x: PyTree) -> Float[Array, " k"]:
        """Log-density of one event under each component."""

    @property
    def weights(self) -> Float[Array, "*stack k"]:
        return self.mixing.probs

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return getattr(self.mixing, "stack_shape", ())

    def joint_log_probs(self, x: PyTree) -> Float[Array, " k"]:
        """Log weights[k] + log p_k(x), in nats."""
        under = self.component_log_probs(x)
        return jax.vmap(self.mixing.log_prob)(jnp.arange(under.shape[0])) + under

    def log_prob(self, x: PyTree) -> Scalar:
        return logsumexp(self.joint_log_probs(x))

    def posterior(self, x: PyTree) -> Float[Array, " k"]:
        """Probability of each component given one event."""
        joint = self.joint_log_probs(x)
        return jnp.exp(joint - logsumexp(joint))

    @abc.abstractmethod
    def split(self, event: PyTree, field) -> tuple[Scalar, PyTree]:
        """Log-density of an event's other fields, and the density of this one given them."""

    @abc.abstractmethod
    def marginal(self, fields) -> PyTree:
        """The density of some fields of a record, or of the one field named."""

    def conditional(self, event: PyTree, field) -> PyTree:
        """The density of one field of a record given all that was observed of the others.

        Where this field is missing and its missingness is modelled, that is given too. The
        field's `Optional` is stripped: it is the density of the value. Its mean is the sum over
        components of their posterior probability times their mean.

        Args:
            event: a record; what it holds in `field` is not used, but for its being missing.
            field: position of the field in a tuple, or its name in a dict.

        Example:
            >>> import jax, jaxmix as jm, jax.numpy as jnp
            >>> record = lambda m: jm.Composite((jm.Normal(m, 1), jm.Normal(m, 1)))
            >>> pair = jm.Mixture(jnp.array([0.5, 0.5]), [record(-9), record(9)])
            >>> pair.conditional((jnp.array(8.0), jnp.array(0.0)), 1).mean
            Array(9., dtype=float32)
        """
        return self.split(event, field)[1]

    def impute(self, event: PyTree, key: Key[Array, ""] | None = None) -> PyTree:
        """A record with its missing fields filled in, and its Optionals stripped.

        Without a key by the conditional mean (for labels the most probable one); with one by a
        joint draw given all that was observed.
        """
        if key is None:
            return filled(event, lambda name: typical(self.conditional(event, name)))
        k_which, k_event = jax.random.split(key)
        which = jax.random.categorical(k_which, self.joint_log_probs(event))
        return self._component_call(which, lambda part, e, k: part.impute(e, k), event, k_event)

    @abc.abstractmethod
    def _component_call(self, index, function, *args) -> PyTree:
        """A function of the component of this index; the last argument is a key."""


class MixtureSameFamily(AbstractMixture):
    """Mixture of a stack of one family: log p(x) = log sum_k weights[k] p_k(x), in nats.

    Args:
        weights: probabilities (k,), or a density over 0, ..., k - 1.
        components: a stack of k densities.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts).posterior(jnp.array(0.0))
        Array([0.5, 0.5], dtype=float32)
    """

    mixing: PyTree
    components: PyTree

    def __init__(self, weights, components):
        self.mixing = _as_mixing(weights)
        self.components = components
        size = stack_size(components, "The components of MixtureSameFamily")
        if isinstance(self.mixing, Categorical) and self.mixing.size != size:
            raise ValueError(f"{self.mixing.size} weights were given for {size} components.")

    @property
    def num_components(self) -> int:
        return self.mixing.size

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    @property
    def mean(self) -> Array:
        means = self.components.mean
        weights = self.weights
        axis = weights.ndim - 1
        return jnp.sum(
            weights.reshape(weights.shape + (1,) * (means.ndim - axis - 1)) * means, axis
        )

    def component_log_probs(self, x):
        return over_stack(lambda component: component.log_prob(x), self.components)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        k_which, k_event = jax.random.split(key)
        return pick(self.components, self.mixing.sample(k_which)).sample(k_event)

    def _component_call(self, index, function, *args):
        return function(pick(self.components, index), *args)

    def split(self, event, field):
        others, parts = over_stack(lambda c: c.split(event, field), self.components)
        joint = jax.vmap(self.mixing.log_prob)(jnp.arange(others.shape[0])) + others
        return logsumexp(joint), MixtureSameFamily(from_log(joint), parts)

    def marginal(self, fields):
        return MixtureSameFamily(self.mixing, self.components.marginal(fields))


class Mixture(AbstractMixture):
    """Mixture of any densities of one event: log p(x) = log sum_k weights[k] p_k(x), in nats.

    Args:
        weights: probabilities (k,), or a density over 0, ..., k - 1.
        components: a list of k densities, of any families.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> mixture = jm.Mixture(jnp.array([0.5, 0.5]), [jm.Normal(0, 1), jm.Exponential(1)])
        >>> mixture.posterior(jnp.array(-1.0))
        Array([1., 0.], dtype=float32)
    """

    mixing: PyTree
    components: tuple[PyTree, ...]

    def __init__(self, weights, components: Many[PyTree]):
        self.mixing = _as_mixing(weights)
        self.components = tuple(components)
        for k, component in enumerate(self.components):
            if not is_density(component):
                raise ValueError(
                    f"Component {k} of Mixture must be a density, with a method log_prob; "
                    f"it is a {type(component).__name__}."
                )
        if isinstance(self.mixing, Categorical) and self.mixing.size != len(self.components):
            raise ValueError(
                f"{self.mixing.size} weights were given for {len(self.components)} components."
            )

    @property
    def num_components(self) -> int:
        return len(self.components)

    @property
    def mean(self) -> Array:
        means = [component.mean for component in self.components]
        return sum(  # pyright: ignore[reportReturnType]
            (self.weights[..., k] * mean for k, mean in enumerate(means[1:], 1)),
            self.weights[..., 0] * means[0],
        )

    def component_log_probs(self, x):
        return jnp.stack([component.log_prob(x) for component in self.components])

    def sample(self, key: Key[Array, ""]) -> PyTree:
        k_which, k_event = jax.random.split(key)
        which = self.mixing.sample(k_which)
        return self._component_call(which, lambda component, key: component.sample(key), k_event)

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
        others, parts = zip(*(c.split(event, field) for c in self.components), strict=True)
        others = jnp.stack(others)
        joint = jax.vmap(self.mixing.log_prob)(jnp.arange(others.shape[0])) + others
        return logsumexp(joint), Mixture(from_log(joint), parts)

    def marginal(self, fields):
        return Mixture(self.mixing, [c.marginal(fields) for c in self.components])

    @classmethod
    def template(cls, components: Many[PyTree]) -> Self:
        """A placeholder with equal weights for a fit."""
        return cls(np.full(len(components), 1 / len(components)), components)


def mixture_of(template: PyTree, k: int) -> MixtureSameFamily:
    """A template of a mixture of `k` components like `template`, with equal weights.

    Raises:
        ValueError: if `k` is not a positive integer.

    Example:
        >>> import jaxmix as jm
        >>> jm.mixture_of(jm.Normal.template(), 3).components.stack_shape
        (3,)
    """
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"A mixture has a positive whole number of components; k was {k!r}.")
    return MixtureSameFamily(np.full(k, 1 / k), repeat(template, k))
