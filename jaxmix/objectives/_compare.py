"""Objectives side by side on the user's own model: bias, variance, cost, signal to noise."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from .._arguments import arrays, having, made_by, numbers, optional, takes, whole
from .._trees import alone
from ._draws import check_call, checked_rows
from ._evidence import log_evidence
from ._named import iwae

REFERENCE_REPEATS = 4


class Row(NamedTuple):
    """One objective's figures, of one value and gradient averaged over the batch."""

    name: str
    cost: float
    bias: float
    bias_error: float
    variance: float
    model_bias: float
    model_bias_error: float
    model_variance: float
    guide_variance: float
    model_signal: float
    guide_signal: float

    @property
    def measured_bias(self) -> float:
        """Bias of the model's gradient, 0 where it is within two errors."""
        return self.model_bias if self.model_bias > 2 * self.model_bias_error else 0.0

    @property
    def variance_cost(self) -> float:
        """Variance of the model's gradient times the mean number of draws."""
        return self.model_variance * self.cost


class Comparison(NamedTuple):
    """A table of objectives; print it, or draw it with `jm.plot.comparison`."""

    rows: tuple[Row, ...]
    reference: float
    reference_error: float

    def __getitem__(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def break_even(self, biased: str, other: str) -> float:
        """Draws a datum from which the other's averaged gradients are the nearer to the truth.

        The mean-square error of gradients averaged over C draws is bias^2 + variance x cost / C;
        two of them meet at C = (v2 c2 - v1 c1) / (b1^2 - b2^2). A bias within two errors counts
        as 0: the answer is infinite where none was measured, and 0 where the other is better from
        the start.
        """
        one, two = self[biased], self[other]
        square = one.measured_bias**2 - two.measured_bias**2
        excess = two.variance_cost - one.variance_cost
        if excess <= 0 or square <= 0:
            return 0.0 if excess <= 0 <= square else float("inf")
        return excess / square

    def __str__(self):
        head = (
            f"{'objective':24s}{'draws':>7s}{'bias':>10s}{'+-':>8s}{'variance':>10s}"
            f"{'bias model':>11s}{'+-':>8s}{'var model':>11s}{'x draws':>9s}"
            f"{'SNR model':>10s}{'SNR guide':>10s}"
        )
        lines = [
            f"{r.name:24s}{r.cost:7.2f}{r.bias:+10.4f}{r.bias_error:8.4f}{r.variance:10.3g}"
            f"{r.model_bias:11.3g}{r.model_bias_error:8.2g}{r.model_variance:11.3g}{r.variance_cost:9.3g}{r.model_signal:10.2f}"
            f"{r.guide_signal:10.2f}"
            for r in self.rows
        ]
        note = (
            f"log p(x) a datum {self.reference:.4f} +- {self.reference_error:.4f} nats; "
            "'model' and 'guide' are their gradients, root mean square over coordinates"
        )
        return "\n".join([head, *lines, note])


@takes(
    "compare the objectives before.",
    xs=arrays,
    objectives=made_by(dict, "a dict of configured objectives by name"),
    exact=optional(numbers(1, floating=True)),
    repeats=whole(2),
    num_samples=whole(2),
)
def compare(
    key: Key[Array, ""],
    model: Any,
    guide: Any,
    xs: PyTree,
    objectives: dict[str, Any],
    *,
    exact: Array | None = None,
    repeats: int = 200,
    num_samples: int = 5000,
) -> Comparison:
    """Measure objectives on one model, guide and batch: mean, spread and cost of values, gradients.

    Signal to noise is |mean| / standard deviation of a gradient coordinate, root mean square over
    coordinates, the noise of the mean removed. Rank by bias and noise together: a biased
    gradient may have the best signal. The bias of the model's gradient is measured against that
    of the bound of `num_samples` draws, whose own bias is of the order of chi2 / num_samples.

    Args:
        key: a typed random key.
        model: `model(z, x)`, with its parameters as arrays inside.
        guide: `guide(x)`.
        xs: the data, along the first axis.
        objectives: configured objectives by name.
        exact: log p(x) (N,) where it is known; estimated with `num_samples` draws otherwise.
        repeats: independent values and gradients of each.
        num_samples: draws a datum of the estimates of log p(x) and of its gradient.

    Returns:
        A `Comparison`, a table of one row an objective; variances are means over coordinates.

    Raises:
        ValueError: if there are fewer than 2 repeats, or no objectives.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> guide = lambda x: jm.Normal(x / 2, 1)
        >>> named = {"elbo": jm.elbo(), "iwae": jm.iwae(8)}
        >>> table = jm.objectives.compare(jax.random.key(0), model, guide, jnp.zeros(4), named)
        >>> table.rows[0].bias < table.rows[1].bias < 0
        True
    """
    check_call("compare", key, model, guide)
    if not objectives:
        raise ValueError("objectives is empty: give configured objectives by name.")
    for name, objective in objectives.items():
        having("expected_cost", how="jm.iwae, jm.multilevel and the like")(
            objective, f"objective {name!r}"
        )
    k_reference, k_gradient, *keys = jax.random.split(key, len(objectives) + 2)
    if exact is None:
        found = log_evidence(k_reference, model, guide, xs, num_samples=num_samples)
        rows = found.value.shape[0]
        reference, error = jnp.mean(found.value), found.total_std_error / rows
    else:
        reference, error = jnp.mean(exact), jnp.zeros(())
    many = iwae(num_samples, guide_gradient="score")  # any latent; the guide is not asked
    k_gradients = jax.random.split(k_gradient, REFERENCE_REPEATS)
    score = _flat(_reference_gradient(many, model, guide, xs, k_gradients), REFERENCE_REPEATS)
    rows = []
    for row_key, (name, objective) in zip(keys, objectives.items(), strict=True):
        run = jax.random.split(row_key, repeats)
        rows.append(_measure(run, name, objective, model, guide, xs, reference, score))
    return Comparison(tuple(rows), float(reference), float(error))


# Compiled once for an objective and shapes: a second comparison, at other parameters, is quick.
@eqx.filter_jit
def _reference_gradient(objective, model, guide, xs, keys):
    """Gradient of the mean bound of many draws in the model, one for each key."""
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def of_row(given):
        key, x = given
        one = alone(x)
        return jax.grad(lambda p: objective(key, eqx.combine(p, static), guide, one)[0])(params)

    def once(key):
        of_rows = jax.lax.map(of_row, (jax.random.split(key, checked_rows(xs)), xs))
        return jax.tree.map(lambda a: jnp.mean(a, 0), of_rows)

    return jax.lax.map(once, keys)


@eqx.filter_jit
def _values_and_gradients(objective, model, guide, xs, keys):
    """Mean value over the batch and its gradients in the model and the guide, for each key."""
    params, static = eqx.partition((model, guide), eqx.is_inexact_array)

    def once(key):
        loss = lambda p: jnp.mean(objective(key, *eqx.combine(p, static), xs))
        return jax.value_and_grad(loss)(params)

    return jax.lax.map(once, keys)


def _flat(gradients, repeats):
    leaves = [a.reshape(repeats, -1) for a in jax.tree.leaves(gradients)]
    return jnp.concatenate(leaves, 1) if leaves else jnp.zeros((repeats, 0))


def _measure(keys, name, objective, model, guide, xs, reference, score) -> Row:
    repeats = len(keys)
    values, gradients = _values_and_gradients(objective, model, guide, xs, keys)
    of_model, of_guide = (_flat(g, repeats) for g in gradients)
    (model_variance, model_signal), (guide_variance, guide_signal) = map(
        _moments, (of_model, of_guide)
    )
    variance = float(jnp.var(values, ddof=1))
    bias = float(jnp.mean(values) - reference)
    return Row(
        name,
        objective.expected_cost,
        bias,
        (variance / repeats) ** 0.5,
        variance,
        *_bias(of_model, score),
        model_variance,
        guide_variance,
        model_signal,
        guide_signal,
    )


def _bias(gradients, score):
    """Root mean square over coordinates of the difference of means, its noise removed; the noise."""
    if gradients.shape[1] == 0:
        return float("nan"), float("nan")
    gap = jnp.mean(gradients, 0) - jnp.mean(score, 0)
    noise = sum(jnp.var(a, 0, ddof=1) / a.shape[0] for a in (gradients, score))
    square = jnp.maximum(jnp.mean(gap**2 - noise), 0)
    return float(jnp.sqrt(square)), float(jnp.sqrt(jnp.mean(noise)))


def _moments(flat):
    """Mean variance over coordinates, and the root mean square signal to noise."""
    if flat.shape[1] == 0:
        return float("nan"), float("nan")
    variance = jnp.var(flat, 0, ddof=1)
    safe = jnp.where(variance > 0, variance, jnp.ones_like(variance))
    square = jnp.where(variance > 0, jnp.mean(flat, 0) ** 2 / safe - 1 / len(flat), 0 * safe)
    return float(jnp.mean(variance)), float(jnp.sqrt(jnp.maximum(jnp.mean(square), 0)))
