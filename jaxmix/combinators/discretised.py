"""Numbers recorded to a multiple of a step, and numbers in another unit than their density's."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .._arguments import real
from .._density import LogDensity, as_part, one_event
from .._log_sums import logsumexp
from ..families._entrances import of_field
from ..families._support import Domain
from .hurdle import domain_of_value


def _positive(name: str, value: Any, inner: PyTree) -> float:
    as_part("The value", inner)
    return float(real(0)(value, name))


class Discretised(LogDensity):
    """Log-probability of a number rounded to a multiple of `step`, in nats.

    The mass q(x - step/2 < X < x + step/2) of a continuous density q, whose ends are cut at those
    of its support. Ties cost what they should: the probability of a recorded value is at most 1,
    however narrow q is, so that no component collapses onto a value that many rows share. The
    interval is cut into cells, over each of which the mean of log q at Gauss's two nodes stands
    for the logarithm of its mean: by Jensen's inequality a normal's mass is never overstated, and
    understated by (step / (cells scale))^2 / 24 nats a datum in the mean; a fit loses at most 0.18.

    Args:
        value: a continuous density of what was rounded.
        step: the last digit, a positive number (static), such as 0.1.
        cells: of each interval (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Discretised(jm.Normal(0, 2), step=1.0).log_prob(jnp.array(0.0)).round(2)
        Array(-1.62, dtype=float32)
    """

    value: PyTree
    step: float = eqx.field(static=True)
    cells: int = eqx.field(static=True)
    # Of the support: EM puts in the value's place what does not know its own.
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def __init__(self, value, step: float, cells: int = 2):
        self.value, self.step = value, _positive("step", step, value)
        self.cells = int(_positive("cells", cells, value))
        self.low, self.high = domain_of_value(value).low, domain_of_value(value).high
        if domain_of_value(value).whole:
            raise ValueError(f"{type(value).__name__} is of whole numbers: nothing was rounded.")

    @property
    def domain(self) -> Domain:
        # An end of the support itself is a value that rounds to it.
        return domain_of_value(self.value)._replace(open=False)

    mean = of_field("value", "mean")

    @property
    def variance(self) -> Array:
        return self.value.variance + self.step**2 / 12  # Sheppard's correction

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        low = jnp.maximum(x - 0.5 * self.step, self.low)
        width = (jnp.minimum(x + 0.5 * self.step, self.high) - low) / self.cells
        inside = width > 0
        low, width = (jnp.where(inside, a, jnp.ones_like(a)) for a in (low, width))

        def cell(i):
            nodes = [low + (i + 0.5 + side * 12**-0.5) * width for side in (-1, 1)]
            return 0.5 * (self.value.log_prob(nodes[0]) + self.value.log_prob(nodes[1]))

        mass = logsumexp(jnp.stack([cell(i) for i in range(self.cells)])) + jnp.log(width)
        return jnp.where(inside, mass, jnp.where(jnp.isnan(x), x, -jnp.inf))

    def cdf(self, x: Scalar) -> Scalar:
        """Probability that the rounded number is at most x: that of all which rounds to no more."""
        place = x / self.step
        near = jnp.round(place)
        hit = jnp.abs(near - place) <= 4 * jnp.finfo(x.dtype).eps * jnp.abs(place)
        last = jnp.where(hit, near, jnp.floor(place))
        below = self.value.cdf(jnp.clip((last + 0.5) * self.step, self.low, self.high))
        return jnp.where((last + 0.5) * self.step > self.low, below, jnp.zeros_like(below))

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return jnp.round(self.value.sample(key) / self.step) * self.step


class Scaled(LogDensity):
    """Density of a number in another unit: log p(x) = log q(x / unit) - log(unit), in nats.

    A percentage under a `Beta` (unit 100), an angle in degrees under a `VonMises` (180 / pi).

    Args:
        value: density of x / unit.
        unit: a positive number (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Scaled(jm.Beta(1, 1), unit=100.0).log_prob(jnp.array(50.0)).round(4)
        Array(-4.6052, dtype=float32)
    """

    value: PyTree
    unit: float = eqx.field(static=True)

    def __init__(self, value, unit: float):
        self.value, self.unit = value, _positive("unit", unit, value)

    @property
    def domain(self) -> Domain:
        inner, unit = domain_of_value(self.value), self.unit
        low, high = inner.low * unit, inner.high * unit
        return inner._replace(low=low, high=high, words=f"a number between {low:g} and {high:g}")

    mean = property(lambda self: self.unit * self.value.mean)
    variance = property(lambda self: self.unit**2 * self.value.variance)

    def log_prob(self, x) -> Scalar:
        value = self.value.log_prob(one_event(x, (), self) / self.unit)
        return value - jnp.log(jnp.asarray(self.unit, value.dtype))

    def cdf(self, x: Scalar) -> Scalar:
        return self.value.cdf(x / self.unit)

    def log_cdf(self, x: Scalar) -> Scalar:
        return self.value.log_cdf(x / self.unit)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return self.unit * self.value.sample(key)
