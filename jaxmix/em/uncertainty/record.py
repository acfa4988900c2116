"""Errors, and other numbers for each parameter, as records with the model's attribute paths."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from ..._density import is_density
from ..._numerics import or_one
from ..._results import RESULTS
from ..parts import parameters


def _has_parts(value: Any) -> bool:
    return isinstance(value, tuple | list | dict) or is_density(value)


class Record(eqx.Module):
    """Values at a model's own attribute paths: `errors.components.mean`, `errors.weights`.

    Any floating attribute or property of the model may be asked for; the delta method carries
    the errors there. `of(function)` does so for any function of the model, `covariance_of` gives
    its matrix, `covariances` that of all the usual parameters, which `print` lists.
    """

    model_: PyTree
    columns_: Float[Array, "p m"]
    result: RESULTS
    held_: Bool[Array, " p"] | None = None
    summed_: bool = eqx.field(static=True, default=True)
    path_: tuple[Any, ...] = eqx.field(static=True, default=())

    def _at(self, model: PyTree) -> Any:
        for step in self.path_:
            model = getattr(model, step) if isinstance(step, str) else model[step[0]]
        return model

    def _below(self, step: Any) -> "Record":
        path = (*self.path_, step)
        return Record(self.model_, self.columns_, self.result, self.held_, self.summed_, path)

    def _enter(self, step: Any) -> Any:
        deeper = self._below(step)
        value = deeper._at(self.model_)
        if eqx.is_inexact_array(value):
            return deeper.of(deeper._at)
        if _has_parts(value):
            return deeper
        raise AttributeError(f"{step!r} is no parameter of the model: it has no error.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name.endswith("_"):
            raise AttributeError(name)
        return self._enter(name)

    def __getitem__(self, index: Any) -> Any:
        return self._enter((index,))

    def _pushed(self, function: Callable[[PyTree], Array]) -> Array:
        vector, build = parameters(self.model_)
        push = lambda column: jax.jvp(lambda v: function(build(v)), (vector,), (column,))[1]
        pushed = jax.vmap(push, in_axes=1, out_axes=-1)(self.columns_)
        if not eqx.is_inexact_array(pushed):
            raise ValueError(
                "Errors are of a function from the model to one array of real numbers, such as "
                "`lambda m: m.mean`."
            )
        return pushed

    def of(self, function: Callable[[PyTree], Array]) -> Array:
        """The error of a function of the whole model, shaped like its value."""
        pushed = self._pushed(function)
        if not self.summed_:
            return pushed
        # In units of the greatest: of a small or a great error no square is held by float32.
        unit = or_one(jnp.max(jnp.abs(pushed), -1, keepdims=True, initial=0))
        return jnp.sqrt(jnp.sum((pushed / unit) ** 2, -1)) * unit[..., 0]

    def covariance_of(self, function: Callable[[PyTree], Array]) -> Float[Array, "a a"]:
        """The covariance matrix of a function of the model, its value flattened."""
        flat = self._pushed(lambda model: jnp.ravel(function(model)))
        return jnp.dot(flat, flat.T, precision="highest")

    @property
    def at_boundary(self) -> list[str]:
        """Names of the stored parameters that sit on a boundary, and have no error.

        Probabilities of 0, densities on their floor, emptied ones: they are held as they are, with
        0 in place of an error, and all other errors are those given them.
        """
        if self.held_ is None:
            return []
        vector, build = parameters(self.model_)
        marked = build(jnp.where(self.held_, jnp.nan, jnp.zeros_like(vector)))
        names = []
        for path, array in jax.tree_util.tree_flatten_with_path(marked)[0]:
            if eqx.is_inexact_array(array):
                where = np.argwhere(np.isnan(array))
                name = jax.tree_util.keystr(path)
                names += [name + "".join(f"[{i}]" for i in index) for index in where]
        return names

    def __repr__(self) -> str:
        lines = []
        for path, function in self.entries():
            text = lambda value, p=path: np.array2string(np.asarray(value), precision=4, prefix=p)
            error = text(self.of(function)) if self.summed_ else "..."
            lines.append(f"{path}: {text(function(self.model_))} +- {error}")
        held = self.at_boundary
        if held:
            shown = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
            lines.append(f"held on a boundary, without an error: {shown}")
        return "\n".join(lines)

    def items(self) -> list[tuple[str, Array]]:
        """Paths and values of the usual parameters: those that the constructors take."""
        return [(path, self.of(function)) for path, function in self.entries()]

    def covariances(self) -> tuple[list[str], Float[Array, "a a"]]:
        """The covariance matrix of all the usual parameters, and their names in its order."""
        names, functions = [], [function for _, function in self.entries()]
        for path, function in self.entries():
            shape = np.shape(function(self.model_))
            names += [path + "".join(f"[{i}]" for i in index) for index in np.ndindex(shape)]
        every = lambda model: jnp.concatenate([jnp.ravel(f(model)) for f in functions])
        return names, self.covariance_of(every)

    def entries(self) -> list[tuple[str, Callable[[PyTree], Array]]]:
        """Paths of the usual parameters, and each as a function of the whole model."""
        found, model = [], self._at(self.model_)
        if isinstance(model, tuple | list | dict):
            keys = sorted(model) if isinstance(model, dict) else range(len(model))
            for key in keys:
                if not _has_parts(model[key]):  # a label, say
                    continue
                found += [(f"[{key!r}]{sub}", each) for sub, each in self[key].entries()]
            return found
        kind = type(getattr(model, "evaluated", model))  # of a family with fields held or shared
        for name, given in inspect.signature(kind.__init__).parameters.items():
            value = getattr(model, name, None) if name != "self" else None
            other = given.kind == given.KEYWORD_ONLY  # another entrance of the same parameters
            if eqx.is_inexact_array(value) and not other:
                found.append((f".{name}", self._below(name)._at))
            elif _has_parts(value):
                found += [(f".{name}{sub}", each) for sub, each in getattr(self, name).entries()]
        return found
