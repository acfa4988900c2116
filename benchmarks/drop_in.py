"""Claim: scikit-learn's documented uses of mixtures run with the import changed, with its answers.

Each use is run with scikit-learn's class and with ours, from the same start where the use
gives one (the sine curve gives means alone): iris by four covariances, the choice of model by
BIC, four ways to start, a sine curve of ten components; then
`check_estimator` whole, and the time of one fit.
"""

import time
import warnings

import numpy as np


def iris(mixture):
    """Accuracy of the classes found from their own means, by covariance."""
    from sklearn.datasets import load_iris

    data = load_iris()
    means = np.stack([data.data[data.target == k].mean(0) for k in range(3)])
    found = {}
    for kind in ("spherical", "diag", "tied", "full"):
        fitted = mixture(3, covariance_type=kind, max_iter=20, random_state=0, means_init=means)
        found[kind] = round(
            float(np.mean(fitted.fit(data.data).predict(data.data) == data.target)), 4
        )
    return found


def selection(mixture):
    """Components and covariance with the least BIC on a sheared and a round group."""
    rng = np.random.default_rng(0)
    sheared = rng.normal(size=(500, 2)) @ np.array([[0.0, -0.1], [1.7, 0.4]])
    x = np.r_[sheared, 0.7 * rng.normal(size=(500, 2)) + [-6, 3]]
    scores = {
        (k, kind): mixture(k, covariance_type=kind, random_state=0).fit(x).bic(x)
        for k in (1, 2, 3)
        for kind in ("spherical", "tied", "diag", "full")
    }
    best = min(scores, key=scores.get)
    return best, round(scores[best], 3)


def starts(mixture):
    """Final mean log-likelihood from each way to start, four groups."""
    from sklearn.datasets import make_blobs

    x, _ = make_blobs(1500, centers=4, cluster_std=0.6, random_state=0)
    return {
        start: round(
            mixture(4, init_params=start, tol=1e-9, max_iter=2000, random_state=1).fit(x).score(x),
            4,
        )
        for start in ("kmeans", "random_from_data", "k-means++", "random")
    }


def sine(mixture):
    """Ten components along a noisy sine curve, from given means; the rest of the start is k-means."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 4 * np.pi, 100)
    x = np.c_[t, 3 * np.sin(t)] + 0.1 * rng.normal(size=(100, 2))
    fitted = mixture(10, max_iter=100, means_init=x[5::10], random_state=0).fit(x)
    return round(fitted.score(x), 4), fitted.n_iter_


def contracts() -> None:
    from sklearn.utils.estimator_checks import check_estimator

    from jaxmix.sklearn import GaussianMixture, KMeans, RecordMixture

    for estimator in (GaussianMixture(), KMeans(n_clusters=2), RecordMixture(n_init=1)):
        results = check_estimator(estimator, on_fail=None)
        counts = {
            s: sum(r["status"] == s for r in results) for s in ("passed", "failed", "skipped")
        }
        print(f"check_estimator {type(estimator).__name__:16s} {counts}")
        for result in results:
            if result["status"] == "failed":
                print("   ", result["check_name"], result["exception"])


def speed(mixtures) -> None:
    """Ten steps, full covariance, from one start; the second fit, so that nothing compiles."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(65_536, 16)).astype(np.float32)
    start = {
        "means_init": x[:32],
        "weights_init": np.full(32, 1 / 32, np.float32),
        "precisions_init": np.stack([np.eye(16, dtype=np.float32)] * 32),
    }
    taken = {}
    for name, mixture in mixtures.items():
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            fitted = mixture(32, max_iter=10, tol=0.0, **start).fit(x)
            times.append(time.perf_counter() - begin)
        taken[name] = np.array(times[1:])
        print(
            f"10 steps, N=65536 D=16 K=32 float32, {name:12s} median {np.median(times[1:]):.2f} s "
            f"(range {min(times[1:]):.2f} to {max(times[1:]):.2f}), score {fitted.score(x):.5f}"
        )
    ratio = np.median(taken["scikit-learn"]) / np.median(taken["jaxmix"])
    print(f"scikit-learn takes {ratio:.1f} times as long")


def main() -> None:
    import sklearn.mixture

    import jaxmix.sklearn

    mixtures = {
        "scikit-learn": sklearn.mixture.GaussianMixture,
        "jaxmix": jaxmix.sklearn.GaussianMixture,
    }
    warnings.simplefilter("ignore")
    for use in (iris, selection, starts, sine):
        for name, mixture in mixtures.items():
            print(f"{use.__name__:10s} {name:12s} {use(mixture)}")
    speed(mixtures)
    contracts()


if __name__ == "__main__":
    main()
