"""How well mixtures of a family foretell the half of a column that they were not fitted to."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._compile import Quick
from .._stand_ins import Tilted
from ..combinators import mixture_of
from ..em.m_step import refit
from ..em.parts import take_apart

ROWS = (256, 2048)  # values that a score is made from, drawn at random from a longer column
MOST = 3
STEPS = 25
PSEUDO_ROWS = 0.5  # of the whole column that each component is given: no label is impossible


def held_out(template: PyTree, x: np.ndarray) -> np.ndarray:
    """Mean held-out log-density of mixtures of 1, 2 and 3 densities, over two halves, in nats.

    A column of a table that is a mixture is one too: a family is judged as a component. One
    program serves every column, for a column is filled up with values of weight 0.

    Args:
        template: a density of one number.
        x: the column's values, in random order.
    """
    rows = next((size for size in ROWS if len(x) <= size), ROWS[-1])
    x = x[:rows]
    real = np.arange(rows) < len(x)
    halves = np.stack([real & (np.arange(rows) % 2 == side) for side in (0, 1)])
    filled = np.resize(x, rows)
    with jax.enable_x64(True):
        scores = _scores(
            mixture_of(template, MOST), jnp.asarray(filled), jnp.asarray(halves, float)
        )
    return np.asarray(scores)


@Quick
def _scores(mixture: PyTree, x: Array, halves: Array) -> Array:
    mixture = jax.tree.map(lambda a: a.astype(halves.dtype), mixture)
    one = lambda half, k: _mixture(mixture, x, halves[half], halves[1 - half], k)
    each = lambda k: jnp.mean(jax.vmap(lambda half: one(half, k))(jnp.arange(2)))
    return jax.vmap(each)(1 + jnp.arange(MOST))


def _mixture(mixture: PyTree, x: Array, used: Array, held: Array, k: Array) -> Array:
    """Mean log-density of the values held out under a mixture of k fitted to those used."""
    order = jnp.argsort(jnp.argsort(jnp.where(used > 0, x.astype(used.dtype), jnp.inf)))
    group = jnp.minimum(order * k // jnp.sum(used).astype(int), k - 1)
    groups = (group[:, None] == jnp.arange(MOST)[None]).astype(
        used.dtype
    )  # of like size, side by side
    pseudo = PSEUDO_ROWS * (used + held) / jnp.sum(used + held)

    def step(i, model):
        parts = take_apart(model)
        build = lambda tilts: parts.model(
            [Tilted(leaf, t, leaf.origin) for leaf, t in zip(parts.leaves, tilts, strict=True)],
            parts.loose,
        )
        joint = jax.vmap(model.joint_log_probs)(x)
        share = jax.nn.softmax(joint, -1, where=jnp.isfinite(joint))
        share = jnp.where(i < 3, groups, share)  # thrice: origins come first, then latent parts
        there = jnp.broadcast_to(jnp.arange(MOST) < k, share.shape)
        weight = jnp.where(there, used[:, None] * share + pseudo[:, None], 0)
        pairing = lambda tilts: jnp.sum(
            jnp.where(weight > 0, jax.vmap(build(tilts).joint_log_probs)(x), 0) * weight
        )
        stats = jax.grad(pairing)([leaf.zero_stats() for leaf in parts.leaves])
        leaves = [refit(leaf, s)[0] for leaf, s in zip(parts.leaves, stats, strict=True)]
        return parts.model(leaves, parts.loose)

    model = jax.lax.fori_loop(0, STEPS, step, mixture)
    values = jax.vmap(model.log_prob)(x)
    return jnp.sum(jnp.where(held > 0, values, 0) * held) / jnp.sum(held)
