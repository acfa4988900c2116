"""`python -m jaxmix fit TABLE --response COLUMN`: mixtures of regressions, chosen by BIC."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._page import heading, quickly_compiled, save, table
from .._stack import pick
from ..data import encode
from ..data import save as save_model
from ..data.responses import MARK
from ..em import standard_errors
from ..plot._canvas import colours, each, panels, thinned
from .choose import FEW_ROWS, Found, choose, compared
from .read import Table
from .report import comparison, markdown, report
from .summary import doubt
from .write import posteriors

LINES = 6  # covariates drawn
SIDE = 3.4  # inches of a picture


def complete(read: Table, response: str, given: list[str] | None) -> Table:
    """The rows in which the response and its covariates are there."""
    names = list(read.frame.columns)
    base = lambda name: name if name in names else name.rpartition(MARK)[0]
    used = [base(n) for n in (response, *(given or names)) if base(n) in names]
    if given is None:  # what is mostly missing is no covariate
        empty = [n for n in used if read.frame[n].isna().mean() > 0.5 and n != base(response)]
        used = [n for n in used if n not in empty]
        if empty:
            read.notes.append(f"Mostly missing, and left out: {', '.join(empty)}.")
            read = read._replace(frame=read.frame.drop(columns=empty))
    there = read.frame[used].notna().all(axis=1).to_numpy()
    if there.sum() < 2:
        raise ValueError(f"{read.name}: in fewer than 2 rows nothing is missing.")
    gone = int((~there).sum())
    if gone:
        read.notes.append(
            f"{gone} of {len(there)} rows lack the response or a covariate: left out."
        )
    return read._replace(frame=read.frame[there].reset_index(drop=True))


def regress(place: Any, read: Table, proposed: Any, asked: Any, weights: Any) -> None:
    """Fit mixtures of regressions of each size; write the best one, its coefficients and lines."""
    template = proposed.template
    heading(f"{read.name}: {template.response} given {', '.join(template.given)}")
    print(*(f"{note}\n" for note in read.notes), sep="", end="")
    print(f"{proposed}\n")
    with jax.enable_x64(True), quickly_compiled(len(read.frame) <= FEW_ROWS):
        raw = encode(template, read.frame)
        # In units of their own spread the covariates make well-conditioned systems.
        x = {name: np.asarray(raw[name]) for name in template.given}
        centre = np.array([a.mean() for a in x.values()])
        scale = np.array([a.std() or 1.0 for a in x.values()])
        unit = {n: (a - m) / s for (n, a), m, s in zip(x.items(), centre, scale, strict=True)}
        found = choose(
            template, raw | unit, asked.components, asked.restarts, asked.seed,
            weights=weights, prior=asked.prior, encoded=True,
        )  # fmt: skip
        model = in_own_units(found.best.model, centre, scale)
        save_model(place.part / "model.npz", model)
        place.keep("model.npz")
        table(*compared(found))
        print(f"\nChosen by BIC: K = {found.chosen}.\n{found.best}\n")
        errors = standard_errors(model, raw, weights=weights).components.family
        posterior = each(model, "posterior", raw)
        posteriors(place.part, posterior)
        if not asked.only_summary:
            save(place.part, {"lines": lambda: lines(model, raw, posterior)})
        blocks = _report(read, proposed, found, model, errors, any(place.part.glob("*.png")))
        text = report(place.part, blocks)
        place.keep()
    print(text.split("\n## The coefficients")[0])
    print(f"Written to {place.folder.resolve()}.")


def in_own_units(model: Any, centre: np.ndarray, scale: np.ndarray) -> Any:
    """The model of covariates x, from that of (x - centre) / scale."""
    family = model.components.family
    slopes = np.asarray(family.coefficients) / scale
    level = np.asarray(family.intercept) - slopes @ centre
    where = lambda m: (m.components.family.coefficients, m.components.family.intercept)
    dtype = family.intercept.dtype
    return eqx.tree_at(where, model, (jnp.asarray(slopes, dtype), jnp.asarray(level, dtype)))


def lines(model: Any, data: Any, posterior: np.ndarray) -> Any:
    """The response over each covariate, and each component's mean, the others at their means."""
    law = model.components
    y, names = np.asarray(data[law.response]), law.given[:LINES]
    palette, which = colours(posterior.shape[1]), posterior.argmax(1)
    axes = panels(len(names), 3, SIDE, 0.9 * SIDE, beside=1)
    middle = np.array([float(np.mean(data[name])) for name in law.given])
    mean = eqx.filter_jit(lambda f, xs: jax.vmap(lambda x: f.given(x).mean)(xs))
    few = thinned(np.arange(len(y)))
    for i, (ax, name) in enumerate(zip(axes, names, strict=True)):
        seen = np.asarray(data[name])
        ax.scatter(seen[few], y[few], s=9, c=palette[which[few]], alpha=0.5, linewidths=0)
        grid = np.linspace(seen.min(), seen.max(), 100)
        points = np.repeat(middle[None], len(grid), 0)
        points[:, i] = grid
        for k, colour in enumerate(palette):
            line = mean(pick(law.family, k), jnp.asarray(points))
            ax.plot(grid, np.asarray(line), color=colour, lw=2, label=str(k) if i == 0 else None)
        pad = 0.05 * np.ptp(y) or 1.0
        ax.set(xlabel=name, ylim=(y.min() - pad, y.max() + pad))
        ax.set_ylabel(law.response if i % 3 == 0 else "")
    if len(palette) > 1:
        axes[0].figure.legend(title="component", frameon=False, loc="outside right upper")
    return axes[0]


def _report(
    read: Table, proposed: Any, found: Found, model: Any, errors: Any, drawn: bool
) -> list[str]:
    law, k = model.components, found.chosen
    family, rows = law.family, len(read.frame)
    pair = lambda value, error: f"{float(value):.4g} ± {float(error):.2g}"
    body = [["share", *(f"{w:.0%}" for w in model.weights.tolist())]]
    body += [["intercept", *map(pair, family.intercept, errors.intercept)]]
    for i, name in enumerate(law.given):
        body += [[name, *map(pair, family.coefficients[:, i], errors.coefficients[:, i])]]
    for name in ("scale", "shape", "successes"):
        if getattr(errors, name, None) is not None:
            body += [[name, *map(pair, getattr(family, name), getattr(errors, name))]]
    first = f"Drawn are the first {LINES} covariates. " if len(law.given) > LINES else ""
    each = f"{first}Each line is a component's mean, the other covariates at their means."
    groups = "one line serves all" if k == 1 else f"{k} groups of rows have lines of their own"
    kind = proposed.choices[0].family
    columns = [[c.column, c.family, c.reason] for c in [*proposed.choices, *proposed.ignored]]
    return [
        f"# {law.response} given {', '.join(law.given)}",
        f"Of the {rows} rows of {read.name} {groups}, by BIC among {min(found.fits)} to "
        f"{max(found.fits)}: a {kind} in each.{doubt(found)}",
        *read.notes,
        "## The coefficients",
        markdown(["", *(f"component {i}" for i in range(k))], body),
        "± is one standard error, from the observed information. Coefficients are of the family's "
        "linear predictor: of a mean's logarithm for counts and skewed numbers, of log odds for "
        "labels.",
        "![The lines](lines.png)" if drawn else "",
        each if drawn else "",
        *comparison(found),
        "## The columns",
        markdown(["column", "part", "why"], columns),
    ]
