"""Pictures: what is drawn is what the model says. Drawn to memory, never shown."""

import matplotlib

matplotlib.use("Agg")

import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
from matplotlib.patches import Ellipse

import jaxmix as jm
from jaxmix.plot._canvas import MAX_POINTS, bins_of, colours, ellipse, thinned


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def plane():
    components = jax.vmap(jm.MultivariateNormal)(
        jnp.array([[2.0, 1.0], [-2.0, -1.0]]),
        jnp.array([[[4.0, 0.0], [0.0, 1.0]], [[1.0, 0.5], [0.5, 1.0]]]),
    )
    model = jm.MixtureSameFamily(jnp.array([0.3, 0.7]), components)
    return model, jax.vmap(model.sample)(jax.random.split(jax.random.key(0), 60))


def saved(ax):
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png")
    return buffer.getvalue()


def ellipses(ax):
    return [patch for patch in ax.patches if isinstance(patch, Ellipse)]


def test_an_ellipse_holds_its_share_of_a_normal_density():
    ax = plt.figure().add_subplot()
    mean, covariance = np.array([1.0, -2.0]), np.array([[3.0, 1.2], [1.2, 0.8]])
    ellipse(ax, mean, covariance, 0.9)
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, 20_000)
    (patch,) = ellipses(ax)
    corners = patch.get_patch_transform().inverted().transform(draws)
    share = ((corners**2).sum(1) < 1).mean()
    assert abs(share - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 20_000)


def test_mixture_in_the_plane(plane):
    model, x = plane
    ax = jm.plot.mixture(model, x, truth=model, names=["a", "b"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    drawn = ellipses(ax)
    assert len(drawn) == 4  # two components, and two of the truth
    assert np.allclose([e.center for e in drawn[:2]], model.components.mean, atol=1e-6)
    points = ax.collections[0]
    assert np.allclose(points.get_offsets(), x)
    expected = jax.vmap(model.posterior)(x) @ jnp.asarray(colours(2), jnp.float32)
    assert np.allclose(points.get_facecolors()[:, :3], expected, atol=1e-5)
    assert len(saved(ax)) > 5000


@pytest.mark.parametrize("family", ["diagonal", "spherical", "tied", "list"])
def test_every_normal_family_has_ellipses(plane, family):
    _, x = plane
    means, half = jnp.array([[2.0, 1.0], [-2.0, -1.0]]), jnp.array([0.5, 0.5])
    if family == "list":
        eye = jnp.eye(2)
        model = jm.Mixture(half, [jm.MultivariateNormal(mean, eye) for mean in means])
    else:
        components = {
            "diagonal": lambda: jax.vmap(jm.DiagonalNormal)(means, jnp.ones((2, 2))),
            "spherical": lambda: jax.vmap(jm.SphericalNormal)(means, jnp.ones(2)),
            "tied": lambda: jm.TiedMultivariateNormal(means, jnp.eye(2)),
        }[family]()
        model = jm.MixtureSameFamily(half, components)
    drawn = ellipses(jm.plot.mixture(model, x))
    assert np.allclose([e.center for e in drawn], means, atol=1e-6)
    # Unit variances: the radius that holds 90 % is sqrt(-2 log 0.1), in every direction.
    assert np.allclose([[e.width, e.height] for e in drawn], 2 * np.sqrt(-2 * np.log(0.1)))


def test_mixture_on_a_line_draws_its_density():
    model = jm.MixtureSameFamily(
        jnp.array([0.5, 0.5]), jax.vmap(jm.Normal)(jnp.array([-3.0, 3.0]), jnp.ones(2))
    )
    x = jax.vmap(model.sample)(jax.random.split(jax.random.key(1), 400))
    ax = jm.plot.mixture(model, x, truth=model)
    lines = {line.get_label(): line for line in ax.lines}
    grid, density = lines["mixture"].get_data()
    area = np.trapezoid(density, grid)
    assert 0.98 < area < 1.0  # the grid ends at the outermost data
    assert np.allclose(lines["truth"].get_ydata(), density, rtol=1e-4)
    assert len(saved(ax)) > 5000


def test_pairs_of_more_dimensions():
    means = jnp.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    components = jax.vmap(jm.DiagonalNormal)(means, jnp.ones((2, 3)))
    model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), components)
    x = jax.vmap(model.sample)(jax.random.split(jax.random.key(2), 50))
    ax = jm.plot.mixture(model, x, truth=model)
    grid = np.array(ax.figure.axes).reshape(3, 3)
    for up in range(3):
        for across in range(up):
            centres = [e.center for e in ellipses(grid[up, across])[:2]]
            assert np.allclose(centres, means[:, [across, up]])
    with pytest.raises(ValueError, match="figure of their own"):
        jm.plot.mixture(model, x, ax=ax)


