"""Linear combinations of log-mean-exps over subsets of one set of log-weights. START HERE.

L = sum_g a_g (logsumexp over S_g of log w - log|S_g|). With s_ig the softmax of log w over S_g:

- the gradient of L in log w is c_i = sum_g a_g s_ig (`model`: one vjp of the log-weights);
- the doubly-reparametrised gradient of a guide follows the path of its draws with
  sum_g a_g s_ig^2 (`path`), which is c_i minus the second derivative of L in log w_i
  (Tucker et al. 2019, arXiv 1810.04152); in this form it holds for any function of log w.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from .._arguments import numbers, takes
from .._log_sums import finite_or_zero, logsumexp, logsumexp_and_softmax
from .._sharding import gathered, varying


class Combined(NamedTuple):
    """One combination: its value in nats, and its coefficients on the log-weights.

    `model` (K,) is the gradient in log w; `path` (K,) what the doubly-reparametrised gradient
    puts on the paths of the draws; `largest` the largest absolute contribution of one level.
    """

    value: Scalar
    model: Float[Array, " K"]
    path: Float[Array, " K"]
    largest: Scalar


class Term(Protocol):
    """A part of a combination: any function L of log-weights with L(log w + t) = L + mass t."""

    def parts(self, log_w: Float[Array, " K"]) -> Combined:
        """Value, coefficients and the largest contribution."""
        ...

    def mass(self, dtype) -> Scalar:
        """Sum of the term's coefficients."""
        ...

    # Optional: `signals(log_w, mean)`, what the term loses where each log-weight in turn becomes
    # the entry of `mean`; without it the score rule evaluates the term once a draw.


@takes(log_w=numbers(1, floating=True))
def combine(log_w: Float[Array, " K"], groups: Sequence[Term]) -> Combined:
    """Value and gradient coefficients of a linear combination of log-mean-exps, in one pass.

    L = sum_g a_g (logsumexp_{i in S_g} log w_i - log|S_g|), in nats.

    Args:
        log_w: log-weights (K,) of one datum's draws; -inf is a weight of 0.
        groups: terms such as `Blocks`, `Halves`, `Prefixes`, `LeaveOut`, `Tempered`.

    Returns:
        A `Combined`. Differentiating `value` by JAX gives `model` again: forward, reverse and
        to any order.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> from jaxmix.objectives import Blocks, combine
        >>> combine(jnp.log(jnp.array([1.0, 3.0])), [Blocks(2)]).model.round(4)
        Array([0.25, 0.75], dtype=float32)
    """
    # One shift by the largest log-weight keeps differences of levels right in float32. It is a
    # constant of the differentiation, since every term moves with it by its own mass.
    log_w = gathered(log_w)
    if log_w.shape[0] == 0:
        raise ValueError("log_w is empty: a combination needs at least one log-weight.")
    is_list = isinstance(groups, list | tuple) and len(groups) > 0
    if not is_list or not all(hasattr(group, "parts") for group in groups):
        raise TypeError(
            f"groups is a list of terms such as jm.objectives.Blocks(4); it was {groups!r}."
        )
    peak = jax.lax.stop_gradient(jnp.max(log_w))
    peak = finite_or_zero(peak)
    shifted = log_w - peak
    parts = [group.parts(shifted) for group in groups]
    masses = [group.mass(log_w.dtype) for group in groups]
    model = sum_of([part.model for part in parts])
    value = _with_derivative(sum_of([part.value for part in parts]), model, log_w)
    largest = parts[0].largest
    for part in parts[1:]:
        largest = jnp.maximum(largest, part.largest)
    return Combined(
        value + peak * sum_of(masses), model, sum_of([part.path for part in parts]), largest
    )


def sum_of(values) -> Any:
    return sum(values[1:], values[0])


@jax.custom_jvp
def _with_derivative(value, coefficients, log_w):
    """The value, whose derivative in the log-weights is given: 0 there is 0 beside -inf too."""
    del coefficients, log_w
    return value


@_with_derivative.defjvp
def _(primals, tangents):
    value, coefficients, log_w = primals
    moved = jnp.where(coefficients == 0, jnp.zeros_like(coefficients), tangents[2])
    return _with_derivative(value, coefficients, log_w), jnp.sum(coefficients * moved)


def select(weights, values):
    """weights * values, with 0 wherever the weight is 0, whatever the value."""
    return jnp.where(weights == 0, jnp.zeros_like(values), values) * weights


def log_mean_blocks(log_w, size: int):
    """Log-means (B,), softmaxes (B, size) of consecutive blocks; softmax 0 where all are -inf."""
    if size < 1 or log_w.shape[0] % size:
        raise ValueError(
            f"Blocks of {size} log-weights divide a multiple of {size}; there are {log_w.shape[0]}."
        )
    total, share = logsumexp_and_softmax(log_w.reshape(-1, size))
    return total - jnp.log(jnp.asarray(size, log_w.dtype)), share


def log_cosh(u):
    """log cosh(u) without cancellation near 0 and without overflow."""
    near = jnp.abs(u) < 1
    small = jnp.where(near, u, jnp.zeros_like(u))
    large = jnp.where(near, jnp.ones_like(u), jnp.abs(u))
    log_2 = jnp.log(jnp.asarray(2, u.dtype))
    return jnp.where(
        near,
        jnp.log1p(2 * jnp.sinh(small / 2) ** 2),
        large - log_2 + jnp.log1p(jnp.exp(-2 * large)),
    )


