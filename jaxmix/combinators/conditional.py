"""A law of one field for each outcome of another."""

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, check_kind, check_parts, is_pair, one_event, stack_size
from .._stack import over_stack, pick, repeat
from .._trees import take


class Conditional(LogDensity):
    """Density of a pair (outcome, value), the value's law chosen by the outcome, in nats.

    log p(i, y) = log given(i) + log p_i(y); without `given` it is the density of y given i.

    Args:
        laws: a stack of k densities, one for each outcome 0, ..., k - 1.
        given: density of the outcome, or None.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> laws = jax.vmap(jm.Poisson)(jnp.array([1.0, 5.0]))
        >>> jm.Conditional(laws).log_prob((jnp.array(1), jnp.array(0)))
        Array(-5., dtype=float32)
    """

    laws: PyTree
    given: PyTree

    def __init__(self, laws, given=None):
        stack_size(laws, "The laws of Conditional")
        self.laws, self.given = laws, given

    @classmethod
    def template(cls, law, size: int, given=None) -> Self:
        """A placeholder for a fit, with `size` laws like `law`."""
        return cls(repeat(law, size), given)

    stack_shape = property(lambda self: getattr(self.laws, "stack_shape", ())[:-1])

    def check_rows(self, rows: tuple[Array, PyTree]) -> None:
        outcomes, values = rows
        of = lambda k: take(values, np.asarray(outcomes) == k)
        check_parts([(self.laws, of(k)) for k in np.unique(outcomes)])

    def log_prob(self, x: PyTree) -> Scalar:
        check_kind(self, is_pair(x), "a pair (outcome, value)", x)
        outcome, value = x
        outcome = one_event(outcome, (), self)
        under = over_stack(lambda law: law.log_prob(value), self.laws)
        hot = outcome == jnp.arange(under.shape[0])
        # Selected and not indexed: under `vmap` the gradient of an index is a scatter.
        total = jnp.sum(jnp.where(hot, under, jnp.zeros_like(under)))
        total = jnp.where(jnp.any(hot), total, jnp.full_like(total, -jnp.inf))
        return total if self.given is None else total + self.given.log_prob(outcome)

    def sample(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        if self.given is None:
            raise ValueError("To draw from a Conditional, give it a density of the outcome.")
        k_outcome, k_value = jax.random.split(key)
        outcome = self.given.sample(k_outcome)
        return outcome, pick(self.laws, outcome).sample(k_value)
