"""Distributions of numpyro, distrax, flowjax and TFP as densities here, and ours as numpyro's.

What an adapter gives is a density like any other: a component of a mixture (refitted by
gradient inside EM), a target, a proposal or a guide. Each library is an optional extra.
"""

import importlib
from typing import Any

from jaxtyping import Array, PyTree

from .._density import LogDensity
from ._foreign import foreign as _foreign_density


def _module(name: str, extra: str) -> Any:
    """One of the modules beside this, or the sentence for a library that is absent."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except (ImportError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not f"{error.name}".startswith("jax"):
            raise ModuleNotFoundError(
                f"This adapter needs {error.name}, which the extra `{extra}` installs: "
                f"pip install 'jaxmix[{extra}]'."
            ) from error
        raise ImportError(
            f"The {extra} installed does not work with this JAX; update it."
        ) from error


def from_numpyro(distribution: Any) -> LogDensity:
    """A numpyro distribution as a density of one event.

    Its parameters are kept free of constraints by `biject_to` of their `arg_constraints`, so
    that any step of an optimiser leaves them valid; those whose constraint depends on others (a
    uniform's ends) are held as they are. Off its support the log-density is -inf.

    Args:
        distribution: a distribution without batch axes; `jax.vmap` the adapter for a stack.

    Raises:
        ValueError: for batch axes, a distribution that cannot be taken apart, or one without a
            density (a `Delta`, an `ImproperUniform`).
        ModuleNotFoundError: without the extra `numpyro`.

    Example:
        >>> import numpyro.distributions as dist, jaxmix as jm, jax.numpy as jnp
        >>> density = jm.adapters.from_numpyro(dist.StudentT(4.0, 0.0, 2.0))
        >>> density.log_prob(jnp.array(0.0)).round(4)
        Array(-1.674, dtype=float32)
    """
    return _foreign_density(distribution, _module("_numpyro", "numpyro").Numpyro)


def from_distrax(distribution: Any) -> LogDensity:
    """A distrax distribution as a density of one event.

    Scales, rates and concentrations are kept positive by a softplus, triangular scales by one on
    their diagonal; locations and logits are free; all other arguments are held as they are.

    Args:
        distribution: a distribution without batch axes; `jax.vmap` the adapter for a stack.

    Raises:
        ValueError: for batch axes, or a distribution that cannot be taken apart.
        ModuleNotFoundError: without the extra `distrax`.

    Example:
        >>> import distrax, jaxmix as jm, jax.numpy as jnp
        >>> density = jm.adapters.from_distrax(distrax.Gamma(2.0, 1.0))
        >>> density.log_prob(jnp.array(1.0)).round(4)
        Array(-1., dtype=float32)
    """
    return _foreign_density(distribution, _module("_distrax", "distrax").Distrax)


def from_tfp(distribution: Any) -> LogDensity:
    """A distribution of TensorFlow Probability's JAX substrate as a density of one event.

    Its parameters are kept valid by the bijectors of its own `parameter_properties`.

    Args:
        distribution: a distribution without batch axes; `jax.vmap` the adapter for a stack.

    Raises:
        ValueError: for batch axes, or what is no such distribution.
        ImportError: without the extra `tfp`, or where it does not work with the JAX installed.

    Example:
        >>> from tensorflow_probability.substrates.jax import distributions as tfd
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> density = jm.adapters.from_tfp(tfd.Normal(0.0, 1.0))
        >>> density.log_prob(jnp.array(0.0)).round(4)
        Array(-0.9189, dtype=float32)
    """
    return _foreign_density(distribution, _module("_tfp", "tfp").TFP)


def from_flowjax(distribution: Any, condition: Array | None = None) -> LogDensity:
    """A flowjax distribution, such as a normalising flow, as a density of one event.

    Args:
        distribution: a flowjax distribution.
        condition: what a conditional one is conditioned on, such as a guide's x.

    Raises:
        ValueError: for a condition of another shape than the distribution takes.
        ModuleNotFoundError: without the extra `flowjax`.

    Example:
        >>> import flowjax.distributions as fd, jaxmix as jm, jax.numpy as jnp
        >>> density = jm.adapters.from_flowjax(fd.Normal(jnp.zeros(2), jnp.ones(2)))
        >>> density.log_prob(jnp.zeros(2)).round(4)
        Array(-1.8379, dtype=float32)
    """
    return _module("_flowjax", "flowjax").adapt(distribution, condition)


def as_density(distribution: Any) -> Any:
    """A distribution of numpyro, distrax, flowjax or TFP as a density; anything else as it is.

    Objectives take a guide's distribution so; only what has a library's own class imports it.

    Example:
        >>> import numpyro.distributions as dist, jaxmix as jm
        >>> jm.adapters.as_density(dist.Normal(0.0, 1.0)).reparametrised
        True
    """
    libraries = {kind.__module__.split(".")[0] for kind in type(distribution).__mro__}
    for library, adapt in _ADAPTERS.items():
        if library in libraries and not isinstance(distribution, LogDensity):
            return adapt(distribution)
    return distribution


_ADAPTERS = {
    "numpyro": from_numpyro,
    "distrax": from_distrax,
    "flowjax": from_flowjax,
    "tensorflow_probability": from_tfp,
}


def to_numpyro(density: PyTree, support: Any = None) -> Any:
    """A density of this package as a numpyro distribution, for `numpyro.sample`.

    Args:
        density: a density whose events are single arrays; the axes of a stack are its batch shape.
        support: numpyro's constraint for the events; None to derive it from the density.

    Raises:
        ValueError: for a density of records, or an unknown support.
        ModuleNotFoundError: without the extra `numpyro`.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> prior = jm.adapters.to_numpyro(jm.Normal(0, 1))
        >>> prior.sample(jax.random.key(0), (3,)).shape, prior.support
        ((3,), Real())
    """
    return _module("_to_numpyro", "numpyro").adapt(density, support)
