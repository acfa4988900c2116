"""Answers that a device must give, as functions of the dtype: EM, a gradient, importance, chains."""

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from jaxmix.importance import Draws

# Relative errors of a norm. float32 lands far below; TF32 (3e-4) and bfloat16 (1e-3) do not pass.
LIMITS = {"slope": 1e-3, "pareto k": 1e-3, "covariance": 2e-4, "means": 1e-4, "weights": 1e-4,
          "first": 1e-4, "likelihood": 2e-6}  # fmt: skip


def limit(name: str) -> float:
    return next((bound for end, bound in LIMITS.items() if name.endswith(end)), 3e-5)


def blobs(rows: int, dim: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows about k centres, and the centres; float32 numbers, whatever they are turned into."""
    rng = np.random.default_rng(seed)
    centres = 2.5 * rng.standard_normal((k, dim))
    x = centres[rng.integers(0, k, rows)] + rng.standard_normal((rows, dim)) * rng.uniform(
        0.5, 1.5, dim
    )
    return x.astype(np.float32), centres.astype(np.float32)


def start(covariance: str, centres: Any, dtype: Any) -> Any:
    """A mixture near these centres."""
    c = 0.8 * jnp.asarray(centres, dtype)
    k, d = c.shape
    ones = jnp.ones((k, d), dtype)
    parts = {
        "full": lambda: jax.vmap(jm.MultivariateNormal)(
            c, 2 * jnp.eye(d, dtype=dtype) * ones[..., None]
        ),
        "diag": lambda: jax.vmap(jm.DiagonalNormal)(c, ones),
        "spherical": lambda: jax.vmap(jm.SphericalNormal)(c, ones[:, 0]),
    }[covariance]()
    return jm.MixtureSameFamily(jnp.ones(k, dtype) / k, parts)


def of_em(covariance: str, large: bool) -> Callable[[Any], dict[str, Any]]:
    def answers(dtype):
        x, centres = blobs(*((20000, 8, 6) if large else (2000, 3, 3)), 1)
        x, model = jnp.asarray(x, dtype), start(covariance, centres, dtype)
        run = jm.em.run(model, x, max_steps=60, tol=None, history_size=60)
        total, stats = jm.em.expected_stats(model, x)
        return {
            "likelihood": total,
            "last likelihood": run.log_likelihood,
            "means": run.model.components.mean,
            "weights": run.model.weights,
            "covariance": run.model.components.covariance,
            "count": stats.components.count,
            "first": stats.components.first,
        }

    return answers


def of_solve(dtype) -> dict[str, Any]:
    x, centres = blobs(2000, 2, 2, 2)
    x, model = jnp.asarray(x, dtype), start("diag", centres, dtype)
    level = lambda scale: jm.em.solve(model, x * scale).components.mean.sum()
    return {"slope": jax.grad(level)(jnp.ones((), dtype))}


def family(means: Any) -> Any:
    return jax.vmap(jm.Normal)(means, jnp.ones_like(means))


def estimate(targets, proposals, x, weights, **how) -> Any:
    draws = Draws.of(x, family(proposals))
    return jm.imp_est(lambda x: x > 1.96, family(targets), draws, weights=weights, **how)


def importance_inputs(j: int, k: int, each: int, dtype: Any) -> tuple:
    rng = np.random.default_rng(3)
    targets, proposals = np.linspace(-4, 0, j), np.linspace(-2, 3, k)
    x = (proposals[:, None] + rng.standard_normal((k, each))).astype(np.float32)
    weights = rng.dirichlet(np.ones(k), j)
    return tuple(jnp.asarray(a, dtype) for a in (targets, proposals, x, weights))


def of_importance(dtype) -> dict[str, Any]:
    given = importance_inputs(11, 7, 2000, dtype)
    found = estimate(*given, control_variates=True)
    slope = jax.grad(lambda t, *rest: jnp.sum(jnp.log(estimate(t, *rest).value)))(*given)
    return {
        "value": estimate(*given).value,
        "std_error": estimate(*given).std_error,
        "value with controls": found.value,
        "slope": slope,
        "pareto k": jm.importance.psis(given[2].ravel() * jnp.asarray(1.3, dtype))[1],
    }


def of_objectives(dtype) -> dict[str, Any]:
    """On log-weights that are given: what is drawn differs from dtype to dtype."""
    rng = np.random.default_rng(5)
    logs = jnp.asarray(4 * rng.standard_normal((64, 24)).astype(np.float32), dtype)
    found = {"iwae": jm.iwae(24), "jackknife": jm.jackknife(24), "renyi": jm.renyi(24, 0.5)}
    return {
        name: jax.vmap(lambda row, o=one: jm.objectives.combine(row, o.terms).value)(logs)
        for name, one in found.items()
    }


def chain(states: int, dtype: Any) -> Any:
    rows = np.random.default_rng(6).dirichlet(np.ones(states), states)
    means = jnp.arange(states, dtype=dtype)
    emissions = jax.vmap(jm.Normal)(means, jnp.ones_like(means))
    return jm.HiddenMarkov(jnp.ones(states, dtype) / states, jnp.asarray(rows, dtype), emissions)


def of_chains(dtype) -> dict[str, Any]:
    x = np.random.default_rng(7).standard_normal((64, 200)).astype(np.float32)
    data = jm.SequenceEvent(jnp.asarray(x, dtype), jnp.full(64, 200))
    total, stats = jm.em.expected_stats(chain(6, dtype), data)
    smoothed = jax.vmap(chain(6, dtype).smoothed)(data)
    return {
        "likelihood": total,
        "count": stats.emissions.count,
        "first": stats.emissions.first,
        "smoothed": smoothed,
    }


def groups(large: bool) -> dict[str, Callable[[Any], dict[str, Any]]]:
    """All answers, by what they are of."""
    em = {f"EM, {c}": of_em(c, large) for c in ("full", "diag", "spherical")}
    return em | {
        "solve": of_solve,
        "importance": of_importance,
        "objectives": of_objectives,
        "chains": of_chains,
    }


def references(large: bool) -> dict[str, dict[str, np.ndarray]]:
    """The answers in float64, on the CPU of the same machine."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]), jm.em.sized_for("cpu"):
        return {name: _numbers(group(jnp.float64)) for name, group in groups(large).items()}


def compare(large: bool) -> int:
    """A row an answer; how many are wrong."""
    right, wrong, count = references(large), 0, itertools.count(1)
    print("| | answer | relative error | limit | |\n|---|---|---|---|---|")
    for name, group in groups(large).items():
        try:
            found = _numbers(group(jnp.float32))
        except Exception as error:  # one failure must not cost the others
            print(f"| | {name} | {type(error).__name__}: {str(error)[:120]} | | FAILED |")
            wrong += 1
            continue
        for what, value in found.items():
            size = np.linalg.norm(right[name][what])
            miss = float(np.linalg.norm(value - right[name][what]) / max(size, 1e-30))
            bad = not miss <= limit(what)
            wrong += bad
            cells = [next(count), f"{name}: {what}", f"{miss:.1e}", f"{limit(what):.0e}"]
            print("| " + " | ".join(map(str, cells)) + f" | {'WRONG' if bad else ''} |", flush=True)
    return wrong


def _numbers(answers: dict[str, Any]) -> dict[str, np.ndarray]:
    arrays = eqx.filter(answers, eqx.is_array)
    return {name: np.asarray(value, np.float64) for name, value in arrays.items()}
