"""What a component says of a field, in a few words."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _events
from .._stack import pick
from ..combinators import Censored, Hurdle
from ..combinators import Optional as OptionalField
from ..combinators._conditioning import plain
from ..data.labels import names_of
from ..families import BernoulliSet, Categorical, StudentT

MOST = 3  # labels named
LEAST = 0.005  # share of a label or an atom that is named


def described(
    model: Any,
    field: Any,
    sizes: Sequence[float] | None = None,
    tails: Sequence[float] | None = None,
) -> list[str]:
    """A field under each component of a mixture over records."""
    components = model.marginal(field).components
    if not isinstance(components, tuple):
        components = [pick(components, np.asarray(k)) for k in range(model.num_components)]
    each = zip(components, sizes or repeat(None), tails or repeat(3.0), strict=False)
    return [words(component, size, tail) for component, size, tail in each]


def words(density: PyTree, size: float | None = None, tail: float = 3.0) -> str:
    """One density: a mean and its standard deviation, or the likeliest labels; each ± its error."""
    return _events.describe(plain(density), size, tail)


@_events.describe.register(object)
def _number(density: PyTree, size: float | None, tail: float) -> str:
    if hasattr(density, "max_length"):
        length = density.length
        return type(density).__name__ + ("" if length is None else f", length {words(length)}")
    try:
        mean, variance = jax.device_get((density.mean, density.variance))
    except (AttributeError, NotImplementedError):
        return type(density).__name__
    if mean.ndim:
        return f"mean {[float(f'{m:.4g}') for m in mean]}"
    if isinstance(density, StudentT) and not np.isfinite(variance):
        return f"{float(density.loc):.4g} (t of scale {float(density.scale):.3g})"
    deviation = variance**0.5
    if not size:
        return f"{mean:.4g} (sd {deviation:.3g})"
    # Of a standard deviation: sqrt((fourth moment / variance^2 - 1) / 4 n) of itself.
    of_deviation = deviation * (max(tail - 1, 0.0) / (4 * size)) ** 0.5
    error = f" ± {(variance / size) ** 0.5:.2g}"
    return f"{mean:.4g}{error} (sd {deviation:.3g} ± {of_deviation:.2g})"


@_events.describe.register(OptionalField)
@_events.describe.register(Censored)
def _wrapped(density: OptionalField | Censored, size: float | None, tail: float) -> str:
    rate = getattr(density, "p_missing", None)
    missing = "" if rate is None else f"; missing {float(rate):.0%}"
    return words(density.value, size, tail) + missing


@_events.describe.register(Hurdle)
def _hurdle(density: Hurdle, size: float | None, tail: float) -> str:
    pairs = zip(density.atoms, density.weights.tolist()[:-1], strict=True)
    shares = [f"{a:g} {share(p, size)}" for a, p in pairs if p >= LEAST]
    rest = density.weights.tolist()[-1]
    if rest < LEAST:
        return ", ".join(shares)
    left = words(density.value, None if size is None else size * rest, tail)
    return ", ".join([*shares, f"else {left}" if shares else left])


@_events.describe.register(Categorical)
@_events.describe.register(BernoulliSet)
def _labels(density: Categorical | BernoulliSet, size: float | None, tail: float) -> str:
    pairs = zip(probs_of(density), names_of(density), strict=True)
    shares = sorted(pairs, key=lambda p: -p[0])
    return ", ".join(f"{name} {share(p, size)}" for p, name in shares[:MOST] if p >= LEAST)


def probs_of(density: Any) -> np.ndarray:
    """Probabilities of outcomes, on the host: no program for each number of them."""
    logits = np.asarray(density.logits)
    if isinstance(density, BernoulliSet):
        return 1 / (1 + np.exp(-logits))
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def share(p: float, size: float | None) -> str:
    """A share, and the standard error that so many rows leave it."""
    error = 100 * (p * (1 - p) / size) ** 0.5 if size and 0 < p < 1 else 0.0
    return f"{p:.0%}" + (f" ± {error:.2g}" if error >= 0.05 else "")
