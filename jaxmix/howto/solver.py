"""Add a solver: from one pass over the data to what is tried next; EM guards it, and so it climbs.

`propose` sees the parameters, the plain EM step and the gradient; `settle` learns whether the
proposal was kept. `jm.fit`, `jm.em.run` and streams take it as `accelerate=`.

Example:
    >>> import jax, jax.numpy as jnp, jaxmix as jm
    >>> class Momentum(jm.em.Solver):  # plus a share of the step before
    ...     share: float = 0.7
    ...
    ...     def init(self, params):
    ...         return jnp.zeros_like(params), jnp.zeros_like(params)
    ...
    ...     def propose(self, memory, point):
    ...         kept, before = memory
    ...         step = point.step + self.share * before
    ...         ahead = jm.em.Proposal(point.params + step, jnp.any(before != 0), jnp.inf)
    ...         return ahead, (point.params, jnp.where(jnp.isfinite(step), step, 0.0))
    ...
    ...     def settle(self, memory, verdict):
    ...         return jax.tree.map(lambda m: jnp.where(verdict.fell, 0.0, m), memory)
    >>> x = jnp.concatenate([jnp.linspace(-3, 1, 50), jnp.linspace(0, 4, 50)])
    >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
    >>> start = jm.MixtureSameFamily(jnp.ones(2) / 2, parts)
    >>> plain, fast = jm.em.run(start, x), jm.em.run(start, x, accelerate=Momentum())
    >>> bool(fast.num_steps < plain.num_steps)
    True
"""
