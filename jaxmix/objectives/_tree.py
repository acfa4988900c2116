"""All multilevel differences of one row at once, however many levels, in one short loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._combine import Combined, log_cosh, log_mean_blocks, shared_out


class Tree(NamedTuple):
    """Sum over levels k of scales[k] times the mean over pairs of log cosh((l(O) - l(E)) / 2).

    A half of level k has 2^k blocks of `size` draws. `used` counts the pairs of each level that hold
    draws and are averaged; the rest of a padded row has log-weights of -inf and weight 0. The same
    numbers as one `Halves` a level, in a loop that compiles once: a pair is two blocks whose
    indices differ in bit k. A level's scale may be one number, or one a block.
    """

    size: int
    scales: Array
    used: Array

    def mass(self, dtype):
        return jnp.zeros((), dtype)

    def parts(self, log_w):
        base, share = log_mean_blocks(log_w, self.size)
        place = jnp.arange(base.shape[0])

        def level(carry, given: Any):
            mean, part, model, path, total, largest = carry
            k, scale, used = given
            partner = mean[place ^ (1 << k)]
            inside = (place >> (k + 1)) < used
            live = inside & (scale != 0)
            apart = live & (mean != partner)  # they are equal where both are -inf
            gap = jnp.where(apart, mean, base_zero) - jnp.where(apart, partner, base_zero)
            a = jnp.where(live, scale / used.astype(base.dtype), jnp.zeros_like(base))
            first = place & ((2 << k) - 1) == 0  # each pair has 2^(k + 1) blocks: count one
            term = jnp.sum(jnp.where(first, a * log_cosh(gap / 2), jnp.zeros_like(base)))
            lean = jnp.tanh(gap / 2) / 2
            model = model + a * lean * part
            path = path + a * ((0.5 + lean) ** 2 - 0.5) * part**2
            both = jnp.logaddexp(mean, partner) - jnp.log(jnp.asarray(2, base.dtype))
            # The block's share of the next level's half, by differences: they sum to 1.
            some = mean > -jnp.inf
            ahead = jnp.where(some, mean, base_zero) - jnp.where(some, partner, base_zero)
            part = part * jnp.where(some, jax.nn.sigmoid(ahead), base_zero)
            return (
                both,
                part,
                model,
                path,
                total + term,
                jnp.maximum(largest, jnp.abs(term)),
            ), None

        base_zero = jnp.zeros_like(base)
        zero = jnp.zeros_like(base[0])  # it varies over devices as they do
        levels = self.scales.shape[0]
        (_, _, model, path, value, largest), _ = jax.lax.scan(
            level,
            (base, (base > -jnp.inf).astype(base.dtype), base_zero, base_zero, zero, zero),
            (jnp.arange(levels), self.scales, self.used),
        )
        model = (model[:, None] * share).ravel()
        return Combined(value, model, (path[:, None] * share**2).ravel(), largest)


class Halves(NamedTuple):
    """Multilevel differences: l(O and E) - (l(O) + l(E)) / 2 over consecutive pairs of blocks.

    Equal to log cosh((l(O) - l(E)) / 2), in which nothing cancels; three log-mean-exps lose it
    in float32 from 2^10 draws on. `size` is that of one half; weights as for `Blocks`, a pair.
    """

    size: int
    weights: float | Array = 1.0

    def mass(self, dtype):
        return jnp.zeros((), dtype)

    def parts(self, log_w):
        if log_w.shape[0] % (2 * max(self.size, 1)):
            raise ValueError(
                f"Halves of {self.size} come in pairs; there are {log_w.shape[0]} draws."
            )
        firsts = log_w[:: 2 * self.size]
        scales = firsts.shape[0] * jnp.repeat(shared_out(self.weights, firsts), 2)
        return Tree(self.size, scales[None], jnp.array([firsts.shape[0]])).parts(log_w)
