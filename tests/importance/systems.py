"""Problems whose answers are known from outside the code."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxmix as jm

THETAS = jnp.linspace(-2.0, 2.0, 6)
EXACT = stats.norm.sf(1.96 - np.linspace(-2.0, 2.0, 6))
CENTRES = jnp.array([2.2, 3.0, 4.2])


def normals(means):
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, jnp.ones((), means.dtype))


def rejects(x):
    return x > 1.96


def proposals():
    """Every target, and three more where the rejections are."""
    return normals(jnp.concatenate([THETAS, CENTRES]))


def source_imp_est(rejs, X, ws, mus):
    """The estimator as first written: nested maps over targets, proposals and draws."""

    def ratio(j, x, wj):
        return wj @ jnp.exp((mus - mus[j]) * x - 0.5 * (mus**2 - mus[j] ** 2))

    def one(j, wj):
        means = jax.vmap(lambda r, xs: jnp.mean(r / jax.vmap(ratio, (None, 0, None))(j, xs, wj)))
        return wj @ means(rejs.astype(X.dtype), X)

    return jax.vmap(one)(jnp.arange(ws.shape[0]), ws)
