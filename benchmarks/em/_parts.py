"""An EM iteration cut down to its parts, as programs that can be timed."""

import jax
import jax.numpy as jnp

from jaxmix._log_sums import logsumexp
from jaxmix._product_form import by_density, common_origin, feature_sums, log_probs
from jaxmix.em.chunks import chunk_rows, take_chunk
from jaxmix.em.expected import expect

TINY = 1e-9


def loss(under, log_weights, case_weights):
    """What a pass adds up of a chunk's log-densities."""
    values = jax.vmap(lambda row: logsumexp(log_weights + row))(under)
    values = jnp.where(case_weights > 0, values, jnp.zeros_like(values)) * case_weights
    return jnp.sum(values), values


def programs(model, x, case):
    """The iteration cut down, from its products to its pass, as functions without arguments."""
    stack, chunk = model.components, chunk_rows(model, x, None)
    origin = common_origin(stack)
    natural = stack.product_natural(jnp.broadcast_to(origin, stack.origin.shape))
    made = jax.jit(lambda x: stack.chunk_features(x, origin))(x[:chunk])
    indices = jnp.arange(-(-case.rows // chunk))
    log_weights = jnp.log(model.weights)

    def scanned(softmax, fresh):
        @jax.jit
        def passed(natural, made, ones, x):
            def body(model, index):
                head, weights = model
                used, rows = made, ones
                if fresh:
                    events, rows = take_chunk(x, None, index, chunk, x.dtype)
                    used = stack.chunk_features(events, origin)
                shares = log_probs(stack, model, used)
                if softmax:
                    shares, _ = jax.grad(loss, has_aux=True)(shares, log_weights, rows)
                sums = by_density(stack, feature_sums(stack, used, shares))
                # The next chunk waits for this one, and no product is the same in all of them.
                return (head + TINY * sums[:, 0], weights + TINY * sums), None

            return jax.lax.scan(body, natural, indices)[0]

        return lambda: passed(natural, made, jnp.ones(chunk, x.dtype), x)

    whole = jax.jit(lambda model, x: expect(model, x).stats)
    cut = [scanned(False, False), scanned(True, False), scanned(True, True)]
    return [*cut, lambda: whole(model, x)]
