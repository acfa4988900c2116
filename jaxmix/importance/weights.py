"""Optimal mixture weights, with a certificate of how near they are to the optimum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .._arguments import named, numbers, optional, real, takes, whole
from .._compile import of_few_numbers
from .._log_sums import finite_or_zero, log_mean_exp
from .._refuse import forward_only
from .._sharding import varying
from .._trees import is_traced
from .draws import Draws, checked_draws
from .family import is_single, log_table
from .tables import Table, log_mixtures
from .totals import log_norms
from .values import flat_values

CRITERIA = ("sum", "minimax", "each")


class OptimalWeights(NamedTuple):
    """Weights of the proposals that minimise a variance.

    Attributes:
        weights: (k,), or (j, k) for criterion "each".
        objective: the second moment of the terms relative to the squared value, as the
            criterion joins it over targets (for "each" one a target); 1 is no variance.
        gap: certificate: the objective is within this share of the least that any weights
            above the floor can have, on these draws.
        num_steps: steps taken.
    """

    weights: Array
    objective: Array
    gap: Array
    num_steps: Int[Array, ""]


@takes(criterion=named(*CRITERIA), floor=real(0, 1, ends=True), max_steps=whole(1), tol=real(0))
def optimal_weights(
    f,
    targets: PyTree,
    draws: Draws,
    *,
    proposals: PyTree | None = None,
    criterion: str = "sum",
    floor: float = 0.0,
    max_steps: int = 2000,
    tol: float = 1e-3,
) -> OptimalWeights:
    """Weights that minimise the variance of the pooled estimate, found on the draws of a pilot.

    V_j(w) = E_q[(f p_j / q)^2 q / q_w] / est_j^2 with q_w = sum_k w_k p_k is convex in w (He and
    Owen 2014, arXiv:1411.3954). The square-root multiplicative update never raises it (Yu 2010,
    "Monotonic convergence of a general algorithm for computing optimal designs").

    Args:
        f: as in `imp_est`; of several values the squares add up.
        targets: as in `imp_est`.
        draws: a pilot's; the estimate should use others, drawn in proportion to the weights.
        proposals: the family whose weights are sought; None for the draws' own.
        criterion: "sum" of the targets' relative second moments, their "minimax", or "each"
            target its own weights (for `imp_est(..., weights=...)`).
        floor: least weight of a proposal.
        max_steps: most steps.
        tol: relative gap at which to stop.

    Raises:
        ValueError: if the criterion is unknown or the floor leaves no room.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = jax.vmap(jm.Normal)(jnp.array([0.0, 2.5]), jnp.ones(2))
        >>> pilot = jm.importance.draw(jax.random.key(0), family, 1000)
        >>> best = jm.importance.optimal_weights(lambda x: x > 2, jm.Normal(0, 1), pilot)
        >>> bool(best.weights[1] > 0.9), bool(best.gap < 0.01)
        (True, True)
    """
    given, (draws, table, flat) = draws, _looked_at(f, targets, draws)
    family = table.log_proposals
    if proposals is not None or is_traced(given.proposals):  # the draws are held, not the family
        sought = given.proposals if proposals is None else proposals
        family = log_table(sought, draws.events, "proposals")
    size = family.shape[1]
    if not 0 <= floor * size < 1:
        raise ValueError(f"A floor of {floor} leaves no room for the weights of {size} proposals.")
    found = _optimise(table, family, flat, criterion, floor, max_steps, tol)
    if not is_traced(found.objective) and not np.asarray(found.objective).any():
        raise ValueError(
            f"None of the {draws.num_draws} draws hit f under any target: there is nothing to choose "
            "weights by. Draw from proposals that reach it, such as those of `adapt`."
        )
    if criterion == "each" and is_single(targets):
        found = OptimalWeights(found.weights[0], found.objective[0], found.gap[0], found.num_steps)
    return found


def _looked_at(f, targets: PyTree, draws: Draws) -> tuple[Draws, Table, Array]:
    """The draws, which are held, all their log-densities, and f at them (n, m)."""
    draws = jax.lax.stop_gradient(checked_draws(draws))
    own = log_table(draws.proposals, draws.events, "proposals")
    table = Table(log_table(targets, draws.events, "targets"), own, *draws.strata)
    return draws, table, flat_values(f, targets, draws, own.dtype)


def _moments(table: Table, family: Array, flat: Array) -> tuple[Array, Array]:
    """Ratios p_k / q (n, k), and each target's squared terms (n, j), relative to its value."""
    log_q = log_mixtures(table.log_proposals, table.shares[None, :])
    ratios = jnp.exp(family - log_q)
    log_f = log_norms(flat)[:, None]
    log_terms = jnp.where(table.log_targets > -jnp.inf, table.log_targets + log_f, -jnp.inf) - log_q
    peak = jnp.max(log_terms, 0, keepdims=True)
    terms = jnp.exp(log_terms - finite_or_zero(peak))
    mean = jnp.mean(terms, 0, keepdims=True)
    hit = mean > 0
    relative = jnp.where(hit, terms / jnp.where(hit, mean, jnp.ones_like(mean)), 0)
    return ratios, relative**2 / terms.shape[0]


