"""Numbers that go together within the groups, tried as one multivariate normal density."""

from typing import Any, NamedTuple

import numpy as np

from ..combinators import Composite, Discretised
from ..combinators import Optional as OptionalField
from ..families import MultivariateNormal, Normal, PartialNormal
from .choose import Found, choose


class Joint(NamedTuple):
    """Blocks of columns, mixtures of every size in which each block is one density, and their BIC.

    A rounded column has probabilities where its block has a density: over a step, it is one.
    """

    blocks: list[list[str]]
    found: Found
    bic: float


def blocks_of(template: Composite, pairs: list[tuple[str, str, float]]) -> list[list[str]]:
    """Columns of normal densities that strong correlations join, directly or through others."""
    normal = [name for name, part in template.items() if _step(part) is not None]
    root = {name: name for name in normal}
    for a, b, _ in pairs:
        if a in root and b in root:
            old, new = root[b], root[a]
            root = {name: new if at == old else at for name, at in root.items()}
    blocks = [
        [name for name in normal if root[name] == one] for one in dict.fromkeys(root.values())
    ]
    return [block for block in blocks if len(block) > 1]


def together(block: list[str]) -> str:
    """The name of a block's field."""
    return " & ".join(block)


def joined(frame: Any, blocks: list[list[str]]) -> Any:
    """The table with a column of vectors for each block of its columns."""
    for name in (name for block in blocks for name in block if name not in frame.columns):
        raise ValueError(
            f"The table has no column {name!r}, which the model is of; it has "
            f"{', '.join(frame.columns)}."
        )
    return frame.assign(**{together(block): list(frame[block].to_numpy(float)) for block in blocks})


def _step(part: Any) -> float | None:
    """The step that a normal density's values are rounded to, 1 for none; None for another one."""
    part = part.value if isinstance(part, OptionalField) else part
    step, part = (float(part.step), part.value) if isinstance(part, Discretised) else (1.0, part)
    return step if isinstance(part, Normal) else None


def tried_jointly(
    template: Composite, frame: Any, pairs: list[tuple[str, str, float]], asked: Any, **options: Any
) -> Joint | None:
    """Mixtures with each block as one density; None where nothing is correlated."""
    blocks = blocks_of(template, pairs)
    if not blocks:
        return None
    inside = {name for block in blocks for name in block}
    parts = {name: part for name, part in template.items() if name not in inside}
    for block in blocks:
        gaps = any(isinstance(dict(template.items())[name], OptionalField) for name in block)
        family = PartialNormal if gaps else MultivariateNormal
        parts[together(block)] = family.template(len(block))
    rows = joined(frame, blocks)
    found = choose(Composite(parts), rows, asked.components, asked.restarts, asked.seed, **options)
    weights = options.get("weights")
    case = np.ones(len(frame)) if weights is None else weights
    fields = dict(template.items())
    steps = {name: _step(fields[name]) or 1.0 for name in inside}
    over = sum(np.log(step) * case[frame[name].notna()].sum() for name, step in steps.items())
    return Joint(blocks, found, float(found.best.bic - 2 * over))


def joint_said(joint: Joint, found: Found) -> list[str]:
    """What the comparison of BIC says, in a sentence, for the sizes tried."""
    blocks = "; ".join(", ".join(block) for block in joint.blocks)
    gain = float(found.best.bic) - joint.bic
    told = (
        f"This is better by {gain:.1f}: `joint.npz` is that mixture, and its groups are to be "
        "preferred to those above."
        if gain > 0
        else f"This is worse by {-gain:.1f}: the correlation is not worth its parameters."
    )
    return [
        f"With one multivariate normal density in each component for {blocks}, BIC chooses "
        f"{joint.found.chosen} components, at {joint.bic:.1f} against "
        f"{float(found.best.bic):.1f} for {found.chosen} components of independent columns. {told}"
    ]
