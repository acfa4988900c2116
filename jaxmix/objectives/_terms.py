"""Further terms of `combine`: leave-out sets, tempered weights, the delta method, averages."""

import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .._log_sums import logsumexp_and_softmax, softmax
from ._combine import Combined, replaced, select

MOST_SUBSETS = 20_000


class LeaveOut(NamedTuple):
    """Jackknife combination: sum over j <= order of c(K, order, j) mean over l of K-j draws.

    c(K, m, j) = (-1)^j (K-j)^m / ((m-j)! j!) (Nowozin 2018, "Debiasing evidence approximations:
    on importance-weighted autoencoders and jackknife variational inference", eq. 18-21).
    """

    order: int

    def mass(self, dtype):
        return jnp.ones((), dtype)

    def parts(self, log_w):
        size, dtype = log_w.shape[0], log_w.dtype
        left_out, coefficients = leave_out_sets(size, self.order)
        total, share = logsumexp_and_softmax(log_w)
        kept = ~left_out
        sums, inner = logsumexp_and_softmax(jnp.where(kept, log_w[None, :], -jnp.inf))
        # l(K-j) - l(K) = log1p(-share left out) keeps its digits where the share is small.
        gone = jnp.sum(jnp.where(left_out, share[None, :], jnp.zeros_like(share)[None, :]), 1)
        small = gone < 0.5
        gap = jnp.where(small, jnp.log1p(-jnp.where(small, gone, 0 * gone)), sums - total)
        left = np.sum(left_out, 1)
        gap = gap - jnp.log1p(jnp.asarray(-left / size, dtype))
        a = jnp.asarray(coefficients, dtype)
        value = total - jnp.log(jnp.asarray(size, dtype)) + jnp.sum(select(a, gap))
        model = jnp.sum(a[:, None] * inner, 0)
        path = jnp.sum(a[:, None] * inner**2, 0)
        return Combined(value, model, path, jnp.max(jnp.abs(a * gap)))


def leave_out_sets(size: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Which draws each set leaves out, (G, K), and the sets' coefficients (G,), which sum to 1."""
    count = sum(math.comb(size, j) for j in range(order + 1))
    if not 1 <= order < size:
        raise ValueError(
            f"A jackknife of order {order} leaves out up to {order} of the draws: it needs an "
            f"order of at least 1 and more than {order} draws; num_samples was {size}."
        )
    if count > MOST_SUBSETS:
        raise ValueError(
            f"A jackknife of order {order} over {size} draws has {count} terms; at most "
            f"{MOST_SUBSETS} are summed. Use a lower order or fewer draws."
        )
    rows, coefficients = [], []
    for j in range(order + 1):
        c = (-1) ** j * (size - j) ** order / (math.factorial(order - j) * math.factorial(j))
        for chosen in itertools.combinations(range(size), j):
            row = np.zeros(size, bool)
            row[list(chosen)] = True
            rows.append(row)
            coefficients.append(c / math.comb(size, j))
    return np.stack(rows), np.asarray(coefficients)


class Tempered(NamedTuple):
    """(1 / (1 - alpha)) log mean w^(1 - alpha), over all draws (Li and Turner 2016, 1602.02311)."""

    alpha: float

    def mass(self, dtype):
        return jnp.ones((), dtype)

    def parts(self, log_w):
        power = 1 - self.alpha
        raised = power * log_w
        # Weights of 0 to a negative power: theirs is all, in equal shares.
        endless = raised == jnp.inf
        beside = jnp.where(endless, jnp.zeros_like(raised), -jnp.inf)
        ruled = jnp.any(endless)
        total, share = logsumexp_and_softmax(jnp.where(ruled, beside, raised))
        total = jnp.where(ruled, jnp.inf, total)
        value = (total - jnp.log(jnp.asarray(log_w.shape[0], log_w.dtype))) / power
        path = self.alpha * share + power * share**2
        return Combined(value, share, path, jnp.abs(value))

    def signals(self, log_w, mean):
        """What the bound loses where each log-weight in turn becomes `mean`."""
        power = 1 - self.alpha
        return replaced(power * log_w, power * mean) / power


class DeltaCorrection(NamedTuple):
    """The delta method's correction (1 / 2K) var(w) / mean(w)^2, which is at least 0.

    With s the normalised weights it is (K sum_i s_i^2 - 1) / (2 (K - 1)).
    """

    def mass(self, dtype):
        return jnp.zeros((), dtype)

    def parts(self, log_w):
        size = log_w.shape[0]
        share = softmax(log_w)
        square = jnp.sum(share**2)
        value = (size * square - 1) / (2 * (size - 1))
        scale = size / (size - 1)
        model = scale * share * (share - square)
        second = 2 * share**2 * (1 - share) - share * (1 - share) * square
        second = scale * (second - 2 * share**2 * (share - square))
        return Combined(value, model, model - second, jnp.abs(value))


class Posterior(NamedTuple):
    """Self-normalised average of the log-weights themselves: sum_i s_i log w_i."""

    def mass(self, dtype):
        return jnp.ones((), dtype)

    def parts(self, log_w):
        share = softmax(log_w)
        value = jnp.sum(select(share, log_w))
        excess = jnp.where(share == 0, jnp.zeros_like(log_w), log_w) + 1 - value
        value = jnp.where(jnp.any(log_w > -jnp.inf), value, -jnp.inf)
        model = share * excess
        second = share * (1 - share) * excess + share * (1 - model)
        return Combined(value, model, model - second, jnp.abs(value))
