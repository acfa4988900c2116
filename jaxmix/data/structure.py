"""The density whose events a model's are, and where these lie."""

import jax.numpy as jnp
from jaxtyping import PyTree

from .._density import is_density
from .._hooks import SaysDomain
from ..combinators import (
    Composite,
    Conditional,
    HiddenMarkov,
    HierarchicalMixture,
    JointMixture,
    Sequence,
)
from ..combinators._conditioning import plain
from ..combinators.tied import Tied
from ..families import Categorical
from ..families._support import REAL, Domain
from ..regression import MultinomialRegression


def response_of(family: PyTree) -> PyTree:
    """A density of a regression's response alone, for where its values lie."""
    if isinstance(family, MultinomialRegression):
        return Categorical.template(family.size)
    return type(family).template(1).given(jnp.zeros(1))


def structure(model: PyTree) -> PyTree:
    """The density whose events the model's are: mixtures have those of their components."""
    if isinstance(model, Tied):
        return structure(model.filled)
    model = plain(model)
    if isinstance(model, JointMixture):
        return Composite((model.first, model.second))
    if isinstance(model, Conditional):
        outcome = Categorical.template(model.laws.stack_shape[-1])
        return Composite((outcome if model.given is None else model.given, model.laws))
    if isinstance(model, HierarchicalMixture | HiddenMarkov):
        item = model.topics if isinstance(model, HierarchicalMixture) else model.emissions
        return Sequence(item, max_length=model.max_length)
    components = getattr(model, "components", None)
    if components is not None:
        return structure(components[0] if isinstance(components, tuple) else components)
    return model


def domain_of(density: PyTree) -> Domain:
    """Where a density's events live; vectors where it has a dimension, else real numbers."""
    if not is_density(density):
        raise ValueError(f"A {type(density).__name__} is no density: it has no events to encode.")
    if isinstance(density, SaysDomain):
        return density.domain
    dim = getattr(density, "dim", None)
    return REAL if dim is None else Domain(f"a vector of {dim} numbers", dim=dim)
