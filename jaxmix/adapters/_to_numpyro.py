"""Our densities as numpyro distributions."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from numpyro.distributions import Distribution, constraints

from .._density import as_part
from .._hooks import SaysDomain
from .._stack import over_stack, pick
from ..data.structure import domain_of, structure
from ..families import Categorical, VonMisesFisher, Wishart


def support_of(density: Any, event: jax.ShapeDtypeStruct) -> Any:
    """numpyro's constraint for where the events of one density live.

    Raises:
        ValueError: for what numpyro has no name for.
    """
    of = structure(density)
    if isinstance(of, Categorical):
        return constraints.integer_interval(0, of.size - 1)
    if isinstance(of, VonMisesFisher):
        return constraints.sphere
    if isinstance(of, Wishart):
        return constraints.positive_definite
    domain = domain_of(of)
    low, high = domain.low, domain.high
    unsaid = not isinstance(of, SaysDomain) and not jnp.issubdtype(event.dtype, jnp.inexact)
    if domain.total is not None and not domain.whole:
        return constraints.simplex
    if unsaid and event.dtype == bool:
        numbers = constraints.boolean
    elif domain.whole and domain.total is None and high == jnp.inf:
        numbers = constraints.integer_greater_than(int(low))
    elif domain.whole and domain.total is None:
        numbers = constraints.integer_interval(int(low), int(high))
    elif low == -jnp.inf and high == jnp.inf and not unsaid:
        numbers = constraints.real
    elif domain.total is None and high == jnp.inf:
        numbers = constraints.greater_than(low)
    elif domain.total is None and low > -jnp.inf:
        numbers = constraints.interval(low, high)
    else:
        what = f"events of a {type(of).__name__}" if unsaid else domain.words
        raise ValueError(
            f"numpyro has no support for {what}: give one, as in to_numpyro(density, "
            "support=numpyro.distributions.constraints.real_vector)."
        )
    rank = len(event.shape)
    return constraints.independent(numbers, rank) if rank else numbers


def stack_of(density: PyTree) -> tuple[int, ...]:
    return tuple(getattr(density, "stack_shape", ()))


class FromJaxmix(Distribution):
    """A density of this package as a numpyro distribution; `to_numpyro` makes it."""

    pytree_data_fields = ("density", "_support")
    arg_constraints: dict = {}  # noqa: RUF012 (numpyro's own form)

    def __init__(self, density: PyTree, support: Any, event_shape: tuple[int, ...]):
        self.density, self._support = density, support
        super().__init__(stack_of(density), event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self):
        return self._support

    @property
    def has_rsample(self) -> bool:
        return bool(getattr(self.density, "reparametrised", False))

    @property
    def mean(self):
        return self.density.mean

    @property
    def variance(self):
        covariance = getattr(self.density, "covariance", None) if self.event_shape else None
        if covariance is None:
            return self.density.variance
        return jnp.diagonal(covariance, axis1=-2, axis2=-1)

    def sample(self, key: Any, sample_shape=()):
        shape = (*sample_shape, *self.batch_shape)
        # NumPyro's own programs hand raw key data on.
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        key = key if typed else jax.random.wrap_key_data(key)
        keys = jax.random.split(key, shape) if shape else key
        draw = self._over_batch(lambda density, key: density.sample(key))
        for _ in sample_shape:
            draw = jax.vmap(draw)
        return draw(keys)

    def log_prob(self, value):
        value = jnp.asarray(value)
        leading = value.shape[: value.ndim - len(self.event_shape)]
        shape = jnp.broadcast_shapes(leading, self.batch_shape)
        of_one = self._over_batch(lambda density, x: density.log_prob(x))
        for _ in range(len(shape) - len(self.batch_shape)):
            of_one = jax.vmap(of_one)
        return of_one(jnp.broadcast_to(value, (*shape, *self.event_shape)))

    def _over_batch(self, function):
        """A function of a density and its event, over the axes of the stack."""
        for _ in self.batch_shape:
            function = functools.partial(over_stack, function)
        return functools.partial(function, self.density)


def adapt(density: PyTree, support: Any = None) -> FromJaxmix:
    one = as_part("What to_numpyro is given", density)
    for _ in stack_of(density):
        one = eqx.filter_eval_shape(pick, one, 0)
    event = eqx.filter_eval_shape(lambda d, key: d.sample(key), one, jax.random.key(0))
    if not isinstance(event, jax.ShapeDtypeStruct):
        raise ValueError(
            f"A numpyro distribution is of one array; an event of this {type(density).__name__} is a "
            'record. Use numpyro.factor("name", density.log_prob(x)) instead.'
        )
    if support is None:
        support = support_of(one, event)
    return FromJaxmix(density, support, event.shape)
