"""Parts used in several places: one canonical copy, whose statistics pool by themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from .._arguments import density, function, takes
from .._density import LogDensity, check_parts, is_density
from .._stack import Held, pick, release, repeat
from .constrained import Forwarding, constrained


class Hole(eqx.Module):
    """Where a tied part is used; it holds nothing but what stacks around it do there.

    `stack` is the one that a single copy serves; `sliced` says that the part has the axes of the
    stacks around this place, which slice it as they do what stands beside it.
    """

    stack: tuple[int, ...] = eqx.field(static=True, default=())
    sliced: bool = eqx.field(static=True, default=False)


class Borrowed(Forwarding):
    """A tied part at one of its places: held where no stack around it is to slice it."""

    part: Any

    @property
    def lent(self) -> PyTree:
        """The part itself."""
        return release(self.part)

    forwarded = lent


def _is_hole(node: Any) -> bool:
    return isinstance(node, Hole)


class Tied(Forwarding):
    """A model some parts of which are one and the same density.

    `body` is the model with holes, `part` the one density that fills them all. Gradients and
    expected statistics of every use add up at the one copy; EM, optax and priors see it once.
    Build it with `jm.tie`; `jm.unwrap` gives the plain model.
    """

    body: PyTree
    part: PyTree
    inner: int = eqx.field(static=True, default=0)  # axes of the part's stack that are its own

    @property
    def filled(self) -> PyTree:
        """The model with the part in its places, one and the same in all of them."""
        return self._with(lambda hole: Borrowed(self.part if hole.sliced else Held(self.part)))

    forwarded = filled  # what the model offers (posterior, weights ...) is offered here

    @property
    def plain(self) -> PyTree:
        """The model with a copy of the part in each of its places, one for each of a stack."""

        def copy(hole):
            part = self.part
            for size in reversed(hole.stack):
                part = repeat(part, size)
            return part

        return self._with(copy)

    def _with(self, fill):
        return jax.tree.map(
            lambda node: fill(node) if _is_hole(node) else node, self.body, is_leaf=_is_hole
        )

    @property
    def stack_shape(self) -> tuple[int, ...]:
        part = getattr(self.part, "stack_shape", ())
        return max(self.body.stack_shape, part[: len(part) - self.inner], key=len)

    def check_rows(self, rows: PyTree) -> None:
        check_parts([(self.plain, rows)])


@takes(model=density, where=function)
def tie(
    model: PyTree,
    where: Callable[[PyTree], PyTree | Sequence[PyTree]],
    fields: str | Sequence[str] | None = None,
) -> PyTree:
    """Make several parts of a model one: the first that `where` returns replaces the others.

    With `fields` those parameters alone, of one stack of a family: a mixture whose components share
    one scale, their means being free. `jm.frozen` and this go together, in either order.

    A part may be any sub-tree that is a density (a family, a mixture, a sequence), or a stack of
    them. Parts inside a stack, such as two fields of a mixture's record, are tied in each of its
    densities by themselves. One part alone becomes one for the whole of its outermost stack, its
    first.

    Args:
        model: a density.
        where: from the model to a list of its density nodes, or to one stacked node.
        fields: names of parameters of a family, such as "scale"; None for whole densities.

    Raises:
        ValueError: if one of the nodes is no density, such as a bare array; if they differ in
            structure or shape; if one alone is no stack, or lies in a stack of stacks; for names that
            are none of the family's parameters, or all of them.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> pair = jm.Composite((jm.Normal(0, 1), jm.Normal(1, 1)))
        >>> tied = jm.tie(pair, lambda m: [m.parts[0], m.parts[1]])
        >>> tied.log_prob((jnp.array(0.0), jnp.array(0.0))).round(4)
        Array(-1.8379, dtype=float32)
        >>> record = jm.Composite((jm.Normal.template(), jm.Poisson.template()))
        >>> shared = jm.tie(jm.mixture_of(record, 3), lambda m: m.components.parts[1])
        >>> shared.part.rate.shape, jm.unwrap(shared).components.parts[1].rate.shape
        ((), (3,))
        >>> even = jm.tie(jm.mixture_of(jm.Normal.template(), 2), lambda m: m.components, "scale")
        >>> x = jnp.array([-1.0, 1.0, 8.0, 12.0])
        >>> jm.fit(jax.random.key(0), even, x).model.components.variance.round(3)  # (1 + 4) / 2
        Array([2.5, 2.5], dtype=float32)
    """

    def named(model) -> list[PyTree]:
        try:
            found: Any = where(model)
        except (AttributeError, LookupError, TypeError) as error:
            kind = type(model).__name__
            raise ValueError(f"`where` names no part of this {kind}: {error}") from error
        return list(found) if isinstance(found, list | tuple) else [found]

    nodes: list[Any] = named(model)
    for node in nodes:
        if not is_density(node):
            raise ValueError(
                f"Only densities can be tied, such as a component; got a {type(node).__name__}."
            )
    if fields is not None:
        if len(nodes) != 1:
            raise ValueError(
                f"Parameters are tied over one stack of a family; {len(nodes)} densities were named. "
                "Make them a stack: jm.mixture_of(template, k)."
            )
        return eqx.tree_at(named, model, [constrained(nodes[0], fields, "tie")])
    first: Any = nodes[0]
    around = [_depth_around(model, node) for node in nodes]
    if len(nodes) == 1:
        stack = tuple(first.stack_shape[:1])
        if not stack:
            raise ValueError(
                f"One {type(first).__name__} alone is tied to nothing: name two parts or more, or "
                "one that is a stack."
            )
        if around[0] > 1:
            raise ValueError(
                f"This {type(first).__name__} lies in a stack of stacks, and one part alone is "
                "tied over the outermost. Tie it in the inner stack first, and stack the tied "
                "model: jm.mixture_of(jm.tie(inner, ...), k)."
            )
        first = pick(first, 0)
        holes = [Hole(stack)]
    else:
        holes = [Hole(sliced=depth > 0) for depth in around]
        for node in nodes[1:]:
            if _form(node) != _form(first):
                raise ValueError(
                    f"Parts that are tied must be alike in structure and shape; a "
                    f"{type(first).__name__} and a {type(node).__name__} were given that are not."
                )
    body = eqx.tree_at(named, model, holes)
    return Tied(body, first, len(getattr(first, "stack_shape", ())))


def _depth_around(model: PyTree, target: PyTree) -> int:
    """How many axes the stacks around a density in a model have, its own stack not counted."""
    if not isinstance(model, LogDensity):
        return 0
    outermost = len(model.stack_shape)

    def below(node) -> int | None:
        inside = [getattr(node, name) for name in node.__dataclass_fields__]
        for child in jax.tree.leaves(inside, is_leaf=is_density):
            if child is target:
                return len(node.stack_shape) - outermost
            found = below(child) if isinstance(child, LogDensity) else None
            if found is not None:
                return found
        return None

    return below(model) or 0


def _form(node: PyTree) -> Any:
    return jax.tree.structure(node), [jax.numpy.shape(a) for a in jax.tree.leaves(node)]
