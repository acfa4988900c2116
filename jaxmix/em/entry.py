"""What every entry of EM looks at first: options, keys, models, data, weights, and rows."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._arguments import Rule, named, optional, real, whole
from .._density import check_parts, is_density
from .._hooks import ChecksRows
from .._stack import pick
from .._trees import alone, float_of, is_traced, num_rows
from ..combinators import HiddenMarkov, SequenceEvent
from ..combinators._columns import ColumnsEvent
from ..combinators._conditioning import plain
from .checks import as_arrays, checked_data, checked_weights, of_dtype, without_ignored
from .chunks import chunk_rows, map_rows
from .parts import take_apart
from .solver import Rules, Solver

SAMPLED = 4096  # rows
MANY = 1 << 16  # rows whose log-densities are computed chunk by chunk


class Options(NamedTuple):
    """What `jm.fit` was asked for, besides key, template, data and weights."""

    validation: PyTree | None
    num_restarts: int
    init: str
    assignment: str
    max_steps: int
    tol: float | None
    solver: Solver
    stopping: str
    prior: Any  # a `Prior`, or None
    floor: float
    checkpoint: Any
    progress: bool | None
    throw: bool

    def rules(self, prior: Any, chunk_size: int | None = None) -> Rules:
        """What the loop goes by: numbers that are traced, the tolerance weakly typed."""
        bound = -float("inf") if self.tol is None else float(self.tol)
        return Rules(
            self.solver, prior, jnp.asarray(self.max_steps), jnp.asarray(bound), self.stopping,
            self.assignment, chunk_size,
        )  # fmt: skip


ASSIGNMENT, STOPPING, FLOOR = named("soft", "hard"), named("gain", "aitken"), real(0, ends=True)
RULES: dict[str, Rule] = {
    "num_restarts": whole(1), "init": named("search", "given"), "assignment": ASSIGNMENT,
    "max_steps": whole(0), "tol": optional(real(ends=True)), "stopping": STOPPING, "floor": FLOOR,
}  # fmt: skip


def enter(
    model: PyTree, data: PyTree, weights: Any = None, *, name: str = "model", finite: bool = False
) -> tuple[PyTree, Array | None]:
    """Data and weights as arrays, or a sentence that says what they are not.

    Shapes are static, and looked at once for all calls of the same ones; of weights their values
    are looked at too, unless they are traced, and those of data that must be `finite`.

    Raises:
        ValueError: for arguments that are swapped or forgotten, rows that are no events of the
            model, and weights that are negative, not finite, or not one a row.
    """
    check_model(model, data, name)
    # What is masked is missing: in a fit it is refused alike.
    masked = any(isinstance(a, np.ma.MaskedArray) for a in jax.tree.leaves(data))
    data = as_rows(data, model)
    like = of_dtype(model, data) if finite else model  # dtypes of a fit follow the data
    data = checked_data(data, like, finite=finite or masked)
    weights = checked_weights(weights, num_rows(data), float_of(data))
    return data if finite else without_ignored(data, weights), weights


def items_of_one_row(data: PyTree) -> Any | None:
    """How many items one single row holds in its sequences; None for other data.

    Asymptotics are in the items then: one row of 400 items is no sample of size 1.
    """
    is_series = lambda node: isinstance(node, SequenceEvent)
    series = [n for n in jax.tree.leaves(data, is_leaf=is_series) if is_series(n)]
    if not series or num_rows(data) != 1:
        return None
    lengths = [jnp.sum(jnp.asarray(event.length)) for event in series]
    return jnp.maximum(1, sum(lengths[1:], lengths[0]))


def as_rows(data: PyTree, model: PyTree) -> PyTree:
    """Data as arrays, and items of a hidden chain by themselves as whole sequences.

    Whether they are many rows or one series is read off the shape of one item, as the emissions
    take it.
    """
    data = as_arrays(data)
    chain = plain(model)
    chain = getattr(chain, "filled", chain)
    if not isinstance(chain, HiddenMarkov) or hasattr(data, "length"):
        return data
    state = pick(chain.emissions, 0)

    def fits(depth: int) -> bool:
        item = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[depth:], a.dtype), data)
        try:
            seen = item[0] if chain.driven == "transitions" else item
            return eqx.filter_eval_shape(lambda s, x: s.log_prob(x), state, seen).shape == ()
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            return False

    arrays = jax.tree.leaves(data)
    if all(a.ndim > 1 for a in arrays) and fits(2):
        rows, capacity = arrays[0].shape[:2]
        return SequenceEvent(data, jnp.full(rows, capacity))
    if not fits(1):
        return data
    return SequenceEvent(alone(data), jnp.full(1, arrays[0].shape[0]))


def check_model(model: Any, data: Any, name: str = "model") -> None:
    """Refuse what is no density, with a word on what was meant."""
    if isinstance(model, type):
        example = "template()" if callable(getattr(model, "template", None)) else "(...)"
        raise ValueError(
            f"The {name} is the class {model.__name__}: a density was expected, such as "
            f"jm.{model.__name__}.{example}."
        )
    swapped = is_density(data)
    if not is_density(model):
        raise ValueError(
            f"The {name} comes before the data: they are swapped."
            if swapped
            else f"The {name} must be a density, with a method log_prob; it is a "
            f"{type(model).__name__}."
        )
    if swapped or isinstance(data, type):
        raise ValueError(
            f"The data are a density, {getattr(data, '__name__', type(data).__name__)}: arrays with "
            "a leading axis of rows were expected."
        )


def check_start(model: PyTree) -> None:
    """Refuse a start that no step moves: one whose components are all alike.

    Raises:
        ValueError: naming the part.
    """
    found = jax.tree.leaves(model, is_leaf=lambda node: bool(_stacks(node)))
    for node in found:
        for name, stack in _stacks(node):
            if _alike(stack):
                raise ValueError(
                    f"The {name} of this {type(node).__name__} are all alike, as a template's are, "
                    "and EM leaves them alike: start from jm.em.init(key, template, data)."
                )


def _stacks(node: Any) -> list[tuple[str, Any]]:
    """The stacks that a hidden label chooses from, of a density that is itself no stack."""
    if not is_density(node) or getattr(node, "stack_shape", ()) != ():
        return []
    fields = getattr(node, "alternatives", ("components",))
    stacks = [(name, getattr(node, name, ())) for name in fields]
    return [(name, stack) for name, stack in stacks if not isinstance(stack, tuple)]


def _alike(stack: Any) -> bool:
    try:
        shape = getattr(stack, "stack_shape", ())
    except ValueError:  # a part that is tied over the whole stack is none of it
        return False
    arrays = [a for a in jax.tree.leaves(stack) if eqx.is_inexact_array(a)]
    if len(shape) != 1 or shape[0] < 2 or is_traced(arrays):
        return False
    own = [np.asarray(a) for a in arrays if a.shape[:1] == shape]  # the rest they share
    return bool(own) and all(bool(np.all(a == a[:1])) for a in own)


@eqx.filter_jit
def row_log_probs(model, data, at_once: int | None = None):
    """Of all rows, so many at once; None for all."""
    if at_once is None:
        return jax.vmap(model.log_prob)(data)
    return map_rows(model.log_prob, data, at_once)


def check_support(model: PyTree, data: PyTree, weights: Array | None) -> None:
    """Refuse a row that has density 0 under every component of a fresh start."""
    # What stands between would take gigabytes; rows on several devices stay where they are.
    alone = all(len(a.devices()) == 1 for a in jax.tree.leaves(data) if isinstance(a, jax.Array))
    many = alone and num_rows(data) > MANY
    values = row_log_probs(model, data, chunk_rows(model, data, None) if many else None)
    off = jnp.isneginf(values)
    off = off if weights is None else off & (weights > 0)
    if bool(jnp.any(off)):
        row = int(jnp.argmax(off))
        raise ValueError(
            f"Row {row}, {shown_row(data, row)}, has probability 0 under every component "
            f"({int(off.sum())} such rows): {_supports(model, data)}"
        )


def shown_row(data: PyTree, row: int) -> PyTree:
    """One row as it was given, in Python's numbers."""
    record = data.record() if isinstance(data, ColumnsEvent) else data
    return jax.tree.map(lambda a: np.asarray(a[row]).tolist(), record)


