"""The observed information of a fit, and errors as records with the model's attribute paths."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._density import is_density
from .._results import RESULTS
from ..combinators._labels import posterior_of
from .chunks import chunk_rows, num_rows
from .expected import expect, log_likelihood
from .maximise import Prior, about_own_origins, log_prior
from .parts import take_apart
from .residual import parameters


def tangent_basis(model: PyTree, stats: list[Any], prior: Prior | None) -> Float[Array, "p r"]:
    """Directions in which the refitted parameters can move: a chart of free coordinates.

    Unconstrained parameters are redundant (K logits for K - 1 weights, the unused half of a
    triangle); the M-step's values are not. The columns span the range of its derivative in the
    statistics, orthonormal for each leaf in units of its own coordinates.
    """
    parts = take_apart(model)
    pseudo = [None] * len(parts.leaves) if prior is None else about_own_origins(parts.leaves, prior)
    blocks = []
    for leaf, s, extra in zip(parts.leaves, stats, pseudo, strict=True):
        total = s if extra is None else jax.tree.map(jnp.add, s, extra)
        flat, unravel = ravel_pytree(total)
        image = lambda v, leaf=leaf, u=unravel: parameters(leaf.from_stats(u(v), leaf.origin))[0]
        moves = jax.jacfwd(image)(flat)
        moves = jnp.where(jnp.isfinite(moves), moves, jnp.zeros_like(moves))
        rows = _lengths(moves, 1)
        moves = moves / rows
        left = jnp.linalg.svd(moves / _lengths(moves, 0), full_matrices=False)[0]
        blocks.append(left[:, : free_parameters(leaf)] * rows)
    blocks += [jnp.eye(a.size, dtype=a.dtype) for a in parts.loose]
    return jax.scipy.linalg.block_diag(*blocks)


def _lengths(matrix, axis):
    """Lengths of rows or columns, 1 for a zero one: coordinates and statistics have units."""
    lengths = jnp.sqrt(jnp.sum(matrix * matrix, axis=axis, keepdims=True))
    return jnp.where(lengths > 0, lengths, jnp.ones_like(lengths))


def free_parameters(leaf: Any) -> int:
    """Free parameters of a whole stack."""
    stack = int(np.prod(leaf.stack_shape, dtype=int))
    outer = int(np.prod(leaf.stack_shape[:-1], dtype=int))
    return stack * leaf.num_parameters + outer * getattr(leaf, "num_shared_parameters", 0)


class Chart(eqx.Module):
    """Free coordinates about a model: parameters = `vector` + `basis` @ free, free = 0."""

    model: PyTree
    vector: Float[Array, " p"]
    basis: Float[Array, "p r"]

    def at(self, free: Float[Array, " r"]) -> PyTree:
        step = jnp.dot(self.basis, free, precision="highest")
        # A parameter at -inf (a weight of 0) has no free direction, and stays.
        return parameters(self.model)[1](self.vector + step)

    @property
    def origin(self) -> Float[Array, " r"]:
        return jnp.zeros(self.basis.shape[1], self.basis.dtype)


def chart(model, data, weights=None, prior=None) -> Chart:
    """The free coordinates about a model."""
    stats = expect(model, data, weights).stats
    return Chart(model, parameters(model)[0], tangent_basis(model, stats, prior))


def objective(model, data, weights=None, prior=None, chunk_size=None) -> Array:
    """Log-likelihood plus the prior's log-density, in nats."""
    total = log_likelihood(model, data, weights, chunk_size).value
    return total + jnp.asarray(log_prior(model, prior), total.dtype)


