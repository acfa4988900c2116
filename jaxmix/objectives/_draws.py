"""Draws of a guide, their log-weights, and the surrogate that carries the coefficients."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._arguments import arrays, numbers, shown
from .._density import is_density
from .._refuse import checked_key
from .._steps import refuse_slope
from ..adapters import as_density
from ._rules import PATHWISE, Coefficients

P = ParamSpec("P")
R = TypeVar("R")
HERE = ("cubo", "eubo")  # which are not in the package's own table of contents
SURROGATE = (
    "The gradient of this objective is a surrogate with held coefficients: its own derivative "
    "is no second derivative of anything. jm.iwae, jm.elbo, jm.miwae, jm.ciwae, jm.renyi and "
    "jm.objectives.cubo with guide_gradient='reparametrised' have derivatives of every order."
)


def stopped(tree: PyTree) -> PyTree:
    """The same tree, a constant of any differentiation."""
    return jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, tree)


def checked_rows(xs: PyTree) -> int:
    """Length of the leading axis that all arrays of a batch share."""
    shapes = [jnp.shape(a) for a in jax.tree.leaves(xs)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            "xs is a batch: every array has the data along its first axis; "
            f"the shapes were {shapes}. For one datum give xs[None]."
        )
    (rows,) = lengths
    if not rows:
        raise ValueError("xs has no rows: an objective needs at least one datum.")
    return rows


def configures(factory: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that makes an objective: called as the objective itself, it says so."""

    @functools.wraps(factory)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = [*args, *kwargs.values()]
        is_array = lambda a: hasattr(a, "dtype") and jnp.ndim(a) > 0
        is_key = lambda a: jnp.issubdtype(getattr(a, "dtype", jnp.float32), jax.dtypes.prng_key)
        if len(args) > 3 or any(callable(a) or is_array(a) or is_key(a) for a in given):
            where = "jm.objectives" if factory.__name__ in HERE else "jm"
            name = f"{where}.{factory.__name__}"
            raise TypeError(
                f"{name}(...) makes an objective, and takes numbers and rules; the objective takes "
                f"the rest: {name}(...)(key, model, guide, xs)."
            )
        return factory(*args, **kwargs)

    return checked


def check_call(name: str, key: Any, model: Any, guide: Any) -> None:
    """Sentences for a key, a model or a guide that are missing, or stand in another's place."""
    checked_key(key, name)
    wanted = (("model", model, 2, "model(z, x)"), ("guide", guide, 1, "guide(x)"))
    for role, function, size, call in wanted:
        if not callable(function) or isinstance(function, type):
            raise TypeError(
                f"{name} is called as (key, model, guide, xs), with functions model(z, x) and "
                f"guide(x); the {role} was {shown(function)}."
            )
        try:
            inspect.signature(function).bind(*[None] * size)
        except TypeError:
            raise TypeError(
                f"{name} is called as (key, model, guide, xs) and calls {call}: what stands in the "
                f"{role}'s place takes other arguments. Were model and guide swapped?"
            ) from None
        except ValueError:  # it has no signature to be read
            pass


class Objective:
    """A function (key, model, guide, xs) -> values (N,), whose settings a dataclass holds."""

    name: str

    def evaluate(self, key, model, guide, xs) -> tuple[Array, Array, Array]:
        """Values (N,), samples used (N,), and the largest contribution of a level (N,)."""
        raise NotImplementedError

    def __call__(
        self, key: Key[Array, ""], model: Any, guide: Any, xs: PyTree
    ) -> Float[Array, " N"]:
        """One value a datum, in nats.

        Args:
            key: a typed random key.
            model: `model(z, x)`, the joint log-density of one latent and one datum.
            guide: `guide(x)`, a density over the latent.
            xs: the data, along the first axis of every array.

        Returns:
            Values (N,). For a minibatch of a data set, N_total times their mean is the total.
        """
        check_call(self.name, key, model, guide)
        return self.evaluate(key, model, guide, arrays(xs, f"xs of {self.name}"))[0]


