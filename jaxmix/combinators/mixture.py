"""Mixtures: of any list of densities, or of a stack of one family."""

import abc
import functools
from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._arguments import density, takes
from .._density import as_part, check_parts, is_density, stack_size
from .._exponential import check_declared
from .._numerics import weighted_logsumexp, weighted_softmax
from .._stack import outcome_log_probs, over_stack, pick, repeat
from .._trees import spread
from ..families.categorical import Categorical
from ._conditioning import check_one_event, filled, observed, split, typical
from ._labels import HiddenLabel, as_law, entered, from_logs


def _checked(owner: str, weights, components, logits) -> PyTree:
    """The law of the labels; or a sentence for arguments that are swapped or forgotten."""
    if is_density(components) or isinstance(components, list | tuple):
        return as_law(*entered(owner, "weights and logits", weights, logits))
    if any(map(is_density, weights if isinstance(weights, list | tuple) else [weights])):
        raise TypeError(f"{owner} takes the weights first, then the components; they are swapped.")
    raise TypeError(
        f"{owner} takes weights (or logits) and `components`; the components given are a "
        f"{type(components).__name__}, which is no density."
    )


class AbstractMixture(HiddenLabel):
    """Mixtures differ in how they hold their components; the rest is here.

    The weights are a `Categorical` child, so that freezing, tying and priors apply to them as
    to any other part.
    """

    mixing: eqx.AbstractVar[PyTree]

    @property
    @abc.abstractmethod
    def num_components(self) -> int:
        """How many components there are."""

    @property
    def weights(self) -> Float[Array, "*stack k"]:
        return self.mixing.probs

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return getattr(self.mixing, "stack_shape", ())

    @abc.abstractmethod
    def _over(self, function: Callable) -> PyTree:
        """A function of each component, its values stacked."""

    def _of_each(self, name: str) -> Array:
        """What each component says of itself, behind the axes of the mixture's own stack."""
        raise NotImplementedError

    @property
    def mean(self) -> Array:
        return self._averaged(self._of_each("mean"))

    @property
    def _away(self) -> Array:
        """The means of the components less that of all."""
        return self._of_each("mean") - jnp.expand_dims(self.mean, self.weights.ndim - 1)

    @property
    def variance(self) -> Array:
        """The mean variance of the components, and the variance of their means."""
        return self._averaged(self._of_each("variance") + self._away**2)

    @property
    def covariance(self) -> Float[Array, "*stack d d"]:
        """Of vectors: the mean covariance of the components, and that of their means."""
        outer = self._away[..., :, None] * self._away[..., None, :]
        return self._averaged(self._of_each("covariance") + outer)

    def _averaged(self, values: Array) -> Array:
        """The mean over the components, whose axis is the last of the stack."""
        return jnp.sum(spread(self.weights, values.ndim) * values, self.weights.ndim - 1)

    def _log_weights(self) -> Float[Array, " k"]:
        return outcome_log_probs(self.mixing, self.num_components)

    def component_log_probs(self, x: PyTree) -> Float[Array, " k"]:
        """Log-density of one event under each component."""
        return self._over(lambda component: component.log_prob(x))

    def log_parts(self, x: PyTree) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        under = self.component_log_probs(x)
        return outcome_log_probs(self.mixing, under.shape[0]), under

    def log_cdf(self, x: Scalar) -> Scalar:
        under = self._over(lambda component: component.log_cdf(x))
        return weighted_logsumexp(self._log_weights(), under)

    def observed_log_prob(self, event: PyTree) -> Scalar:
        """Log-density of what is observed of an event, a vector with NaN among them."""
        under = self._over(lambda component: observed(component, event))
        return weighted_logsumexp(self._log_weights(), under)

    def check_rows(self, rows: PyTree) -> None:
        components = self.components  # pyright: ignore[reportAttributeAccessIssue]
        alone = components if isinstance(components, tuple) else (components,)
        check_parts([(component, rows) for component in alone])

    @abc.abstractmethod
    def split(self, event: PyTree, field) -> tuple[Scalar, PyTree]:
        """Log-density of an event's other fields, and the density of this one given them."""

    @abc.abstractmethod
    def marginal(self, fields) -> PyTree:
        """The density of some fields of a record, or of the one field named."""

    def conditional(self, event: PyTree, field) -> PyTree:
        """The density of one field of a record, or of a vector, given what is seen of the others.

        Where this field is missing and its missingness is modelled, that is given too. The
        field's `Optional` is stripped: it is the density of the value. Its mean is the sum over
        components of their posterior probability times their mean.

        Args:
            event: a record, or a vector (d,) in which NaN is missing; what it holds in `field` is
                not used, but for its being missing.
            field: position of the field in a tuple, or its name in a dict; coordinates of a
                vector, one (its density is of a number) or a list (of a vector).

        Example:
            >>> import jax, jaxmix as jm, jax.numpy as jnp
            >>> record = lambda m: jm.Composite((jm.Normal(m, 1), jm.Normal(m, 1)))
            >>> pair = jm.Mixture(jnp.array([0.5, 0.5]), [record(-9), record(9)])
            >>> pair.conditional((jnp.array(8.0), jnp.array(0.0)), 1).mean
            Array(9., dtype=float32)
        """
        check_one_event(self, event)
        return self.split(event, field)[1]

    def impute(self, event: PyTree, key: Key[Array, ""] | None = None) -> PyTree:
        """A record with its missing fields filled in, and its Optionals stripped; or a vector.

        Without a key by the conditional mean (for labels the most probable one); with one by a
        joint draw given all that was observed.
        """
        check_one_event(self, event)
        vector = not isinstance(event, tuple | list | dict)
        if key is None and not vector:
            return filled(event, lambda name: typical(self.split(event, name)[1]))
        under = self._over(lambda component: observed(component, event))
        log_weights = self._log_weights()
        if key is None:
            means = self._over(lambda component: component.impute(event))
            share = weighted_softmax(log_weights, under)
            mean = jnp.sum(share[:, None] * means, 0)
            return jnp.where(jnp.isnan(event), mean, event)
        k_which, k_event = jax.random.split(key)
        which = jax.random.categorical(k_which, from_logs(log_weights, under).logits)
        return self._component_call(which, lambda part, e, k: part.impute(e, k), event, k_event)

    @abc.abstractmethod
    def _component_call(self, index, function, *args) -> PyTree:
        """A function of the component of this index; the last argument is a key."""


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

    @property
    def num_components(self) -> int:
        return self.mixing.size

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    def _of_each(self, name):
        return getattr(self.components, name)

    def _over(self, function):
        return over_stack(function, self.components)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        k_which, k_event = jax.random.split(key)
        return pick(self.components, self.mixing.sample(k_which)).sample(k_event)

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

    @property
    def num_components(self) -> int:
        return len(self.components)

    def _of_each(self, name):
        return jnp.stack([getattr(c, name) for c in self.components], self.weights.ndim - 1)

    def _over(self, function):
        return jnp.stack([function(component) for component in self.components])

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


@takes(template=density)
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
    check_declared(template)
    return MixtureSameFamily(np.full(k, 1 / k), repeat(template, k))
