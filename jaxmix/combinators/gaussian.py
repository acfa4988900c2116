"""Gaussian mixtures by the usual names of their covariances."""

from .._arguments import named, takes, whole
from ..families import DiagonalNormal, MultivariateNormal, SphericalNormal, TiedMultivariateNormal
from .mixture import MixtureSameFamily, mixture_of

COVARIANCES = {
    "full": MultivariateNormal,
    "tied": TiedMultivariateNormal,
    "diag": DiagonalNormal,
    "spherical": SphericalNormal,
}


@takes(k=whole(1), dim=whole(1), covariance=named(*COVARIANCES))
def gaussian_mixture(k: int, dim: int, covariance: str = "full") -> MixtureSameFamily:
    """A template of a mixture of `k` normal densities of `dim` coordinates.

    Args:
        k: number of components.
        dim: number of coordinates.
        covariance: "full", "tied" (one full matrix for all), "diag" or "spherical".

    Raises:
        ValueError: for another name of a covariance.

    Example:
        >>> import jaxmix as jm
        >>> jm.gaussian_mixture(3, 2, covariance="tied").components.covariance.shape
        (3, 2, 2)
    """
    return mixture_of(COVARIANCES[covariance].template(dim), k)
