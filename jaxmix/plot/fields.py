"""Every field of a record, as the data have it and as each component of a mixture draws it."""

import collections.abc
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _events
from .._arguments import numbers, optional, rows, takes
from .._hooks import Labelled, Marginalises
from ..combinators import (
    Censored,
    Composite,
    Discretised,
    Hurdle,
    IntervalEvent,
    MarkovChain,
    OptionalEvent,
    Sequence,
)
from ..combinators import Optional as OptionalField
from ..combinators._conditioning import plain
from ..data.labels import names_of
from ..data.structure import structure
from ..families import BernoulliSet, Categorical
from ._canvas import DRAWN, bins_of, colours, each, panels, responsibilities

MAX_BARS = 30
DATA = {"color": "#d9d9d9", "edgecolor": "#bdbdbd", "linewidth": 0.5}


@takes(DRAWN, data=rows, posterior=optional(numbers(2)))
def fields(
    model: Any,
    data: PyTree,
    names: collections.abc.Sequence | None = None,
    *,
    posterior: Any = None,
) -> np.ndarray:
    """Draw every field of a mixture over records: the data in grey, the components in colour.

    Numbers are a histogram, under it each component's density times its weight, and their sum in
    black; labels and sets are bars, one a component; of sequences the lengths are drawn, each
    row shared out by its posterior probabilities. What is missing is counted in the title.

    Args:
        model: a mixture whose components are `Composite`.
        data: records, stacked along a leading axis.
        names: fields to draw; None for all.
        posterior: probabilities (rows, components), if they are at hand.

    Returns:
        The axes, one a field.

    Raises:
        ValueError: if the model is no mixture over records.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> record = jm.Composite({"a": jm.Normal(0, 1), "b": jm.Poisson(2.0)})
        >>> model = jm.mixture_of(record, 2)
        >>> data = {"a": jnp.array([0.1, -0.4, 2.0]), "b": jnp.array([1, 0, 3])}
        >>> [ax.get_title() for ax in jm.plot.fields(model, data)]
        ['a', 'b']
    """
    if not isinstance(model, Marginalises) or not isinstance(model, Labelled):
        raise ValueError(
            f"Fields are drawn of a mixture over records; this is a {type(model).__name__}."
        )
    if not isinstance(_first(model), Marginalises) or hasattr(data, "shape"):
        raise ValueError(
            f"Fields are drawn of a mixture over records; the components of this one are "
            f"{type(_first(model)).__name__}: jm.plot.mixture draws numbers and vectors."
        )
    events = dict(data) if isinstance(data, dict) else dict(enumerate(data))
    names = list(events) if names is None else list(names)
    posterior = responsibilities(model, data, posterior, "data")
    palette = colours(posterior.shape[1])
    parts = [one for name in names for one in _parts(str(name), model.marginal(name), events[name])]
    axes = panels(len(parts), 2 if len(parts) == 4 else 3, 4.2, 3.1)
    for ax, (name, marginal, event) in zip(axes, parts, strict=True):
        _panel(ax, marginal, event, posterior, palette)
        ax.set_title(name + ax.get_title())
    for k, colour in enumerate(palette):
        axes[0].plot([], [], color=colour, lw=4, label=f"{k}")
    if len(palette) > 1:
        axes[0].plot([], [], color="black", lw=0.9, ls="--", label="all")
    handles, labels = axes[0].get_legend_handles_labels()
    from matplotlib.patches import Rectangle

    swatch = Rectangle((0, 0), 1, 1, facecolor=DATA["color"], edgecolor=DATA["edgecolor"])
    axes[0].figure.legend(
        [*handles, swatch], [*labels, "data"], title="component",
        frameon=False, loc="outside right upper",
    )  # fmt: skip
    return axes


def _parts(name, marginal, event):
    """A field, its marginal and its events; of a record within the record those of its fields."""
    inner = structure(_first(marginal))
    if not isinstance(inner, Composite):
        return [(name, marginal, event)]
    fields = [
        (f"{name}.{field}", marginal.marginal(field), event[field]) for field, _ in inner.items()
    ]
    return [part for field in fields for part in _parts(*field)]


def _panel(ax, marginal, event, posterior, palette):
    """One field; the title it leaves is what follows the field's name."""
    part = _first(marginal)
    optional = isinstance(part, OptionalField)
    there = np.ones(len(posterior), bool)
    if optional:
        there = np.asarray(event.present)
        event, part = event.value, plain(part.value)
        absent = int((~there).sum())
        ax.set_title(f" ({absent} missing)" if absent else "")
    if not there.any():
        ax.text(0.5, 0.5, "all missing", ha="center", transform=ax.transAxes)
        return
    held = posterior[there]
    seen = jax.tree.map(lambda a: np.asarray(a)[there], event)
    all_of: Any = lambda x: np.ones(jax.tree.leaves(x)[0].shape[:1], bool)
    wrap = lambda x: OptionalEvent(x, all_of(x)) if optional else x
    under = lambda x: np.exp(each(marginal, "joint_log_probs", wrap(x)))
    _events.draw(structure(part), ax, seen, held, palette, under)


@_events.draw.register(object)
def _values(density, ax, seen, held, palette, under):
    if getattr(seen, "ndim", 0) == 1:
        _numbers(ax, seen, under, palette)
        return
    flat = np.reshape(jax.tree.leaves(seen)[0], (len(held), -1))
    if flat.shape[1] > 1:
        ax.scatter(*flat[:, :2].T, c=held @ palette, s=8)
        ax.set(xlabel="coordinate 0", ylabel="coordinate 1")


