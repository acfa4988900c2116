"""The five problems on which one EM iteration is timed, and their data."""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """A mixture of normals, and how many iterations are timed."""

    rows: int
    dim: int
    components: int
    covariance: str
    dtype: str
    peer_steps: int
    steps: int
    scored: int = 65_536

    @property
    def features(self) -> int:
        """Statistics of one component: what the two matrix products are over."""
        d = self.dim
        return {"full": (d + 1) * (d + 2) // 2, "diag": 2 * d + 1, "spherical": d + 2}[
            self.covariance
        ]


CASES = {
    "full": Case(65_536, 32, 64, "full", "float32", 2, 10),
    "small": Case(50_000, 15, 20, "full", "float32", 4, 40),
    "diagonal": Case(1_048_576, 32, 64, "diag", "float32", 4, 4),
    "spherical": Case(131_072, 128, 64, "spherical", "float32", 8, 20),
    "univariate": Case(1_000_000, 1, 2, "full", "float64", 4, 40),
}


def draw(case: Case, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clusters about three standard deviations apart in each coordinate, and rough centres."""
    rng = np.random.default_rng(seed)
    n, d, k = case.rows, case.dim, case.components
    centres = 3 * rng.normal(size=(k, d))
    x = np.empty((n, d), case.dtype)
    for start in range(0, n, 65_536):
        rows = slice(start, min(n, start + 65_536))
        size = rows.stop - start
        x[rows] = centres[rng.integers(k, size=size)] + rng.normal(size=(size, d))
    return x, (centres + 0.3 * rng.normal(size=(k, d))).astype(case.dtype)
