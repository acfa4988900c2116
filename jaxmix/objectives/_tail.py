"""The one row of a batch whose number of draws has no static bound: a chunked loop.

A loop of unknown length cannot be differentiated backwards, and need not be: the gradient is a
sum of one vjp a chunk with coefficients known after a first pass over the log-weights. The
second pass runs only when a derivative is asked for.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .._numerics import largest_mapped
from .._sharding import refuse_mixed, varying
from ._draws import log_weight, once, stopped, surrogate
from ._rules import Coefficients

SMALLEST_CHUNK = 64
USUAL_CHUNKS = 64  # about one row in a thousand of the last slots is longer


def tail(
    objective: Any, rows: int, key: Key[Array, ""], level: Array, model: Any, q: Any, x: PyTree
) -> tuple[Scalar, Scalar]:
    """Value and largest level contribution of one row, with its gradient in model, q and x."""
    chunk, lengths = shapes(objective, rows)
    # The rule may close over no traced value: arrays are its arguments, those too that the model
    # is a closure of; the rest is closed over.
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    call = lambda arrays, z, x: eqx.combine(arrays, rest)(z, x)
    z_shape = eqx.filter_eval_shape(q.sample, key)
    call, hoisted = jax.closure_convert(call, arrays, z_shape, x)
    moving, rest = eqx.partition(((arrays, hoisted), q, x), eqx.is_inexact_array)
    fixed, static = eqx.partition(rest, eqx.is_array)
    raw_key = jax.random.key_data(key)
    implementation = jax.random.key_impl(key)

    def draws(raw, index):
        fresh = jax.random.fold_in(jax.random.wrap_key_data(raw, impl=implementation), index)
        return jax.random.split(fresh, chunk)

    def whole(moving, fixed):
        (arrays, hoisted), q, x = eqx.combine(moving, fixed, static)
        return lambda z, x: call(arrays, z, x, *hoisted), q, x

    def weights_of(raw, moving, fixed, index):
        model, q, x = whole(stopped(moving), fixed)
        zs = jax.vmap(q.sample)(draws(raw, index))
        return jax.vmap(lambda z: log_weight(model, q, z, x))(zs)

    def first_pass(raw, count, moving, fixed, length):
        dtype = jax.eval_shape(weights_of, raw, moving, fixed, 0).dtype

        def body(carry):
            index, log_w = carry
            new = weights_of(raw, moving, fixed, index)
            return jax.lax.dynamic_update_slice_in_dim(log_w, new, index * chunk, 0)

        start = jnp.full((length,), -jnp.inf, dtype)
        return loop(body, start, count)

    def loop(body, start, count):
        # Mapped over keys, all rows go as far as the longest: the loop's condition is one, and
        # what is beyond a row's own count has weight 0.
        longest = largest_mapped(count)
        step = lambda i, carry: body((i, carry))
        going = lambda c: c[0] * chunk < longest
        run = lambda c: (c[0] + 1, step(*c))
        first = (jnp.zeros((), int), start)
        return jax.lax.while_loop(going, run, varying(run, first))[1]

    def second_pass(raw, count, moving, fixed, given):
        def part(moving, index):
            model, q, x = whole(moving, fixed)
            own = jax.tree.map(
                lambda a: jax.lax.dynamic_slice_in_dim(a, index * chunk, chunk), given
            )

            def one(key, c):
                return surrogate(model, q, q.sample(key), x, c, objective.guide_gradient)

            return jnp.sum(jax.vmap(one)(draws(raw, index), own))

        def body(carry):
            index, total = carry
            return jax.tree.map(jnp.add, total, jax.grad(part)(moving, index))

        return loop(body, jax.tree.map(jnp.zeros_like, moving), count)

    def branch(length, with_gradient):
        def run(raw, level, moving, fixed):
            count = objective.count(level)
            log_w = first_pass(raw, count, moving, fixed, length)
            value, largest, given = objective.row_coefficients(log_w, level)
            if not with_gradient:
                return value, largest
            given = Coefficients(*given)
            return value, largest, second_pass(raw, count, moving, fixed, given)

        return run

    def choose(with_gradient, raw, level, moving, fixed):
        branches = [branch(length, with_gradient) for length in lengths]
        if len(branches) == 1:
            return branches[0](raw, level, moving, fixed)
        count = largest_mapped(objective.count(level))
        which = sum((count > length).astype(int) for length in lengths[:-1])
        return jax.lax.switch(which, branches, raw, level, moving, fixed)

    # The rule is linear in the tangents, so that it serves forward and reverse mode alike.
    @jax.custom_jvp
    def run(raw, level, moving, fixed):
        return choose(False, raw, level, moving, fixed)

    @run.defjvp
    def _(primals, tangents):
        raw, level, moving, fixed = primals
        refuse_mixed((raw, level, moving))
        value, largest, gradient = choose(True, raw, level, once(moving), fixed)  # pyright: ignore[reportAssignmentType]
        vdot = functools.partial(jnp.vdot, precision="highest")
        along = jax.tree.map(vdot, gradient, tangents[2])
        moved = sum(jax.tree.leaves(along), jnp.zeros_like(value))
        return (value, largest), (moved, jnp.zeros_like(largest))

    value, largest = run(raw_key, level, moving, fixed)  # pyright: ignore[reportAssignmentType]
    return value, jax.lax.stop_gradient(largest)


def shapes(objective: Any, rows: int) -> tuple[int, list[int]]:
    """Draws of a chunk, and the buffer lengths to choose from at run time."""
    layout = objective.layout(rows)
    full = objective.aligned(objective.count(int(layout.highest[-1])))
    chunk = objective.aligned(objective.count(int(layout.lowest[-1])))
    while chunk < min(SMALLEST_CHUNK, full):
        chunk = objective.aligned(chunk + 1)
    chunk = min(chunk, full)
    full = -(-full // chunk) * chunk
    usual = USUAL_CHUNKS * chunk
    return chunk, [usual, full] if usual < full else [full]
