"""Missing fields filled in: values, spreads and intervals against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

import jaxmix as jm

MEANS, SCALES, SHARES = np.array([1.0, 6.0]), np.array([0.5, 2.0]), np.array([0.3, 0.7])
RATES, LABELS = np.array([2.0, 9.0]), np.array([[0.8, 0.2], [0.1, 0.9]])


def birds():
    part = lambda m, s, r, p: jm.Composite(
        (
            jm.Optional(jm.Normal(m, s)),
            jm.Optional(jm.Categorical(probs=p, labels=("u", "v"))),
            jm.Optional(jm.Poisson(r)),
            jm.Optional(jm.DiagonalNormal(jnp.stack([m, m]), jnp.ones(2))),
        )
    )
    parts = jax.vmap(part)(*map(jnp.asarray, (MEANS, SCALES, RATES, LABELS)))
    return jm.MixtureSameFamily(jnp.asarray(SHARES), parts)


def test_several_fields_of_one_row_and_of_many():
    model = birds()
    rows = [
        (None, "v", None, None),
        (2.0, "u", 3, (1.0, 2.0)),
        (None, None, None, None),
        (1.0, None, 2, (1.0, 1.0)),
    ]
    found = jm.data.imputed(model, jm.encode(model, rows), level=0.8)
    back = jm.decode(model, found.events)
    assert back[1] == rows[1] and back[3][::2] == rows[3][::2]
    for at, share in ((0, SHARES * LABELS[:, 1]), (2, SHARES)):
        share = share / share.sum()
        mean, rate = share @ MEANS, share @ RATES
        assert back[at][0] == pytest.approx(mean, rel=1e-5)
        assert back[at][2] == pytest.approx(rate, rel=1e-5)
        assert np.allclose(back[at][3], mean, rtol=1e-5)
        variance = share @ (SCALES**2 + MEANS**2) - mean**2
        assert found.sd[0][at] == pytest.approx(np.sqrt(variance), rel=1e-5)
        assert found.sd[2][at] == pytest.approx(
            np.sqrt(share @ (RATES + RATES**2) - rate**2), rel=1e-5
        )
        for end, p in ((found.low, 0.1), (found.high, 0.9)):
            above = lambda x, p=p, share=share: share @ norm.cdf(x, MEANS, SCALES) - p
            assert end[0][at] == pytest.approx(brentq(above, -9, 20), abs=1e-4)
    assert back[2][1] == "v" and found.probability[1][2] == pytest.approx(SHARES @ LABELS[:, 1])
    assert found.sd[0][1] == 0 and found.low[0][1] == found.high[0][1] == 2
    assert found.probability[1][0] == 1 and set(found.sd) == {0, 2} and set(found.low) == {0, 2}


def test_what_imputed_refuses():
    model = birds()
    data = jm.encode(model, [(1.0, "u", 3, (1.0, 2.0))] * 2)
    with pytest.raises(ValueError, match="level is a real number between 0 and 1"):
        jm.data.imputed(model, data, level=1.0)
    with pytest.raises(ValueError, match="takes a density of records"):
        jm.data.imputed(jm.Normal(0, 1), np.zeros(3))
    with pytest.raises(ValueError, match="a tuple of 4 fields"):
        jm.data.imputed(model, data[:2])
