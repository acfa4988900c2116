"""Groups of labelled tables: ours, scikit-learn's and StepMix's, with as many starts each.

    python -m benchmarks.tables.peers [NAMES]

The same densities of the same standardised numbers, so that log-likelihoods compare: diagonal
normals, as many as there are classes. Printed are the adjusted Rand index against the classes,
over all rows, and the log-likelihood of a third of the rows that took no part, in nats a row.

Of digits the Rand index of normals is lower at our defaults, and that is the floor of the
variances: whole numbers up to 16 have columns that are constant within a group, so that the
likelihood has no bound, and its value is the floor's. `jm.fit` says so: its result is `degenerate`.
With `floor=1e-6` the index is 0.395, with 1e-3 it is 0.464, with 1e-2 0.454, where the least
standard deviations are 5.6e-5, 1.8e-3 and 5.7e-3; scikit-learn's is 1e-3, by its `reg_covar`. A
floor of the resolution, a twelfth of the squared step, is 2e-3 to 6e-2 of these columns' variances;
`jm.fit` is given floats, and does not look for one. `jm.infer_template` does.

Of the same pixels as they are recorded it proposes no normal density: labels and laws of counts, by
held-out score, whose likelihoods are bounded. That mixture is the last line of digits. Densities
compare with no probabilities: printed beside are, of every mixture, those of the whole numbers
themselves, a normal's over the half step to each side.
"""

import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn import datasets
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import jaxmix as jm
from jaxmix.datasets import penguins

STARTS = 16


def _penguins() -> tuple[np.ndarray, np.ndarray]:
    x, species = penguins().measured()
    return np.asarray(x), np.asarray(species)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    data: Any = datasets.load_digits()
    return data.data[:, data.data.std(0) > 1], data.target


def _frame(pixels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(pixels.astype(int)).rename(columns=str)


TABLES: dict[str, Callable] = {
    "penguins": _penguins,
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "breast": lambda: datasets.load_breast_cancer(return_X_y=True),
    "digits": _digits,
}


def _of_cells(x: np.ndarray, step: np.ndarray, shares, means, variances) -> np.ndarray:
    """Log-probabilities of what was recorded to a step, under a mixture of diagonal normals."""
    low, high = (
        (x[:, None] + side * step / 2 - means) / np.sqrt(variances) for side in (-1.0, 1.0)
    )
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)  # of small tails
    above, below = norm.logcdf(high), norm.logcdf(low)
    masses = np.sum(above + np.log1p(-np.exp(below - above)), -1)
    return np.asarray(logsumexp(masses + np.log(shares), axis=1))


def _ours(x: np.ndarray, k: int) -> tuple[Callable, Callable, Any]:
    template = jm.gaussian_mixture(k, x.shape[1], covariance="diag")
    model = jm.fit(jax.random.key(0), template, jnp.asarray(x), num_restarts=STARTS).model
    rows = lambda method: lambda x: np.asarray(jax.jit(jax.vmap(getattr(model, method)))(x))
    laws = model.components
    normals = (np.asarray(model.weights), np.asarray(laws.mean), np.asarray(laws.variance))
    return lambda x: rows("posterior")(x).argmax(1), rows("log_prob"), normals


def _scikit_learn(x: np.ndarray, k: int) -> tuple[Callable, Callable, Any]:
    found = GaussianMixture(k, covariance_type="diag", n_init=STARTS, random_state=0, max_iter=500)
    found.fit(x)
    return found.predict, found.score_samples, (found.weights_, found.means_, found.covariances_)


def _stepmix(x: np.ndarray, k: int) -> tuple[Callable, Callable, Any]:
    from stepmix.stepmix import StepMix

    found: Any = StepMix(
        k, measurement="gaussian_diag", n_init=STARTS, random_state=0, max_iter=500, progress_bar=0,
        verbose=0,
    )  # fmt: skip
    found.fit(x)
    laws = found.get_parameters()
    normals = (laws["weights"], *(laws["measurement"][name] for name in ("means", "covariances")))
    return found.predict, lambda x: np.full(len(x), found.score(x)), normals


def _proposed(pixels: np.ndarray, k: int) -> tuple[Callable, Callable, Any]:
    """Of whole numbers: the families proposed, with a pseudo-row for what a part of the rows lacks."""
    template = jm.mixture_of(jm.infer_template(_frame(_digits()[0])).template, k)
    encoded = lambda x: jm.encode(template, _frame(x))
    data = encoded(pixels)
    prior = jm.em.conjugate_prior(template, data, rows=1.0)
    model = jm.fit(jax.random.key(0), template, data, num_restarts=STARTS, prior=prior).model
    rows = lambda method: (
        lambda x: np.asarray(jax.jit(jax.vmap(getattr(model, method)))(encoded(x)))
    )
    return lambda x: rows("posterior")(x).argmax(1), rows("log_prob"), None


def main() -> None:
    peers = {"jaxmix": _ours, "scikit-learn": _scikit_learn}
    if find_spec("stepmix") is not None:
        peers["StepMix"] = _stepmix
    print(
        f"{'table':10s} {'peer':14s} {'Rand':>6s} {'held out':>9s} {'of whole':>9s} {'seconds':>8s}"
    )
    wanted = sys.argv[1:] or list(TABLES)
    for name, load in TABLES.items():
        if name not in wanted:
            continue
        raw, classes = load()
        x, k = (raw - raw.mean(0)) / raw.std(0), len(np.unique(classes))
        held = np.random.default_rng(0).random(len(x)) < 1 / 3
        more = {"our proposal": _proposed} if name == "digits" else {}
        for peer, fitted in (peers | more).items():
            rows, unit = (raw, np.log(raw.std(0)).sum()) if peer in more else (x, 0.0)
            begun = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rand = adjusted_rand_score(classes, fitted(rows, k)[0](rows))
                _, log_prob, normals = fitted(rows[~held], k)
            score = np.mean(log_prob(rows[held]))
            whole = score if normals is None else np.nan
            if name == "digits" and normals is not None:
                whole = np.mean(_of_cells(rows[held], 1 / raw.std(0), *normals))
            spent = time.process_time() - begun
            print(
                f"{name:10s} {peer:14s} {rand:6.3f} {score + unit:9.3f} {whole:9.3f} {spent:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
