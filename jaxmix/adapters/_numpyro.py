"""numpyro's distributions as densities."""

from typing import Any

import jax.numpy as jnp
from numpyro.distributions import Distribution, biject_to, constraints

from ._foreign import Bijection, Library, named_arguments

# Several forms of one parameter: the one that is always kept.
OTHER_FORMS = {
    "scale_tril": ("covariance_matrix", "precision_matrix", "scale_matrix", "rate_matrix")
}
RENAMED = {"base_distribution": "base_dist"}


class Numpyro(Library):
    base = Distribution
    entry = "from_numpyro takes a numpyro distribution"

    @staticmethod
    def arguments(distribution: Any) -> dict[str, Any]:
        renamed = {
            new: getattr(distribution, old)
            for new, old in RENAMED.items()
            if type(distribution).__name__ == "TransformedDistribution"
        }
        return named_arguments(distribution, ("validate_args", *renamed), OTHER_FORMS) | renamed

    @staticmethod
    def bijection(kind, name, value) -> Bijection | None:
        constraint = kind.arg_constraints.get(name)
        if constraint is None or constraint.is_discrete:
            return None
        try:
            transform = biject_to(constraint)
        except NotImplementedError:  # it depends on other arguments, as a uniform's ends do
            return None
        return Bijection(transform, transform.inv)

    @staticmethod
    def log_prob(distribution, x):
        support = distribution.support
        if support is None or support is constraints.real:
            return distribution.log_prob(x)
        # Off the support numpyro gives a formula's value; the gradient must not see it either.
        inside = support(x)
        within = jnp.where(inside, x, support.feasible_like(x).astype(jnp.result_type(x)))
        value = distribution.log_prob(within)
        return jnp.where(inside, value, jnp.full_like(value, -jnp.inf))

    @staticmethod
    def reparametrised(distribution) -> bool:
        return bool(distribution.has_rsample)
