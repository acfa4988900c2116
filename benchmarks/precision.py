"""Claim: six products of bfloat16, or three of TF32, leave a fit as exact as float32 does.

What a tensor core makes of a float32 product, emulated on a CPU: operands are rounded to parts of
8 (bfloat16) or 11 (TF32) digits, the parts' products added up in float32, the least first. Of each
precision: the relative error of a product; the error of the log-likelihood in nats a datum, on
clusters that are hard in float32 (unit ones at offset 1e3, ones of scale 0.01 at +-10) and on
easy ones in 32 dimensions; that of the statistics about the means there; that of a fit's
log-likelihood after 20 steps; and that of `imp_est`. All against float64.

python -m benchmarks.precision
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.lax.lax import _dot_general_lower
from jax.extend.core.primitives import dot_general_p
from jax.interpreters import mlir

import jaxmix as jm
from jaxmix._platform import PRECISIONS

# Digits of a part after its first, parts of a number, the last place of a pair of parts.
PARTS = {
    "bf16x3": (7, 2, 1),
    "bf16x6": (7, 3, 2),
    "bf16x9": (7, 3, 4),
    "tf32": (10, 1, 0),
    "tf32x3": (10, 2, 1),
}


default = functools.partial(_dot_general_lower, platform="cpu")


def emulate() -> None:
    """Programs for a CPU made from here on have the products that they ask for."""
    parts = {PRECISIONS[name]: how for name, how in PARTS.items()}

    def rule(ctx, a, b, *, precision, **how):
        if precision not in parts:
            return default(ctx, a, b, precision=precision, **how)
        exact = functools.partial(dot_general_p.bind, precision=jax.lax.Precision.HIGHEST, **how)
        whole = functools.partial(_product, exact, *parts[precision])
        return mlir.lower_fun(whole, multiple_results=False)(ctx, a, b)

    mlir.register_lowering(dot_general_p, rule, platform="cpu")


def _product(exact, digits: int, count: int, last: int, a, b):
    """Products of parts whose places add up to `last` at most, the least first."""
    a, b = (list(_parts(x, digits, count)) for x in (a, b))
    pairs = [(i, j) for i in range(count) for j in range(count) if i + j <= last]
    terms = [exact(a[i], b[j]) for i, j in sorted(pairs, key=sum, reverse=True)]
    return functools.reduce(jnp.add, terms)


def _parts(x, digits, count):
    for _ in range(count):
        part = jax.lax.reduce_precision(x, 8, digits)
        yield part
        x = x - part


def clusters(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows, the centres they are drawn about, and their scale."""
    rng = np.random.default_rng(0)
    centres, scale = {
        "offset": lambda: (1e3 + 6 * rng.normal(size=(3, 4)), 1.0),
        "tight": lambda: (10 * rng.choice([-1.0, 1.0], size=(3, 4)), 0.01),
        "easy": lambda: (2 * rng.normal(size=(64, 32)), 1.0),
    }[name]()
    x = centres[rng.integers(0, len(centres), 4000)] + scale * rng.normal(
        size=(4000, centres.shape[1])
    )
    return x.astype(np.float32), centres, scale


def model(centres, scale, cov, dtype):
    """A mixture about these centres."""
    c = jnp.asarray(centres, dtype)
    k, d = c.shape
    parts = {
        "full": lambda: jax.vmap(jm.MultivariateNormal)(
            c, jnp.broadcast_to(scale**2 * jnp.eye(d, dtype=dtype), (k, d, d))
        ),
        "diag": lambda: jax.vmap(jm.DiagonalNormal)(c, jnp.full((k, d), scale, dtype)),
    }[cov]()
    return jm.MixtureSameFamily(jnp.ones(k, dtype) / k, parts)


def answers(dtype) -> dict[str, np.ndarray]:
    """All that is compared, in one dtype and the precision that is set."""
    out = {}
    a, b = (np.random.default_rng(i).normal(size=(256, 256)).astype(np.float32) for i in (1, 2))
    dot = lambda a, b: jnp.matmul(a, b, precision=jm._platform.product_precision(a))
    out["product"] = jax.jit(dot)(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    for name, cov in itertools.product(("offset", "tight", "easy"), ("diag", "full")):
        x, centres, scale = clusters(name)
        x, start = jnp.asarray(x, dtype), model(centres + 0.3 * scale, 1.2 * scale, cov, dtype)
        total, stats = jax.jit(lambda m, x: jm.em.expected_stats(m, x))(start, x)
        out[f"{name} {cov}"] = total / len(x)
        if name == "easy":
            out[f"statistics {cov}"] = jnp.concatenate(
                [s.ravel() for s in jax.tree.leaves(stats.components)]
            )
            run = jm.em.run(start, x, max_steps=20, tol=None, history_size=20)
            out[f"fit {cov}"] = run.log_likelihood / len(x)
    targets, proposals = np.linspace(-4, 0, 20), np.linspace(-2, 3, 21)
    draws = (proposals[:, None] + np.random.default_rng(3).normal(size=(21, 500))).astype(
        np.float32
    )
    w = np.random.default_rng(4).dirichlet(np.ones(21), 20)
    family = lambda m: jax.vmap(jm.Normal, in_axes=(0, None))(jnp.asarray(m, dtype), 1.0)
    w = jnp.asarray(w, dtype)
    given = jm.importance.Draws.of(jnp.asarray(draws, dtype), family(proposals))
    out["imp_est"] = jm.imp_est(
        lambda x: x > 1.96, family(targets), given, weights=w / w.sum(1, keepdims=True)
    ).value
    return {name: np.asarray(value, np.float64) for name, value in out.items()}


def error(name: str, found: np.ndarray, right: np.ndarray) -> float:
    """Nats a datum for log-likelihoods, else relative to the norm."""
    miss = float(np.linalg.norm((found - right).ravel()))
    return miss if right.ndim == 0 else miss / float(np.linalg.norm(right.ravel()))


def main() -> None:
    """The table: a row an answer, a column a precision."""
    emulate()
    with jax.enable_x64(True):
        right = answers(jnp.float64)
    print(f"jax {jax.__version__}, products emulated on a {jax.devices()[0].platform}")
    print("| error of | " + " | ".join(PRECISIONS) + " |\n|" + "---|" * (1 + len(PRECISIONS)))
    found = {}
    for precision in PRECISIONS:
        with jm.em.sized_for("cuda"), jm.products_in(precision):
            found[precision] = answers(jnp.float32)
    for name, value in right.items():
        cells = [f"{error(name, found[p][name], value):.1e}" for p in PRECISIONS]
        print("| " + " | ".join([name, *cells]) + " |")


if __name__ == "__main__":
    main()
