"""Add a family: its statistics and natural parameters; EM, mixtures, plots and files follow.

log p(x) = <natural, stats(x)> + log_base(x), natural headed by minus the log-normaliser. A closed
M-step goes into `from_stats`; without one it is Newton's ascent. Parameters are stored free of
bounds, `ranks` says the rank of each, and `jm.check_density` tells whether the contract is kept.

Example:
    >>> import jax, jax.numpy as jnp, jaxmix as jm
    >>> class Logarithmic(jm.ExponentialFamily):  # log p(x) = x log q - log x - log(-log(1 - q))
    ...     logit: jax.Array
    ...     ranks = {"logit": 0}
    ...     domain = jm.Domain("a whole number from 1 up", whole=True, low=1)
    ...
    ...     def stats(self, x, origin=None):
    ...         return jm.Total(jnp.ones_like(self.logit), x * jnp.ones_like(self.logit))
    ...
    ...     def natural(self, origin=None):
    ...         log_q = jax.nn.log_sigmoid(self.logit)
    ...         return jm.Total(-jnp.log(jax.nn.softplus(self.logit)), log_q)
    ...
    ...     def log_base(self, x):
    ...         return -jnp.log(x * jnp.ones_like(self.logit))
    >>> counts = jnp.array([1, 1, 1, 2, 1, 3, 1, 9, 8, 14])
    >>> model = jm.em.run(Logarithmic.template(), counts).model
    >>> jax.nn.sigmoid(model.logit).round(2)  # the mean is -q / ((1 - q) log(1 - q)) = 4.1
    Array(0.91, dtype=float32)
    >>> fit = jm.fit(jax.random.key(0), jm.mixture_of(Logarithmic.template(), 2), counts)
    >>> fit.model.weights.shape
    (2,)
"""