def checked_guide(guide: Any, x: PyTree, guide_gradient: str) -> Any:
    """The density guide(x), with a sentence for what cannot serve."""
    q = as_density(guide(x))
    if not is_density(q) or not callable(getattr(q, "sample", None)):
        raise ValueError(
            "guide(x) must be a density over z, with methods log_prob(z) and sample(key); it is "
            f"a {type(q).__name__}."
        )
    if guide_gradient in PATHWISE and not getattr(q, "reparametrised", False):
        return refused(
            q,
            f"guide(x) is a {type(q).__name__}, whose `sample` is not reparametrised: "
            f"guide_gradient='{guide_gradient}' has no path to follow. Use guide_gradient='score' or "
            "'wake', or declare `reparametrised = True` on the class if its sample is differentiable.",
        )
    return q


def refused(tree: PyTree, sentence: str) -> PyTree:
    """The same tree, whose arrays refuse a derivative."""
    return jax.tree.map(lambda a: refuse_slope(a, sentence) if eqx.is_inexact_array(a) else a, tree)


def log_weight(model: Any, q: Any, z: PyTree, x: PyTree) -> Scalar:
    """log w = log p(x, z) - log q(z), in nats: -inf where the joint density is 0."""
    joint = numbers()(model(z, x), "model(z, x)")
    if joint.shape != ():
        raise ValueError(
            "model(z, x) must be one log-density of one latent and one datum, a scalar; it has "
            f"shape {joint.shape}. Sum over the coordinates."
        )
    return joint - q.log_prob(z)


def weighed(
    key: Key[Array, ""], model: Any, q: Any, x: PyTree, num_samples: int
) -> tuple[PyTree, Float[Array, " K"]]:
    """Fresh draws of a density for one datum, and their log-weights."""
    zs = jax.vmap(q.sample)(jax.random.split(key, num_samples))
    return zs, jax.vmap(lambda z: log_weight(model, q, z, x))(zs)


@jax.custom_jvp
def _scaled(array, ratio):
    """The array itself, its tangent multiplied by a ratio."""
    del ratio
    return array


@_scaled.defjvp
def _(primals, tangents):
    array, ratio = primals
    return _scaled(array, ratio), ratio.astype(array.dtype) * tangents[0]


def surrogate(
    model: Any, q: Any, z: PyTree, x: PyTree, given: Coefficients, guide_gradient: str
) -> Scalar:
    """A scalar of one draw whose gradient is what the coefficients say; its value means nothing.

    The model is evaluated once more at the same draw, so that under `jit` both evaluations are
    one: the path's coefficient needs the log-weights of all the draws.
    """
    if guide_gradient in PATHWISE:
        # One backward pass through the model serves both: it carries the model's coefficient,
        # and the draw turns it into the path's. One that is 0 is replaced by the square root of
        # the smallest number, whose contribution to the model is far below rounding.
        tiny = jnp.sqrt(jnp.asarray(jnp.finfo(given.model.dtype).tiny, given.model.dtype))
        blank = (jnp.abs(given.model) < tiny) & (given.path != 0)
        carried = jnp.where(blank, tiny, given.model)
        idle = given.path == 0
        ratio = jnp.where(idle, 0 * carried, given.path / jnp.where(idle, 1 + 0 * carried, carried))
        moved = jax.tree.map(lambda a: _scaled(a, ratio) if eqx.is_inexact_array(a) else a, z)
    else:
        carried, moved = given.model, stopped(z)
    total = carried * log_weight(model, stopped(q), moved, x)
    if guide_gradient in ("reparametrised", "wake", "score"):
        total = total + given.density * q.log_prob(stopped(z))
    return total


@jax.custom_jvp
def attach(value: Array, carrier: Array) -> Array:
    """The value, with the derivative of the carrier and none of its own."""
    del carrier
    return value


@attach.defjvp
def _(primals, tangents):
    value, carrier = primals
    return attach(value, once(carrier)), tangents[1]


def once(tree: PyTree) -> PyTree:
    """What a rule for derivatives is made from: a derivative of the rule itself is refused."""
    return refused(tree, SURROGATE)
