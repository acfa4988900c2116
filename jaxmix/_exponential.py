"""Exponential families: what is derived from statistics and natural parameters."""

import abc
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree, Scalar

from ._density import one_event
from ._newton import newton_maximum
from ._numerics import times, tree_vdot
from ._refittable import Refittable
from ._refuse import headed
from ._trees import by_shapes


class ExponentialFamily(Refittable):
    """log p(x) = <natural(origin), stats(x, origin)> + log_base(x), natural headed by -A, in nats.

    A family of one's own states, with `ranks` (of which parameters, what rank each has):

    - `stats(x, origin)`: T(x) of ONE event, a NamedTuple headed by `count`, which is 1. Where two
      or three sums suffice, `jm.Total` (count, total) and `jm.Moments` (count, first, second) serve.
    - `natural(origin)`: what multiplies each statistic; minus the log-normaliser multiplies `count`.
    - `log_base(x)`: what is left of log p(x), -inf off the support; if it is not stated, 0 in the
      `domain`. `on_support(x)` gives a number to compute with, and 0 or -inf to add.
    - `from_stats(stats, origin)`: the density of maximum likelihood for summed statistics. Newton's
      ascent in the parameters if it is not stated.
    - `sample(key)`: one event, or not at all.

    `natural` and `from_stats` are of a stack, too: write them for any leading axes. All else is
    derived; a family overrides `log_prob` where another order of operations keeps more digits,
    `num_parameters` where not all of its parameters are free, `about` and `recentre` where residuals
    do (a method that is given no `origin` has the family's own), and states `width_in`, `width` and
    `width_of` where its likelihood has no bound. `domain = jm.Domain(...)` says in words and numbers
    where events lie, for the check of the data before a fit.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> class Rayleigh(jm.ExponentialFamily):
        ...     log_square: jax.Array  # log p(x) = log x - log s - x^2 / (2 s), s = exp(log_square)
        ...     ranks = {"log_square": 0}
        ...     domain = jm.Domain("a positive number", low=0.0, open=True)
        ...
        ...     def stats(self, x, origin=None):
        ...         value, _ = self.on_support(x)
        ...         return jm.Total(jnp.ones_like(value), value**2)
        ...
        ...     def natural(self, origin=None):
        ...         return jm.Total(-self.log_square, -0.5 * jnp.exp(-self.log_square))
        ...
        ...     def log_base(self, x):
        ...         value, base = self.on_support(x)
        ...         return base + jnp.log(value)
        ...
        ...     def from_stats(self, stats, origin=None):
        ...         return Rayleigh(jnp.log(stats.total / (2 * stats.count)))
        >>> start = jm.mixture_of(Rayleigh(jnp.zeros(())), 2)
        >>> model = jm.em.solve(jm.em.init(jax.random.key(0), start, x := jnp.array([1.0, 2.0])), x)
        >>> model.components.stack_shape, start.components.num_parameters
        ((2,), 1)
    """

    @abc.abstractmethod
    def natural(self, origin: Any = None) -> Any:
        """Natural parameters, shaped like `stats`, headed by minus the log-normaliser."""

    def log_normaliser(self, natural: Any, origin: Any = None) -> Scalar:
        """Log of the integral of exp <natural, stats(x, origin)> under the base measure.

        The head of `natural` is not read, so that no density of these natural parameters need
        exist yet; inf outside their space. Convex in them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say its log_normaliser.")

    def mean_stats(self, origin: Any = None) -> Any:
        """Expected statistics of one event under the density itself, headed by 1.

        The gradient of the log-normaliser, which is right for natural parameters that are more
        than the family needs (log-probabilities) too.
        """
        natural = self.natural(origin)
        total = lambda natural: jnp.sum(self.log_normaliser(natural, origin))
        return jax.grad(total)(natural)._replace(count=jnp.ones_like(natural.count))

    def zero_stats(self) -> Any:
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), _natural_shapes(self))

    def log_base(self, x: PyTree) -> Scalar:
        """Logarithm of the base measure: -inf off the support, where `domain` is one of numbers."""
        if (domain := getattr(self, "domain", None)) is not None and domain.dim is None:
            return self.on_support(x)[1]
        return jnp.zeros((), jnp.result_type(*jax.tree.leaves(self)))

    def log_prob(self, x: PyTree) -> Scalar:
        if getattr(self, "domain", None) is not None:
            x = one_event(x, self._event_shape, self)
        origin = self.origin
        natural = headed(self, "natural", self.natural(origin))
        return tree_vdot(natural, headed(self, "stats", self.stats(x, origin))) + self.log_base(x)

    def expected_log_prob(self, stats: Any, origin: Any = None) -> Scalar:
        natural = self.natural(origin)
        if not self.zero_is_valid:
            return tree_vdot(natural, stats)
        return sum(map(jnp.sum, jax.tree.leaves(jax.tree.map(times, stats, natural))))  # pyright: ignore[reportReturnType]

    def from_stats(self, stats: Any, origin: Any = None) -> Self:
        """The maximum-likelihood density for summed statistics, by a damped Newton ascent.

        In the arrays that `ranks` declares, which are free: write it where there is a closed form.
        """

        def one(density, stats, origin):
            start, build = ravel_pytree(density)
            mean = jax.tree.map(lambda s: s / stats.count, stats)
            value = lambda theta, given: build(theta).expected_log_prob(*given)
            return build(newton_maximum(value, start, (mean, origin)))

        for _ in self.stack_shape:
            one = jax.vmap(one)
        return one(self, stats, origin)


@by_shapes
def _natural_shapes(family: ExponentialFamily) -> Any:
    natural = lambda family: headed(family, "natural", family.natural(family.origin))
    return jax.eval_shape(natural, family)