@_events.draw.register(Discretised)
def _rounded(density, ax, seen, held, palette, under):
    """Over a step a probability is a density."""
    _numbers(ax, seen, lambda x: under(x) / density.step, palette, density.step)


@_events.draw.register(Hurdle)
def _beside_atoms(density, ax, seen, held, palette, under):
    """The numbers that are no atoms, and what share of all each atom has."""
    atoms = np.asarray(density.atoms, seen.dtype)
    rest = ~np.isin(seen, atoms)
    shares = ", ".join(f"{np.mean(seen == atom):.0%} {atom:g}" for atom in atoms)
    ax.set_title(f"{ax.get_title()} (beside {shares})")
    if not rest.any():
        return
    beside = lambda x: np.where(np.isin(x, atoms)[:, None], np.nan, under(x) / rest.mean())
    _events.draw(structure(density.value), ax, seen[rest], held[rest], palette, beside)


@_events.draw.register(Sequence)
@_events.draw.register(MarkovChain)
def _lengths(density, ax, seen, held, palette, under):
    """Stacked by the rows' posterior probabilities."""
    low, high = seen.length.min(), seen.length.max()
    edges = np.arange(low, high + 2) - 0.5 if high - low < MAX_BARS else bins_of(seen.length, 1)
    base = np.zeros(len(edges) - 1)
    for share, colour in zip(held.T, palette, strict=True):
        heights, _ = np.histogram(seen.length, edges, weights=share)
        ax.bar(edges[:-1], heights, np.diff(edges), bottom=base, align="edge", color=colour)
        base = base + heights
    ax.set(xlabel="length", ylabel="rows")


@_events.draw.register(Censored)
def _intervals(density, ax, seen, held, palette, under):
    """The numbers that are known, under the densities; the others are counted."""
    known = seen.low == seen.high
    if known.any():
        exact = lambda x: under(IntervalEvent(x, x))
        _numbers(ax, seen.low[known], exact, palette)
    ax.set_title(ax.get_title() + f" ({(~known).sum()} within an interval)")


def _first(marginal):
    components = marginal.components
    return plain(components[0] if isinstance(components, tuple) else components)


def _numbers(ax, seen, under, palette, step=None):
    whole = seen.dtype.kind in "iub"
    if whole:
        values, counts = np.unique(seen, return_counts=True)
        if np.ptp(values) <= MAX_BARS:
            grid = np.arange(values[0], values[-1] + 1)
            ax.bar(values, counts / len(seen), width=0.9, **DATA)
            _curves(ax, grid, under(np.asarray(grid, seen.dtype)), palette, marker="o", ms=2.5)
            ax.set_ylabel("probability")
            return
    low, high = np.quantile(seen, [0.002, 0.998])
    pad = 0.05 * (high - low) or 1.0
    low, high = max(low - pad, seen.min() - pad), min(high + pad, seen.max() + pad)
    if seen.min() >= 0:
        low = max(low, 0.0)
    inside = seen[(seen >= low) & (seen <= high)]
    heights, edges = np.histogram(inside, bins_of(inside, 1 if whole else step))
    share = heights / len(seen) / np.diff(edges)
    ax.bar(edges[:-1], share, np.diff(edges), align="edge", **DATA)
    grid = np.unique(np.rint(np.linspace(low, high, 300))) if whole else np.linspace(low, high, 300)
    _curves(ax, grid, under(np.asarray(grid, seen.dtype)), palette)
    ax.set_ylabel("density")
    if len(inside) < len(seen):
        ax.set_xlabel(f"{len(seen) - len(inside)} beyond the axis")


def _curves(ax, grid, parts, palette, **style):
    for part, colour in zip(parts.T, palette, strict=True):
        ax.plot(grid, part, color=colour, lw=1.8, **style)
    if parts.shape[1] > 1:
        ax.plot(grid, parts.sum(1), color="black", lw=0.9, ls="--", **style)
    # A density may peak far above the data, at the edge of its support.
    tallest = max((bar.get_height() for bar in ax.patches), default=1.0)
    peak = np.max(parts.sum(1), initial=0.0, where=~np.isnan(parts.sum(1)))
    ax.set_ylim(0, 1.15 * max(tallest, min(peak, 1.6 * tallest)))


@_events.draw.register(Categorical)
@_events.draw.register(BernoulliSet)
def _labels(part, ax, seen, posterior, palette, under):
    names = names_of(part)
    hot = seen if seen.ndim == 2 else seen[:, None] == np.arange(part.size)
    share = hot.mean(0)
    shown = np.sort(np.argsort(-share, kind="stable")[:MAX_BARS])
    totals = posterior.sum(0)
    known = np.where(totals > 0, totals, 1)
    by_component = (posterior.T @ hot / known[:, None])[:, shown]
    k = len(palette)
    at = np.arange(len(shown))
    ax.bar(at, share[shown], width=0.92, **DATA)
    for j, colour in enumerate(palette):
        ax.bar(at + 0.84 * ((j + 0.5) / k - 0.5), by_component[j], 0.84 / k, color=colour)
    texts = [str(names[i]) for i in shown]
    long = max(map(len, texts)) * len(texts) > 28
    ax.set_xticks(at, [t if len(t) < 16 else t[:14] + "…" for t in texts],
                  rotation=60 if long else 0, ha="right" if long else "center")  # fmt: skip
    ax.set_ylabel("share of the component's rows")
    if len(shown) < part.size:
        ax.set_xlabel(f"the {len(shown)} commonest of {part.size}")
