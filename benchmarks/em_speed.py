"""One EM iteration against scikit-learn's: same data, same start, answers compared first.

python -m benchmarks em_speed
"""

import statistics
import sys
import time
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

# rows, coordinates, components, covariance, dtype, scikit-learn's iterations, ours
CASES = [
    (65_536, 32, 64, "full", "float32", 2, 8),
    (50_000, 15, 20, "full", "float32", 4, 20),
    (1_048_576, 32, 64, "diag", "float32", 1, 4),
    (131_072, 128, 64, "spherical", "float32", 2, 8),
    (1_000_000, 1, 2, "full", "float64", 4, 20),
]


def draw(n, d, k, dtype, seed=0):
    """Clusters about three standard deviations apart in each coordinate."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(k, d))
    x = np.empty((n, d), dtype)
    for start in range(0, n, 65_536):
        rows = slice(start, min(n, start + 65_536))
        size = rows.stop - start
        x[rows] = centres[rng.integers(k, size=size)] + rng.normal(size=(size, d))
    return x, (centres + 0.3 * rng.normal(size=(k, d))).astype(dtype)


def peer(x, means, covariance, steps):
    """Seconds an iteration: the difference of a longer and a shorter fit, and its mean score."""
    from sklearn.mixture import GaussianMixture

    k, d = means.shape
    precisions = {
        "full": np.repeat(np.eye(d, dtype=x.dtype)[None], k, 0),
        "diag": np.ones((k, d), x.dtype),
        "spherical": np.ones(k, x.dtype),
    }[covariance]

    def seconds(count):
        model = GaussianMixture(
            k, covariance_type=covariance, tol=0, reg_covar=0, max_iter=count,
            weights_init=np.full(k, 1 / k, x.dtype), means_init=means, precisions_init=precisions,
        )  # fmt: skip
        began = time.perf_counter()
        model.fit(x)
        return time.perf_counter() - began, model

    short, _ = seconds(1)
    long, model = seconds(1 + steps)
    return (long - short) / steps, model.score(x[:65_536])


def start(means, covariance):
    k, d = means.shape
    means = jnp.asarray(means)
    one = jnp.ones((), means.dtype)
    if d == 1:
        parts = jax.vmap(lambda m: jm.Normal(m[0], one))(means)
    elif covariance == "full":
        parts = jax.vmap(lambda m: jm.MultivariateNormal(m, jnp.eye(d, dtype=means.dtype)))(means)
    elif covariance == "diag":
        parts = jax.vmap(lambda m: jm.DiagonalNormal(m, jnp.ones(d, means.dtype)))(means)
    else:
        parts = jax.vmap(lambda m: jm.SphericalNormal(m, one))(means)
    return jm.MixtureSameFamily(jnp.full(k, 1 / k, means.dtype), parts)


@eqx.filter_jit
def advance(model, x, steps):
    return jm.em.run(model, x, max_steps=steps, tol=None, history_size=1000)


@jax.jit
def score(model, x):
    return jnp.mean(jax.lax.map(model.log_prob, x, batch_size=4096))


def ours(x, means, covariance, steps, peer_steps):
    x = jnp.asarray(x[:, 0] if x.shape[1] == 1 else x)
    model = start(means, covariance)
    began = time.perf_counter()
    compiled = advance.lower(model, x, 1).compile()
    compiling = time.perf_counter() - began
    spans = []
    for _ in range(3):
        times = []
        for count in (1, 1 + steps):
            began = time.perf_counter()
            jax.block_until_ready(compiled(model, x, count).model)
            times.append(time.perf_counter() - began)
        spans.append((times[1] - times[0]) / steps)
    same = compiled(model, x, 1 + peer_steps).model
    return statistics.median(spans), max(spans) - min(spans), compiling, score(same, x[:65_536])


def product_seconds(n, d, k, covariance, dtype):
    """The two matrix products of an iteration alone, by chunks: the machine's limit here."""
    width = {"full": d + d * (d + 1) // 2, "diag": 2 * d, "spherical": d}[covariance]
    chunk = 2048
    a = jnp.ones((chunk, width), dtype)
    w, r = jnp.ones((width, k), dtype), jnp.ones((chunk, k), dtype)

    @jax.jit
    def both(a, w, r):
        def body(i, carry):
            total, stats = carry
            shifted = a + total[0, 0] * 0
            return total + (shifted @ w)[:1], stats + r.T @ shifted

        return jax.lax.fori_loop(0, n // chunk, body, (w[:1, :] * 0, jnp.zeros((k, width), dtype)))

    jax.block_until_ready(both(a, w, r))
    began = time.perf_counter()
    jax.block_until_ready(both(a, w, r))
    return time.perf_counter() - began


def main():
    warnings.filterwarnings("ignore")
    wanted = [int(a) for a in sys.argv[1:] if a.isdigit()] or range(len(CASES))
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}; seconds an iteration")
    print("| rows x coordinates | jaxmix (spread) | scikit-learn | ratio | products | compile |")
    print("|---|---|---|---|---|---|")
    for index in wanted:
        n, d, k, covariance, dtype, peer_steps, steps = CASES[index]
        with jax.enable_x64(dtype == "float64"):
            x, means = draw(n, d, k, dtype)
            theirs, their_score = peer(x, means, covariance, peer_steps)
            mine, spread, compiling, my_score = ours(x, means, covariance, steps, peer_steps)
            if not abs(float(my_score) - their_score) < 1e-3:
                sys.exit(f"answers differ: {float(my_score)} and {their_score} nats a row")
            least = product_seconds(n, d, k, covariance, dtype)
        print(
            f"| {n} x {d}, {k} {covariance} {dtype} | {mine:.4f} ({spread:.4f}) | {theirs:.3f} "
            f"| {theirs / mine:.1f} | {least:.4f} | {compiling:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
