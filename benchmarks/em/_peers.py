"""One EM iteration of each peer from a given start: seconds an iteration, and its mean score.

Called by em.speed, each peer in a process of its own: python -m benchmarks.em._peers PEER CASE
"""

import json
import statistics
import sys
import time
import warnings

import numpy as np

from benchmarks.em._cases import CASES, draw


def _timed(function):
    began = time.perf_counter()
    value = function()
    return time.perf_counter() - began, value


def scikit_learn(x, means, case):
    from sklearn.mixture import GaussianMixture

    k, d = means.shape
    precisions = {
        "full": np.repeat(np.eye(d, dtype=x.dtype)[None], k, 0),
        "diag": np.ones((k, d), x.dtype),
        "spherical": np.ones(k, x.dtype),
    }[case.covariance]

    def fit(count):
        return GaussianMixture(
            k, covariance_type=case.covariance, tol=0, reg_covar=0, max_iter=count,
            weights_init=np.full(k, 1 / k, x.dtype), means_init=means, precisions_init=precisions,
        ).fit(x)  # fmt: skip

    def seconds():
        # What an iteration costs is what it adds to a fit: the rest is set-up and a last E-step.
        short, _ = _timed(lambda: fit(1))
        long, model = _timed(lambda: fit(1 + case.peer_steps))
        return (long - short) / case.peer_steps, model

    spans, models = zip(*(seconds() for _ in range(2)), strict=True)
    return spans, models[0].score(x[: case.scored])


def gmmx(x, means, case):
    import jax
    import jax.numpy as jnp
    from gmmx import EMFitter, GaussianMixtureModelJax
    from gmmx.gmm import DiagCovariances, FullCovariances

    k, d = means.shape
    make = {
        "full": lambda: FullCovariances.from_squeezed(jnp.repeat(jnp.eye(d)[None], k, 0)),
        "diag": lambda: DiagCovariances.from_squeezed(jnp.ones((k, d))),
    }
    if case.covariance not in make or case.dtype != "float32":
        raise NotImplementedError("has full and diag covariances in float32 alone")
    start = GaussianMixtureModelJax(
        weights=jnp.full((1, k, 1, 1), 1 / k, jnp.float32),
        means=jnp.asarray(means)[None, :, :, None],
        covariances=make[case.covariance](),
    )
    data = jnp.asarray(x)

    def fit(count):
        fitter = EMFitter(max_iter=count, tol=0.0, reg_covar=0.0)
        return jax.block_until_ready(fitter.fit(data, start).gmm)

    def seconds():
        short, _ = _timed(lambda: fit(1))
        long, model = _timed(lambda: fit(1 + case.peer_steps))
        return (long - short) / case.peer_steps, model

    seconds()  # compiles
    spans, models = zip(*(seconds() for _ in range(2)), strict=True)
    return spans, np.mean(models[0].score_samples(data[: case.scored]))


def pomegranate(x, means, case):
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    k, d = means.shape
    kind = "diag" if d == 1 else {"spherical": "sphere"}.get(case.covariance, case.covariance)
    one = np.eye(d, dtype=x.dtype) if kind == "full" else np.ones(d, x.dtype)
    parts = [Normal(torch.tensor(m), torch.tensor(one), kind) for m in means]
    model = GeneralMixtureModel(parts, torch.full((k,), 1 / k, dtype=torch.tensor(means).dtype))
    data = torch.tensor(x)

    def step():
        model.summarize(data)
        model.from_summaries()

    spans = [_timed(step)[0] for _ in range(1 + case.peer_steps)]
    score = float(torch.mean(model.log_probability(data[: case.scored])))
    return spans[1:], score


PEERS = {"scikit-learn": scikit_learn, "gmmx": gmmx, "pomegranate": pomegranate}


def main(peer, name):
    """Print one line of JSON."""
    warnings.filterwarnings("ignore")
    case = CASES[name]
    x, means = draw(case)
    try:
        spans, score = PEERS[peer](x, means, case)
    except ImportError:
        print(json.dumps({"why": "is not installed"}))
    except NotImplementedError as error:
        print(json.dumps({"why": str(error)}))
    except Exception as error:
        print(json.dumps({"why": f"failed: {type(error).__name__}: {str(error)[:90]}"}))
    else:
        low, high = float(min(spans)), float(max(spans))
        middle = float(statistics.median(spans))
        print(json.dumps({"median": middle, "spread": high - low, "score": float(score)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
