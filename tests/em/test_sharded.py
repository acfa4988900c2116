"""Rows spread over four simulated devices, and over two processes: one answer, small messages."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxmix as jm

DEVICES = """
import os
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
import importlib, re, sys
import jax, jax.numpy as jnp, numpy as np, jaxmix as jm
from jax.sharding import NamedSharding, PartitionSpec
internals = importlib.import_module("jaxmix.em.fit")
from jaxmix.em.search.restarts import floor_prior
from jaxmix.em.sharded import layout_of, placed
from jaxmix.em.solver import Rules
x = np.load(sys.argv[1])
parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:3]), jnp.full((3, 2), 2.0))
start = jm.MixtureSameFamily(jnp.full(3, 1 / 3), parts)
options = dict(init="given", max_steps=12, tol=None)
data, weights = jm.em.shard_rows(x)
assert len(data) % 4 == 0 and len(data.sharding.device_set) == 4
fit = jm.fit(None, start, data, weights=weights, **options)
mesh = jax.make_mesh((4,), ("rows",))
explicit = jax.device_put(x[:1000], NamedSharding(mesh, PartitionSpec("rows")))
searched = jm.fit(None, start, explicit, **options)
whole = jm.fit(None, start, x[:1000], **options)
assert abs(searched.log_likelihood / whole.log_likelihood - 1) < 1e-5
assert abs(searched.entropy / whole.entropy - 1) < 1e-3
try:
    two = jax.make_mesh((2,), ("columns",), devices=jax.devices()[:2])
    across = jax.device_put(x[:1000], NamedSharding(two, PartitionSpec(None, "columns")))
    jm.fit(None, start, across, **options)
except ValueError as error:
    assert "only the leading axis" in str(error)
else:
    raise AssertionError
layout = layout_of(data)
prior = floor_prior(start, x, None, 1e-9)
models = jax.tree.map(lambda a: a[None], start)
rules = Rules(jm.em.PlainEM(), prior, jnp.asarray(5), jnp.asarray(0.0), chunk_size=64)
states = internals._begin(models, data, weights, rules.solver)
text = internals._advance.lower(
    states, np.zeros(1, int), data, weights, rules, 50, layout
).compile().compiled.as_text()
kinds = "all-reduce|all-gather|all-to-all|collective-permute"
for line in text.splitlines():
    found = re.search(rf"= (.*?) ({kinds})(-start)?\\(", line)
    if found:
        for shape in re.findall(r"\\w+\\[([\\d,]*)\\]", found[1]):
            print("message", found[2], int(np.prod([int(n) for n in shape.split(",") if n] or [1])))
print("end", float(fit.log_likelihood), *np.ravel(fit.model.components.mean))
"""

COMPONENTS = """
import os
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
import re
import jax, jax.numpy as jnp, numpy as np, jaxmix as jm
x = np.random.default_rng(0).normal(size=(500, 30)).astype(np.float32)
parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:40]), jnp.full((40, 30), 2.0))
start = jm.MixtureSameFamily(jnp.full(40, 1 / 40), parts)
run = jax.jit(lambda m: jm.em.run(m, x, max_steps=4, tol=None, history_size=4, chunk_size=128))
spread = jm.em.shard_components(start)
compiled = run.lower(spread).compile()
kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
for line in compiled.as_text().splitlines():
    found = re.search(rf"= (.*?) ({kinds})(-start)?\\(", line)
    if found:
        for shape in re.findall(r"\\w+\\[([\\d,]*)\\]", found[1]):
            print("message", found[2], int(np.prod([int(n) for n in shape.split(",") if n] or [1])))
found, whole = compiled(spread), run(start)
assert len(found.model.components.mean.sharding.device_set) == 4
assert found.model.components.mean.addressable_shards[0].data.shape == (10, 30)
np.testing.assert_allclose(found.model.components.mean, whole.model.components.mean, atol=2e-5)
np.testing.assert_allclose(found.log_likelihood, whole.log_likelihood, rtol=1e-6)
try:
    jm.em.shard_components(jm.MixtureSameFamily(jnp.full(3, 1 / 3), jax.vmap(jm.Normal)(
        jnp.zeros(3), jnp.ones(3))))
except ValueError as error:
    assert "does not divide evenly over 4 devices" in str(error)
else:
    raise AssertionError
"""

EXAMPLE = Path(__file__).parents[2] / "notebooks" / "two_processes.py"


def answer(text):
    line = next(line for line in text.splitlines() if line.startswith("end"))
    return np.array([float(word) for word in line.split()[1:]])


def expected(in_memory):
    return np.array([in_memory.log_likelihood, *np.ravel(in_memory.model.components.mean)])


def test_four_devices_give_one_answer_and_send_only_statistics(problem, in_memory, tmp_path):
    np.save(tmp_path / "x.npy", problem[0])
    done = subprocess.run(
        [sys.executable, "-c", DEVICES, str(tmp_path / "x.npy")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(answer(done.stdout), expected(in_memory), rtol=1e-5, atol=1e-5)
    sizes = [int(n) for n in re.findall(r"message \S+ (\d+)", done.stdout)]
    # Counts, sums and squares of three components in two dimensions are 15 numbers, and a device
    # has 251 rows.
    assert sizes and max(sizes) <= 15


def test_components_over_four_devices_give_one_answer_and_stay_where_they_are():
    done = subprocess.run([sys.executable, "-c", COMPONENTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sizes = [int(n) for n in re.findall(r"message \S+ (\d+)", done.stdout)]
    # A number a row (500 of the floor's, 128 of a chunk) or a component; parameters are 40 x 30.
    assert sizes and max(sizes) <= 500


def test_two_processes_give_one_answer(problem, in_memory, tmp_path, monkeypatch):
    x, _ = problem
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE.parents[1]))
    np.save(tmp_path / "part0.npy", x[:600])
    np.save(tmp_path / "part1.npy", x[600:])
    example = runpy.run_path(str(EXAMPLE))
    for line in example["launch"](str(tmp_path)):
        np.testing.assert_allclose(answer(line), expected(in_memory), rtol=1e-5, atol=1e-5)


def test_arrays_that_lie_differently_are_refused():
    from jaxmix.em.sharded import layout_of

    assert layout_of({"a": np.zeros(3)}) is None
    with pytest.raises(ValueError, match="must have shape"):
        jm.fit(None, jm.Normal(0.0, 1.0), np.zeros(4, np.float32), weights=np.ones(3), init="given")
