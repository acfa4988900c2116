"""Densities of independent parts as one exponential family: the parts, and how often each."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import PyTree

from .._exponential import ExponentialFamily
from ._conditioning import plain
from .composite import Composite
from .sequence import Repeated


class FamilyPart(NamedTuple):
    """One exponential family of a density: where it stands, and how many observations it has."""

    name: str
    leaf: ExponentialFamily
    field: Callable[[PyTree], Any]  # the part's own of an event, or of a tree like one
    repeats: tuple[int, ...]  # a leading axis each of the part's own

    @property
    def times(self) -> int:
        product = 1
        for n in self.repeats:
            product *= n
        return product


def family_parts(density: Any) -> list[FamilyPart]:
    """The exponential families that an event's log-density is the sum of.

    Raises:
        ValueError: if some part is of no exponential family.
    """
    return _parts(density, "", lambda event: event, ())


def _parts(density, name, field, repeats) -> list[FamilyPart]:
    density = plain(density)
    if isinstance(density, Composite):
        found = []
        for key, part in density.items():
            inner = lambda event, key=key: field(event)[key]
            found += _parts(part, f"{name}[{key!r}]", inner, repeats)
        return found
    if isinstance(density, Repeated):
        return _parts(density.item, name, field, (density.times, *repeats))
    if isinstance(density, ExponentialFamily):
        says = type(density).log_normaliser is not ExponentialFamily.log_normaliser
        if says or type(density).mean_stats is not ExponentialFamily.mean_stats:
            return [FamilyPart(name, density, field, repeats)]
    where = f" (its part {name})" if name else ""
    raise ValueError(
        f"{type(density).__name__}{where} is no exponential family that says its log-normaliser: "
        "a density of one, a Composite or a Repeated of them was expected."
    )


def same_family(one: Any, other: Any) -> str:
    """Why two densities are not members of one exponential family; "" if they are."""
    mine, theirs = family_parts(one), family_parts(other)
    if [part.name for part in mine] != [part.name for part in theirs]:
        return f"their parts are {[p.name for p in mine]} and {[p.name for p in theirs]}"
    for a, b in zip(mine, theirs, strict=True):
        where = f" in the part {a.name}" if a.name else ""
        if type(a.leaf) is not type(b.leaf):
            return f"they are {type(a.leaf).__name__} and {type(b.leaf).__name__}{where}"
        if a.repeats != b.repeats:
            return f"they have {a.times} and {b.times} observations{where}"
        if _static(a.leaf) != _static(b.leaf):
            return f"two {type(a.leaf).__name__} differ in their fixed fields or sizes{where}"
    return ""


def _static(leaf: ExponentialFamily) -> tuple:
    # Static fields decide the support and the statistics; of arrays only the core sizes do.
    fixed = []
    for name, field in leaf.__dataclass_fields__.items():
        value = getattr(leaf, name)
        if field.metadata.get("static", False):
            if name != "labels":
                fixed.append((name, value))
        elif leaf.ranks.get(name):
            fixed.append((name, value.shape[-leaf.ranks[name] :]))
    return tuple(fixed)
