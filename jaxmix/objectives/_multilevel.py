"""Unbiased estimates of log p(x): multilevel (single term, Russian roulette) and SUMO."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from .._arguments import made_by, named, optional, real, takes, whole
from .._warn import warn
from ._combine import Blocks, Prefixes
from ._draws import configures
from ._laws import OPTIMAL_RATIO, GeometricLevels, HarmonicCounts, InfiniteVarianceWarning
from ._random import RandomObjective
from ._tree import Tree

KINDS = ("single-term", "russian-roulette")


@dataclass(frozen=True)
class Multilevel(RandomObjective):
    """A multilevel objective; `jm.multilevel` makes it."""

    kind: str = "russian-roulette"
    share: bool = True

    name = "multilevel"

    def __post_init__(self):
        super().__post_init__()
        named(*KINDS)(self.kind, "kind")

    @property
    def expected_cost(self) -> float:
        return self.base_samples * self.law.expected_cost

    def count(self, level):
        return self.base_samples * 2 ** (level + 1)

    def padded(self, count: int) -> int:
        # Powers of 4 from 16: few distinct lengths to compile, of scalars only.
        return self.base_samples * 4 ** max(2, math.ceil(math.log2(count / self.base_samples) / 2))

    def aligned(self, count: int) -> int:
        return self.base_samples * 2 ** math.ceil(math.log2(count / self.base_samples))

    def terms(self, length: int, level, dtype):
        blocks = length // self.base_samples
        levels = min(int(math.log2(blocks)), self.top + 1)
        k = jnp.arange(levels)
        # Published form: only the first block and the first pair of a level count.
        pairs = 2 ** jnp.maximum(level - k, 0) if self.share else jnp.ones_like(k)
        used = 2 ** (level + 1) if self.share else 1
        place = jnp.arange(blocks)
        equal = jnp.where(place < used, 1 / jnp.asarray(used, dtype), jnp.zeros((), dtype))
        scales = jnp.asarray([self._scale(j) for j in range(levels)], dtype)
        active = level >= k if self.kind == "russian-roulette" else level == k
        scales = jnp.where(active, scales, jnp.zeros_like(scales))
        return [Blocks(self.base_samples, equal), Tree(self.base_samples, scales, pairs)]

    def _scale(self, k: int) -> float:
        """1 / P(K >= k), or 1 / P(K = k), where the highest level stands for all above it."""
        if self.kind == "russian-roulette":
            return 1 / self.law.survival(k)
        after = self.law.survival(k + 1) if k < self.top else 0.0
        return 1 / (self.law.survival(k) - after)


@configures
@takes(ratio=real(), base_samples=whole(1), max_level=optional(whole(0)))
def multilevel(
    kind: str = "russian-roulette",
    *,
    ratio: float = OPTIMAL_RATIO,
    base_samples: int = 1,
    share: bool = True,
    max_level: int | None = None,
    guide_gradient: str = "dreg",
    model_gradient: str = "value",
) -> Multilevel:
    """Unbiased multilevel estimate of log p(x), in nats, of finite variance and mean cost.

    value = I + D_K / P(K), or I + sum_{k <= K} D_k / P(K >= k), where I is the bound of
    base_samples draws and D_k = l(O and E) - (l(O) + l(E)) / 2 over two halves of
    base_samples 2^k draws each; P(K = k) = ratio (1 - ratio)^k.

    The gradient in the guide of an unbiased value is 0 in the mean: by default the guide follows
    the doubly-reparametrised gradient of the importance-weighted bound over the row's own draws.
    Assumes that the weights have finite variance (`jm.log_evidence` reports it). Take
    base_samples of the order of chi2; `jm.jackknife` is cheaper where a small bias will do.

    Args:
        kind: "single-term" or "russian-roulette".
        ratio: in (1/2, 3/4): finite mean cost and finite variance; the default is optimal.
        base_samples: draws of the smallest set; the mean cost is base_samples times
            2 ratio / (2 ratio - 1).
        share: average I and every D_k over all disjoint blocks of the row's draws (a tree); False
            for the published form, of the same mean and 2 to 3 times the variance x cost
            (`python -m benchmarks objectives.variance`).
        max_level: truncates the law, at a bias of chi2 / (base_samples 2^(max_level + 2)).
        guide_gradient: see `jaxmix.objectives.GUIDE_RULES`.
        model_gradient: "value" or "wake".

    References:
        Shi and Cornish 2021, "On multilevel Monte Carlo unbiased gradient estimation for deep
        latent variable models"; Blanchet and Glynn 2015.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> exact_posterior = lambda x: jm.Normal(x / 2, jnp.sqrt(0.5))
        >>> objective = jm.multilevel()
        >>> objective(jax.random.key(0), model, exact_posterior, jnp.zeros(2)).tolist()
        [-1.2655, -1.2655]
        >>> round(objective.expected_cost, 3)
        4.414
    """
    law = GeometricLevels(float(ratio), max_level)
    return Multilevel(law, base_samples, model_gradient, guide_gradient, kind, share)


@dataclass(frozen=True)
class Sumo(RandomObjective):
    """The stochastically unbiased marginalisation objective; `jm.sumo` makes it."""

    name = "sumo"

    @property
    def expected_cost(self) -> float:
        return self.base_samples + self.law.expected_cost

    def count(self, level):
        return self.base_samples + level

    def padded(self, count: int) -> int:
        # Powers of 4, doubled: few distinct lengths to compile, of scalars only.
        return 2 * 4 ** max(1, math.ceil(math.log2(max(count, self.base_samples + 1) / 2) / 2))

    def aligned(self, count: int) -> int:
        return max(count, self.base_samples + 1)

    def terms(self, length: int, level, dtype):
        k = jnp.arange(1, length - self.base_samples + 1)
        weight = 1 / self.law.survival(k.astype(dtype))
        return [Prefixes(self.base_samples, jnp.where(k <= level, weight, jnp.zeros_like(weight)))]


@configures
@takes(base_samples=whole(1), law=optional(made_by(HarmonicCounts, "jm.objectives.HarmonicCounts")))
def sumo(
    *,
    base_samples: int = 1,
    law: HarmonicCounts | None = None,
    guide_gradient: str = "dreg",
    model_gradient: str = "value",
) -> Sumo:
    """SUMO: unbiased for log p(x), in nats, with a finite mean cost and an infinite variance.

    value = l_m + sum_{k=1}^{K} (l_{m+k} - l_{m+k-1}) / P(K >= k), l_n the log-mean-exp of the
    first n draws, m = base_samples, K from `law` (Luo et al. 2020, arXiv 2004.00353). No law has
    a finite cost and a finite variance both, of which a warning speaks; prefer `jm.multilevel`.
    The guide follows the importance-weighted bound over the row's own draws.

    Args:
        base_samples: draws of the first bound.
        law: of K; a truncated one, `HarmonicCounts(max_count=...)`, has finite variance and a
            bias.
        guide_gradient: see `jaxmix.objectives.GUIDE_RULES`.
        model_gradient: "value" or "wake".

    Example:
        >>> import jaxmix as jm
        >>> law = jm.objectives.HarmonicCounts(max_count=50)
        >>> round(jm.sumo(law=law).expected_cost, 3)
        5.499
    """
    law = HarmonicCounts() if law is None else law
    if not law.finite_variance:
        warn(
            "SUMO under this law is unbiased but has infinite variance: its sample variance "
            "never settles. jm.multilevel() is unbiased with finite variance and cost.",
            InfiniteVarianceWarning,
        )
    return Sumo(law, base_samples, model_gradient, guide_gradient)
