"""Fewer iterations: SQUAREM's third step length, guarded by the objective."""

import jax
import jax.numpy as jnp

from .._numerics import difference, tree_vdot
from .expected import expect, take_apart
from .maximise import log_prior


def _flat(model):
    """The unconstrained parameters of the refittable leaves."""
    import equinox as eqx

    parts = take_apart(model)
    return [
        [a for a in jax.tree.leaves(leaf) if eqx.is_inexact_array(a)] for leaf in parts.leaves
    ]


def _rebuilt(model, flat):
    import equinox as eqx

    parts = take_apart(model)
    leaves = []
    for leaf, arrays in zip(parts.leaves, flat, strict=True):
        values = iter(arrays)
        leaves.append(
            jax.tree.map(lambda a, v=values: next(v) if eqx.is_inexact_array(a) else a, leaf)
        )
    return parts.model(leaves, parts.loose)


def accelerated(kind, plain, data, weights, prior, assignment, chunk_size):
    """Wrap a plain step: two steps, an extrapolation, kept only where the objective is no lower.

    With r the first change and v the change of changes, the point is
    theta + 2 a r + a^2 v, a = |r| / |v| (Varadhan and Roland 2008, the third step length).
    """
    if kind != "squarem":
        raise ValueError(f'accelerate must be None or "squarem"; it was {kind!r}.')

    def take(state):
        first, _ = plain(state)
        second, entry = plain(first)
        zero, one, two = (_flat(s.model) for s in (state, first, second))
        r = jax.tree.map(jnp.subtract, one, zero)
        v = jax.tree.map(lambda c, b, a: (c - b) - (b - a), two, one, zero)
        # Parameters at -inf (a weight of zero) stay there.
        clean = lambda t: jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0), t)  # noqa: E731
        r, v = clean(r), clean(v)
        bend = tree_vdot(v, v)
        ratio = jnp.sqrt(tree_vdot(r, r) / jnp.where(bend > 0, bend, jnp.ones_like(bend)))
        a = jnp.maximum(ratio, jnp.ones_like(ratio))
        jumped = jax.tree.map(
            lambda z, end, dr, dv: jnp.where(jnp.isfinite(z), z + 2 * a * dr + a * a * dv, end),
            zero, two, r, v,
        )  # fmt: skip
        model = _rebuilt(second.model, jumped)
        expected = expect(model, data, weights, assignment=assignment, chunk_size=chunk_size)
        penalty = jnp.asarray(log_prior(model, prior), state.penalty.dtype)
        rise = difference(expected.objective, second.expected.objective)
        rise = rise + (penalty - second.penalty)
        better = second.running & (rise >= 0)
        candidate = second._replace(model=model, expected=expected, penalty=penalty)
        chosen = jax.tree.map(lambda n, o: jnp.where(better, n, o), candidate, second)
        value = chosen.expected.log_likelihood.value
        kl = jnp.where(better, jnp.full_like(entry.kl, jnp.nan), entry.kl)
        entry = entry._replace(
            log_likelihood=value,
            elbo=value - kl,
            kl=kl,
            objective=chosen.expected.objective.value + chosen.penalty,
        )
        return chosen, entry

    return take
