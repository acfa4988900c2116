"""The contract of a log-density, run on a user's own class."""

import copy
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ._arguments import takes, whole
from ._check_numbers import evaluate
from ._check_stack import stack_breach
from ._density import is_density
from ._exponential import ExponentialFamily, Refittable
from ._refuse import NO_PYTREE, is_opaque, misdeclared
from ._stand_ins import Tilted
from .em.parts import take_apart

NUM_DRAWS = 2000
SIGMAS = 5.0  # of a mean over draws: beyond the largest of a hundred parameters by chance


class Check(NamedTuple):
    """One clause of the contract: what was asked, and what was found ("" where it holds)."""

    asks: str
    found: str


class Checked(NamedTuple):
    """What `check_density` found, a clause a line; `passed` if every clause holds."""

    name: str
    checks: list[Check]
    skipped: list[Check]

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.found]

    @property
    def passed(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.checks) - len(self.failed)} of {len(self.checks)} hold"]
        lines += [f"  {'FAILS' if c.found else 'holds'}    {c.asks} {c.found}" for c in self.checks]
        lines += [f"  skipped  {c.asks} {c.found}" for c in self.skipped]
        return "\n".join(line.rstrip() for line in lines)


@takes("check the density outside.", num_draws=whole(2))
def check_density(
    density: PyTree,
    event: PyTree = None,
    *,
    key: Key[Array, ""] | None = None,
    num_draws: int = NUM_DRAWS,
    regular: bool = True,
    throw: bool = False,
) -> Checked:
    """Whether a class of one's own keeps the contract of a log-density, a sentence a clause.

    It is a pytree without arrays in static fields; `log_prob` of one event is a finite scalar in
    the parameters' dtype, is traced by `jit`, and is the same under `vmap` over events and over a
    stack of densities; its derivatives are its slope. `sample` gives such an event, another for
    another key, and draws from the density: its score E[d log p / d parameter] is 0, which fails
    too where the density does not integrate to 1 for every value of its parameters. Where
    `reparametrised` is True, the gradient along the draws is the score-function gradient (both of
    the mean of log p; Mohamed et al. 2020, arXiv 1906.10652). A refittable leaf's M-step does not
    fall below the parameters that it had; a combinator asks its parts for `log_prob` alone, which
    is all that they know in a fit (see `jm.constant`). An exponential family's `natural` and
    `from_stats` are, of a stack of K densities, what they are of each: of as many as a vector has
    entries, and of one more.

    Args:
        density: the density, with parameters away from the boundary of their space.
        event: one event; by default the first draw of `sample`.
        key: a typed key for the draws; fixed by default.
        num_draws: draws for the statistical clauses, whose threshold is 5 standard errors.
        regular: whether the support stays where it is when the parameters move; that of a uniform
            density does not, its score has no mean of 0, and False leaves that clause out.
        throw: whether a clause that fails raises.

    Raises:
        ValueError: if a clause fails and `throw` is set; the message lists all of them.

    Example:
        >>> import equinox as eqx, jax, jaxmix as jm, jax.numpy as jnp
        >>> class Logistic(eqx.Module):
        ...     loc: jax.Array
        ...
        ...     def log_prob(self, x):
        ...         return -(x - self.loc) - 2 * jax.nn.softplus(-(x - self.loc))
        ...
        ...     def sample(self, key):
        ...         return self.loc + jax.random.logistic(key)
        >>> jm.check_density(Logistic(jnp.array(0.5))).passed
        True
    """
    key = jax.random.key(0) if key is None else key
    found = _run(density, event, key, num_draws, regular)
    if throw and not found.passed:
        raise ValueError(str(found))
    return found


def _run(density, event, key, num_draws, regular) -> Checked:
    name = type(density).__name__
    checks: list[Check] = []
    skipped: list[Check] = []

    def clause(asks, found=""):
        checks.append(Check(asks, found))
        return not found

    done = lambda: Checked(name, checks, skipped)
    if not clause("It has a method log_prob.", "" if is_density(density) else "It has none."):
        return done()
    if not clause("It is a pytree of arrays.", _not_a_pytree(density)):
        return done()
    if isinstance(density, Refittable):
        asks = "Its `ranks` say the rank of its parameters."
        if not clause(asks, misdeclared(type(density), density)):
            return done()
    samples = callable(getattr(density, "sample", None))
    try:
        drawn = jax.eval_shape(density.sample, key) if samples else None
    except NotImplementedError:
        samples, drawn = False, None
    except Exception as error:
        clause("sample takes a typed key and is traced by jit.", f"It raises: {error}")
        return done()
    if event is None and not samples:
        sentence = "It has no sample: give one event as `event`, or write `sample`."
        clause("There is an event to try.", sentence)
        return done()
    if event is not None:
        event = jax.tree.map(jnp.asarray, event)
    one = event if event is not None else drawn
    try:
        value = jax.eval_shape(lambda d, x: d.log_prob(x), density, one)
    except Exception as error:
        clause("log_prob of one event is traced by jit.", f"It raises: {error}")
        return done()
    clause("log_prob of one event is traced by jit.")
    clause(
        "In a fit, where its parts know `log_prob` alone, it is defined.", _in_a_fit(density, one)
    )
    parameters, static = eqx.partition(density, eqx.is_inexact_array)
    if not clause("log_prob of one event is a floating scalar.", _not_a_scalar(value, parameters)):
        return done()
    if samples:
        clause("sample gives an event like the one given.", _unlike(drawn, one))
    else:
        skipped.append(Check("sample draws from the density.", "It has no sample."))
    seen = evaluate(parameters, static, event, key, num_draws if samples else 0)
    _check_values(seen, clause)
    if jax.tree.leaves(parameters):
        _check_slopes(seen, jax.tree.leaves(parameters)[0].dtype, clause)
    if samples:
        _check_draws(seen, regular, clause, skipped)
    asks = "Its M-step does not fall below its parameters."
    if isinstance(density, Refittable) and not samples:
        skipped.append(Check(asks, "It has no sample."))
    elif isinstance(density, Refittable):
        fell = float(seen["refitted"]) < float(seen["kept"]) - 1e-3 * abs(float(seen["kept"]))
        clause(asks, "It does." if fell else "")
    if isinstance(density, ExponentialFamily) and not density.shared:
        asks = "natural and from_stats of a stack of densities are those of each alone."
        clause(asks, stack_breach(density, seen["events"]))
    return done()


