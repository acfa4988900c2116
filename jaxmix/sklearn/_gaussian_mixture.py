"""Gaussian mixtures with scikit-learn's interface."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arguments import named, real, whole
from .._results import FAILED
from .._trees import in_numpy
from .._warn import warn
from ..combinators import MixtureSameFamily
from ..em.chunks import is_brief
from ..em.search.padding import bucket_of_components, padded_rows, resized, rows_under
from . import _covariances as cov
from ._base import SMALLEST, MissingAllowed, MixtureAnswers, checked_weights, precision
from ._engine import BLOCK, Climb, begin, climb
from ._starts import STARTS, given_start, start_of


@dataclasses.dataclass(eq=False, repr=False)
class GaussianMixture(MixtureAnswers, MissingAllowed):
    """Gaussian mixture fitted by EM, with the interface of `sklearn.mixture.GaussianMixture`.

    From the same start it takes the same steps; float32 stays float32. Beyond scikit-learn's it
    takes `sample_weight` (weight 2 is the row twice), NaN for missing coordinates, which are
    marginalised, and goes on where a covariance collapses: the component keeps its last one,
    `result_` says "degenerate", and a warning tells.

    Args:
        n_components: number of components.
        covariance_type: "full", "tied", "diag" or "spherical".
        tol: a step that changes the mean log-likelihood by less is the last.
        reg_covar: added to the diagonal of every covariance.
        max_iter: at most so many steps a start; 0 gives the start itself.
        n_init: number of starts, of which the best is kept.
        init_params: "kmeans", "k-means++", "random" or "random_from_data".
        weights_init: weights to start from (k,).
        means_init: means to start from (k, d).
        precisions_init: inverse covariances to start from, shaped as `covariances_` is.
        random_state: seed, `numpy.random.RandomState` or None.
        warm_start: start from the last fit.
        verbose: 1 prints a line a start, 2 also the bound every `verbose_interval` steps.
        verbose_interval: steps between lines.

    Attributes:
        weights_: (k,).
        means_: (k, d).
        covariances_: (k, d, d), (d, d), (k, d) or (k,), by `covariance_type`.
        precisions_: their inverses.
        precisions_cholesky_: upper triangular factors W of the precisions W W'.
        converged_: whether the best start met `tol`.
        n_iter_: its number of steps.
        lower_bound_: mean log-likelihood, in nats, of the model before the last step.
        lower_bounds_: one such value a step.
        result_: "successful", "max_steps_reached", "degenerate" or "nonfinite", as `jm.RESULTS`.
        n_features_in_: number of columns seen in `fit`.
        feature_names_in_: their names, where they have some.

    Example:
        >>> import numpy as np
        >>> from jaxmix.sklearn import GaussianMixture
        >>> x = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, np.nan]])
        >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(x)
        >>> np.sort(mixture.means_[:, 0]).round(3)
        array([ 1., 10.])
    """

    n_components: int = 1
    _: dataclasses.KW_ONLY
    covariance_type: str = "full"
    tol: float = 1e-3
    reg_covar: float = 1e-6
    max_iter: int = 100
    n_init: int = 1
    init_params: str = "kmeans"
    weights_init: Any = None
    means_init: Any = None
    precisions_init: Any = None
    random_state: Any = None
    warm_start: bool = False
    verbose: int = 0
    verbose_interval: int = 10

    def fit(self, X, y=None, sample_weight=None):
        """Fit to rows (n, d), NaN where a value is missing, with case weights (n,).

        Raises:
            ValueError: for bad rows, weights or parameters, by a sentence that names them.
        """
        self._check_parameters()
        x = self._rows(X, fitting=True, least=2)
        weights = checked_weights(sample_weight, len(x), x.dtype)
        there = len(x) if weights is None else int(np.sum(weights > 0))
        if there < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {there}"
            )
        given = given_start(self, x.shape[1], x.dtype)
        warm = self.warm_start and hasattr(self, "converged_")
        if warm:
            self._check_last(x.shape[1])
        random = check_random_state(self.random_state)
        partial = bool(np.isnan(x).any())

        def run(number: int) -> tuple[Climb, np.ndarray]:
            start = self._last(x.dtype) if warm else start_of(self, x, weights, given, random)
            model = cov.mixture_from(start, self.covariance_type, partial=partial)
            return self._run(begin(model, self.lower_bound_ if warm else -np.inf), data, number)

        def rank(found: tuple[Climb, np.ndarray]) -> tuple[bool, float]:
            bound = float(found[0].bound)
            return bool(np.isfinite(bound)) and not int(found[0].num_collapsed), bound

        with precision(x.dtype):
            data = padded_rows(x, weights, x.dtype, SMALLEST)
            self._keep(*max(map(run, range(1 if warm else self.n_init)), key=rank))
        self._tell()
        return self

    def _check_parameters(self) -> None:
        whole(1)(self.n_components, "n_components")
        named(*cov.KINDS)(self.covariance_type, "covariance_type")
        named(*STARTS)(self.init_params, "init_params")
        real(0, ends=True)(self.tol, "tol")
        real(0, ends=True)(self.reg_covar, "reg_covar")
        whole(0)(self.max_iter, "max_iter")
        whole(1)(self.n_init, "n_init")

    def _check_last(self, dim: int) -> None:
        """Whether the last fit is one that this can start from."""
        wanted = self.n_components, self.covariance_type, dim
        had = len(self.means_), self._kind, self.means_.shape[1]
        if had != wanted:
            told = "{} components of {} covariance over {} columns".format
            raise ValueError(
                f"warm_start goes on from the last fit, of {told(*had)}; now {told(*wanted)} are "
                "wanted. Set warm_start=False, or fit a clone."
            )

    def _last(self, dtype: Any) -> tuple:
        parts = (self.weights_, self.means_, self.precisions_cholesky_)
        return tuple(part.astype(dtype) for part in parts)

    def _run(self, state: Climb, data: tuple, number: int) -> tuple[Climb, np.ndarray]:
        """Blocks of steps until the start has converged or max_iter is reached."""
        x, weights = data
        # Traced: Python numbers would be compiled in.
        ridge, tol = (jnp.asarray(value, x.dtype) for value in (self.reg_covar, self.tol))
        steps = jnp.asarray(min(self.max_iter, 2**31 - 1))
        size, model = state.model.mixing.size, in_numpy(state.model)
        if is_brief(model, x):  # room for more components, so that other numbers compile nothing
            model = resized(model, bucket_of_components(size))
        state = state._replace(model=model)
        blocks = []
        while int(state.num_steps) < self.max_iter and not bool(state.converged):
            before = int(state.num_steps)
            state, trace = climb(state, x, weights, ridge, tol, steps)
            blocks.append(np.asarray(trace)[: min(BLOCK, int(state.num_steps) - before)])
        state = state._replace(model=resized(in_numpy(state.model), size))
        trace = np.concatenate([np.zeros(0), *blocks])
        if self.verbose:
            met = "converged" if bool(state.converged) else "did not converge"
            if self.verbose > 1:
                for step in range(self.verbose_interval, len(trace) + 1, self.verbose_interval):
                    print(f"  step {step}: {trace[step - 1]:.6f} nats a row")
            print(f"Start {number} {met} after {int(state.num_steps)} steps.")
        return state, trace

    def _keep(self, best: Climb, trace: np.ndarray) -> None:
        self._kind = kind = self.covariance_type
        self.weights_, self.means_, self.precisions_cholesky_ = cov.arrays_from(best.model, kind)
        self.covariances_ = cov.covariances_of(self.precisions_cholesky_, kind)
        self.precisions_ = cov.precisions_of(self.precisions_cholesky_, kind)
        self.converged_ = bool(best.converged)
        self.n_iter_ = int(best.num_steps)
        self.lower_bound_ = float(best.bound)
        self.lower_bounds_ = trace.tolist()
        if np.isnan(self.lower_bound_):
            self.result_ = "nonfinite"
        elif int(best.num_collapsed):
            self.result_ = "degenerate"
        else:
            self.result_ = "successful" if self.converged_ else "max_steps_reached"
        self.converged_ = self.converged_ and self.result_ == "successful"

    def _tell(self) -> None:
        if self.result_ in FAILED:
            warn(
                "A component collapsed: its covariance is singular, so it kept its last one, and "
                "the likelihood means little. Raise reg_covar or use fewer components.",
                ConvergenceWarning,
            )
        elif self.result_ == "max_steps_reached" and self.max_iter > 0:
            warn(
                f"The best of {self.n_init} starts did not converge in {self.max_iter} steps. Raise "
                "max_iter or tol, or try another start.",
                ConvergenceWarning,
            )

    @property
    def model_(self) -> MixtureSameFamily:
        """The fitted mixture as a density of this package, in the precision now in force."""
        check_is_fitted(self)
        return self._mixture(jnp.result_type(float), partial=False)

    def _mixture(self, dtype: Any, *, partial: bool) -> MixtureSameFamily:
        return cov.mixture_from(self._last(dtype), self.covariance_type, partial=partial)

    def _joint(self, X) -> np.ndarray:
        x = self._rows(X).astype(self.means_.dtype, copy=False)
        with precision(x.dtype):
            model = self._mixture(x.dtype, partial=bool(np.isnan(x).any()))
            return rows_under(model, x, "joint_log_probs", SMALLEST)

    def sample(self, n_samples=1):
        """Draw rows, the components one after another.

        Returns:
            Rows (n_samples, d), and the component of each (n_samples,).
        """
        check_is_fitted(self)
        whole(1)(n_samples, "n_samples")
        random = check_random_state(self.random_state)
        chances = self.weights_.astype(np.float64)
        counts = random.multinomial(n_samples, chances / chances.sum())
        y = np.repeat(np.arange(len(counts)), counts)
        noise = random.standard_normal((n_samples, self.means_.shape[1]))
        roots = cov.roots_of(self.precisions_cholesky_, self.covariance_type)
        if self.covariance_type in ("diag", "spherical"):
            return self.means_[y] + (roots[y].T * noise.T).T, y
        roots = np.broadcast_to(roots, (len(counts), *roots.shape[-2:]))
        parts = zip(np.split(noise, np.cumsum(counts)[:-1]), roots, strict=True)
        return self.means_[y] + np.concatenate([z @ root.T for z, root in parts]), y