@of_few_numbers
def _optimise(table, family, flat, criterion, floor, max_steps, tol) -> OptimalWeights:
    ratios, squares = _moments(table, family, flat)
    size = ratios.shape[1]
    room = 1 - floor * size
    # With w = floor + room b the floor is part of the ratios, and b ranges over the simplex.
    ratios = room * ratios + floor * jnp.sum(ratios, 1, keepdims=True)
    if criterion == "each":
        b, value, gap, steps = jax.lax.map(
            lambda s: _descend(ratios, s[:, None], False, max_steps, tol), squares.T
        )
        return OptimalWeights(floor + room * b, value, gap, jnp.max(steps))
    b, value, gap, steps = _descend(ratios, squares, criterion == "minimax", max_steps, tol)
    return OptimalWeights(floor + room * b, value, gap, steps)


def _descend(ratios: Array, squares: Array, minimax: bool, max_steps, tol):
    """Weights on the simplex that minimise the sum or the largest of sum_n s_nj / (r_n'b)."""
    size, num = ratios.shape[1], squares.shape[1]
    dtype = ratios.dtype

    def look(b, price):
        density = jnp.matmul(ratios, b, precision="highest")
        each = jnp.sum(squares / density[:, None], 0)
        priced = jnp.matmul(squares, price, precision="highest")
        gradient = jnp.matmul(ratios.T, priced / density**2, precision="highest")
        lagrangian = jnp.sum(each * price)
        # Convexity: no b has less than this; the largest entry of the gradient bounds the fall.
        least = 2 * lagrangian - jnp.max(gradient)
        value = jnp.max(each) if minimax else lagrangian
        return each, gradient, value, (value - least) / value

    def go(state):
        b, price, value, gap, best, steps, _ = state
        each, gradient, value, gap = look(b, price)
        better = (gap < best[1]) | (steps == 0)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), (b, gap, value), best)
        moved = b * jnp.sqrt(gradient)
        moved = moved / jnp.sum(moved)
        if minimax:
            price = price * (each / jnp.max(each)) ** 0.2
            price = price / jnp.sum(price)
        return moved, price, value, gap, best, steps + 1, best[1] > tol

    def running(state):
        return state[-1] & (state[-2] < max_steps)

    b = jnp.full(size, 1 / size, dtype)
    price = jnp.full(num, 1 / num if minimax else 1.0, dtype)
    inf: Scalar = jnp.asarray(jnp.inf, dtype)
    start = (b, price, inf, inf, (b, inf, inf), jnp.zeros((), int), jnp.asarray(True))
    *_, (b, gap, value), steps, _ = jax.lax.while_loop(running, go, varying(go, start))
    sentence = (
        "optimal_weights are found by a loop of unknown length and have no reverse-mode derivative: "
        "take a forward-mode one, or minimise second_moments, which has."
    )
    return *forward_only((b, value, gap), sentence), steps


@takes(weights=optional(numbers(1, floating=True)))
def second_moments(
    f,
    targets: PyTree,
    proposals: PyTree,
    draws: Draws,
    *,
    weights: Float[Array, " k"] | None = None,
) -> Float[Array, "*j"]:
    """Log second moments of the terms, were they drawn from other proposals: to be minimised.

    log E_q[(f p_j / q)^2 q / q_w], q the mixture that gave the draws and q_w = sum_k w_k p_k that
    of the proposals given. Differentiable in the proposals and the weights: its gradient is that
    of the variance, with the draws held.

    Args:
        f: as in `imp_est`.
        targets: as in `imp_est`.
        proposals: the family to judge; may be the draws' own.
        draws: draws of any proposals that reach wherever f p_j does.
        weights: of the proposals; None for the draws' own shares, of which there are as many.

    Returns:
        Log second moments in nats, one a target; -inf where nothing was hit.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> draws = jm.importance.draw(jax.random.key(0), jm.Normal(2.0, 1.0), 2000)
        >>> def loss(mean):
        ...     return jm.importance.second_moments(
        ...         lambda x: x > 2, jm.Normal(0, 1), jm.Normal(mean, 1), draws
        ...     )
        >>> bool(jax.grad(loss)(1.0) < 0), bool(jax.grad(loss)(4.0) > 0)
        (True, True)
    """
    draws, table, flat = _looked_at(f, targets, draws)
    log_q = log_mixtures(table.log_proposals, table.shares[None, :])
    family = log_table(proposals, draws.events, "proposals")
    w = table.shares if weights is None else weights
    if weights is None and family.shape[1] == 1:
        w = jnp.ones_like(family[0])
    log_new = log_mixtures(family, w[None, :])
    log_f = log_norms(flat)[:, None]
    used = (log_f > -jnp.inf) & (table.log_targets > -jnp.inf)
    joint = 2 * (log_f + jnp.where(used, table.log_targets, 0)) - log_q - log_new
    out = log_mean_exp(jnp.where(used, joint, -jnp.inf), 0)
    single = is_single(targets)
    return out[0] if single else out
