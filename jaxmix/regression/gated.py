"""Mixtures whose weights depend on covariates: mixtures of experts, concomitant variables."""

from collections.abc import Sequence as Many
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from .._density import check_parts, stack_size
from .._hooks import ChecksRows
from .._log_sums import weighted_logsumexp
from .._stack import over_stack, pick, repeat
from ..combinators._abstract_mixture import AbstractMixture
from ..combinators._conditioning import split
from ..combinators._labels import from_logs
from ..combinators.mixture import MixtureSameFamily
from .lifted import covariates_of, table_of
from .multinomial import MultinomialRegression


class Gated(AbstractMixture):
    """Mixture with weights that depend on covariates, in nats.

    log p(y | x) = log sum_k gate_k(x) p_k(y | x), the gate a softmax regression refitted inside EM
    (Jacobs et al. 1991, doi:10.1162/neco.1991.3.1.79). An event is a pair (y, x), or with `given`
    a record whose fields of these names are the gate's covariates.

    Args:
        gate: a `MultinomialRegression` with as many outcomes as there are components.
        components: a stack of densities.
        given: names of the gate's covariates among a record's fields (static); None for pairs.
        experts: whether the components see the covariates too (static): regressions do; with
            False they are densities of y alone, or of the record without the fields in `given`
            (concomitant variables, as in poLCA).

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> gate = jm.MultinomialRegression(jnp.array([[2.0]]), jnp.zeros(1))
        >>> model = jm.Gated(gate, parts, experts=False)
        >>> model.posterior((jnp.array(0.0), jnp.array([0.0]))).tolist()
        [0.5, 0.5]
    """

    mixing: PyTree
    components: PyTree
    given: tuple[str, ...] | None = eqx.field(static=True)
    experts: bool = eqx.field(static=True)

    def __init__(self, gate, components, *, given: Many[str] | None = None, experts: bool = True):
        size = stack_size(components, "The components of Gated")
        if isinstance(gate, MultinomialRegression) and gate.size != size:
            raise ValueError(f"A gate of {gate.size} outcomes was given for {size} components.")
        self.mixing, self.components, self.experts = gate, components, experts
        self.given = None if given is None else tuple(given)

    @classmethod
    def template(
        cls, component, k: int, num_features: int | None = None, *,
        given: Many[str] | None = None, experts: bool = True,
    ) -> Self:  # fmt: skip
        """A placeholder for a fit: k components like this one, and a gate of equal weights.

        `num_features` counts the gate's covariates; None for one a name in `given`.
        """
        features = len(given or ()) if num_features is None else num_features
        gate = MultinomialRegression.template(features, k)
        return cls(gate, repeat(component, k), given=given, experts=experts)

    num_components = property(lambda self: stack_size(self.components, "The components of Gated"))

    @property
    def weights(self) -> Float[Array, "*stack k"]:
        raise AttributeError("The weights of Gated depend on covariates: call weights_given(x).")

    def weights_given(self, x: Float[Array, " p"]) -> Float[Array, " k"]:
        """Probability of each component given the gate's covariates alone."""
        return self.mixing.given(x).probs

    def _covariates(self, event: PyTree) -> Array:
        return event[1] if self.given is None else covariates_of(event, self.given)

    def _of_components(self, event: PyTree) -> PyTree:
        if self.experts:
            return event
        if self.given is None:
            return event[0]
        return {name: value for name, value in event.items() if name not in self.given}

    def _over(self, function):
        return over_stack(function, self.components)

    def component_log_probs(self, x: PyTree) -> Float[Array, " k"]:
        """Log-density of one event under each component."""
        own = self._of_components(x)
        return self._over(lambda component: component.log_prob(own))

    def _gate(self, x: PyTree, size: int) -> Float[Array, " k"]:
        """Log-probability of each component at an event's covariates."""
        covariates = self._covariates(x)
        return jax.vmap(lambda k: self.mixing.log_prob((k, covariates)))(jnp.arange(size))

    def log_parts(self, x: PyTree) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        under = self.component_log_probs(x)
        return self._gate(x, under.shape[0]), under

    def mixture_given(self, x: PyTree) -> MixtureSameFamily:
        """The mixture of the response's densities given covariates, of components that see them."""
        covariates = self._covariates((None, x)) if self.given is None else self._covariates(x)
        parts = self._over(lambda c: c.given(covariates))
        return MixtureSameFamily(self.mixing.given(covariates), parts)

    def check_rows(self, rows: PyTree) -> None:
        """Refuse rows of covariates that determine one another, of the gate or of the components."""
        if isinstance(self.mixing, ChecksRows):
            if self.given is None:
                self.mixing.check_rows((None, rows[1]))
            else:
                table, names = table_of(rows, self.given)
                self.mixing.check_rows((None, table), names)
        check_parts([(self.components, self._of_components(rows))])

    def split(self, event, field):
        own = self._of_components(event)
        others, parts = self._over(lambda c: split(c, own, field))
        both = self._gate(event, others.shape[0]), others
        return weighted_logsumexp(*both), MixtureSameFamily(from_logs(*both), parts)

    def marginal(self, fields):
        raise ValueError("Gated is a density given covariates: it has no marginal without them.")

    def sample(self, key: Key[Array, ""]) -> PyTree:
        raise NotImplementedError(
            "Gated is a density given covariates: draw from mixture_given(x)."
        )

    def _component_call(self, index, function, *args):
        return function(pick(self.components, index), *args)
