"""A streamed fit gives the answer of a fit in memory, refuses bad rows, and goes on when killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em import drive
from jaxmix.em.streaming import stream

STEPS = {"init": "given", "max_steps": 12, "tol": None}


def same(a, b, tolerance=2e-5):
    for x, y in zip(jax.tree.leaves(a.model), jax.tree.leaves(b.model), strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance)
    assert abs(a.log_likelihood / b.log_likelihood - 1) < 1e-6
    np.testing.assert_allclose(a.history.objective, b.history.objective, rtol=1e-6)
    np.testing.assert_allclose(a.entropy, b.entropy, rtol=1e-4)
    assert a.num_data == b.num_data and a.num_parameters == b.num_parameters


@pytest.mark.parametrize("batch_size", [1003, 250, 64])
def test_streamed_is_as_in_memory(problem, in_memory, batch_size):
    x, start = problem
    source = jm.data.Arrays(x, batch_size=batch_size)
    same(jm.fit(None, start, source, **STEPS), in_memory)


def test_any_iterable_streams(problem, in_memory):
    x, start = problem
    source = jm.data.Batches([x[:300], x[300:301], x[301:]])
    same(jm.fit(None, start, source, **STEPS), in_memory)


def test_one_compiled_step_for_all_batches(problem):
    x, start = problem
    jm.fit(None, start, jm.data.Arrays(x, batch_size=111), **STEPS)
    before = stream._absorb._cached._cache_size()
    jm.fit(None, start, jm.data.Arrays(x[:950], batch_size=111), **STEPS)
    assert stream._absorb._cached._cache_size() == before


def test_integer_weights_are_repeated_rows(problem):
    x, start = problem
    weights = np.arange(len(x)) % 3
    repeated = jm.fit(None, start, np.repeat(x, weights, axis=0), **STEPS)
    weighted = jm.fit(
        None, start, jm.data.Arrays(x, 100), weights=weights.astype(np.float32), **STEPS
    )
    same(weighted, repeated)


def test_rows_of_weight_zero_have_no_say():
    """Not in the sample that starts are drawn from, nor in its floor."""
    x = np.random.default_rng(0).normal(size=200).astype(np.float32)
    weights = np.ones(200, np.float32)
    x[50:53], weights[50:53] = 1e9, 0
    for source in (jm.data.Arrays(x, 64), jm.data.Batches(np.split(x, 4))):
        found = jm.fit(jax.random.key(0), jm.Normal.template(), source, weights=weights)
        np.testing.assert_allclose(found.model.scale, x[weights > 0].std(), rtol=1e-4)
        assert found.num_data == 197
    for wrong, words in ((-weights, "non-negative"), (weights[:5], "one a row")):
        with pytest.raises(ValueError, match=words):
            jm.fit(None, jm.Normal(0, 1), source, weights=wrong, init="given")


def test_batches_that_are_no_rows_of_one_kind_are_named():
    x = np.ones(9, np.float32)
    found = jm.fit(None, jm.Normal(0, 1), jm.data.Batches([x[:0], x, x[:0]]), **STEPS)
    assert found.num_data == 9
    for bad, words in (
        ([(x, x[:8])], r"Batch 0, \[1\]: .* there are 8"),
        ([x, x[:, None]], r"Batch 1, rows: a row has shape \(1,\)"),
        ([{"a": x}, {"b": x}], "Batch 1 is built differently"),
    ):
        for call in (jm.em.online, lambda m, b: jm.fit(None, m, jm.data.Batches(b), **STEPS)):
            with pytest.raises(ValueError, match=words):
                call(jm.Normal(0, 1), bad)


@pytest.mark.parametrize("kind", ["squarem", "lbfgs"])
def test_accelerated_streams_are_as_in_memory(problem, kind):
    x, start = problem
    options = {**STEPS, "accelerate": kind}
    streamed = jm.fit(None, start, jm.data.Arrays(x, 400), **options)
    whole = jm.fit(None, start, x, **options)
    assert streamed.num_steps == whole.num_steps
    # Extrapolation magnifies rounding: the likelihoods agree, as far as both went up.
    assert abs(streamed.log_likelihood / whole.log_likelihood - 1) < 1e-5
    assert np.all(np.diff(np.asarray(streamed.history.objective)) >= -1e-3)


def test_a_search_runs_on_a_sample(problem):
    x, _ = problem
    template = jm.mixture_of(jm.DiagonalNormal.template(2), 3)
    found = jm.fit(jax.random.key(1), template, jm.data.Arrays(x, 300), num_restarts=4)
    whole = jm.fit(jax.random.key(1), template, x, num_restarts=4)
    table = found.restarts
    assert bool(found.result == jm.RESULTS.successful)
    best = table.result.index("successful")  # the one that went on over all rows
    assert table.log_likelihood[best] == float(found.log_likelihood)
    assert table.num_steps[best] == found.num_steps and len(table.num_steps) == 4
    assert all(end.startswith(("dropped", "twin of ")) for end in np.delete(table.result, best))
    assert abs(found.log_likelihood - whole.log_likelihood) < 1e-3 * len(x)


def test_records_stream(problem):
    x, _ = problem
    data = {"x": x[:, 0], "n": (np.arange(len(x)) % 7).astype(np.int32)}
    parts = [jm.Composite({"x": jm.Normal(m, 1.0), "n": jm.Poisson(m + 4.0)}) for m in (-3.0, 2.0)]
    start = jm.Mixture(jnp.array([0.5, 0.5]), parts)
    same(
        jm.fit(None, start, jm.data.Arrays(data, 300), **STEPS), jm.fit(None, start, data, **STEPS)
    )


def test_a_bad_row_is_named_by_its_number():
    x = np.ones(100, np.float32)
    x[71] = -1.0
    start = jm.Mixture(jnp.full(2, 0.5), [jm.Exponential(1.0), jm.Exponential(2.0)])
    with pytest.raises(ValueError, match=r"Row 71, -1\.0, has log-density -inf"):
        jm.fit(None, start, jm.data.Batches([x[:30], x[30:60], x[60:]]), **STEPS)


def test_empty_sources_are_refused(problem):
    _, start = problem
    with pytest.raises(ValueError, match="empty"):
        jm.fit(None, start, jm.data.Batches([]), **STEPS)
    with pytest.raises(ValueError, match="has no rows"):
        jm.data.Arrays(np.zeros((0, 2)))


def test_resumed_is_as_undisturbed(problem, in_memory, tmp_path):
    x, start = problem
    source = jm.data.Arrays(x, 300)
    halfway = {**STEPS, "max_steps": 5, "checkpoint": tmp_path}
    first = jm.fit(None, start, source, **halfway)
    assert first.num_steps == 5
    resumed = jm.fit(None, start, source, **{**halfway, "max_steps": 12})
    assert resumed.num_steps == 12
    same(resumed, in_memory)
    again = jm.fit(None, start, source, **{**halfway, "max_steps": 12})
    assert again.num_steps == 12 and again.log_likelihood == resumed.log_likelihood


def test_a_converged_fit_is_not_run_again(problem, tmp_path):
    x, start = problem
    options = {"init": "given", "tol": 1e-4, "checkpoint": tmp_path}
    first = jm.fit(None, start, jm.data.Arrays(x, 300), **options)
    again = jm.fit(None, start, jm.data.Arrays(x, 300), **options)
    assert bool(first.result == jm.RESULTS.successful) and bool(again.result == first.result)
    assert again.num_steps == first.num_steps < 1000
    finer = jm.fit(None, start, jm.data.Arrays(x, 300), **{**options, "tol": 1e-6})
    assert finer.num_steps > first.num_steps


def test_foreign_and_damaged_checkpoints_are_named(problem, tmp_path):
    x, start = problem
    source, options = jm.data.Arrays(x, 300), {**STEPS, "checkpoint": tmp_path}
    jm.fit(None, start, source, **options)
    with pytest.raises(ValueError, match="another fit: its data"):
        jm.fit(None, start, jm.data.Arrays(x + 1, 300), **options)
    with pytest.raises(ValueError, match="another fit: its assignment"):
        jm.fit(None, start, source, assignment="hard", **options)
    with pytest.raises(ValueError, match="another fit: its start"):
        jm.fit(None, jm.Normal(0.0, 1.0), jm.data.Arrays(x[:, 0], 300), **options)
    path = tmp_path / drive.FILE
    good = path.read_bytes()
    for damage in (good[: len(good) // 2], b"", good[:500] + b"\0\1\2\3" + good[504:]):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match="no readable checkpoint"):
            jm.fit(None, start, source, **options)
    np.savez(path, header=np.frombuffer(json.dumps({"format": "x"}).encode(), np.uint8))
    with pytest.raises(ValueError, match="not written by a jaxmix fit"):
        jm.fit(None, start, source, **options)


def test_a_later_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "VERSION", 1000)
    drive.save(tmp_path, jnp.zeros(2), {}, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version 1000 of the format; this jaxmix reads"):
        drive.load(tmp_path, jnp.zeros(2), {})


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    drive.save(tmp_path, jnp.ones(2), {}, {})

    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(OSError, match="disk full"):
        drive.save(tmp_path, jnp.zeros(2), {}, {})
    monkeypatch.undo()
    state, _ = drive.load(tmp_path, jnp.zeros(2), {})
    assert state.tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == [drive.FILE]


def test_ctrl_c_returns_the_best_so_far(problem):
    x, start = problem

    class Slow(jm.data.Arrays):
        passes = 0

        def batches(self):
            self.passes += 1
            if self.passes == 5:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
            return super().batches()

    found = jm.fit(None, start, Slow(x, 100), **STEPS)
    assert bool(found.result == jm.RESULTS.interrupted)
    assert 0 < found.num_steps < 12
    assert not [t for t in threading.enumerate() if t.name.startswith("jaxmix-reader")]
    on = jm.fit(None, found.model, jm.data.Arrays(x, 100), **{**STEPS, "max_steps": 1})
    assert on.log_likelihood >= found.log_likelihood


KILLED = """
import sys, numpy as np, jax, jax.numpy as jnp, jaxmix as jm
from jaxmix.em import drive
drive.SECONDS = 0.0
x = np.load(sys.argv[1])
parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:3]), jnp.full((3, 2), 2.0))
start = jm.MixtureSameFamily(jnp.full(3, 1 / 3), parts)
class Slow(jm.data.Arrays):
    def batches(self):
        import time
        print("pass", flush=True)
        time.sleep(0.02)
        return super().batches()
options = dict(init="given", max_steps=60, tol=None, checkpoint=sys.argv[2])
fit = jm.fit(None, start, Slow(x, 300), **options)
print("end", float(fit.log_likelihood).hex(), fit.num_steps, flush=True)
"""


def test_a_killed_process_goes_on(problem, tmp_path):
    x, start = problem
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "x.npy"), str(tmp_path / "kept")]
    rng, kills, line = np.random.default_rng(0), 0, ""
    while not line.startswith("end"):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout):
                if line.startswith("pass") and kills < 2 and count == 5 + 10 * kills:
                    time.sleep(rng.uniform(0, 0.05))
                    process.kill()
                    kills += 1
                    break
    assert kills == 2
    whole = jm.fit(None, start, jm.data.Arrays(x, 300), init="given", max_steps=60, tol=None)
    assert line.split()[1:] == [float(whole.log_likelihood).hex(), "60"]
