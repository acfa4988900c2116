"""When a family is worth a trial for a column of numbers, and how well its mixtures foretell it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._compile import Quick
from .._stand_ins import Tilted
from ..combinators import mixture_of
from ..em.m_step import refit
from ..em.parts import take_apart
from .column import ROWS, Column

MOST = 3
STEPS = 25
PSEUDO_ROWS = 0.5  # of the whole column that each component is given: no label is impossible
MAX_NUMBERS = 31  # of distinct numbers taken for labels: hours of a day, days of a month
ANGLES = re.compile("angle|direction|bearing|azimuth|heading|phase|aspect|dihed|wind_?dir", re.I)
HOURS = re.compile("hour|time|clock", re.I)
PERCENT = re.compile("%|percent|pct|share|rate|proportion|humidity|fraction", re.I)


def zeros(c: Column) -> bool:
    """More zeros than a Poisson law has."""
    return float(np.mean(c.sample == 0)) > np.exp(-c.sample.mean()) + 0.05


def spread(c: Column) -> float:
    return float(c.sample.var() / max(c.sample.mean(), 1e-12))


def tails(c: Column) -> bool:
    """Rows further out than eight standard deviations, told by the quartiles."""
    low, middle, high = np.quantile(c.rest, [0.25, 0.5, 0.75])
    return bool(np.mean(np.abs(c.rest - middle) > 6 * (high - low)) > 0.002)


def skewed(c: Column) -> bool:
    """Whether laws of positive numbers differ from a Normal."""
    if c.whole and c.heaped and c.labels[0] >= 0 and len(c.labels) <= MAX_NUMBERS:
        return False  # a few whole numbers: laws of counts, and labels
    x = c.rest
    skew = np.mean((x - x.mean()) ** 3) / max(x.std(), 1e-300) ** 3
    return bool(x.min() < 0.3 * x.mean() or skew > 0.8)


def turn(c: Column) -> float | None:
    """The unit of an angle or a time of day, in radians; None for what is no turn."""
    low, high = c.labels[0], c.labels[-1]
    # All around, a turn has values at both of its ends; a bell of width 1 has next to none there,
    # beside its least and its largest one.
    some = 0.01 + 2 / len(c.sample)
    ends = lambda turn: min(
        np.mean(c.sample < low + turn / 20), np.mean(c.sample > high - turn / 20)
    )
    for turn, words in ((360.0, ANGLES), (2 * np.pi, ANGLES), (24.0, HOURS)):
        begin = 0.0 if low >= 0 else -turn / 2
        if low < begin * (1 + 1e-6) or high > (begin + turn) * (1 + 1e-6):
            continue
        width = (high - low) / turn
        if words.search(c.name) and width > (0.25 if turn != 2 * np.pi else 0.16):
            return turn / (2 * np.pi)
        if turn != 24.0 and (low != 0 or turn == 360.0) and width > 0.97 and ends(turn) > some:
            return turn / (2 * np.pi)
    return None


def part(c: Column) -> float | None:
    """What a share is a share of: 1 or 100; None for what is no share."""
    low, high = c.rest.min(), c.rest.max()
    percent = PERCENT.search(c.name)
    if low <= 0 or (c.whole and not percent):
        return None
    if 0.3 < high < 1:
        return 1.0
    return 100.0 if 1 < high < 100 and percent else None


def held_out(template: PyTree, x: np.ndarray) -> np.ndarray:
    """Mean held-out log-density of mixtures of 1, 2 and 3 densities, over two halves, in nats.

    A column of a table that is a mixture is one too: a family is judged as a component. One
    program serves every column, for a column is filled up with values of weight 0.
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