def test_mixture_refuses_what_it_cannot_draw(plane):
    model, x = plane
    with pytest.raises(ValueError, match=r"numbers .* or vectors"):
        jm.plot.mixture(model, x[None])
    with pytest.raises(ValueError, match=r"3 names .* 2 dimensions"):
        jm.plot.mixture(model, x, names="abc")


def test_frozen_parts_are_drawn_like_any_other(plane):
    model, x = plane
    frozen = jm.MixtureSameFamily(model.mixing, jm.frozen(model.components))
    assert len(ellipses(jm.plot.mixture(frozen, x))) == 2


def test_history_draws_the_three_traces():
    log_likelihood = np.array([-10.0, -8.0, -7.5])
    gap = np.array([1.0, 0.1, -1e-6])  # rounding may leave a closed gap below 0
    trace = SimpleNamespace(log_likelihood=log_likelihood, elbo=log_likelihood - gap, kl=gap)
    upper = jm.plot.history(SimpleNamespace(history=trace))
    lines = {line.get_label(): line.get_ydata() for line in upper.lines}
    assert np.array_equal(lines["log-likelihood"], log_likelihood)
    assert np.array_equal(lines["ELBO"], log_likelihood - gap)
    lower = upper.figure.axes[1]
    assert lower.get_yscale() == "log"
    assert np.array_equal(lower.lines[0].get_ydata(), [1.0, 0.1, np.nan], equal_nan=True)
    assert len(saved(upper)) > 5000


def test_assignments_in_the_plane(plane):
    model, x = plane
    posterior = jax.vmap(model.posterior)(x)
    counts = np.bincount(posterior.argmax(1), minlength=2)
    ax = jm.plot.assignments(model, x, sure=0.99)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"0: {counts[0]}", f"1: {counts[1]}"]
    filled = ax.collections[0].get_offsets()  # component 0, sure
    chosen = (posterior.argmax(1) == 0) & (posterior.max(1) >= 0.99)
    assert np.allclose(filled, x[chosen])
    assert len(saved(ax)) > 5000


def test_assignments_of_any_event():
    row = {"a": jm.Normal.template(), "b": jm.Categorical(jnp.array([0.5, 0.5]))}
    model = jm.mixture_of(jm.Composite(row), 3)
    x = {"a": jnp.zeros(5), "b": jnp.zeros(5, int)}
    ax = jm.plot.assignments(model, x)
    assert ax.get_ylim() == (0, 1)
    assert len(ax.collections) >= 3


def test_many_components_and_many_points():
    assert len(np.unique(colours(30), axis=0)) == 30
    assert len(thinned(np.arange(10 * MAX_POINTS + 7))) <= MAX_POINTS
    assert len(thinned(np.arange(0))) == 0


def test_certified_bounds_are_drawn_cell_by_cell():
    shape = {"delta": 0.01, "num_draws": 9, "method": "betting"}
    fields = {"max_weight": 1.0, "bet": 1.0, "simultaneous": False, "again": None}
    upper, line = np.array([0.02, 0.04]), np.array([-1.0, -0.5, 0.0])
    one = jm.importance.Certificate(
        upper=upper, vertex_upper=np.array([0.01, 0.02, 0.04]), value=np.array([0.01, 0.02, 0.03]),
        gap=np.zeros(2), **shape, **fields,
    )  # fmt: skip
    ax = jm.plot.certificate(one, line, truth=lambda t: 0.03 * np.exp(t), names=("mean",))
    (steps,) = [patch for patch in ax.patches if hasattr(patch, "get_data")]
    assert steps.get_data().values.tolist() == upper.tolist() and ax.get_xlabel() == "mean"
    upper = np.array([[0.01, 0.02, 0.015], [0.02, 0.04, 0.03]])
    two = jm.importance.Certificate(
        upper=upper, vertex_upper=0, value=0, gap=np.zeros((2, 3)), **shape,
        **fields,
    )  # fmt: skip
    other = np.array([0.0, 1.0, 2.0, 3.0])
    ax = jm.plot.certificate(two, line, other, truth=lambda a, b: 0.01 * (b - a))
    mesh = ax.collections[0]
    np.testing.assert_allclose(mesh.get_array().ravel(), upper.T.ravel())
    assert ax.patches[0].get_xy()[:2].tolist() == [[-0.5, 1.0], [0.0, 1.0]]
    assert len(saved(ax)) > 5000
    three = jm.importance.Certificate(
        upper=upper[0, :2], vertex_upper=0, value=0, gap=np.zeros(2), **shape,
        **fields,
    )  # fmt: skip
    corners = np.array([[0, 1, 2], [1, 2, 3]])
    ax = jm.plot.certificate(three, np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 1]), corners)
    assert ax.patches[0].get_xy()[:3].tolist() == [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match="cells have shape"):
        jm.plot.certificate(two, line)


