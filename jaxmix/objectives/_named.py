"""The named objectives with a fixed number of draws a datum."""

from .._arguments import real, takes, whole
from ._combine import Blocks
from ._draws import configures
from ._fixed import FixedObjective
from ._terms import DeltaCorrection, LeaveOut, Posterior, Tempered, leave_out_sets


@configures
@takes(num_samples=whole(1))
def elbo(
    num_samples: int = 1, *, guide_gradient: str = "dreg", model_gradient: str = "value"
) -> FixedObjective:
    """The evidence lower bound: the mean of log w over the draws, in nats.

    E[value] = log p(x) - KL(q || posterior). The default gradient of the guide follows the path
    only ("sticking the landing", Roeder et al. 2017, arXiv 1703.09194), unbiased here.

    Args:
        num_samples: draws a datum.
        guide_gradient: see `jaxmix.objectives.GUIDE_RULES`.
        model_gradient: "value", or "wake" for that of the importance-weighted bound.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> exact_posterior = lambda x: jm.Normal(x / 2, jnp.sqrt(0.5))
        >>> jm.elbo(1)(jax.random.key(0), model, exact_posterior, jnp.zeros(2)).tolist()
        [-1.2655, -1.2655]
    """
    terms = (Blocks(1),)
    return FixedObjective(
        "elbo", num_samples, terms, terms, "lower", model_gradient, guide_gradient
    )


@configures
@takes(num_samples=whole(1))
def iwae(
    num_samples: int, *, guide_gradient: str = "dreg", model_gradient: str = "value"
) -> FixedObjective:
    """The importance-weighted bound: the log of the mean of w over the draws, in nats.

    Its bias is -chi2 / (2 num_samples) to leading order (Burda et al. 2015, arXiv 1509.00519).

    Args:
        num_samples: draws a datum.
        guide_gradient: "dreg" by default: the plain derivative's signal falls with the number
            of draws (Rainforth et al. 2018, arXiv 1802.04537).
        model_gradient: "value" or "wake", which are the same here.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> guide = lambda x: jm.Normal(x / 2, 1)
        >>> jm.iwae(5)(jax.random.key(0), model, guide, jnp.zeros(3)).shape
        (3,)
    """
    terms = (Blocks(num_samples),)
    return FixedObjective(
        "iwae", num_samples, terms, terms, "lower", model_gradient, guide_gradient
    )


@configures
@takes(num_groups=whole(1), num_samples=whole(1))
def miwae(num_groups: int, num_samples: int, *, guide_gradient: str = "dreg") -> FixedObjective:
    """The mean of `num_groups` importance-weighted bounds of `num_samples` draws each, in nats.

    Rainforth et al. 2018, "Tighter variational bounds are not necessarily better", 1802.04537.

    Example:
        >>> import jaxmix as jm
        >>> jm.miwae(4, 8).expected_cost
        32.0
    """
    terms = (Blocks(num_samples),)
    return FixedObjective(
        "miwae", num_groups * num_samples, terms, terms, guide_gradient=guide_gradient
    )


@configures
@takes(num_groups=whole(1), num_samples=whole(1))
def piwae(num_groups: int, num_samples: int, *, guide_gradient: str = "dreg") -> FixedObjective:
    """The model follows one bound of all the draws, the guide the mean of `num_groups` bounds.

    The value is the model's bound, in nats (Rainforth et al. 2018, arXiv 1802.04537).

    Example:
        >>> import jaxmix as jm
        >>> jm.piwae(8, 8).expected_cost
        64.0
    """
    total = num_groups * num_samples
    terms, bound = (Blocks(total),), (Blocks(num_samples),)
    return FixedObjective("piwae", total, terms, bound, guide_gradient=guide_gradient)


@configures
@takes(num_samples=whole(1), beta=real(0, 1, ends=True))
def ciwae(num_samples: int, beta: float = 0.05, *, guide_gradient: str = "dreg") -> FixedObjective:
    """beta ELBO + (1 - beta) IWAE on the same draws, in nats (Rainforth et al. 2018, 1802.04537).

    Example:
        >>> import jaxmix as jm
        >>> jm.ciwae(64, 0.05).direction
        'lower'
    """
    terms = (Blocks(1, float(beta)), Blocks(num_samples, float(1 - beta)))
    return FixedObjective("ciwae", num_samples, terms, terms, "lower", "value", guide_gradient)


