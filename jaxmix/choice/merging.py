"""Clusters made of several components: merging by entropy."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._arguments import density, rows, takes
from .._hooks import TellsPosterior
from .._sharding import on_automatic_axes
from .._stack import pick
from ..combinators import Mixture, MixtureSameFamily
from ..em.search.padding import rows_under


class Merging(eqx.Module):
    """A mixture's components merged one pair at a time, down to one cluster.

    - `labels`: (K, K); row g - 1 gives each component's cluster when there are g, numbered from 0
      in the order of their first components.
    - `entropy`: (K,), of the g clusters' responsibilities summed over the data, in nats.
    - `num_merged`: (K,), data in the cluster whose making led to g clusters; 0 for g = K.
    - `density`: the mixture; merging changes what its parts mean, and not the density.
    """

    density: PyTree
    labels: np.ndarray
    entropy: np.ndarray
    num_merged: np.ndarray
    by_component: np.ndarray

    def responsibilities(self, clusters: int) -> np.ndarray:
        """Posterior probabilities of the clusters, (rows, clusters)."""
        hot = self._labels(clusters)[:, None] == np.arange(clusters)
        return self.by_component @ hot.astype(self.by_component.dtype)

    def assignments(self, clusters: int) -> np.ndarray:
        """Each row's most probable cluster."""
        return np.argmax(self.responsibilities(clusters), 1)

    def _labels(self, clusters: int) -> np.ndarray:
        if not 1 <= clusters <= len(self.labels):
            raise ValueError(f"clusters must be from 1 to {len(self.labels)}; it was {clusters}.")
        return self.labels[clusters - 1]

    @property
    def elbow(self) -> int:
        """The number of clusters at which two straight lines through the entropies meet best.

        Merging components of one cluster lowers the entropy much, merging clusters little
        (Baudry et al. 2010, section 4). With fewer than 3 components there is no elbow: it is K.
        """
        size = len(self.entropy)
        if size < 3:
            return size
        at = np.arange(1, size + 1)

        def misfit(split):
            total = 0.0
            for part in (slice(0, split + 1), slice(split, size)):
                line = np.polyfit(at[part], self.entropy[part], 1)
                total += float(np.sum((self.entropy[part] - np.polyval(line, at[part])) ** 2))
            return total

        return int(at[min(range(1, size - 1), key=misfit)])

    def model(self, clusters: int) -> Mixture:
        """The same density as a mixture of `clusters` mixtures."""
        labels = self._labels(clusters)
        weights = jnp.asarray(self.density.weights)
        parts = [np.flatnonzero(labels == c) for c in range(clusters)]
        shares = [weights[part] for part in parts]
        groups = [
            _group(self.density.components, share / jnp.sum(share), part)
            for part, share in zip(parts, shares, strict=True)
        ]
        return Mixture(jnp.stack([jnp.sum(share) for share in shares]), groups)


def _group(components: Any, weights: Array, part: np.ndarray) -> PyTree:
    if isinstance(components, tuple):
        return Mixture(weights, [components[k] for k in part])
    return MixtureSameFamily(weights, pick(components, part))


def _plogp(p):
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)


@takes("call it outside.", model=density, data=rows)
@on_automatic_axes
def merge_components(model: PyTree, data: PyTree, *, weights: Array | None = None) -> Merging:
    """Merge a mixture's components into clusters, each time the pair that lowers entropy most.

    BIC chooses enough components to fit the density; a cluster that is not normal takes several.
    With r the responsibilities, each step merges the pair of largest
    sum_n [(r_nj + r_nk) log(r_nj + r_nk) - r_nj log r_nj - r_nk log r_nk] (Baudry, Raftery,
    Celeux, Lo and Gottardo 2010, doi:10.1198/jcgs.2010.08111).

    Args:
        model: a fitted mixture.
        data: events stacked along a leading axis.
        weights: case weights (rows,).

    Returns:
        A `Merging`, for every number of clusters.

    Raises:
        ValueError: if the model is no mixture.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-9.0, 0.0, 1.0]), jnp.ones(3))
        >>> model = jm.MixtureSameFamily(jnp.full(3, 1 / 3), parts)
        >>> x = jnp.array([-9.0, -8.5, 0.0, 0.5, 1.0])
        >>> jm.choice.merge_components(model, x).labels[1].tolist()
        [0, 1, 1]
    """
    if not isinstance(model, TellsPosterior):
        raise ValueError(
            f"merge_components takes a mixture, with a method `posterior`; "
            f"{type(model).__name__} has none."
        )
    shares = rows_under(model, data, "posterior")
    case = np.ones(len(shares)) if weights is None else np.asarray(weights)
    size = shares.shape[1]
    current, clusters = shares.astype(float), [[k] for k in range(size)]
    labels = np.zeros((size, size), int)
    entropy, merged = np.zeros(size), np.zeros(size)
    for g in range(size, 0, -1):
        terms = case @ _plogp(current)
        entropy[g - 1] = -terms.sum()
        for c, members in enumerate(sorted(clusters, key=min)):
            labels[g - 1, members] = c
        if g == 1:
            break
        best, pair = -np.inf, (0, 1)
        for j in range(g):
            together = case @ _plogp(current[:, j : j + 1] + current[:, j + 1 :])
            gains = together - terms[j] - terms[j + 1 :]
            if len(gains) and gains.max() > best:
                best, pair = gains.max(), (j, j + 1 + int(gains.argmax()))
        j, k = pair
        current[:, j] += current[:, k]
        merged[g - 2] = case @ current[:, j]
        current = np.delete(current, k, 1)
        clusters[j] = clusters[j] + clusters.pop(k)
    return Merging(model, labels, entropy, merged, shares)
