"""What a component says of a field, in a few words."""

from typing import Any

import jax
from jaxtyping import PyTree

from .._stack import pick
from ..combinators import Hurdle
from ..combinators import Optional as OptionalField
from ..combinators._conditioning import plain
from ..families import BernoulliSet, Categorical

MOST = 3  # labels named


def described(model: Any, field: Any) -> list[str]:
    """A field under each component of a mixture over records.

    Example:
        >>> import jaxmix as jm
        >>> model = jm.mixture_of(jm.Composite({"a": jm.Normal(2, 1)}), 1)
        >>> described(model, "a")
        ['2 (sd 1)']
    """
    components = model.marginal(field).components
    if not isinstance(components, tuple):
        components = [pick(components, k) for k in range(model.num_components)]
    return [words(component) for component in components]


def words(density: PyTree) -> str:
    """One density: a mean and its standard deviation, or the likeliest labels."""
    density = plain(density)
    if isinstance(density, OptionalField):
        rate = density.p_missing
        return words(density.value) + ("" if rate is None else f"; missing {float(rate):.0%}")
    if isinstance(density, Hurdle):
        pairs = zip(density.atoms, density.weights.tolist()[:-1], strict=True)
        return ", ".join(f"{a:g} {p:.0%}" for a, p in pairs) + f", else {words(density.value)}"
    if isinstance(density, Categorical | BernoulliSet):
        names = range(density.size) if density.labels is None else density.labels
        shares = sorted(zip(density.probs.tolist(), names, strict=True), key=lambda p: -p[0])
        return ", ".join(f"{name} {p:.0%}" for p, name in shares[:MOST] if p >= 0.005)
    if hasattr(density, "max_length"):
        length = density.length
        return type(density).__name__ + ("" if length is None else f", length {words(length)}")
    try:
        mean, variance = jax.device_get((density.mean, density.variance))
    except (AttributeError, NotImplementedError):
        return type(density).__name__
    if mean.ndim:
        return f"mean {[float(f'{m:.4g}') for m in mean]}"
    return f"{mean:.4g} (sd {variance**0.5:.3g})"
