"""Densities with a hidden label of finitely many values: one place for sums and posteriors."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from .._density import LogDensity, is_density
from .._hooks import TellsParts, TellsPosterior
from .._log_sums import finite_or_zero, logsumexp, softmax, weighted_logsumexp, weighted_softmax
from .._numerics import as_array
from .._stack import Held, of_arrays
from ..families._entrances import entrance
from ..families.categorical import Categorical


class HiddenLabel(LogDensity):
    """log p(x) = log sum_k weights[k] p_k(x), the weights kept apart from the densities.

    A log-weight that is added to a large log-density is rounded to that one's digits: equal
    components would not leave the weights as they are.
    """

    @abc.abstractmethod
    def log_parts(self, x: PyTree) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        """Logarithms of the weights, and of the densities of one event, of each label."""

    def joint_log_probs(self, x: PyTree) -> Float[Array, " k"]:
        """Log weights[k] + log p_k(x), in nats."""
        log_weights, under = self.log_parts(x)
        return log_weights + under

    def log_prob(self, x: PyTree) -> Scalar:
        return weighted_logsumexp(*self.log_parts(x))

    def posterior(self, x: PyTree) -> Float[Array, " k"]:
        """Probability of each label given one event.

        All are 0 where no label's log-density is finite: off the support, or so far out that each
        is below the least number of its dtype.
        """
        is_held = lambda node: isinstance(node, Held)
        if any(map(is_held, jax.tree.leaves(self, is_leaf=is_held))):
            return _posterior(self, x)
        # Numbers go in as arrays: as they are they would be part of the program.
        arrays = [as_array(a) for a in jax.tree.leaves(x)]
        return _compiled(of_arrays(self), jax.tree.unflatten(jax.tree.structure(x), arrays))


def _posterior(density, x):
    return weighted_softmax(*density.log_parts(x))


# Called for one event, or under a user's own `vmap`, nothing is compiled twice.
_compiled = eqx.filter_jit(_posterior)


def log_parts_of(density: Any, x: PyTree) -> tuple[Array, Array]:
    """`log_parts`, or of a user's own mixture its joint log-probabilities beside zeros."""
    if isinstance(density, TellsParts):
        return density.log_parts(x)
    joint = density.joint_log_probs(x)
    return jnp.zeros_like(joint), joint


def posterior_of(density: Any, x: PyTree) -> Array:
    """The posterior of the label of any density that has `joint_log_probs`."""
    if isinstance(density, TellsPosterior):
        return density.posterior(x)
    return softmax(density.joint_log_probs(x))


def from_logs(log_weights: Float[Array, " k"], under: Float[Array, " k"]) -> Categorical:
    """The Categorical in proportion to weights times densities, normalised by differences."""
    peak = jax.lax.stop_gradient(jnp.max(log_weights + under))
    peak = finite_or_zero(peak)
    logits = (under - peak) + log_weights
    return Categorical(logits=logits - logsumexp(logits))


def entered(owner: str, **forms: Any) -> tuple[str, Any]:
    """Which of "probs" and "logits" was given, and it; or a sentence unless exactly one was."""
    name = entrance(owner, **forms)
    return "logits" if name.endswith("logits") else "probs", forms[name]


def as_law(which: str, value: Any) -> PyTree:
    """A law of labels from a vector; a density is left as it is."""
    return value if is_density(value) else Categorical(**{which: value})


def check_sized(owner: str, *laws: PyTree) -> None:
    """Refuse a density that is no law of a number of labels."""
    for law in laws:
        if not hasattr(law, "size"):
            raise TypeError(f"{owner} takes laws of labels; a {type(law).__name__} was given.")


def law_and_rows(
    owner: str, sizes: tuple[int | None, int], law: dict, rows: dict
) -> tuple[PyTree, PyTree]:
    """A law of labels and a stack of laws, one for each of them; or a sentence.

    Args:
        owner: the class.
        sizes: of the first law (None where it has the say), and of each of the stack.
        law: its names in two entrances, as probabilities and as logits, and what was given.
        rows: the same of the stack.
    """
    one = as_law(*entered(owner, **law))
    many = as_rows(owner, *entered(owner, **rows))
    check_sized(owner, one, many)
    size = one.size if sizes[0] is None else sizes[0]
    given = one.size, (*many.stack_shape, many.size)
    if given != (size, (size, sizes[1])):
        raise ValueError(
            f"{owner} of such parts takes {next(iter(law))} of {size} labels and {next(iter(rows))} "
            f"of shape {(size, sizes[1])}; they were of {given[0]}, and of shape {given[1]}."
        )
    return one, many


def as_rows(owner: str, which: str, value: Any) -> PyTree:
    """A stack of laws from an array whose last axis are theirs; a stack is left as it is."""
    if is_density(value):
        return value
    array = as_array(value)
    if array.ndim < 2:
        raise ValueError(
            f"{owner} takes a matrix whose rows are laws; it was given shape {array.shape}."
        )
    rows = array.reshape(-1, array.shape[-1])
    return jax.vmap(lambda row: Categorical(**{which: row}))(rows)
