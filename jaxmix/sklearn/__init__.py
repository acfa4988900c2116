"""Estimators with scikit-learn's interface; they need the extra `sklearn`."""

from .._lazy import directory as _directory

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "jaxmix.sklearn needs scikit-learn, which the extra `sklearn` installs: "
        "pip install 'jaxmix[sklearn]'."
    ) from missing

from ._gaussian_mixture import GaussianMixture as GaussianMixture
from ._k_means import KMeans as KMeans
from ._record_mixture import RecordMixture as RecordMixture

__dir__ = _directory(globals())
