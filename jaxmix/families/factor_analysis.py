"""Normal families of a vector whose covariance is of low rank, and noise of each coordinate."""

from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._factors import HIGHEST, product
from ._family import LOG_2_PI, Moments, Refittable, exp_of, finite, made, one_event, store
from ._low_rank import exact_rest, orthonormal
from ._moments import at_floor, diagonal_matrix, mean_and_scatter, shifted


class Factors(NamedTuple):
    """Counts, and sums of E q q' (r + 1, r + 1), of e E q' (d, r + 1) and of e^2 (d,).

    Of residuals e and the factors with a constant, q = (z, 1).
    """

    count: Array
    inner: Array
    cross: Array
    square: Array


class _LowRank(Refittable):
    """x = mean + loadings z + noise, z ~ N(0, I): EM completes z (Rubin and Thayer 1982)."""

    reparametrised: ClassVar[bool] = True
    mean: eqx.AbstractVar[Array]
    loadings: eqx.AbstractVar[Array]
    log_scale: eqx.AbstractVar[Array]
    scale = exp_of("log_scale")
    about: ClassVar[str] = "mean"
    dim = property(lambda self: self.mean.shape[-1])
    rank = property(lambda self: self.loadings.shape[-1])
    _event_shape = property(lambda self: (self.dim,))

    @property
    def num_parameters(self) -> int:
        return super().num_parameters - self.rank * (self.rank - 1) // 2  # loadings turn freely

    def _scales(self):
        """Logarithms of the noise's scales, a coordinate each."""
        wide = self.log_scale if self.ranks["log_scale"] else self.log_scale[..., None]
        return jnp.broadcast_to(wide, self.mean.shape)

    @property
    def covariance(self):
        shared = product(self.loadings, jnp.swapaxes(self.loadings, -1, -2))
        return shared + diagonal_matrix(jnp.exp(2 * self._scales()))

    @classmethod
    def template(cls, dim: int, rank: int) -> Self:
        """A placeholder for a fit: loadings that are waves, to begin from."""
        waves = jnp.outer(jnp.arange(0.5, dim), jnp.arange(1.0, rank + 1)) * (jnp.pi / dim)
        log_scale = jnp.zeros((dim,) * cls.ranks["log_scale"])
        return made(cls, mean=jnp.zeros(dim), loadings=0.5 * jnp.cos(waves), log_scale=log_scale)

    def _completed(self, x):
        """Residual in units of the noise; mean and covariance of the factors; log-density."""
        (x, base), log_scale = finite(one_event(x, (self.dim,), self)), self._scales()
        loadings = self.loadings * jnp.exp(-log_scale)[:, None]
        across, root, half_log_det = orthonormal(loadings)
        covariance = product(root, root.T)
        z = (x - self.mean) * jnp.exp(-log_scale)
        at = product(root, product(across.T, z))
        # What the factors leave is small beside both: of it all digits are kept, and it is solved
        # for once more, since loadings times the rounding of the factors are not small.
        rest = exact_rest(x, self.mean, self.loadings, at) * jnp.exp(-log_scale)
        more = product(root, product(across.T, rest) - product(root.T, at))
        rest, whole = rest - product(loadings, more), at + more
        square = jnp.sum(rest * rest) + jnp.sum(whole * whole)
        head = jnp.sum(log_scale) + half_log_det + 0.5 * self.dim * LOG_2_PI
        # Beyond this the residual is rounding, magnified.
        lost = jnp.max(jnp.abs(loadings)) > 1 / float(jnp.finfo(head.dtype).eps)
        head = jnp.where(lost, jnp.full_like(head, jnp.nan), head)
        return at, covariance, base - 0.5 * square - head

    def log_prob(self, x):
        return self._completed(x)[2]

    def sample(self, key):
        k_factors, k_noise = jax.random.split(key)
        factors = jax.random.normal(k_factors, (self.rank,), self.mean.dtype)
        noise = jax.random.normal(k_noise, self.mean.shape, self.mean.dtype)
        return self.mean + product(self.loadings, factors) + noise * jnp.exp(self._scales())

    def stats(self, x, origin=None):
        x = one_event(x, (self.dim,), self)
        at, covariance, _ = self._completed(x)
        e = x - origin
        q = jnp.concatenate([at, jnp.ones_like(at[:1])])
        inner = q[:, None] * q[None] + jnp.pad(covariance, (0, 1))
        return Factors(jnp.ones((), e.dtype), inner, e[:, None] * q[None], e * e)

    def _residual_squares(self, stats, slopes):
        """Sums (d,) of E(e - slopes q)^2."""
        turned = jnp.einsum("...dq,...qp->...dp", slopes, stats.inner, precision=HIGHEST)
        return stats.square + jnp.sum(slopes * (turned - 2 * stats.cross), -1)

    def from_stats(self, stats, origin=None) -> Self:
        slopes = jnp.linalg.solve(stats.inner, jnp.swapaxes(stats.cross, -1, -2))
        slopes = jnp.swapaxes(slopes, -1, -2)
        variance = self._residual_squares(stats, slopes) / stats.count[..., None]
        return self._with(origin + slopes[..., -1], slopes[..., :-1], variance)

    def _with(self, mean, loadings, variance) -> Self:
        """The density with noise of these variances (d,), or of their mean."""
        variance = variance if self.ranks["log_scale"] else jnp.mean(variance, -1)
        return made(type(self), mean=mean, loadings=loadings, log_scale=0.5 * jnp.log(variance))

    def _moments(self, stats):
        """Mean residual and variance of each coordinate."""
        return mean_and_scatter(Moments(stats.count, stats.cross[..., -1], stats.square))[1:]

    def begun(self, stats, origin=None) -> Self:
        """Loadings as they are in units of the noise, and noise of the data's own variance."""
        first, variance = self._moments(stats)
        own = jnp.exp(2 * self._scales())
        loadings = self.loadings * jnp.sqrt(variance / own)[..., None]
        return self._with(origin + first, loadings, variance)

    def expected_log_prob(self, stats, origin=None):
        shift = self.mean - origin
        slopes, log_scale = jnp.concatenate([self.loadings, shift[..., None]], -1), self._scales()
        squares = self._residual_squares(stats, slopes) * jnp.exp(-2 * log_scale)
        return -jnp.sum(0.5 * squares + stats.count[..., None] * log_scale)

    def recentre(self, stats, old, new):
        shift = old - new
        first, count = stats.cross[..., -1], stats.count[..., None]
        cross = stats.cross + shift[..., None] * stats.inner[..., -1:, :]
        return stats._replace(cross=cross, square=shifted(count, first, stats.square, shift)[1])

    def floor(self, stats, share):
        variance = self._moments(stats)[1]
        return Factors(*map(jnp.zeros_like, stats))._replace(square=share * variance)

    def on_boundary(self, floor):
        return jnp.any(at_floor(jnp.exp(2 * self._scales()), floor.square, self.mean), -1)


