"""Whether what a family says of a stack of densities is what it says of each alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._exponential import ExponentialFamily
from ._stack import over_stack, repeat

MOST_EVENTS = 200
ADVICE = "e[..., 0] for e[0], sums over axis -1, and count[..., None] beside vectors"
APART = 0.03  # how far the stack's densities are moved, beside 1 and their parameters' sizes


def stack_breach(density, events) -> str:
    """What differs in a stack: "" where nothing does."""
    axes = [a.shape[-1] for a in jax.tree.leaves(density) if eqx.is_inexact_array(a) and a.ndim]
    dim = axes[0] if axes else 0
    # As many densities as a vector has entries, where one axis passes for the other; and one more.
    for size in (dim, dim + 1) if axes and dim > 1 else (2,):
        try:
            both = _both(density, events, size)
        except Exception as error:
            return f"With {size} densities it raises: {error} ({ADVICE})"
        for method, (together, alone) in both.items():
            if where := _differs(together, alone):
                return f"{method} of a stack of {size} differs{where} from each alone: {ADVICE}."
    return ""


@eqx.filter_jit
def _both(density, events, size):
    k_moves, k_weights = jax.random.split(jax.random.key(0))  # nothing rests on what is drawn
    stack, tree = eqx.partition(repeat(density, size), eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(stack)
    moved = [
        a + APART * (1 + jnp.abs(a)) * jax.random.normal(k, a.shape, a.dtype)
        for a, k in zip(leaves, jax.random.split(k_moves, max(1, len(leaves))), strict=False)
    ]
    stack = eqx.combine(structure.unflatten(moved), tree)
    rows = jax.tree.leaves(events)[0].shape[0]

    def sums(one, weights):
        each = jax.vmap(lambda x: one.stats(x, one.origin))(events)
        return jax.tree.map(lambda a: jnp.tensordot(weights.astype(a.dtype), a, 1), each)

    weights = jax.random.uniform(k_weights, (size, rows), minval=0.5, maxval=1.5)
    stats = over_stack(sums, stack, weights)
    return {
        "natural": (
            stack.natural(stack.origin),
            over_stack(lambda one: one.natural(one.origin), stack),
        )
    } | (
        {}
        if type(density).from_stats is ExponentialFamily.from_stats
        else {
            "from_stats": (
                stack.from_stats(stats, stack.origin),
                over_stack(lambda one, s: one.from_stats(s, one.origin), stack, stats),
            )
        }
    )


def _differs(together, alone) -> str | None:
    """Where: " in .total"; None where nowhere."""
    flat = jax.tree_util.tree_flatten_with_path(together)[0]
    for (path, a), b in zip(flat, jax.tree.leaves(alone), strict=True):
        name = f" in {jax.tree_util.keystr(path)}"
        if np.shape(a) != np.shape(b):
            return f"{name}, of shape {np.shape(a)} and not {np.shape(b)},"
        a, b = np.asarray(a), np.asarray(b)
        size = np.max(np.abs(b), initial=0, where=np.isfinite(b))
        if not np.allclose(a, b, rtol=1e-3, atol=1e-4 * size, equal_nan=True):
            return name
    return None
