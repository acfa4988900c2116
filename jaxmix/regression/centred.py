"""Covariates far from 0 are taken about their mean: about 0 their products lose their digits."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..combinators.mixture import Mixture, MixtureSameFamily
from .gated import Gated
from .generalised import GeneralisedLinear
from .linear_form import LinearForm

FAR = 8.0  # spreads: nearer to 0 three digits of products are lost, and nothing is moved


def reads_pairs(model: PyTree) -> bool:
    """Whether a model is of pairs (y, x) and reads x as covariates alone, all of its densities."""
    if isinstance(model, LinearForm | GeneralisedLinear):
        return True
    if isinstance(model, MixtureSameFamily | Mixture):
        parts = model.components
        return all(map(reads_pairs, parts if isinstance(parts, list | tuple) else [parts]))
    if isinstance(model, Gated) and model.given is None:
        experts = not model.experts or reads_pairs(model.components)
        return experts and isinstance(model.mixing, GeneralisedLinear)
    return False


class Centre(NamedTuple):
    """What covariates are taken about, (p,); None where they stay as they are."""

    at: Array | None

    def data(self, data: PyTree) -> PyTree:
        """The data with their covariates about the centre."""
        if self.at is None:
            return data
        y, x, *offset = data
        return y, x - self.at.astype(x.dtype)[None], *offset

    def near(self, model: PyTree) -> PyTree:
        """A model of the user's own as one of covariates about the centre."""
        return model if self.at is None else about(model, self.at)

    def back(self, model: PyTree) -> PyTree:
        """A model of covariates about the centre, as one of the user's own."""
        return model if self.at is None else about(model, -self.at)

    def undone(self, found: Any) -> Any:
        """An outcome whose model is of covariates about the centre, in the user's own."""
        return dataclasses.replace(found, model=self.back(found.model))


def centred(model: PyTree, data: PyTree, weights: Array | None) -> tuple[PyTree, PyTree, Centre]:
    """A model and data whose covariates are near 0, and what they are about.

    Coefficients are the same, and intercepts are those at the centre. What is not of pairs (y, x)
    is left as it is.
    """
    if not (type(data) is tuple and reads_pairs(model)):
        return model, data, Centre(None)
    centre = Centre(jax.lax.stop_gradient(_centre(data[1], weights)))
    return centre.near(model), centre.data(data), centre


def _centre(x: Array, weights: Array | None) -> Array:
    """The mean of each covariate that lies far from 0, and 0 of the others."""
    used = jnp.ones(x.shape[0], x.dtype) if weights is None else (weights > 0).astype(x.dtype)
    mean = lambda a: jnp.sum(a * used[:, None], 0) / jnp.sum(used)
    rough = mean(x)
    middle = rough + mean(x - rough[None])
    spread = mean(jnp.abs(x - middle[None]))
    return jnp.where(jnp.abs(middle) > FAR * spread, middle, jnp.zeros_like(middle))


def about(model: PyTree, centre: Array) -> PyTree:
    """The same densities of covariates less a centre (p,)."""
    is_regression = lambda node: isinstance(node, LinearForm | GeneralisedLinear)

    def moved(node: Any) -> Any:
        if not is_regression(node):
            return node
        b = node.coefficients
        shift = jnp.dot(b, centre.astype(b.dtype), precision="highest")
        return node._replace(intercept=node.intercept + shift)

    return jax.tree.map(moved, model, is_leaf=is_regression)
