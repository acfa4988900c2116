"""Whether covariates determine one another: then no data tell their coefficients apart."""

from collections.abc import Sequence as Many
from typing import Any

import numpy as np

NEGLIGIBLE = 1e-4  # of a covariate's spread: a share not worth a name


def check_design(x: np.ndarray, names: Many[str]) -> None:
    """Refuse covariates (rows, p) of which one is a linear function of the others and of 1.

    Up to the rounding of the covariates' own dtype, by a pivoted QR decomposition of them,
    centred and in units of their spread.

    Raises:
        ValueError: naming the covariate and those that determine it.
    """
    eps = np.finfo(x.dtype).eps if x.dtype.kind == "f" else np.finfo(float).eps
    rows, p = x.shape
    if p == 0 or rows == 0:
        return
    if rows <= p:
        raise ValueError(
            f"{rows} rows do not determine the {p + 1} coefficients of a regression on {p} "
            f"covariates and an intercept: {_way_out()}"
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
            f"or {_prior()}."
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
        f"{names[int(bound)]} is determined by {_listed(others)}, so that no data tell their "
        f"coefficients apart: {_way_out()}"
    )


def _listed(names: Many[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _way_out() -> str:
    return f"leave covariates out, or {_prior()}."


def _prior() -> str:
    return "give the coefficients a prior (jm.em.Ridge in jm.em.conjugate_prior)"


def numbered(count: int) -> list[str]:
    """Names of covariates by their position."""
    return [f"covariate {i}" for i in range(count)]