def _supports(model: PyTree, data: PyTree) -> str:
    dtype = float_of(model)
    most = np.sqrt(jnp.finfo(dtype).max / num_rows(data))
    if any(bool(jnp.any(jnp.abs(a.astype(dtype)) > most)) for a in jax.tree.leaves(data)):
        return f"the squares of such data overflow {dtype}. Divide the data by their scale, or enable x64."
    names = sorted({type(leaf).__name__ for leaf in take_apart(model).leaves} - {"Categorical"})
    return "it is off the support of the families used" + (
        f" ({', '.join(names)})." if names else "."
    )


def check_rows(model: PyTree, data: PyTree, weights: Array | None, prior: Any) -> None:
    """Refuse rows that leave parameters undetermined: what a part's `check_rows` says of them.

    Of many rows a sample is looked at, and all of them only where the sample would be refused. A
    prior determines what rows don't, and traced or distant rows are not looked at.
    """
    leaves = jax.tree.leaves((data, weights))
    known = lambda a: not is_traced(a) and getattr(a, "is_fully_addressable", True)
    asked = any(isinstance(leaf, ChecksRows) for leaf in take_apart(model).leaves)
    if prior is not None or not asked or not all(known(a) for a in leaves):
        return
    rows = leaves[0].shape[0]
    used = np.arange(rows) if weights is None else np.flatnonzero(np.asarray(weights) > 0)
    look = lambda at: check_parts([(model, jax.tree.map(lambda a: np.asarray(a)[at], data))])
    sample = used[:: -(-len(used) // SAMPLED)] if len(used) > SAMPLED else used
    try:
        look(sample)
    except ValueError:
        look(used)
