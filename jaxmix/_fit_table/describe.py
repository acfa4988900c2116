"""What a component says of a field, in a few words."""

from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from .._compile import Quick
from .._stack import pick
from .._trees import in_numpy
from ..combinators import Hurdle
from ..combinators import Optional as OptionalField
from ..combinators._conditioning import plain
from ..families import BernoulliSet, Categorical

MOST = 3  # labels named


def described(model: Any, field: Any, sizes: Sequence[float] | None = None) -> list[str]:
    """A field under each component of a mixture over records.

    Args:
        model: the mixture.
        field: of its records.
        sizes: rows that each component is known by, for standard errors of what is said.

    Example:
        >>> import jaxmix as jm
        >>> model = jm.mixture_of(jm.Composite({"a": jm.Normal(2, 1)}), 1)
        >>> described(model, "a")
        ['2 (sd 1)']
    """
    components = in_numpy(model.marginal(field).components)
    if not isinstance(components, tuple):
        components = [pick(components, k) for k in range(model.num_components)]
    many = [None] * len(components) if sizes is None else sizes
    return [words(component, size) for component, size in zip(components, many, strict=True)]


def words(density: PyTree, size: float | None = None) -> str:
    """One density: a mean and its standard deviation, or the likeliest labels; each ± its error."""
    density = plain(density)
    if isinstance(density, OptionalField):
        rate = density.p_missing
        return words(density.value, size) + ("" if rate is None else f"; missing {float(rate):.0%}")
    if isinstance(density, Hurdle):
        pairs = zip(density.atoms, density.weights.tolist()[:-1], strict=True)
        shares = ", ".join(f"{a:g} {share(p, size)}" for a, p in pairs)
        left = None if size is None else size * density.weights.tolist()[-1]
        return f"{shares}, else {words(density.value, left)}"
    if isinstance(density, Categorical | BernoulliSet):
        names = range(density.size) if density.labels is None else density.labels
        shares = sorted(zip(_probs(density).tolist(), names, strict=True), key=lambda p: -p[0])
        return ", ".join(f"{name} {share(p, size)}" for p, name in shares[:MOST] if p >= 0.005)
    if hasattr(density, "max_length"):
        length = density.length
        return type(density).__name__ + ("" if length is None else f", length {words(length)}")
    try:
        mean, variance = jax.device_get((density.mean, density.variance))
    except (AttributeError, NotImplementedError):
        return type(density).__name__
    if mean.ndim:
        return f"mean {[float(f'{m:.4g}') for m in mean]}"
    error = f" ± {(variance / size) ** 0.5:.2g}" if size else ""
    return f"{mean:.4g}{error} (sd {variance**0.5:.3g})"


@Quick
def _probs(density):
    return density.probs


def share(p: float, size: float | None) -> str:
    """A share, and the standard error that so many rows leave it."""
    error = 100 * (p * (1 - p) / size) ** 0.5 if size and 0 < p < 1 else 0.0
    return f"{p:.0%}" + (f" ± {error:.2g}" if error >= 0.05 else "")
