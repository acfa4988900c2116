"""Another library's distribution as a density here: its parameters unconstrained, as a pytree."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity
from ..families._entrances import of_field


class Bijection(NamedTuple):
    """Between free numbers and the values that a parameter may take."""

    constrain: Callable[[Array], Array]
    free: Callable[[Array], Array]


class Library:
    """What has to be known of a library; one subclass each, used as a namespace."""

    base: ClassVar[Any]  # its class of distributions
    entry: ClassVar[str]  # the beginning of a sentence for what is none

    # Whether arguments that contain arrays (bijectors) are pytrees that survive flattening.
    containers_are_trees: ClassVar[bool] = True

    @staticmethod
    def arguments(distribution: Any) -> dict[str, Any]:
        """What its class would be called with to make it again."""
        raise NotImplementedError

    @staticmethod
    def bijection(kind: Any, name: str, value: Array) -> Bijection | None:
        """For a real-valued argument; None holds it fixed."""
        raise NotImplementedError

    @staticmethod
    def log_prob(distribution: Any, x: PyTree) -> Scalar:
        return distribution.log_prob(x)

    @staticmethod
    def sample(distribution: Any, key: Key[Array, ""]) -> PyTree:
        return distribution.sample(key)

    @staticmethod
    def reparametrised(distribution: Any) -> bool:
        raise NotImplementedError


WITHOUT_DENSITY = {
    "Delta": "is a mass at a point: condition the model on the value, or take a narrow Normal",
    "Deterministic": "is a mass at a point: condition the model on the value, or take a narrow Normal",
    "VectorDeterministic": "is a mass at a point: condition the model on the value",
    "ImproperUniform": "integrates to infinity and has no draws: leave it out, or take a wide Normal",
    "Unit": "is a factor, of no event: add its log_factor in the model",
}


class Opaque:
    """An argument that is no pytree: held as the object it is, whatever it holds."""

    def __init__(self, value: Any):
        self.value = value


class Recipe(eqx.Module):
    """A distribution taken apart: its class, its free parameters, and what stays as it is."""

    parameters: dict[str, Any]
    held: dict[str, Any]
    kind: Any = eqx.field(static=True)
    settings: tuple = eqx.field(static=True)
    library: type[Library] = eqx.field(static=True)

    def build(self) -> Any:
        """The library's distribution."""
        made = {n: v.value if isinstance(v, Opaque) else v for n, v in self.settings}
        for name, value in self.parameters.items():
            if isinstance(value, Recipe):
                made[name] = value.build()
            else:
                made[name] = self._bijection(name, value).constrain(value)
        made.update(jax.tree.map(jax.lax.stop_gradient, self.held))
        return self.kind(**made)

    def log_prob(self, x: PyTree) -> Scalar:
        return self.library.log_prob(self.build(), x)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self.library.sample(self.build(), key)

    @property
    def reparametrised(self) -> bool:
        return self.library.reparametrised(self.build())

    def _bijection(self, name: str, value: Array) -> Bijection:
        found = self.library.bijection(self.kind, name, value)
        assert found is not None
        return found


def taken_apart(distribution: Any, library: type[Library]) -> Recipe:
    """The recipe of a distribution and, within it, of those that it is made of."""
    kind = type(distribution)
    if kind.__name__ in WITHOUT_DENSITY:
        why = WITHOUT_DENSITY[kind.__name__]
        raise ValueError(f"A {kind.__name__} has no density here; it {why}.")
    parameters, held, settings = {}, {}, []
    for name, value in library.arguments(distribution).items():
        if isinstance(value, library.base):
            parameters[name] = taken_apart(value, library)
            continue
        if eqx.is_array_like(value) and not isinstance(value, bool):
            array = jnp.asarray(value)
            bijection = library.bijection(kind, name, array)
            if bijection is not None:
                real = array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)
                real = jax.lax.convert_element_type(real, real.dtype)  # strongly typed
                parameters[name] = bijection.free(real)
                continue
            if not isinstance(value, int):
                held[name] = array
                continue
        elif _is_container(value):
            if library.containers_are_trees:
                held[name] = jax.tree.map(jnp.asarray, value)
                continue
            value = Opaque(value)
        settings.append((name, value))
    return Recipe(parameters, held, kind, tuple(settings), library)


def _is_container(value: Any) -> bool:
    """A pytree with numbers in it, such as a list of transforms."""
    leaves = jax.tree.leaves(value)
    return bool(leaves) and leaves[0] is not value and all(map(eqx.is_array_like, leaves))


def named_arguments(
    distribution: Any, skip: tuple[str, ...], forms: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    """The arguments of a distribution's class, read from its attributes of the same names.

    Of several forms of one argument `forms` names the one that is used, and the others.

    Raises:
        ValueError: where an argument is no attribute.
    """
    found = {}
    for name, argument in inspect.signature(type(distribution).__init__).parameters.items():
        variadic = argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
        if name in ("self", *skip) or variadic:
            continue
        try:
            found[name] = getattr(distribution, name)
        except AttributeError as error:
            raise ValueError(
                f"A {type(distribution).__name__} cannot be taken apart: its argument {name} is not "
                "kept. Write a class with `log_prob` and `sample` that makes it from its parameters."
            ) from error
    unused = [other for kept, others in forms.items() if kept in found for other in others]
    return {name: value for name, value in found.items() if name not in unused}


class Foreign(LogDensity):
    """Another library's distribution as a density; an adapter such as `from_numpyro` makes it.

    Its parameters are free numbers, moved by gradient: any step of an optimiser leaves them
    valid. `distribution` is the library's own object for the present values.
    """

    recipe: Any
    core_ranks: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, recipe: Any):
        self.recipe = recipe
        self.core_ranks = tuple(a.ndim for a in self._arrays())

    def _arrays(self) -> list[Array]:
        return [a for a in jax.tree.leaves(self.recipe) if eqx.is_array(a)]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """What a stack's arrays have in front of those of one density."""
        arrays = self._arrays()
        return tuple(arrays[0].shape[: arrays[0].ndim - self.core_ranks[0]]) if arrays else ()

    distribution = property(lambda self: self.recipe.build())
    reparametrised = of_field("recipe", "reparametrised")
    log_prob, sample = of_field("recipe", "log_prob"), of_field("recipe", "sample")

    @property
    def mean(self) -> Array:
        found: Any = self.distribution.mean
        mean: Any = found() if callable(found) else found
        return mean


def foreign(distribution: Any, library: type[Library]) -> Foreign:
    """A distribution of this library, without batch axes, as a density."""
    if not isinstance(distribution, library.base):
        raise ValueError(f"{library.entry}; a {type(distribution).__name__} was given.")
    batch = tuple(distribution.batch_shape)
    if batch:
        raise ValueError(
            f"One event at a time: this {type(distribution).__name__} has batch shape {batch}. "
            "Make one density and jax.vmap over its parameters, or take the batch into the event."
        )
    return Foreign(taken_apart(distribution, library))
