"""Add an objective: which log-mean-exps of the log-weights it adds up, and what the guide follows.

L = sum_g a_g (logsumexp over S_g of log w - log|S_g|): `Blocks(m, a)` are all blocks of m draws,
with the coefficient a in all. Gradients of the model and of the guide follow by themselves.

Example:
    >>> import jax, jax.numpy as jnp, jaxmix as jm
    >>> from jaxmix.objectives import Blocks, FixedObjective
    >>> halfway = FixedObjective(  # half the bound of 2 draws, half that of 8
    ...     "halfway", 8, terms=(Blocks(2, 0.5), Blocks(8, 0.5)), bound=(Blocks(8),)
    ... )
    >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
    >>> guide = lambda x: jm.Normal(x / 2, 1)
    >>> values = halfway(jax.random.key(0), model, guide, jnp.zeros(2000))
    >>> bool(values.mean() < jm.Normal(0, 2**0.5).log_prob(0.0))  # a lower bound
    True
"""
