"""Add a combinator: `log_prob` of one event by its parts' `log_prob`; EM needs no more of it.

In a fit the parts know `log_prob` alone (`jm.constant(part)` may be asked for more), and the
gradient of `log_prob` in tilts of the parts is every expected statistic: no E-step is written.

Example:
    >>> from typing import Any
    >>> import jax, jax.numpy as jnp, jaxmix as jm
    >>> class Delayed(jm.LogDensity):  # of a time after a delay of which the event tells
    ...     value: Any
    ...
    ...     def log_prob(self, x):
    ...         return self.value.log_prob(x[0] - x[1])
    >>> times, delays = jnp.array([3.0, 4.0, 6.0, 9.0]), jnp.array([1.0, 2.0, 2.0, 5.0])
    >>> model = jm.em.run(Delayed(jm.Exponential.template()), (times, delays)).model
    >>> model.value.mean.round(4)
    Array(3., dtype=float32)
    >>> both = jm.mixture_of(Delayed(jm.Exponential.template()), 2)
    >>> jm.fit(jax.random.key(0), both, (times, delays)).model.components.value.stack_shape
    (2,)
"""
