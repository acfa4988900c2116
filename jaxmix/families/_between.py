"""What the normal densities that are cut at two ends share: cut off, or recorded at the ends."""

from typing import Self

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ._entrances import exp_of, store
from ._moments import OfMoments
from ._support import Domain


class NormalBetween(OfMoments):
    """A location and a scale, and two ends (static), of which either may be infinite."""

    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    scale = exp_of("log_scale")

    def __init__(
        self, loc, scale=None, *, log_scale=None, low: float = -np.inf, high: float = np.inf
    ):
        name = type(self).__name__
        if not low < high:
            raise ValueError(f"{name} takes low < high; they were {low} and {high}.")
        self.low, self.high = float(low), float(high)
        store(self, loc=loc, scale=scale, log_scale=log_scale)

    @classmethod
    def template(cls, *, low: float = -np.inf, high: float = np.inf) -> Self:
        """A placeholder for a fit, well inside the interval."""
        return cls(Domain("", low=low, high=high).inner, 1.0, low=low, high=high)

    @property
    def domain(self) -> Domain:
        words = f"a number from {self.low:g} to {self.high:g}"
        return Domain(words, low=self.low, high=self.high)
