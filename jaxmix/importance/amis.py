"""Adaptive multiple importance sampling: rounds of draws that all count in the estimate."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Key, PyTree

from .._arguments import optional, real, takes, whole
from .._refuse import checked_key, on_host
from .draws import Draws
from .family import parts_of
from .pilot import Pilot, Search


class Rounds(NamedTuple):
    """All rounds of an adaptation.

    Attributes:
        draws: of all rounds together, for `imp_est`: pooled over the rounds' proposals.
        pilot: the last fit, for fresh draws where the estimate must be unbiased.
    """

    draws: Draws
    pilot: Pilot


@on_host("adapt the proposals before; what follows is differentiable.")
@takes(
    num_draws=whole(1), num_rounds=whole(1), num_components=whole(1),
    defensive=real(0, 1), inflation=real(0), shrinkage=real(0, 1, ends=True), df=optional(real(0)),
)  # fmt: skip
def amis(
    key: Key[Array, ""],
    f: Callable | None,
    targets: PyTree,
    *,
    num_draws: int,
    num_rounds: int,
    num_components: int,
    start: PyTree | None = None,
    covariance: str | None = None,
    defensive: float = 0.1,
    inflation: float = 1.2,
    shrinkage: float = 0.1,
    df: float | None = None,
) -> Rounds:
    """Draw, fit, draw from the fit, and so on; every draw counts, under the pool of all rounds.

    Each round refits the proposals by weighted EM to all draws so far, each weighted under the
    mixture of all rounds' proposals (Cornuet, Marin, Mira and Robert 2012, arXiv:0907.1254).
    Later proposals depend on earlier draws that count too, so that the estimate has a bias, of
    the order of 1 / draws, and its error is a little optimistic: for an unbiased one draw afresh
    from `pilot`.

    Args:
        key: a typed random key.
        f: as in `imp_est`; None to fit the targets themselves, for normalising constants.
        targets: as in `imp_est`; they may be unnormalised if there is a `start`.
        num_draws: draws in each round.
        num_rounds: rounds, the first of them from the start alone.
        num_components: as in `adapt`.
        start: one normalised density with `sample` that reaches all that matters; it stays the
            defensive part of every round. None for the mixture of the targets.
        covariance: as in `adapt`.
        defensive: as in `adapt`.
        inflation: as in `adapt`.
        shrinkage: as in `adapt`.
        df: as in `adapt`.

    Raises:
        ValueError: if no draw of the first round hits, or events are no vectors.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> class TwoModes(jm.LogDensity):  # of mass 2 sqrt(2 pi)
        ...     def log_prob(self, x):
        ...         return jnp.logaddexp(-0.5 * (x - 4) ** 2, -0.5 * (x + 4) ** 2)
        >>> rounds = jm.importance.amis(
        ...     jax.random.key(0), None, TwoModes(), num_draws=500, num_rounds=3,
        ...     num_components=2, start=jm.Normal(0, 6),
        ... )
        >>> out = jm.imp_est(lambda x: jnp.ones(()), TwoModes(), rounds.draws)
        >>> bool(abs(out.value - 2 * jnp.sqrt(2 * jnp.pi)) < 4 * out.std_error)
        True
    """
    key = checked_key(key, "amis")
    parts_of(targets, "targets")
    targets = jax.lax.stop_gradient(targets)
    search = Search(
        targets, num_components, defensive, covariance, inflation, shrinkage, df, defence=start
    )
    return Rounds(*search.rounds(key, f, [search.defence], num_draws, 1, num_rounds))