@configures
@takes(num_samples=whole(1), alpha=real())
def renyi(num_samples: int, alpha: float, *, guide_gradient: str = "dreg") -> FixedObjective:
    """(1 / (1 - alpha)) log mean w^(1 - alpha), in nats: ELBO at 1 (excluded), IWAE at 0.

    For 0 <= alpha < 1 its mean is a lower bound of log p(x) (Daudel et al. 2022, arXiv
    2210.06226); for alpha > 1 too; for alpha < 0 it estimates an upper bound from below.

    Example:
        >>> import jaxmix as jm
        >>> jm.renyi(8, alpha=0.5).direction
        'lower'
    """
    if alpha == 1:
        raise ValueError("renyi at alpha = 1 is the evidence lower bound: use jm.elbo.")
    terms = (Tempered(float(alpha)),)
    direction = "lower" if alpha >= 0 else "estimate"
    return FixedObjective("renyi", num_samples, terms, terms, direction, "value", guide_gradient)


@configures
@takes(num_samples=whole(2), order=whole(1))
def jackknife(num_samples: int, order: int = 1, *, guide_gradient: str = "dreg") -> FixedObjective:
    """The jackknifed importance-weighted bound: bias O(num_samples^-(order + 1)), no bound.

    Nowozin 2018, "Debiasing evidence approximations". The cheap choice of low bias: at 6 draws
    and chi2 = 1 its bias cannot be measured, at a seventh of the gradient variance of a
    published multilevel estimator (`python -m benchmarks objectives.variance`). The guide follows
    the importance-weighted bound.

    Example:
        >>> import jaxmix as jm
        >>> jm.jackknife(6).direction
        'estimate'
    """
    leave_out_sets(num_samples, order)
    terms, bound = (LeaveOut(order),), (Blocks(num_samples),)
    return FixedObjective(
        "jackknife", num_samples, terms, bound, "estimate", guide_gradient=guide_gradient
    )


@configures
@takes(num_samples=whole(2))
def delta_method(num_samples: int, *, guide_gradient: str = "dreg") -> FixedObjective:
    """IWAE plus (1 / 2K) var(w) / mean(w)^2: bias O(K^-2), heavy tails, no bound.

    Teh et al. 2007; Nowozin 2018, appendix C. The guide follows the importance-weighted bound.

    Example:
        >>> import jaxmix as jm
        >>> jm.delta_method(6).expected_cost
        6.0
    """
    bound = (Blocks(num_samples),)
    terms = (*bound, DeltaCorrection())
    return FixedObjective(
        "delta_method", num_samples, terms, bound, "estimate", guide_gradient=guide_gradient
    )


@configures
@takes(num_samples=whole(1))
def eubo(num_samples: int) -> FixedObjective:
    """An upper bound: E_posterior[log w], self-normalised over the draws, in nats. Minimise it.

    E_posterior[log w] = log p(x) + KL(posterior || q). Self-normalisation biases it downwards:
    the value may lie below log p(x). The guide's gradient is the wake gradient, -sum_i s_i
    grad log q(z_i).

    Example:
        >>> import jaxmix as jm
        >>> jm.objectives.eubo(100).direction
        'upper'
    """
    terms, bound = (Posterior(),), (Blocks(num_samples),)
    return FixedObjective("eubo", num_samples, terms, bound, "upper", guide_gradient="wake")


@configures
@takes(num_samples=whole(1), order=real(1))
def cubo(num_samples: int, order: float = 2.0, *, guide_gradient: str = "dreg") -> FixedObjective:
    """An upper bound before the log: (1 / n) log mean w^n, n = `order` > 1, in nats. Minimise it.

    (1/n) log E[w^n] is above log p(x), but the log of a Monte Carlo mean is biased downwards: a
    value may lie below it (Dieng et al. 2017, arXiv 1611.00328).

    Example:
        >>> import jaxmix as jm
        >>> jm.objectives.cubo(100).direction
        'upper'
    """
    terms = (Tempered(1 - float(order)),)
    return FixedObjective("cubo", num_samples, terms, terms, "upper", "value", guide_gradient)
