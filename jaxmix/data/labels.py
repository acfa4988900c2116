"""Labels: static, declared by the template; where an unseen one goes, and what share it has."""

from collections.abc import Hashable, Iterable, Sequence, Sized
from itertools import repeat

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._arguments import real, takes
from .._sharding import gathered
from ..combinators import MarkovChain
from ..families import BernoulliSet, Categorical

# A label to declare in a template: values that are no other label are encoded as this one.
OTHER = "(other)"


def names_of(density: Categorical | BernoulliSet | MarkovChain) -> Sequence[Hashable]:
    """What the outcomes are called: their labels, or 0, 1, and so on."""
    return range(density.size) if density.labels is None else density.labels


def label_codes(values: Iterable, names: Sequence[Hashable]) -> tuple[np.ndarray, int | None]:
    """Positions of values among labels, and the first value's index that is none of them."""
    codes = {label: code for code, label in enumerate(names)}
    fallback = codes.get(OTHER, -1)
    values = values if isinstance(values, Sized) else list(values)
    try:
        found = np.fromiter(map(codes.get, values, repeat(fallback)), dtype=np.int64)
    except TypeError:  # an unhashable one
        found = np.fromiter((_code(codes, v, fallback) for v in values), dtype=np.int64)
    bad = np.flatnonzero(found < 0)
    return found, int(bad[0]) if bad.size else None


def _code(codes, value, fallback):
    try:
        return codes.get(value, fallback)
    except TypeError:  # unhashable: no label
        return -1


def expected_labels(names: Sequence[Hashable]) -> str:
    if isinstance(names, range):
        return f"one of the labels 0 to {len(names) - 1}"
    shown = ", ".join(map(repr, names[:8]))
    return f"one of the labels {shown}{', ...' if len(names) > 8 else ''}"


@takes(mass=real(0, 1))
def reserve(model: PyTree, mass: float) -> PyTree:
    """Give the label `jm.data.OTHER` a probability, wherever a model declares it.

    A fit to rows without unseen labels estimates its probability as 0, so that a row with one is
    impossible. Reserved, p(OTHER) = mass and p(label) = (1 - mass) times what it was among the
    declared labels: every density still sums to 1. Of a `BernoulliSet` the probability that an
    unseen member is in becomes `mass`.

    Args:
        model: a density, with labels that include `jm.data.OTHER`.
        mass: between 0 and 1.

    Returns:
        The model; densities that declare no `OTHER` are as they were.

    Raises:
        ValueError: for a mass outside (0, 1), or if no part of the model declares `OTHER`.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> kinds = jm.Categorical(jnp.array([0.5, 0.5, 0.0]), labels=("a", "b", jm.data.OTHER))
        >>> jm.data.reserve(kinds, 0.1).probs.tolist()
        [0.450, 0.450, 0.100]
    """
    if not 0 < mass < 1:
        raise ValueError(f"The mass to reserve lies between 0 and 1; it was {mass}.")
    kinds = Categorical | BernoulliSet | MarkovChain
    model, found = gathered(model), []

    def one(node):
        if not isinstance(node, kinds) or OTHER not in (node.labels or ()):
            return node
        found.append(node)
        index = node.labels.index(OTHER)
        if isinstance(node, MarkovChain):
            parts = (_reserved(part, index, mass) for part in (node.initial, node.transition))
            return eqx.tree_at(lambda c: (c.initial, c.transition), node, tuple(parts))
        return _reserved(node, index, mass)

    reserved = jax.tree.map(one, model, is_leaf=lambda node: isinstance(node, kinds))
    if not found:
        raise ValueError("No part of the model declares the label jm.data.OTHER.")
    return reserved


def _reserved(density: PyTree, index: int, mass: float) -> PyTree:
    logits = density.logits
    if isinstance(density, Categorical):
        logits = logits.at[..., index].set(-jnp.inf)
        # A row that nothing but OTHER ever followed: the declared labels share alike.
        empty = jnp.all(logits == -jnp.inf, -1, keepdims=True)
        logits = jnp.where(empty, jnp.zeros_like(logits).at[..., index].set(-jnp.inf), logits)
        logits = jax.nn.log_softmax(logits) + jnp.log1p(-mass)
        new = jnp.log(mass)
    else:
        new = jnp.log(mass) - jnp.log1p(-mass)
    return eqx.tree_at(lambda d: d.logits, density, logits.at[..., index].set(new))
