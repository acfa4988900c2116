"""Which restarts go on: the best always, and the table says what became of the others."""

import importlib
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em.search import restarts
from jaxmix.em.search.restarts import DROPPED, GOES, Standing, verdicts

FITS = importlib.import_module("jaxmix.em.fit")


def lanes(level, **others):
    """Lanes after a short run, none of which may gain much."""
    level = np.asarray(level, float)
    many = len(level)
    fields = {
        "hope": level + 1e-5,
        "num_steps": np.full(many, 50),
        "running": np.ones(many, bool),
        "bad": np.zeros(many, bool),
        "shares": np.arange(many)[:, None].astype(float),
    }
    return Standing(level, **(fields | {k: np.asarray(v) for k, v in others.items()}))


def test_a_lane_goes_on_while_it_may_still_win():
    now = lanes([-1.0, -2.0, -3.0], hope=[-1.0, -0.5, -2.0])
    assert verdicts(now, 3).tolist() == [GOES, GOES, DROPPED]
    assert verdicts(now, 1).tolist() == [GOES, DROPPED, DROPPED]
    early = now._replace(num_steps=np.full(3, 10))
    assert verdicts(early, 1).tolist() == [GOES, GOES, DROPPED]


def test_a_lane_that_collapsed_beats_none():
    now = lanes([5.0, -2.0, -3.0], bad=[True, False, False], running=[True, True, False])
    assert verdicts(now, 3).tolist() == [DROPPED, GOES, GOES]
    assert verdicts(now._replace(running=np.ones(3, bool)), 3).tolist() == [GOES, GOES, DROPPED]


def test_a_twin_follows_the_lane_ahead():
    """Of equal likelihood alone, two lanes may well be on their way to two optima."""
    level = [-1.0, -1.00001, -1.00002]
    now = lanes(level, hope=np.full(3, -0.99999), shares=[[0.2, 0.8], [0.2, 0.8], [0.5, 0.5]])
    assert verdicts(now, 3).tolist() == [GOES, 0, GOES]


def test_the_search_ends_when_a_quarter_has_found_the_same():
    level = [-1.0, -1.0, -1.0, -2.0, -3.0, -3.0, -3.0, -3.0]
    running = [False, False, False, True, True, True, True, True]
    now = lanes(level, running=running, hope=np.full(8, np.inf))
    assert verdicts(now, 8).tolist() == [GOES] * 3 + [DROPPED] * 5
    alone = now._replace(level=np.array([-1.0, -2, -3, -4, -5, -6, -7, -8]))
    assert verdicts(alone, 8).tolist() == [GOES] * 8


@pytest.fixture
def problem(monkeypatch):
    """Overlapping components, in the way of larger data: nothing here is small."""
    monkeypatch.setattr(FITS, "suits", lambda *_: False)
    monkeypatch.setattr(restarts, "QUICK", 0)
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [rng.normal(c, 0.5 + rng.random(2), (120, 2)) for c in rng.normal(0, 2, (5, 2))]
    )
    x = jnp.asarray(x, jnp.float32)
    template = jm.gaussian_mixture(5, 2, covariance="diag")
    fit = lambda key: jm.fit(jax.random.key(key), template, x, num_restarts=8)
    fit.rows = x
    return fit


def test_the_best_restart_is_never_left(problem, monkeypatch):
    keys = range(6)
    ours = [problem(key) for key in keys]
    monkeypatch.setattr(restarts, "verdicts", lambda now, most: np.full(len(now.bad), GOES))
    for key, fit in zip(keys, ours, strict=True):
        whole, table = problem(key), fit.restarts
        assert float(fit.log_likelihood) >= float(whole.log_likelihood) - 1e-4 * fit.num_data
        assert len(table.log_likelihood) == len(table.num_steps) == len(table.result) == 8
        left = np.array([r == "dropped" or r.startswith("twin of ") for r in table.result])
        assert left.any() and float(fit.log_likelihood) == table.log_likelihood[~left].max()
        assert sum(table.num_steps) < sum(whole.restarts.num_steps)
        for result in table.result:
            if result.startswith("twin of "):
                other = int(result.removeprefix("twin of "))
                ends = whole.restarts.log_likelihood
                assert abs(ends[other] - ends[table.result.index(result)]) < 1e-2 * fit.num_data


def test_a_search_on_a_sample_tells_of_every_restart(problem, monkeypatch):
    monkeypatch.setattr(restarts, "SEARCH_ROWS", 300)
    fit = problem(0)
    table = fit.restarts
    assert len(table.log_likelihood) == len(table.result) == 8
    assert table.result.count("successful") in (1, 2)
    at = int(np.argmax(table.log_likelihood == float(fit.log_likelihood)))
    assert table.result[at] == "successful" and table.num_steps[at] == fit.num_steps


def test_ctrl_c_in_the_search_gives_the_best_of_the_sample_on_all_rows(problem, monkeypatch):
    monkeypatch.setattr(restarts, "SEARCH_ROWS", 300)
    look = restarts.round_history

    def stopped(*args):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(restarts, "round_history", look)
        return look(*args)

    monkeypatch.setattr(restarts, "round_history", stopped)
    fit = problem(0)
    assert bool(fit.result == jm.RESULTS.interrupted) and fit.num_steps == 0
    under = jax.vmap(fit.model.log_prob)(problem.rows)
    np.testing.assert_allclose(fit.log_likelihood, under.sum(), rtol=1e-5)


def test_a_row_off_the_support_is_named_where_the_sample_lacks_it(monkeypatch):
    monkeypatch.setattr(FITS, "suits", lambda *_: False)
    monkeypatch.setattr(restarts, "SEARCH_ROWS", 64)
    x = np.random.default_rng(0).integers(0, 5, 1000)
    x[777] = 9
    template = jm.mixture_of(jm.Binomial.template(5), 2)
    with pytest.raises(ValueError, match="Row 777"):
        jm.fit(jax.random.key(0), template, x, num_restarts=2)
