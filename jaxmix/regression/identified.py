"""Whether covariates determine one another: then no data tell their coefficients apart."""

from collections.abc import Sequence as Many
from typing import Any

import numpy as np

from ..families._entrances import listed

NEGLIGIBLE = 1e-4  # of a covariate's spread: a share not worth a name
PRIOR = "give the coefficients a prior (jm.em.Ridge in jm.em.conjugate_prior)."
OUT = f"leave covariates out, or {PRIOR}"


def check_design(x: np.ndarray, names: Many[str] | None) -> None:
    """Refuse covariates (rows, p) of which one is a linear function of the others and of 1.

    Up to the rounding of the covariates' own dtype, by a pivoted QR decomposition of them,
    centred and in units of their spread.

    Raises:
        ValueError: naming the covariate and those that determine it.
    """
    eps = np.finfo(x.dtype).eps if x.dtype.kind == "f" else np.finfo(float).eps
    rows, p = x.shape
    names = [f"covariate {i}" for i in range(p)] if names is None else names
    if p == 0 or rows == 0:
        return
    if rows <= p:
        raise ValueError(
            f"{rows} rows do not determine the {p + 1} coefficients of a regression on {p} "
            f"covariates and an intercept: {OUT}"
        )
    x = x.astype(float)
    size = np.sqrt(np.mean(x**2, 0))
    x = x - x.mean(0)
    spread = np.sqrt(np.mean(x**2, 0))
    constant = spread <= 4 * eps * size
    if constant.any():
        name = names[int(np.argmax(constant))]
        raise ValueError(
            f"{name} is the same in all rows, as the intercept's 1 is: leave one of the two out, "
            f"or {PRIOR}"
        )
    x = x / spread / np.sqrt(rows)
    import scipy.linalg  # where a fit is checked, and not wherever jaxmix is imported

    factors: Any = scipy.linalg.qr(x, mode="r", pivoting=True)
    diagonal, order = factors
    left = np.abs(np.diagonal(diagonal))  # falls along the pivots
    # Each covariate is rounded by its size, and so is the decomposition in float64.
    rounding = 4 * eps * np.sqrt(p) * np.max(size / spread) + 16 * np.finfo(float).eps * p
    rank = int(np.sum(left > rounding))
    if rank == p:
        return
    free, bound = order[:rank], order[rank]
    share = np.linalg.lstsq(x[:, free], x[:, bound], rcond=None)[0]
    others = [names[int(i)] for i in sorted(free[np.abs(share) > NEGLIGIBLE])]
    raise ValueError(
        f"{names[int(bound)]} is determined by {listed(others)}, so that no data tell their "
        f"coefficients apart: {OUT}"
    )
