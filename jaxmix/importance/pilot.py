"""Proposals fitted to where f matters, from a pilot."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._arguments import optional, real, takes, whole
from .._density import LogDensity
from .._numerics import constant
from .._refuse import checked_key, on_host
from .._trees import take
from ..combinators import Mixture, MixtureSameFamily
from ..em.search.seeds import split
from .design_points import design_points
from .draws import Draws, allocate, concatenate, draw
from .family import Unreached, family_size, log_table, parts_of
from .levels import evaluate, importance_of, log_pooled, smoothed
from .mixtures import (
    LOW_RANK_FROM,
    Fitted,
    components_of,
    frame_of,
    joined,
    radius,
    refit,
    shape_for,
)
from .tables import Table
from .totals import log_norms
from .values import flat_values
from .weights import _optimise as optimise

# Levels at the event itself: a fit is too narrow where the draws behind it were, and shows it
# only to draws of its own.
ROUNDS = 2
LEFT = 0.3  # share of the weights that is not left to the optimum
FRAME_DRAWS = 256  # draws of each target, for its origin and scale, where f is not called


class Pilot(eqx.Module):
    """Proposals, and what was spent to find them.

    Attributes:
        proposals: a stack of components of which the last is the wide one, and a defensive
            mixture of the targets; give them to `jm.importance.draw`.
        weights: shares of the proposals that minimise the sum of relative variances on the
            pilot's last draws; give them to `jm.importance.allocate`.
        calls: evaluations of f and of the score (a gradient counts as two).
        levels: one record a level: the smoothing width and the effective share of its draws.
        reached: whether the last level was the event itself.
    """

    proposals: list[PyTree]
    weights: Array
    calls: int = eqx.field(static=True)
    levels: list[dict[str, float]] = eqx.field(static=True)
    reached: bool = eqx.field(static=True)

    def __len__(self) -> int:
        return self.weights.shape[0]

    def __str__(self) -> str:
        lines = [f"{len(self)} proposals after {self.calls} calls"]
        for n, level in enumerate(self.levels):
            lines.append(f"level {n}: width {level['width']:.3g}, effective {level['ess']:.1%}")
        if not self.reached:
            lines.append(
                "The event itself was not reached: raise num_draws or max_levels, or give a score "
                "that is smoother or has a gradient."
            )
        return "\n".join(lines)


def _equal(size: int) -> Array:
    return constant(np.full(size, 1 / size), jnp.result_type(float))


def mixture_of_targets(targets: PyTree) -> LogDensity:
    """The targets as one density in equal shares: the defensive proposal."""
    parts = parts_of(targets, "targets")
    if len(parts) == 1:
        (part,) = parts
        if part.single:
            return part.density
        return MixtureSameFamily(_equal(part.size), part.density)
    total = sum(part.size for part in parts)
    whole = [
        part.density if part.single else MixtureSameFamily(_equal(part.size), part.density)
        for part in parts
    ]
    return Mixture(jnp.array([part.size / total for part in parts]), whole)


@on_host("adapt the proposals before; what follows is differentiable.")
@takes(
    num_draws=whole(1), num_components=whole(1), max_levels=whole(1),
    defensive=real(0, 1), inflation=real(0), shrinkage=real(0, 1, ends=True), df=optional(real(0)),
)  # fmt: skip
def adapt(
    key: Key[Array, ""],
    f: Callable,
    targets: PyTree,
    *,
    num_draws: int,
    num_components: int,
    score: Callable | None = None,
    gradient: bool | None = None,
    covariance: str | None = None,
    defensive: float = 0.1,
    inflation: float = 1.2,
    shrinkage: float = 0.1,
    df: float | None = None,
    max_levels: int = 20,
) -> Pilot:
    """Fit a mixture of proposals to where f matters under every target alike.

    Without a score: draws from each target, weighted by |f| (sum_j (p_j / est_j)^2)^(1/2) / q,
    the optimum for the sum of the targets' relative variances, fit a mixture by weighted EM.
    With a score the event is score(x) > 0, of any small probability: levels of a smoothed
    indicator Phi(score / width), the width so small as leaves enough effective draws, lead to it
    (cross-entropy: Papaioannou, Geyer and Straub 2019), from the design points if the score has a
    gradient. One wide component about the targets' origin keeps parts that a fit would lose.

    The pilot's draws are not part of the later estimate, which is thereby unbiased.

    Args:
        key: a typed random key.
        f: as in `imp_est`; not called if there is a score.
        targets: normalised densities with `sample`, as in `imp_est`; over numbers or vectors.
        num_draws: draws for each target, or for each level with a score.
        num_components: components of the mixture, besides the wide one.
        score: real function of one event, positive in the event.
        gradient: whether to start from design points, by the score's gradient; None does from 50
            coordinates on, if it is usable. In few coordinates levels alone are as sharp, and
            find the less likely parts of an event more surely: with True, 95 % intervals of
            four branches in the plane covered in 83 % of 60 runs, with levels alone in 95 %
            (`python -m benchmarks.importance.accuracy --only rare,gradient`).
        covariance: "full", "diagonal" or "low_rank"; None for low_rank from 50 coordinates on.
        defensive: share of the mixture of all targets, in levels and in `weights`; the
            wide component has the same.
        inflation: factor on fitted covariances.
        shrinkage: how far they go towards their common value and the targets' own.
        df: degrees of freedom for Student-t components; None for normal ones.
        max_levels: most levels with a score.

    Raises:
        ValueError: if no draw of the pilot hits (without a score), or events are no vectors.

    Example:
        >>> import jax, jaxmix as jm
        >>> pilot = jm.importance.adapt(
        ...     jax.random.key(0), lambda x: x > 2, jm.Normal(0, 1), num_draws=500, num_components=1
        ... )
        >>> len(pilot), bool(pilot.proposals[0].mean[0] > 2)
        (3, True)
    """
    key = checked_key(key, "adapt")
    parts_of(targets, "targets")
    targets = jax.lax.stop_gradient(targets)
    search = Search(targets, num_components, defensive, covariance, inflation, shrinkage, df)
    if score is None:
        return search.rounds(key, f, targets, num_draws, search.size, 1)[1]
    k_frame, key = split(key, 2)
    return search.with_score(k_frame, key, score, gradient, num_draws, max_levels)


class Search:
    """The fixed settings of one adaptation, and the axes and form of its proposals."""

    def __init__(self, targets, num, defensive, covariance, inflation, shrinkage, df, defence=None):
        if not 0 < 2 * defensive < 1:
            raise ValueError(
                f"A defensive share of {defensive}, twice, must leave something to the fit."
            )
        self.targets, self.num, self.defensive = targets, num, defensive
        self.size = family_size(targets, "targets")
        self.defence = mixture_of_targets(targets) if defence is None else defence
        self.settings = (covariance, inflation, shrinkage, df)

    def look(self, events, groups) -> None:
        """Axes and form of the proposals, from draws of so many densities in equal numbers."""
        leaves = jax.tree.leaves(events)
        if (
            len(leaves) != 1
            or leaves[0].ndim > 2
            or not jnp.issubdtype(leaves[0].dtype, jnp.inexact)
        ):
            shapes = [leaf.shape[1:] for leaf in leaves]
            raise ValueError(
                "adapt fits normal proposals over numbers or vectors; these events have leaves of "
                f"shapes {shapes}. Give `draw` proposals of your own."
            )
        self.scalar = leaves[0].ndim == 1
        self.frame = frame_of(leaves[0], groups)
        self.shape = shape_for(self.frame.origin.shape[0], *self.settings)

    def weigh(self, draws: Draws) -> tuple[Array, Array]:
        """Log-densities of draws under the targets, and under the pool of their proposals."""
        own = log_table(draws.proposals, draws.events)
        return log_table(self.targets, draws.events), log_pooled(own, draws.counts)

    def rounds(
        self, key, f, proposals, counts, groups: int, num_rounds: int
    ) -> tuple[Draws, Pilot]:
        """All draws of some rounds, each from the fit to those before, and the last fit.

        `groups` is the number of densities that the first round draws from, in equal numbers.
        """
        kept = pilot = None
        records = []
        for _ in range(num_rounds):
            k_draw, k_fit, key = split(key, 3)
            new = draw(k_draw, proposals, counts)
            kept = new if kept is None else concatenate(kept, new)
            if kept is new:
                self.look(new.events, groups)
            log_p, log_q = self.weigh(kept)
            log_f = jnp.zeros_like(log_q)
            if f is not None:
                log_f = log_norms(flat_values(f, self.targets, kept, log_q.dtype))
            log_w, ess = importance_of(log_f, log_p, log_q)
            if not float(ess) > 0:
                raise ValueError(
                    f"None of the pilot's {kept.num_draws} draws hit (or f is not finite); raise "
                    "num_draws, or give a score that is positive in the event (to `adapt`), or a "
                    "start that reaches further (to `amis`)."
                )
            proposals, weights = self.proposals(*self.refit(k_fit, kept.events, log_w))
            best = self.best_weights(kept, log_p, log_f, proposals)
            records.append({"width": 0.0, "ess": float(ess) / kept.num_draws})
            counts = self.counts(weights, num_draws=new.num_draws)
            pilot = Pilot(proposals, best, kept.num_draws, list(records), True)
        return kept, pilot  # pyright: ignore[reportReturnType]

    def with_score(self, k_frame, key, score, gradient, num_draws, max_levels) -> Pilot:
        events = draw(k_frame, self.targets, FRAME_DRAWS).events
        self.look(events, self.size)
        frame, (dim,) = self.frame, self.frame.origin.shape
        given = jax.eval_shape(score, take(events, 0))
        if getattr(given, "shape", None) != ():
            raise ValueError(f"score gives one number an event, positive in it; it gave {given}.")
        k_points, key = jax.random.split(key)
        points, calls = None, 0
        if gradient or (gradient is None and dim >= LOW_RANK_FROM):
            points, calls = design_points(k_points, score, frame, self.num, self.scalar)
            if points is None and gradient:
                raise ValueError("The score has no usable gradient: no design point was found.")
        if points is None:
            # Before anything is known: the targets, and wider.
            at_origin = jnp.broadcast_to(frame.origin[None], (self.num, dim))
            own = jnp.broadcast_to(jnp.diag(frame.scale**2)[None], (self.num, dim, dim))
            flat = jnp.full(self.num, 1 / self.num, at_origin.dtype)
            fitted, wide = Fitted(flat, at_origin, own, flat), jnp.ones((), at_origin.dtype)
        else:
            fitted, wide = points, radius(points.means, points.weights, frame)
        # A fit may leave a likely point for a likelier one; each stays a proposal of its own.
        proposals, weights = self.proposals(fitted, wide, points)
        levels, kept = [], []
        width = jnp.asarray(jnp.inf, frame.origin.dtype)
        for _ in range(max_levels):
            k_draw, k_fit, key = jax.random.split(key, 3)
            draws = draw(k_draw, proposals, self.counts(weights, num_draws))
            calls += num_draws
            scores = evaluate(score, draws.events).astype(frame.scale.dtype)
            if not bool((jnp.isfinite(scores) & (scores != 0)).any()):
                raise ValueError(
                    f"The score is 0, infinite or NaN at all of {num_draws} draws: it is a number that "
                    "tells how far an event is."
                )
            log_p, log_q = self.weigh(draws)
            log_h, log_w, width, ess, final = smoothed(scores, log_p, log_q, width)
            levels.append({"width": float(width), "ess": float(ess) / num_draws})
            again = len(levels) > 1 and self.shape.covariance == "low_rank"
            warm = fitted if points is not None or again else None
            if bool(final):  # all draws of the levels at the event are fitted together
                kept.append((draws, scores))
                draws = concatenate(*(draws for draws, _ in kept))
                scores = jnp.concatenate([scores for _, scores in kept])
                log_p, log_q = self.weigh(draws)
                log_h = jnp.where(scores > 0, jnp.zeros_like(scores), -jnp.inf)
                log_w, _ = importance_of(log_h, log_p, log_q)
            fitted, wide = self.refit(k_fit, draws.events, log_w, warm)
            proposals, weights = self.proposals(fitted, wide, points)
            if kept:
                weights = self.best_weights(draws, log_p, log_h, proposals)
            if len(kept) == ROUNDS:
                break
        if not kept:
            proposals = [Unreached(part) for part in proposals]
        return Pilot(proposals, jnp.asarray(weights), calls, levels, bool(kept))

    def counts(self, weights, num_draws) -> np.ndarray:
        # The defensive count is fixed, so that shapes are the same at every level.
        last = max(1, round(self.defensive * num_draws))
        return np.append(allocate(weights[:-1], num_draws - last), last)

    def refit(self, key, events, log_w, start: Fitted | None = None) -> tuple[Fitted, Array]:
        """The fitted mixture, and the scale of the wide component."""
        return refit(key, events, log_w, self.num, self.frame, start, self.shape.covariance)

    def proposals(self, fitted, wide, points=None) -> tuple[list[Any], np.ndarray]:
        """Components, design points, the wide component and the targets, and first weights."""
        whole = joined(fitted, points, self.defensive)
        made = components_of(whole, self.frame, wide, self.shape, self.scalar)
        own = (1 - 2 * self.defensive) * np.asarray(whole.weights)
        return [made, self.defence], np.append(own, own.dtype.type([self.defensive] * 2))

    def best_weights(self, draws: Draws, log_p, log_f, proposals) -> Array:
        own = log_table(draws.proposals, draws.events)
        family = log_table(proposals, draws.events)
        table = Table(log_p, own, *draws.strata)
        floor = min(self.defensive, LEFT / family.shape[1])
        size = np.exp(np.asarray(log_f))[:, None]
        return optimise(table, family, size, "sum", floor, 500, 1e-2).weights