def _not_a_pytree(density) -> str:
    leaves, structure = jax.tree.flatten(density)
    if is_opaque(density):
        return NO_PYTREE
    odd = [leaf for leaf in leaves if not eqx.is_array_like(leaf) and not callable(leaf)]
    if odd:
        return f"It holds a {type(odd[0]).__name__}, {odd[0]!r}: make that field static."
    try:
        alike = structure == jax.tree.structure(copy.deepcopy(density))
    except Exception:  # an array has no truth value
        alike = False
    return "" if alike else "A static field is unlike its copy: arrays belong in ordinary fields."


def _in_a_fit(density, event) -> str:
    parts = take_apart(density)
    tilted = [Tilted(leaf, leaf.zero_stats(), leaf.origin) for leaf in parts.leaves]
    try:
        jax.eval_shape(lambda d, x: d.log_prob(x), parts.model(tilted, parts.loose), event)
    except Exception as error:
        return f"It raises: {error}"
    return ""


def _not_a_scalar(value, parameters) -> str:
    if not hasattr(value, "shape") or value.shape != ():
        return f"It gives {value}: add what axes of ONE event are left; `jax.vmap` makes batches."
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return f"It has dtype {value.dtype}."
    own = [leaf.dtype for leaf in jax.tree.leaves(parameters)]
    if own and value.dtype != jnp.result_type(*own):
        return f"It has dtype {value.dtype} with parameters of {jnp.result_type(*own)}."
    return ""


def _unlike(drawn, event) -> str:
    shapes = lambda tree: jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), tree)
    return "" if shapes(drawn) == shapes(event) else f"It gives {drawn}; the event is {event}."


def _check_values(seen, clause) -> None:
    alone = float(seen["alone"])
    values = np.append(np.asarray(seen.get("values", [])), alone)
    bad = values[np.isnan(values) | (values == np.inf)]
    clause("log_prob is a number.", f"It is {bad[0]} at an event." if bad.size else "")
    for many, over in (("rows", "events"), ("stack", "a stack of densities")):
        batch = np.asarray(seen[many])
        same = np.allclose(batch, alone, rtol=1e-4, atol=1e-4, equal_nan=True)
        found = "" if same else f"Alone {alone}, in a batch {batch}."
        clause(f"It is the same under vmap over {over}.", found)


def _check_slopes(seen, dtype, clause) -> None:
    forward, reverse, slope = (float(seen[k]) for k in ("forward", "reverse", "difference"))
    # Rounding of the two ends over the step, and the third derivative times the step squared.
    size = 1 + abs(float(seen["alone"])) + abs(slope)
    tolerance = 50 * float(jnp.finfo(dtype).eps) ** (2 / 3) * size
    clause(
        "Its derivatives, forward and reverse, are its slope.",
        ""
        if max(abs(forward - slope), abs(reverse - slope)) <= tolerance
        else f"Along one direction: jvp {forward}, grad {reverse}, slope {slope}.",
    )


def _far(mean_zero: Array) -> float:
    """The largest mean of any parameter's values over the draws, in standard errors."""
    values = np.asarray(mean_zero, np.float64).reshape(len(mean_zero), -1)
    mean, error = values.mean(0), values.std(0, ddof=1) / math.sqrt(len(values))
    noise = np.finfo(np.float32).eps * np.abs(values).max(0, initial=0.0)
    return float(np.max(np.abs(mean) / np.maximum(error, noise + np.finfo(float).tiny), initial=0))


def _worst(tree) -> tuple[str, float]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return max(
        ((jax.tree_util.keystr(path), _far(a)) for path, a in flat),
        key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1],
        default=("", 0.0),
    )


def _check_draws(seen, regular, clause, skipped) -> None:
    flat = [np.asarray(a) for a in jax.tree.leaves(seen["draws"])]
    again = [np.asarray(a) for a in jax.tree.leaves(seen["again"])]
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(flat, again, strict=True))
    clause("sample gives the same draw for the same key.", "" if same else "It does not.")
    where, far = _worst(seen["score"])
    asks = "Its score has mean 0 over its own draws: it integrates to 1, and sample draws from it."
    if regular:
        clause(asks, "" if far < SIGMAS else f"The mean in {where} is {far:.1f} errors from 0.")
    else:
        skipped.append(Check(asks, "Its support moves with its parameters."))
    asks = "The gradient along its draws is the score-function gradient."
    if "path" not in seen:
        skipped.append(Check(asks, "It does not say that it is reparametrised."))
        return
    centred = np.asarray(seen["values"], np.float64)
    centred = centred - centred.mean()
    wide = lambda a: centred.reshape((-1,) + (1,) * (np.ndim(a) - 1))
    gap = jax.tree.map(
        lambda p, s: np.asarray(p) - np.asarray(s) * wide(s), seen["path"], seen["score"]
    )
    where, far = _worst(gap)
    clause(asks, "" if far < SIGMAS else f"In {where} they differ by {far:.1f} standard errors.")
