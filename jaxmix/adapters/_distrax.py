"""distrax's distributions as densities."""

import functools
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from ._foreign import Bijection, Library, named_arguments

POSITIVE = ("scale", "scale_diag", "stddev", "rate", "concentration", "alpha", "beta")
OTHER_FORMS = {"logits": ("probs",)}
MIXTURES = (distrax.MixtureSameFamily, distrax.MixtureOfTwo)


def _inverse_softplus(y):
    return y + jnp.log(-jnp.expm1(-y))


def _on_diagonal(function, triangle):
    diagonal = function(jnp.diagonal(triangle, axis1=-2, axis2=-1))
    on_it = jnp.eye(triangle.shape[-1], dtype=bool)
    return jnp.where(on_it, diagonal[..., None], jnp.tril(triangle, -1))


_constrained_triangle = functools.partial(_on_diagonal, jax.nn.softplus)
_free_triangle = functools.partial(_on_diagonal, _inverse_softplus)


def _same(x):
    return x


class Distrax(Library):
    """distrax states no constraints: they are known here by the names of its arguments."""

    containers_are_trees = False
    base = distrax.Distribution
    entry = "from_distrax takes a distrax distribution"

    @staticmethod
    def arguments(distribution: Any) -> dict[str, Any]:
        skip = ("dtype",) if hasattr(distribution, "logits") else ()
        return named_arguments(distribution, skip, OTHER_FORMS)

    @staticmethod
    def bijection(kind, name, value) -> Bijection | None:
        if name in POSITIVE:
            return Bijection(jax.nn.softplus, _inverse_softplus)
        if name == "scale_tri":
            return Bijection(_constrained_triangle, _free_triangle)
        if name in ("loc", "logits", "log_scale"):
            return Bijection(_same, _same)
        return None

    @staticmethod
    def sample(distribution, key):
        return distribution.sample(seed=key)

    @staticmethod
    def reparametrised(distribution) -> bool:
        if isinstance(distribution, distrax.Independent):
            return Distrax.reparametrised(distribution.distribution)
        real = jnp.issubdtype(distribution.dtype, jnp.inexact)
        return bool(real) and not isinstance(distribution, MIXTURES)
