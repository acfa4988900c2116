"""The contract of a log-density, run on a user's own class."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ._arguments import arrays, optional, takes, whole
from ._check_clauses import (
    Check,
    check_draws,
    check_slopes,
    check_values,
    not_a_pytree,
    not_a_scalar,
    unlike,
)
from ._check_numbers import evaluate
from ._check_stack import stack_breach
from ._density import is_density
from ._exponential import ExponentialFamily
from ._refittable import Refittable
from ._refuse import misdeclared
from ._stand_ins import Tilted
from .em.parts import take_apart

NUM_DRAWS = 2000


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


@takes("check the density outside.", event=optional(arrays), num_draws=whole(2))
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
    if not clause("It is a pytree of arrays.", not_a_pytree(density)):
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
    if not clause("log_prob of one event is a floating scalar.", not_a_scalar(value, parameters)):
        return done()
    if samples:
        clause("sample gives an event like the one given.", unlike(drawn, one))
    else:
        skipped.append(Check("sample draws from the density.", "It has no sample."))
    seen = evaluate(parameters, static, event, key, num_draws if samples else 0)
    check_values(seen, clause)
    if jax.tree.leaves(parameters):
        check_slopes(seen, jax.tree.leaves(parameters)[0].dtype, clause)
    if samples:
        check_draws(seen, regular, clause, skipped)
    asks = "Its M-step does not fall below its parameters."
    if isinstance(density, Refittable) and not samples:
        skipped.append(Check(asks, "It has no sample."))
    elif isinstance(density, Refittable):
        fell = float(seen["refitted"]) < float(seen["kept"]) - 1e-3 * abs(float(seen["kept"]))
        clause(asks, "It does." if fell else "")
    if isinstance(density, ExponentialFamily) and not density.shared:
        asks = "natural and from_stats of a stack of densities are those of each alone."
        clause(asks, stack_breach(density, seen.get("stats")))
    return done()


def _in_a_fit(density, event) -> str:
    parts = take_apart(density)
    tilted = [Tilted(leaf, leaf.zero_stats(), leaf.origin) for leaf in parts.leaves]
    try:
        jax.eval_shape(lambda d, x: d.log_prob(x), parts.model(tilted, parts.loose), event)
    except Exception as error:
        return f"It raises: {error}"
    return ""
