"""The numbers that `check_density` looks at, by one compiled function."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._check_stack import PIECES
from ._refittable import Refittable
from ._trees import take


@eqx.filter_jit
def evaluate(parameters, static, event, key, num_draws):
    """All the numbers that the clauses look at, in one compiled function."""
    build = lambda p: eqx.combine(p, static)
    log_prob = lambda p, x: build(p).log_prob(x)
    k_draws, k_direction = jax.random.split(key)
    out: dict[str, Any] = {}
    if num_draws:
        keys = jax.random.split(k_draws, num_draws)
        draw = lambda p, k: build(p).sample(k)
        draws = jax.vmap(lambda data: draw(parameters, jax.random.wrap_key_data(data)))
        data = jax.random.key_data(keys)
        xs = draws(data)
        out["draws"], out["again"] = take((xs, draws(data)), slice(8))
        out["values"] = jax.vmap(lambda x: log_prob(parameters, x))(xs)
        out["score"] = jax.vmap(lambda x: jax.grad(log_prob)(parameters, x))(xs)
        if getattr(build(parameters), "reparametrised", False):
            moved = lambda p, d: log_prob(parameters, draw(p, jax.random.wrap_key_data(d)))
            out["path"] = jax.vmap(lambda d: jax.grad(moved)(parameters, d))(data)
    if event is None:
        event = take(xs, 0)  # pyright: ignore[reportPossiblyUnboundVariable]
    out["alone"] = log_prob(parameters, event)
    pair = jax.tree.map(lambda a: jnp.stack([a, a]), (parameters, event))
    out["rows"] = jax.vmap(log_prob, in_axes=(None, 0))(parameters, pair[1])
    out["stack"] = jax.vmap(log_prob, in_axes=(0, None))(pair[0], event)
    leaves, structure = jax.tree.flatten(parameters)
    if leaves:
        directions = [
            jax.random.normal(k, leaf.shape, leaf.dtype)
            for k, leaf in zip(jax.random.split(k_direction, len(leaves)), leaves, strict=True)
        ]
        move = lambda h: structure.unflatten(
            [leaf + h * d for leaf, d in zip(leaves, directions, strict=True)]
        )
        step = jnp.asarray(jnp.finfo(leaves[0].dtype).eps ** (1 / 3), leaves[0].dtype)
        out["forward"] = jax.jvp(lambda h: log_prob(move(h), event), (step * 0,), (step / step,))[1]
        gradient = jax.tree.leaves(jax.grad(log_prob)(parameters, event))
        out["reverse"] = sum(jnp.sum(g * d) for g, d in zip(gradient, directions, strict=True))
        ends = [log_prob(move(h), event) for h in (step, -step)]
        out["difference"], out["step"] = (ends[0] - ends[1]) / (2 * step), step
    if isinstance(build(parameters), Refittable) and num_draws:
        leaf = build(parameters)
        origin = leaf.origin
        each = jax.vmap(lambda x: leaf.stats(x, origin))(xs)  # pyright: ignore[reportPossiblyUnboundVariable]
        pieces = [num_draws * (i / PIECES) ** 2 for i in range(PIECES + 1)]  # of unequal counts
        summed = [
            jax.tree.map(lambda a, i=i, j=j: jnp.sum(a[i:j], 0), each)
            for i, j in itertools.pairwise(map(int, pieces))
        ]
        out["stats"] = jax.tree.map(lambda *a: jnp.stack(a), *summed)
        total = jax.tree.map(lambda a: jnp.sum(a, 0), out["stats"])
        out["kept"] = leaf.expected_log_prob(total, origin)
        out["refitted"] = leaf.from_stats(total, origin).expected_log_prob(total, origin)
    return out
