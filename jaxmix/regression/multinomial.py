"""Regression of a label: a softmax of linear predictors."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._log_sums import logsumexp, softmax
from ..families._entrances import store
from ..families._support import whole
from ..families.categorical import Categorical
from .generalised import GeneralisedLinear, Local


class MultinomialRegression(GeneralisedLinear):
    """Distribution of a label whose log-odds against label 0 are linear in covariates, in nats.

    p(y = c | x) is the softmax of eta, with eta_0 = 0 and eta_c = intercept[c - 1]
    + <coefficients[c - 1], x>. An event is a pair (y, x), y in 0, ..., c - 1. An M-step is one
    Newton step. As the label law of a mixture it gates experts: see `Gated`.

    Args:
        coefficients: matrix (c - 1, p), a row for each label but the first.
        intercept: vector (c - 1,).
        offset: whether events carry an offset of all predictors (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> model = jm.MultinomialRegression(jnp.zeros((2, 1)), jnp.zeros(2))
        >>> model.log_prob((jnp.array(2), jnp.array([5.0]))).round(4)
        Array(-1.0986, dtype=float32)
    """

    coefficients: Float[Array, "*stack m p"]
    intercept: Float[Array, "*stack m"]
    offset: bool = eqx.field(static=True)

    def __init__(self, coefficients, intercept, *, offset: bool = False):
        store(self, coefficients=coefficients, intercept=intercept)
        self.offset = offset

    @classmethod
    def template(cls, num_features: int, size: int, *, offset: bool = False) -> Self:
        """A placeholder for a fit, of a label with `size` outcomes."""
        return cls(jnp.zeros((size - 1, num_features)), jnp.zeros(size - 1), offset=offset)

    size = property(lambda self: self.intercept.shape[-1] + 1)
    responses = property(lambda self: whole(0, self.size - 1))

    def law(self, eta, shapes) -> Categorical:
        return Categorical(logits=_with_reference(eta))

    def local_log_prob(self, y, eta, shapes):
        every = _with_reference(eta)
        # Selected and not indexed: under `vmap` the gradient of an index is a scatter.
        hot = y == jnp.arange(self.size, dtype=y.dtype)
        own = jnp.sum(jnp.where(hot, every, jnp.zeros_like(every)))
        return own - logsumexp(every)

    def _derivatives(self, y, eta, shapes):
        # Of a label foretold by 100 nats they have all their digits: 1 - p is the sum of the others.
        probs = softmax(_with_reference(eta))
        own = jnp.eye(self.size, dtype=bool)
        rest = jnp.sum(jnp.where(own, jnp.zeros_like(probs)[None], probs[None]), -1)
        score = jnp.where(y == jnp.arange(self.size, dtype=y.dtype), rest, -probs)
        information = jnp.where(own, (probs * rest)[None], -probs[:, None] * probs[None])
        return Local(score[1:], information[1:, 1:], shapes, shapes)


def _with_reference(eta: Array) -> Array:
    return jnp.concatenate([jnp.zeros((1,), eta.dtype), eta])
