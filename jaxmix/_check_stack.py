"""Whether what a family says of a stack of densities is what it says of each alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._exponential import ExponentialFamily
from ._stack import over_stack, repeat
from ._trees import take

ADVICE = "e[..., 0] for e[0], sums over axis -1, and count[..., None] beside vectors"
APART = 0.03  # how far the stack's densities are moved, beside 1 and their parameters' sizes
PIECES = 5  # into which draws are cut: densities of a stack are refitted by different ones


def stack_breach(density, stats) -> str:
    """What differs in a stack: "" where nothing does; `stats` are of pieces of its draws, or None."""
    axes = [a.shape[-1] for a in jax.tree.leaves(density) if eqx.is_inexact_array(a) and a.ndim]
    dim = axes[0] if axes else 0
    # As many densities as a vector has entries, where one axis passes for the other; and one more.
    for size in (dim, dim + 1) if axes and dim > 1 else (2,):
        try:
            both = _both(density, stats, size)
        except Exception as error:
            return f"With {size} densities it raises: {error} ({ADVICE})"
        for method, (together, alone) in both.items():
            if where := _differs(together, alone):
                return f"{method} of a stack of {size} differs{where} from each alone: {ADVICE}."
    return ""


@eqx.filter_jit
def _both(density, stats, size):
    key = jax.random.key(0)  # nothing rests on what is drawn
    stack, tree = eqx.partition(repeat(density, size), eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(stack)
    moved = [
        a + APART * (1 + jnp.abs(a)) * jax.random.normal(k, a.shape, a.dtype)
        for a, k in zip(leaves, jax.random.split(key, max(1, len(leaves))), strict=False)
    ]
    stack = eqx.combine(structure.unflatten(moved), tree)
    alone = over_stack(lambda one: one.natural(one.origin), stack)
    found = {"natural": (stack.natural(stack.origin), alone)}
    if stats is not None and type(density).from_stats is not ExponentialFamily.from_stats:
        stats = take(stats, jnp.arange(size) % PIECES)
        alone = over_stack(lambda one, s: one.from_stats(s, one.origin), stack, stats)
        found["from_stats"] = stack.from_stats(stats, stack.origin), alone
    return found


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
