"""What mixtures share, however they hold their components."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import check_parts
from .._log_sums import weighted_logsumexp, weighted_softmax
from .._stack import outcome_log_probs
from .._trees import spread
from ..families._entrances import stated
from ._conditioning import check_one_event, filled, observed, typical
from ._labels import HiddenLabel, from_logs


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

    weights = stated(lambda self: self.mixing.probs, "k")
    stack_shape = property(lambda self: getattr(self.mixing, "stack_shape", ()))

    @abc.abstractmethod
    def _over(self, function: Callable) -> PyTree:
        """A function of each component, its values stacked."""

    def _of_each(self, name: str) -> Array:
        """What each component says of itself, behind the axes of the mixture's own stack."""
        raise NotImplementedError

    mean = property(lambda self: self._averaged(self._of_each("mean")))

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

    def sample(self, key: Key[Array, ""]) -> PyTree:
        k_which, k_event = jax.random.split(key)
        draw = lambda component, key: component.sample(key)
        return self._component_call(self.mixing.sample(k_which), draw, k_event)

    @abc.abstractmethod
    def _component_call(self, index, function, *args) -> PyTree:
        """A function of the component of this index; the last argument is a key."""
