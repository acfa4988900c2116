"""Laws of the random level or count, with what they cost and whether their variance is finite."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from .._arguments import each_read, optional, real, whole

# The longest row that an untruncated law may draw. With 2^18 draws the bias left is
# chi2 / 2^19 nats, below the rounding of a float32 log-likelihood.
LONGEST_ROW = 1 << 18

OPTIMAL_RATIO = 1 - 2**-1.5


class InfiniteVarianceWarning(UserWarning):
    """The estimator asked for is unbiased, but its variance is infinite."""


@dataclass(frozen=True)
class GeometricLevels:
    """P(K = k) = ratio (1 - ratio)^k for the level K of a multilevel estimate.

    A row of level K takes base_samples 2^(K+1) draws. The mean cost is finite only if ratio is
    above 1/2, the variance only if it is below 3/4 (the squared difference of level k falls as
    4^-k; Shi and Cornish 2021). The least variance x cost is at 1 - 2^(-3/2) = 0.646.

    Args:
        ratio: in (1/2, 3/4); in (0, 1) with `max_level`.
        max_level: the highest level of a truncated law; the bias left is `bias_bound`.

    Raises:
        ValueError: if the law makes the cost or the variance infinite.

    Example:
        >>> import jaxmix as jm
        >>> law = jm.objectives.GeometricLevels(0.6)
        >>> round(law.expected_cost, 4)
        6.0
        >>> print(jm.objectives.GeometricLevels(0.6, max_level=10))
        geometric levels, ratio 0.6, up to 10: 5.57 draws a row in the mean, finite variance,
        bias at most about chi2 / 4096 = 0.00024 chi2 nats
    """

    ratio: float = OPTIMAL_RATIO
    max_level: int | None = None

    def __post_init__(self):
        each_read({"ratio": real(), "max_level": optional(whole(0))}, vars(self))
        if self.max_level is not None:
            real(0, 1)(self.ratio, "ratio of a truncated geometric law")
        elif not 0.5 < self.ratio < 0.75:
            what = (
                "the mean cost is infinite (it needs ratio > 1/2)"
                if self.ratio <= 0.5
                else "the variance is infinite (it needs ratio < 3/4)"
            )
            raise ValueError(
                f"With ratio = {self.ratio} {what}. Take a ratio between 1/2 and 3/4, such as "
                "1 - 2 ** -1.5, or truncate the law with max_level and accept its bias."
            )

    finite_variance = True

    def survival(self, k):
        """P(K >= k)."""
        return (1 - self.ratio) ** k

    @property
    def expected_cost(self) -> float:
        """Mean number of draws a row, in units of base_samples."""
        growth = 2 * (1 - self.ratio)
        if self.max_level is None:
            return 2 * self.ratio / (1 - growth)
        levels = np.arange(self.max_level)
        below = np.sum(self.ratio * growth**levels)
        return float(2 * (below + growth**self.max_level))

    def bias_bound(self, chi2: float = 1.0, base_samples: int = 1) -> float:
        """Leading bias of the truncated law, chi2 / (2 base 2^(max_level+1)) nats; 0 without one."""
        if self.max_level is None:
            return 0.0
        return chi2 / (base_samples * 2.0 ** (self.max_level + 2))

    def highest(self, base_samples: int) -> int:
        """The highest level that is ever drawn."""
        if self.max_level is not None:
            return self.max_level
        return max(0, int(math.log2(LONGEST_ROW / base_samples)) - 1)

    def levels(self, survival):
        """The level of P(K >= level) just above each survival value in (0, 1]."""
        library = np if isinstance(survival, np.ndarray) else jnp
        return library.floor(library.log(survival) / math.log1p(-self.ratio))

    def describe(self, base_samples: int = 1) -> str:
        """Cost, variance and bias of an estimate over this many base samples, in a sentence."""
        top = "" if self.max_level is None else f", up to {self.max_level}"
        text = (
            f"geometric levels, ratio {self.ratio:.4g}{top}: "
            f"{base_samples * self.expected_cost:.3g} draws a row in the mean, finite variance"
        )
        if self.max_level is None:
            left = 1 / (2 * base_samples * 2.0 ** (self.highest(base_samples) + 1))
            return f"{text},\nno bias but {left:.1g} chi2 nats, of the rows that end at 2^18 draws"
        bound = self.bias_bound(base_samples=base_samples)
        return f"{text},\nbias at most about chi2 / {1 / bound:.0f} = {bound:.2g} chi2 nats"

    def __str__(self):
        return self.describe()


@dataclass(frozen=True)
class HarmonicCounts:
    """P(K >= k) = 1/k up to `cutoff`, then falling by `decay` a step: the law of SUMO.

    No law gives SUMO both a finite mean cost and a finite variance (the squared increments fall
    as 1/k^2 only, and (sum_k 1/k)^2 <= sum_k P(K >= k) sum_k 1/(k^2 P(K >= k)) diverges). This
    one has a finite cost and an infinite variance, unless `max_count` truncates it (Luo et al.
    2020, arXiv 2004.00353).

    Args:
        cutoff: where the geometric tail starts.
        decay: factor of the tail a step.
        max_count: the highest count of a truncated law.

    Example:
        >>> import jaxmix as jm
        >>> round(jm.objectives.HarmonicCounts().expected_cost, 3)
        5.078
    """

    cutoff: int = 80
    decay: float = 0.9
    max_count: int | None = None

    def __post_init__(self):
        rules = {"cutoff": whole(1), "decay": real(0, 1), "max_count": optional(whole(1))}
        each_read(rules, vars(self))

    @property
    def finite_variance(self) -> bool:
        return self.max_count is not None

    def survival(self, k):
        """P(K >= k), K counted from 1."""
        library = np if isinstance(k, np.ndarray | int | float) else jnp
        late = library.maximum(k - self.cutoff, 0)
        return self.decay**late / library.minimum(library.maximum(k, 1), self.cutoff)

    @property
    def expected_cost(self) -> float:
        """Mean of K: the draws a row beyond `base_samples`."""
        return float(np.sum(self.survival(np.arange(1.0, 1.0 + self.highest(1)))))

    def bias_bound(self, chi2: float = 1.0, base_samples: int = 1) -> float:
        """Leading bias of the truncated law, chi2 / (2 (base + max_count)) nats; 0 without one."""
        if self.max_count is None:
            return 0.0
        return chi2 / (2 * (base_samples + self.max_count))

    def highest(self, base_samples: int) -> int:
        """The highest count that is ever drawn: beyond it the probability is below 1e-16."""
        del base_samples
        if self.max_count is not None:
            return self.max_count
        return self.cutoff + math.ceil(math.log(1e-16 * self.cutoff) / math.log(self.decay))

    def levels(self, survival):
        """The count K of P(K >= count) just above each survival value in (0, 1]."""
        library = np if isinstance(survival, np.ndarray) else jnp
        early = library.floor(1 / survival)
        scaled = library.minimum(survival * self.cutoff, 1)
        late = self.cutoff + library.floor(library.log(scaled) / math.log(self.decay))
        return library.where(early < self.cutoff, early, late)

    def describe(self, base_samples: int = 1) -> str:
        """Cost, variance and bias of an estimate over this many base samples, in a sentence."""
        spread = "finite" if self.finite_variance else "INFINITE"
        text = (
            f"harmonic counts: {base_samples + self.expected_cost:.3g} draws a row in the mean, "
            f"{spread} variance"
        )
        if self.max_count is None:
            last = self.survival(float(self.highest(1)))
            return f"{text},\nno bias but of the counts of probability below {last:.0e}"
        bound = self.bias_bound(base_samples=base_samples)
        return f"{text},\nbias at most about {bound:.2g} chi2 nats"

    def __str__(self):
        return self.describe()