class FactorAnalysis(_LowRank):
    """Normal density of a vector, of covariance loadings loadings' + diag(scale^2), in nats.

    log p(x) = log N(x; mean, L L' + diag(scale^2)), by the r x r matrix I + L' diag(scale^-2) L
    alone. A mixture of them is one of factor analysers (Ghahramani and Hinton 1996, CRG-TR-96-1).
    It is NaN where a loading is beyond 1 / eps scales of its noise (8e6 in float32), whose digits
    are then lost: take float64 there.

    Args:
        mean: vector (d,).
        loadings: matrix (d, r), known up to a rotation of its columns.
        scale: standard deviations (d,) of the noise; or `log_scale`, their logarithms.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> jm.FactorAnalysis(jnp.zeros(3), jnp.ones((3, 1)), jnp.ones(3)).covariance[0]
        Array([2., 1., 1.], dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    loadings: Float[Array, "*stack d r"]
    log_scale: Float[Array, "*stack d"]

    def __init__(self, mean, loadings, scale=None, *, log_scale=None):
        store(self, mean=mean, loadings=loadings, scale=scale, log_scale=log_scale)


class ProbabilisticPCA(_LowRank):
    """Normal density of a vector, of covariance loadings loadings' + scale^2 I, in nats.

    log p(x) = log N(x; mean, L L' + scale^2 I): principal components with noise of one scale
    (Tipping and Bishop 1999, doi 10.1111/1467-9868.00196). Arguments as of `FactorAnalysis`, the
    scale one number.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> density = jm.ProbabilisticPCA(jnp.zeros(3), jnp.ones((3, 1)), 1.0)
        >>> density.log_prob(jnp.zeros(3)).round(4)  # -(3 log(2 pi) + log 4) / 2
        Array(-3.4500, dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    loadings: Float[Array, "*stack d r"]
    log_scale: Float[Array, "*stack"]

    def __init__(self, mean, loadings, scale=None, *, log_scale=None):
        store(self, mean=mean, loadings=loadings, scale=scale, log_scale=log_scale)
