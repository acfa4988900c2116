"""Objectives with a fixed number of draws a datum."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._closures import arrays_held, in_one_program
from .._sharding import aligned, on_its_mesh
from ._combine import Combined, Term, combine
from ._draws import Objective, attach, checked_guide, checked_rows, log_weight, stopped, surrogate
from ._rules import check_rules, coefficients


@dataclass(frozen=True)
class FixedObjective(Objective):
    """A configured objective: hashable, and a function (key, model, guide, xs) -> values (N,).

    `terms` combine the log-weights into the value; `bound` is what the guide follows;
    `direction` says what the expectation is to log p(x): "lower", "upper" or "estimate".
    """

    name: str
    num_samples: int
    terms: tuple[Term, ...]
    bound: tuple[Term, ...]
    direction: str = "lower"
    model_gradient: str = "value"
    guide_gradient: str = "dreg"

    def __post_init__(self):
        if not isinstance(self.num_samples, int) or self.num_samples < 1:
            raise ValueError(
                f"{self.name} needs a positive whole number of samples; it was given "
                f"{self.num_samples!r}."
            )
        check_rules(self.model_gradient, self.guide_gradient)
        if self.guide_gradient == "score" and self.num_samples < 2:
            raise ValueError(
                "guide_gradient='score' takes its baseline from the other draws: it needs "
                "num_samples of at least 2."
            )

    @property
    def expected_cost(self) -> float:
        """Mean number of draws a datum."""
        return float(self.num_samples)

    def evaluate(self, key, model, guide, xs):
        run = lambda xs, key: in_one_program(self._rows, (model, guide), key, xs)
        values, largest = on_its_mesh(run, xs, key, held=arrays_held((model, guide)))
        return values, jnp.full(values.shape, self.num_samples), largest

    def _rows(self, model, guide, key, xs):
        keys, xs = aligned((jax.random.split(key, checked_rows(xs)), xs))
        return jax.vmap(lambda k, x: self._row(k, model, guide, x))(keys, xs)

    def combine(self, log_w: Float[Array, " K"]) -> Combined:
        """The value and its coefficients from log-weights that are already there."""
        return combine(log_w, self.terms)

    @property
    def _is_plain(self) -> bool:
        """Whether the gradient is the value's own derivative, which has derivatives itself."""
        rules = (self.guide_gradient, self.model_gradient)
        return rules == ("reparametrised", "value") and self.terms == self.bound

    def _row(self, key, model, guide, x):
        q = checked_guide(guide, x, self.guide_gradient)
        zs = jax.vmap(q.sample)(jax.random.split(key, self.num_samples))
        if self._is_plain:
            log_w = jax.vmap(lambda z: log_weight(model, q, z, x))(zs)
            plain = combine(log_w, self.terms)
            return plain.value, jax.lax.stop_gradient(plain.largest)
        frozen_model, frozen_q = stopped(model), stopped(q)
        log_w = jax.vmap(lambda z: log_weight(frozen_model, frozen_q, z, x))(stopped(zs))
        value = combine(jax.lax.stop_gradient(log_w), self.terms)
        given = coefficients(log_w, value, self.bound, self.model_gradient, self.guide_gradient)
        if self.direction == "upper" and self.guide_gradient == "wake":
            given = given._replace(density=-given.density)  # minimised: descending is ascending
        carried = jax.vmap(lambda z, c: surrogate(model, q, z, x, c, self.guide_gradient))(
            zs, given
        )
        return attach(value.value, jnp.sum(carried)), value.largest