def test_what_a_threshold_rejects():
    found = jm.importance.Threshold(1.5, np.zeros(2), 0.05, 0.05, 0.01, 100)
    pair = jm.Composite((jm.Normal(0.0, 1.0), jm.Normal(1.0, 1.0)))
    draws = jm.importance.draw(jax.random.key(0), pair, 200)
    ax = jm.plot.threshold(found, lambda x: x[0] + x[1], draws)
    lines = [path for c in ax.collections for path in c.get_paths() if len(path.vertices) > 50]
    sums = [p.vertices.sum(1) for p in lines]
    assert any(np.ptp(s) < 1e-3 and abs(s.mean() - 1.5) < 1e-3 for s in sums)
    with pytest.raises(ValueError, match="Events of 2 numbers"):
        jm.plot.threshold(
            found, lambda x: x, jm.importance.draw(jax.random.key(0), jm.Normal(0, 1), 9)
        )


@pytest.mark.parametrize("x", [[1e30], [0.0, 0.0], [1.0, np.nan, 2.0]])
def test_data_that_span_nothing_are_drawn(x):
    parts = jax.vmap(jm.Normal)(jnp.array([0.0, 3.0]), jnp.ones(2))
    ax = jm.plot.mixture(jm.MixtureSameFamily(jnp.ones(2) / 2, parts), np.array(x, np.float32))
    low, high = ax.get_xlim()
    assert np.isfinite([low, high]).all() and low < np.nanmin(x) <= np.nanmax(x) < high


def test_fields_of_rounded_numbers_atoms_and_records_within_records():
    """A probability over a step is a density; atoms stand beside the rest."""
    record = jm.Composite({
        "r": jm.Discretised(jm.Normal(50.0, 5.0), 0.1),
        "h": jm.Hurdle(jm.Normal(50.0, 5.0), jnp.array([0.25, 0.75]), (-999.0,)),
        "s": jm.Composite({"u": jm.Normal(50.0, 5.0)}),
    })  # fmt: skip
    x = jnp.asarray(scipy.stats.norm.ppf((np.arange(60) + 0.5) / 60, 50, 5).round(1), jnp.float32)
    gone = jnp.where(jnp.arange(60) < 15, -999.0, x)
    data = {"r": x, "h": gone, "s": {"u": x}}
    axes = jm.plot.fields(jm.mixture_of(record, 1), data, ["r", "h", "s"])
    assert [ax.get_title() for ax in axes] == ["r", "h (beside 25% -999)", "s.u"]
    for ax in axes:
        assert abs(np.nanmax(ax.lines[0].get_ydata()) - scipy.stats.norm.pdf(0, scale=5)) < 1e-4
        assert abs(sum(bar.get_height() * bar.get_width() for bar in ax.patches) - 1) < 0.05
    bins = bins_of(np.arange(100.0) / 10, 0.1)  # each has as many multiples of the step
    counts = np.histogram(np.arange(100) / 10, bins)[0]
    assert len(set(counts.tolist())) == 1 and len(bins_of(np.full(9, 3.0))) == 9


def test_vectors_that_lack_a_coordinate_are_drawn_at_its_mean():
    parts = jax.vmap(jm.PartialNormal)(jnp.zeros((2, 3)), jnp.stack([jnp.eye(3)] * 2))
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    x[3, 1] = np.nan
    ax = jm.plot.assignments(
        jm.MixtureSameFamily(jnp.full(2, 0.5), parts), x, posterior=np.full((20, 2), 0.5)
    )
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 20