def shared_out(weights: float | Array, places: Array) -> Array:
    """A weight for each place: those given, or one number in equal parts."""
    if isinstance(weights, jax.Array):
        return weights
    return jnp.full_like(places, weights / places.shape[0])


class Blocks(NamedTuple):
    """Weighted sum of the log-mean-exps of consecutive blocks of `size` log-weights.

    `weights` is one number, shared equally among the blocks, or an array of one weight a block.
    """

    size: int
    weights: float | Array = 1.0

    def mass(self, dtype):
        return jnp.sum(jnp.asarray(self.weights, dtype))

    def parts(self, log_w):
        means, share = log_mean_blocks(log_w, self.size)
        a = shared_out(self.weights, means)
        value = jnp.sum(select(a, means))
        model = a[:, None] * share
        return Combined(value, model.ravel(), (model * share).ravel(), jnp.abs(value))

    def signals(self, log_w, mean):
        """What the sum loses where each log-weight in turn becomes `mean`: O(K) in all."""
        blocks = log_w.reshape(-1, self.size)
        a = shared_out(self.weights, blocks[:, 0])[:, None]
        return (a * replaced(blocks, mean.reshape(-1, self.size))).ravel()


def replaced(log_w, mean):
    """Fall of a logsumexp over the last axis as each entry in turn becomes `mean`."""
    without = jnp.logaddexp(leave_one_out(log_w), mean)
    total = logsumexp(log_w)[..., None]
    finite = jnp.isfinite(without) & jnp.isfinite(total)
    fall = jnp.where(finite, total, 0) - jnp.where(finite, without, 0)
    return jnp.where(finite, fall, jnp.zeros_like(fall))


def leave_one_out(log_w):
    """Logsumexp of all the others along the last axis, without subtraction."""
    pad = jnp.full((*log_w.shape[:-1], 1), -jnp.inf, log_w.dtype)
    axis = log_w.ndim - 1
    before = jax.lax.cumlogsumexp(log_w, axis)[..., :-1]
    after = jax.lax.cumlogsumexp(log_w, axis, reverse=True)[..., 1:]
    return jnp.logaddexp(jnp.concatenate([pad, before], -1), jnp.concatenate([after, pad], -1))


class Prefixes(NamedTuple):
    """l(first) + sum_k weights[k-1] (l(first + k) - l(first + k - 1)), prefixes of one stream.

    Differences are log1p((w_n / mean before - 1) / n). Entries of `weights` beyond the end of a
    shorter row are 0.
    """

    first: int
    weights: Array

    def mass(self, dtype):
        return jnp.ones((), dtype)

    def parts(self, log_w):
        dtype, m, wt = log_w.dtype, self.first, self.weights
        if m < 1 or wt.shape != (log_w.shape[0] - m,):
            raise ValueError(
                f"Prefixes take a first bound of 1 draw or more and one weight for each further draw; "
                f"of {log_w.shape[0]} draws, first is {m} and weights have shape {wt.shape}."
            )
        total = jax.lax.cumlogsumexp(log_w)
        sizes = jnp.arange(1, log_w.shape[0] + 1, dtype=dtype)
        means = total - jnp.log(sizes)
        used = wt != 0
        jump = jnp.where(used, log_w[m:] - means[m - 1 : -1], jnp.zeros_like(wt))
        n = sizes[m:]
        near = jump < 1
        close = jnp.log1p(jnp.expm1(jnp.where(near, jump, jnp.zeros_like(jump))) / n)
        far = jnp.logaddexp(jnp.log(n - 1), jnp.where(near, jnp.zeros_like(jump), jump))
        terms = wt * jnp.where(near, close, far - jnp.log(n))
        # Telescoped coefficients of the prefixes.
        one, zero = jnp.ones((1,), dtype), jnp.zeros((1,), dtype)
        a = jnp.concatenate([one, wt]) - jnp.concatenate([wt, zero])
        a = jnp.concatenate([jnp.zeros((m - 1,), dtype), a])
        # Draw i is a share u_i of the prefix that it ends, and the others keep 1 - u_i each: the
        # shares of every prefix sum to 1. What draw i gets is u_i B_i with B_i = a_i +
        # (1 - u_{i+1}) B_{i+1}, and with squares in place of both for the squared shares.
        before = jnp.concatenate([jnp.full((1,), -jnp.inf, dtype), total[:-1]])
        some = log_w > -jnp.inf
        ahead = jnp.where(some, log_w, 0 * before) - jnp.where(some, before, 0 * before)
        own = jnp.where(some, jax.nn.sigmoid(ahead), jnp.zeros_like(log_w))
        rest = jnp.where(some, jax.nn.sigmoid(-ahead), jnp.ones_like(log_w))
        kept = jnp.concatenate([rest[1:], zero])
        model, path = (own**p * _affine_scan(kept**p, a) for p in (1, 2))
        value = means[m - 1] + jnp.sum(terms)
        return Combined(value, model, path, jnp.max(jnp.abs(terms), initial=0))


def _affine_scan(scale, added):
    """b_i = added_i + scale_i b_{i+1}, from the end, where it is added alone."""
    place = jnp.arange(added.shape[0])

    def double(k, windows):  # of 2^k from each place on; one body, however many
        factor, total = windows
        ahead = lambda a: a.at[place + (1 << k)].get(mode="fill", fill_value=0)
        return factor * ahead(factor), total + factor * ahead(total)

    start = varying(lambda windows: double(0, windows), (scale, added))
    return jax.lax.fori_loop(0, (place.size - 1).bit_length(), double, start)[1]