def observed_information(chart: Chart, data, weights=None, prior=None) -> Float[Array, "r r"]:
    """Minus the second derivative of the objective in the free coordinates."""
    rows = chunk_rows(chart.model, data, None)
    chunk = max(16, rows // max(1, chart.basis.shape[1]))
    value = lambda free: objective(chart.at(free), data, weights, prior, chunk)
    hessian = jax.jacfwd(jax.grad(value))(chart.origin)
    return -0.5 * (hessian + hessian.T)


def scores(chart: Chart, data: PyTree) -> Float[Array, "n r"]:
    """The gradient of each row's log-density in the free coordinates."""
    one = jax.grad(lambda free, x: chart.at(free).log_prob(x))
    chunk = chunk_rows(chart.model, data, None)
    return jax.lax.map(lambda x: one(chart.origin, x), data, batch_size=chunk)


def louis_information(chart: Chart, data, weights=None, prior=None) -> Float[Array, "r r"]:
    """The same matrix by Louis's identity: what complete data would tell less what is missing.

    I = sum_n E[-d2 log p(x_n, z)] - sum_n Var[d log p(x_n, z)], both over the posterior of the
    component z (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x).
    """
    origin, rows = chart.origin, chunk_rows(chart.model, data, None)
    joint = lambda free, x: chart.at(free).joint_log_probs(x)
    case = jnp.ones(num_rows(data), origin.dtype) if weights is None else weights

    def row(x):
        share = posterior_of(chart.model, x)
        score = jax.jacfwd(joint)(origin, x)
        return share, jnp.where(share[:, None] > 0, score, jnp.zeros_like(score))

    shares, each = jax.lax.map(row, data, batch_size=rows)

    def complete(free):
        def expected(x, share):
            level = joint(free, x)
            return jnp.sum(jnp.where(share > 0, share * level, jnp.zeros_like(level)))

        values = jax.lax.map(lambda args: expected(*args), (data, shares), batch_size=rows)
        penalty = jnp.asarray(log_prior(chart.at(free), prior), values.dtype)
        return jnp.sum(values * case) + penalty

    mean = jnp.sum(shares[..., None] * each, 1)
    square = jnp.einsum("nk,nki,nkj->ij", case[:, None] * shares, each, each, precision="highest")
    missing = square - jnp.einsum("n,ni,nj->ij", case, mean, mean, precision="highest")
    return -jax.jacfwd(jax.grad(complete))(origin) - missing


def inverse_root(information: Float[Array, "r r"]) -> tuple[Float[Array, "r r"], Array]:
    """R with R R' the inverse, and whether there is one: NaN where it is not positive definite."""
    scale = jnp.sqrt(jnp.abs(jnp.diagonal(information)))
    scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    values, vectors = jnp.linalg.eigh(information / scale[:, None] / scale[None])
    least = information.shape[0] * jnp.finfo(information.dtype).eps * jnp.max(values)
    regular = jnp.all(jnp.isfinite(values)) & (values[0] > least)
    root = vectors / jnp.sqrt(values)[None] / scale[:, None]
    return jnp.where(regular, root, jnp.full_like(root, jnp.nan)), regular


class Record(eqx.Module):
    """Values at a model's own attribute paths: `errors.components.mean`, `errors.weights`.

    Any floating attribute or property of the model may be asked for; the delta method carries
    the errors there. `of(function)` does so for any function of the model, `covariance_of` gives
    its matrix, `covariances` that of all the usual parameters, which `print` lists.
    """

    model_: PyTree
    columns_: Float[Array, "p m"]
    result: RESULTS
    summed_: bool = eqx.field(static=True, default=True)
    path_: tuple[Any, ...] = eqx.field(static=True, default=())

    def _at(self, model: PyTree) -> Any:
        for step in self.path_:
            model = getattr(model, step) if isinstance(step, str) else model[step[0]]
        return model

    def _enter(self, step: Any) -> Any:
        deeper = Record(self.model_, self.columns_, self.result, self.summed_, (*self.path_, step))
        value = deeper._at(self.model_)
        if eqx.is_inexact_array(value):
            return deeper.of(deeper._at)
        if isinstance(value, tuple | list | dict) or is_density(value):
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
        return jax.vmap(push, in_axes=1, out_axes=-1)(self.columns_)

    def of(self, function: Callable[[PyTree], Array]) -> Array:
        """The error of a function of the whole model, shaped like its value."""
        pushed = self._pushed(function)
        return jnp.sqrt(jnp.sum(pushed * pushed, -1)) if self.summed_ else pushed

    def covariance_of(self, function: Callable[[PyTree], Array]) -> Float[Array, "a a"]:
        """The covariance matrix of a function of the model, its value flattened."""
        flat = self._pushed(lambda model: jnp.ravel(function(model)))
        return jnp.dot(flat, flat.T, precision="highest")

    def __repr__(self) -> str:
        lines = []
        for path, function in self.entries():
            text = lambda value, p=path: np.array2string(np.asarray(value), precision=4, prefix=p)
            error = text(self.of(function)) if self.summed_ else "..."
            lines.append(f"{path}: {text(function(self.model_))} +- {error}")
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
                found += [(f"[{key!r}]{sub}", each) for sub, each in self[key].entries()]
            return found
        for name in inspect.signature(type(model).__init__).parameters:
            value = getattr(model, name, None) if name != "self" else None
            if eqx.is_inexact_array(value):
                deeper = Record(self.model_, self.columns_, self.result, path_=(*self.path_, name))
                found.append((f".{name}", deeper._at))
            elif isinstance(value, tuple | list | dict) or is_density(value):
                found += [(f".{name}{sub}", each) for sub, each in getattr(self, name).entries()]
        return found
