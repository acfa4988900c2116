"""Products of densities of one number, normalised."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .._density import LogDensity, one_event
from ..families._support import Domain
from ._mass import as_numbers, log_mass, number_domain


class ProductOfExperts(LogDensity):
    """Density of a number that several densities each have a say in, in nats.

    log p(x) = sum_k log q_k(x) - log Z, Z the integral (or the sum) of the product, by quadrature
    (Hinton 2002, doi 10.1162/089976602760128018). An event tells each expert its statistics less
    those expected under the product; K pseudo-events of the expert's own make a step of EM of it,
    which climbs where the product is nowhere wider than its experts (Fisher's scoring, damped).

    Args:
        experts: densities of a number, with a `cdf` each.

    Example:
        >>> import jaxmix as jm
        >>> both = jm.ProductOfExperts([jm.Normal(0, 1), jm.Normal(2, 1)])
        >>> both.log_prob(1.0).round(4)  # N(1; 1, 1 / 2)
        Array(-0.5724, dtype=float32)
    """

    experts: tuple[PyTree, ...]
    domains: tuple[Domain, ...] = eqx.field(static=True)

    def __init__(self, experts):
        if not isinstance(experts, list | tuple) or len(experts) == 0:
            raise TypeError(f"ProductOfExperts takes a list of densities; got {experts!r:.40}.")
        self.experts = tuple(experts)
        self.domains = tuple(number_domain("ProductOfExperts", each) for each in self.experts)
        kinds = {domain.whole for domain in self.domains}
        if len(kinds) != 1 or not self.domain.low < self.domain.high:
            raise ValueError("ProductOfExperts takes densities of a number that share a support.")

    @property
    def domain(self) -> Domain:
        low, high = max(d.low for d in self.domains), min(d.high for d in self.domains)
        return self.domains[0]._replace(
            low=low, high=high, words=f"a number from {low:g} to {high:g}"
        )

    def log_prob(self, x) -> Scalar:
        (x,) = as_numbers(self.experts, one_event(x, (), self))
        log_z = log_mass(self.experts, self.domain, *self.domain[2:4])
        pairs = zip(self.experts, self.domains, strict=True)
        wholes = [jnp.exp(log_mass([q], domain, *domain[2:4])) for q, domain in pairs]
        # Always 0, and so is its gradient; in a fit, pseudo-events of each expert's own.
        own = sum(whole - jax.lax.stop_gradient(whole) for whole in wholes)
        product = sum((q.log_prob(x) for q in self.experts[1:]), self.experts[0].log_prob(x))
        return product - log_z + len(self.experts) * own
