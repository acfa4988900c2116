"""Groups of labelled tables: ours, scikit-learn's and StepMix's, with as many starts each.

    python -m benchmarks.tables.peers [NAMES]

The same densities of the same standardised numbers, so that log-likelihoods compare: diagonal
normals, as many as there are classes. Printed are the adjusted Rand index against the classes,
over all rows, and the log-likelihood of a third of the rows that took no part, in nats a row.

Of digits the Rand index is lower at our defaults (0.335 against 0.464), and that is the floor of
the variances: whole numbers up to 16 have columns that are constant within a group, so that the
likelihood has no bound, and its value is the floor's. `jm.fit` says so: its result is `degenerate`.
With `floor=1e-6` the index is 0.395, with 1e-3 it is 0.464, with 1e-2 0.454, where the least
standard deviations are 5.6e-5, 1.8e-3 and 5.7e-3; scikit-learn's is 1e-3, by its `reg_covar`.

Of the same pixels as they are recorded `jm.infer_template` proposes no normal density: labels and
laws of counts, by held-out score, whose likelihoods are bounded. That mixture is the last line; its
probabilities are told as densities of the standardised numbers, each over its step.
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


def _ours(x: np.ndarray, k: int) -> tuple[Callable, Callable]:
    template = jm.gaussian_mixture(k, x.shape[1], covariance="diag")
    model = jm.fit(jax.random.key(0), template, jnp.asarray(x), num_restarts=STARTS).model
    rows = lambda method: lambda x: np.asarray(jax.jit(jax.vmap(getattr(model, method)))(x))
    return lambda x: rows("posterior")(x).argmax(1), rows("log_prob")


def _scikit_learn(x: np.ndarray, k: int) -> tuple[Callable, Callable]:
    found = GaussianMixture(k, covariance_type="diag", n_init=STARTS, random_state=0, max_iter=500)
    found.fit(x)
    return found.predict, found.score_samples


def _stepmix(x: np.ndarray, k: int) -> tuple[Callable, Callable]:
    from stepmix.stepmix import StepMix

    found: Any = StepMix(
        k, measurement="gaussian_diag", n_init=STARTS, random_state=0, max_iter=500, progress_bar=0,
        verbose=0,
    )  # fmt: skip
    found.fit(x)
    return found.predict, lambda x: np.full(len(x), found.score(x))


def _proposed(pixels: np.ndarray, k: int) -> tuple[Callable, Callable]:
    """Of whole numbers: the families proposed, with a pseudo-row for what a part of the rows lacks."""
    template = jm.mixture_of(jm.infer_template(_frame(_digits()[0])).template, k)
    encoded = lambda x: jm.encode(template, _frame(x))
    data = encoded(pixels)
    prior = jm.em.conjugate_prior(template, data, rows=1.0)
    model = jm.fit(jax.random.key(0), template, data, num_restarts=STARTS, prior=prior).model
    rows = lambda method: (
        lambda x: np.asarray(jax.jit(jax.vmap(getattr(model, method)))(encoded(x)))
    )
    return lambda x: rows("posterior")(x).argmax(1), rows("log_prob")


def main() -> None:
    peers = {"jaxmix": _ours, "scikit-learn": _scikit_learn}
    if find_spec("stepmix") is not None:
        peers["StepMix"] = _stepmix
    print(f"{'table':10s} {'peer':14s} {'Rand':>6s} {'held out':>9s} {'seconds':>8s}")
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
                labels, _ = fitted(rows, k)
                rand = adjusted_rand_score(classes, labels(rows))
                score = float(np.mean(fitted(rows[~held], k)[1](rows[held]))) + float(unit)
            spent = time.process_time() - begun
            print(f"{name:10s} {peer:14s} {rand:6.3f} {score:9.3f} {spent:8.1f}", flush=True)


if __name__ == "__main__":
    main()
