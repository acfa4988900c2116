"""Certified bounds: closed forms, published numbers, enumeration, and how often they fail."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats as st

import jaxmix as jm

imp = jm.importance
normals = lambda means: jax.vmap(jm.Normal, (0, None))(jnp.asarray(means), 1.0)
binomials = lambda logits, n=10: jax.vmap(jm.Binomial, (None, 0))(n, jax.nn.sigmoid(logits))
PROPOSALS = (-1.2, -0.4, 0.2, 2.2)


def rejects(x):
    return x > 1.96


def bump(x):
    return jnp.abs(x + 0.5) < 0.3


BUMP = st.norm.cdf(0.3) - st.norm.cdf(-0.3)


def drawn(seed, proposals, counts, pilot=None):
    k_pilot, k_draws = jax.random.split(jax.random.key(seed))
    pilot = counts // 10 if pilot is None else pilot
    return imp.draw(k_pilot, proposals, pilot), imp.draw(k_draws, proposals, counts)


@functools.cache
def z_test(size=10_000, vertices=9):
    pilot, draws = drawn(1, normals(PROPOSALS), size)
    grid = normals(np.linspace(-1, 0, vertices))
    return imp.certify(rejects, grid, draws, delta=0.01, pilot=pilot), draws


def test_limits_of_a_mean():
    upper = imp.mean_upper
    np.testing.assert_allclose(upper(np.full(10, 0.5), 1000, 2.0, 0.01, 0.3), 0.03596624, rtol=1e-6)
    np.testing.assert_allclose(upper([], 1000, 2.0, 0.01, 1), 2 * (0.01**-0.001 - 1), rtol=1e-6)
    np.testing.assert_allclose(upper(np.ones(25), 1000, 1, 0.05, 0.5), 0.04007238, rtol=1e-6)
    assert upper(np.ones(20), 20, 1, 0.05, 0.5) > 1
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, bet = 200, rng.uniform(0.05, 1)
        a, b = (rng.random(n) ** rng.integers(1, 9) * (rng.random(n) < 0.3) for _ in range(2))
        one, two = upper(a, n, 1, 0.1, bet), upper(b, n, 1, 0.1, bet)
        # It grows with each number, scales with all, and is convex in them and in 1 / bet jointly.
        assert upper(np.minimum(a + b, 1), n, 1, 0.1, bet) >= max(one, two)
        np.testing.assert_allclose(upper(7 * a, n, 7, 0.1, bet), 7 * one, rtol=1e-6)
        other = upper(b, n, 1, 0.1, bet / 3)
        mixed = upper(0.4 * a + 0.6 * b, n, 1, 0.1, 1 / (0.4 / bet + 0.6 * 3 / bet))
        assert mixed <= (0.4 * one + 0.6 * other) * (1 + 1e-6)
    with pytest.raises(ValueError, match="Number 1 is 3"):
        upper([0.5, 3.0], 10, 1, 0.1, 1)


def test_published_tilt_bounds(x64):
    """Of imprint's tables: 50 cells of K = 8192, 5 cells, a calibrated level, two binomial arms."""
    for centre, half, hits, published in (
        (-0.01, 0.01, 187, 0.02769785136951589), (-0.1, 0.1, 156, 0.02993931077407945),
    ):  # fmt: skip
        limit = st.beta.ppf(0.99, hits + 1, 8192 - hits)
        ends = normals([centre - half, centre + half])
        np.testing.assert_allclose(
            imp.tilt_bound(limit, jm.Normal(centre, 1.0), ends), published, rtol=1e-12
        )
    level = imp.tilt_level(0.025, jm.Normal(-0.1, 1.0), normals([-0.2, 0.0]))
    np.testing.assert_allclose(level, 0.01895855956669432, rtol=1e-12)
    arm = lambda t: jm.Binomial(10, jax.nn.sigmoid(t))
    found = imp.tilt_bound(0.01, arm(jnp.array(0.0)), jax.vmap(arm)(jnp.array([-0.1, 0.1])))
    np.testing.assert_allclose(found, 0.01530254, rtol=1e-6)
    arms = jax.vmap(lambda a, b: jm.Composite((arm(a), arm(b))))
    corners = jnp.array([[-0.1, -0.1], [-0.1, 0.1], [0.1, -0.1], [0.1, 0.1]])
    centre = jm.Composite((arm(jnp.array(0.0)), arm(jnp.array(0.0))))
    found = imp.tilt_bound(0.01, centre, arms(*corners.T))
    np.testing.assert_allclose(found, 0.01870283, rtol=1e-6)
    one = jm.Normal(-0.25, 1.0)
    found = imp.tilt_bound(st.norm.sf(st.norm.isf(0.025) + 0.25), one, jm.Normal(0.0, 1.0))
    np.testing.assert_allclose(found, 0.02734834, rtol=1e-6)


def test_where_the_published_rules_are_false(x64):
    """A triangle whose corners do not bound its inside; a variance whose n was left out."""
    arms = jax.vmap(lambda t: jm.Composite([jm.Bernoulli(jax.nn.sigmoid(a)) for a in t]))
    corners = arms(jnp.array([[9.0, 0.0], [0.0, 9.0], [0.0, 0.0]]))
    centre = jax.tree.map(lambda a: a[0], arms(jnp.array([[-3.0, -3.0]])))
    both = lambda t: float(np.prod(scipy.special.expit(np.asarray(t))))
    inside = both([4.5, 4.5])
    assert imp.tilt_bound(both([-3, -3]), centre, corners) > inside > 0.9
    many = lambda mean: jm.Repeated(jm.Normal(mean, 1.0), 20)
    found = imp.tilt_bound(0.00125, many(-0.25), many(0.0))
    assert 0.0398 < found < 0.0401
    # The corners' own bounds, joined by the gap, hold inside too.
    region = jm.importance.certified.cells.Region([corners])
    values = np.array([both([9, 0]), both([0, 9]), both([0, 0])])
    assert region.inside(values)[0] >= inside


def test_bounds_at_corners_bound_the_inside(x64):
    """log f + A is convex: random functions of two binomial arms, random cells, by enumeration."""
    rng = np.random.default_rng(0)
    n = 6
    counts = np.arange(n + 1)
    log_choose = st.binom.logpmf(counts, n, 0.5) + n * np.log(2)

    def expected(f, t):
        terms = [log_choose + counts * a - n * np.logaddexp(0, a) for a in t]
        return np.exp(terms[0]) @ f @ np.exp(terms[1])

    def fall(logits, corners):
        share, level = scipy.special.softmax(logits), lambda t: n * np.logaddexp(0, t).sum(-1)
        return level(share @ corners) - share @ level(corners)

    pair = jax.vmap(lambda a, b: jm.Composite([jm.Binomial(n, jax.nn.sigmoid(x)) for x in (a, b)]))
    for _ in range(20):
        corners = rng.normal(0, 2, (4, 2))
        f = rng.random((n + 1, n + 1)) ** rng.integers(1, 20)
        region = jm.importance.certified.cells.Region([pair(*jnp.asarray(corners.T))])
        values = np.array([expected(f, t) for t in corners])
        top = region.inside(values)[0]
        inside = [expected(f, share @ corners) for share in rng.dirichlet(np.ones(4), 50)]
        assert max(inside) <= top * (1 + 1e-9)
        # The largest gap is the least largest divergence from a member to the corners.
        gap, own = region.gaps()[0], -scipy.optimize.minimize(fall, np.zeros(4), corners).fun
        assert own <= gap <= own + 1e-6 + 1e-4 * gap
    # The reversed divergence would be none.
    line = jm.importance.certified.cells.Region(binomials(jnp.array([-1.0, 1.0])))
    ends = binomials(jnp.array([-1.0, 1.0]))
    middle = jax.vmap(lambda _: jm.Binomial(10, 0.5))(jnp.zeros(2))
    reversed_ = float(jnp.max(jm.divergences.kl(ends, middle)))
    assert reversed_ < 1.11 and abs(line.gaps()[0] - 1.201) < 1e-3


def test_largest_weights():
    counts = jnp.array([100, 400, 500])
    draws = imp.draw(jax.random.key(0), normals([-1.2, 0.2, 2.2]), counts)
    found = imp.max_weight(normals([-1.0, -0.5, 0.0, 0.2, 1.0, -1.2, 2.3]), draws)
    exact = [6.13717, 3.18507, 2.18226, 2.02349, 1.84730, 10, np.inf]
    np.testing.assert_allclose(found, exact, rtol=3e-6)
    # Off the hull, where the statistic has an end; and where it is finite.
    rates = jax.vmap(jm.Exponential)(jnp.array([3.0, 1.0, 0.9]))
    draws = imp.draw(jax.random.key(0), jax.vmap(jm.Exponential)(jnp.array([1.0, 2.0])), 10)
    np.testing.assert_allclose(imp.max_weight(rates, draws), [2, 2, np.inf], rtol=1e-6)
    draws = imp.draw(jax.random.key(0), binomials(jnp.array([-1.0, 0.5])), 10)
    logits = np.array([-2.0, 0.0, 2.0])
    pmf = lambda t: st.binom.pmf(np.arange(11), 10, scipy.special.expit(t))
    exact = [np.max(pmf(t) / (0.5 * pmf(-1.0) + 0.5 * pmf(0.5))) for t in logits]
    found = imp.max_weight(binomials(jnp.asarray(logits, jnp.float32)), draws)
    assert (found >= np.array(exact) * (1 - 1e-5)).all() and (found <= 1.02 * np.array(exact)).all()
    # A declared support: one side, and the union of two.
    draws = imp.draw(jax.random.key(0), normals([-3.0, 2.2]), jnp.array([1, 9]))
    ratio = lambda x: st.norm.pdf(x, -3) / (0.1 * st.norm.pdf(x, -3) + 0.9 * st.norm.pdf(x, 2.2))
    target = normals([-3.0])
    found = imp.max_weight(target, draws, bound=imp.Box(1.5))
    np.testing.assert_allclose(found, ratio(1.5), rtol=1e-4)
    found = imp.max_weight(target, draws, bound=[imp.Box(1.5), imp.Box(0.5, 0.9)])
    np.testing.assert_allclose(found, ratio(0.5), rtol=1e-4)


def test_z_test_over_its_null():
    certificate, draws = z_test()
    truth = st.norm.sf(1.96)
    assert truth < certificate.supremum < truth + 3 * 0.0544 * np.sqrt(2 * np.log(100) / 40_000)
    assert certificate.upper.shape == (8,) and certificate.where.tolist() == [7]
    # Each vertex's limit is the root, found again in double precision.
    x = np.asarray(draws.events, np.float64)
    log_p = lambda m: st.norm.logpdf(x, m)
    q = scipy.special.logsumexp([log_p(m) for m in PROPOSALS], 0) - np.log(len(PROPOSALS))
    for v, mean in enumerate(np.linspace(-1, 0, 9)):
        terms, bet = (x > 1.96) * np.exp(log_p(mean) - q), certificate.bet[v]
        level = lambda m, b=bet, t=terms: np.log1p(b * (m - t)).sum() - np.log(100)
        root = scipy.optimize.brentq(level, 1e-6, 0.5)
        assert 0 <= certificate.vertex_upper[v] - root < 1e-6
        assert 1 / bet >= certificate.max_weight[min(v, 7)] * 0 + terms.max()
    # Inside a cell no parameter's own limit, at the bet that is its own, exceeds the cell's bound.
    coarse, _ = z_test(vertices=2)
    for share in np.linspace(0, 1, 11):
        mean, gap = share - 1.0, 0.5 * share * (1 - share)
        inverse = np.exp(gap) * ((1 - share) / coarse.bet[0] + share / coarse.bet[1])
        terms = (x > 1.96) * np.exp(log_p(mean) - q)
        level = lambda m, b=1 / inverse, t=terms: np.log1p(b * (m - t)).sum() - np.log(100)
        assert scipy.optimize.brentq(level, 1e-6, 0.5) <= coarse.upper[0]
    assert truth < coarse.refined(splits=4).supremum <= coarse.supremum
    assert "Certified with probability 0.99" in str(certificate) and "8 cells" in str(certificate)


def test_several_values_lower_bounds_and_all_cells_at_once():
    pilot, draws = drawn(3, normals(PROPOSALS), 4000)
    grid = normals(np.linspace(-1, 0, 5))
    both = lambda x: {"reject": x > 1.96, "accept": x <= 1.96}
    certificate = imp.certify(both, grid, draws, delta=0.05, pilot=pilot)
    assert st.norm.sf(1.96) < certificate.supremum["reject"] < 0.0274
    assert certificate.supremum["accept"] <= 1
    # The least power is 1 less the bound of the probability of acceptance.
    power, more = drawn(4, normals([1.8, 2.5, 3.2]), 4000)
    args = (lambda x: x <= 1.96, normals([2.0, 2.5, 3.0]), more)
    least = 1 - imp.certify(*args, delta=0.05, pilot=power).supremum
    assert st.norm.sf(-0.04) - 0.04 < least < st.norm.sf(-0.04)
    assert certificate.upper["reject"].shape == (4,) and "each" in str(certificate)
    wide = imp.certify(rejects, grid, draws, delta=0.05, pilot=pilot, simultaneous=True)
    assert (wide.upper > certificate.upper["reject"]).all()
    normal = imp.certify(rejects, grid, draws, delta=0.05, method="normal")
    assert "not certified" in str(normal)
    assert normal.supremum < certificate.supremum["reject"]


def test_two_binomials_with_a_nuisance_parameter():
    """Fisher's exact test on the diagonal's side of a triangle, against enumeration."""
    n, logits = 10, np.linspace(-1.5, 1.5, 7)
    table = np.array(
        [[st.fisher_exact([[a, n - a], [b, n - b]], "greater")[1] for a in range(n + 1)]
         for b in range(n + 1)]
    )  # fmt: skip
    fisher = jnp.asarray(table <= 0.05)
    pair = jax.vmap(lambda a, b: jm.Composite([jm.Binomial(n, jax.nn.sigmoid(t)) for t in (a, b)]))
    index = {(i, j): k for k, (i, j) in enumerate((i, j) for i in range(7) for j in range(i, 7))}
    vertices = jnp.asarray([[logits[i], logits[j]] for i, j in index], jnp.float32)
    cells = [
        [index[i, j], index[i, j + 1], index[i + 1, j + 1]] for i in range(6) for j in range(i, 6)
    ]
    cells += [
        [index[i, j], index[i + 1, j], index[i + 1, j + 1]]
        for i in range(6)
        for j in range(i + 1, 6)
    ]
    region = imp.Simplices(pair(*vertices.T), jnp.asarray(cells))
    ends = jnp.asarray([(a, b) for a in (-1.6, -0.5, 0.5, 1.6) for b in (-1.6, -0.5, 0.5, 1.6)])
    pilot, draws = drawn(5, pair(*ends.T), 2000)
    certificate = imp.certify(lambda x: fisher[x[1], x[0]], region, draws, delta=0.01, pilot=pilot)
    pmf = lambda t: st.binom.pmf(np.arange(n + 1), n, scipy.special.expit(t))
    fine = np.linspace(-1.5, 1.5, 61)
    truth = max(pmf(t) @ (table <= 0.05).T @ pmf(t) for t in fine)
    assert truth < certificate.supremum < truth + 0.01
    assert certificate.upper.shape == (len(cells),)


def test_designs_that_stop_are_weighed_by_what_they_saw():
    """A group-sequential test of two looks: less variance, and the same answer."""
    two = jax.vmap(lambda m: jm.Repeated(jm.Normal(m, 1.0), 2))
    rejects = lambda x: (x[0] > 2.8) | (x[0] + x[1] > 1.98 * 2**0.5)
    seen = lambda x: jnp.stack([jnp.asarray(True), x[0] <= 2.8])
    pilot, draws = drawn(7, two(jnp.array([-0.6, 0.15, 1.2])), 6000)
    grid = two(jnp.linspace(-0.5, 0.0, 5))
    whole, stopped = (
        imp.certify(rejects, grid, draws, delta=0.01, pilot=pilot, seen=s) for s in (None, seen)
    )
    nodes = np.linspace(-8, 2.8, 4001)
    tail = st.norm.pdf(nodes) * st.norm.sf(1.98 * 2**0.5 - nodes)
    truth = st.norm.sf(2.8) + np.trapezoid(tail, nodes)
    for certificate in (whole, stopped):
        assert truth < certificate.supremum < truth + 0.0035
        np.testing.assert_allclose(certificate.value[-1], truth, atol=0.0016)


def test_unknown_variance():
    """A t test from its sufficient events: the mean and the variance both move in the cells."""
    from_both = lambda m, s: jm.Repeated(jm.Normal(m, s), 5)
    grid = jax.vmap(jax.vmap(from_both, (None, 0)), (0, None))(
        jnp.linspace(-0.1, 0.0, 3), jnp.array([0.95, 1.0, 1.05])
    )
    ends = jnp.asarray([(m, s) for m in (-0.3, 0.1, 1.2) for s in (0.85, 1.2)])
    pilot, draws = drawn(9, jax.vmap(from_both)(*ends.T), 5000)
    t_test = lambda x: jnp.mean(x) * 5**0.5 > 2.131847 * jnp.std(x, ddof=1)
    certificate = imp.certify(t_test, grid, draws, delta=0.01, pilot=pilot)
    assert 0.05 < certificate.supremum < 0.056 and certificate.upper.shape == (2, 2)


def test_a_rare_event_with_declared_support():
    truth = st.norm.sf(4.96)
    pilot, draws = drawn(11, normals([-3.0, 2.2]), np.array([1000, 9000]))
    one = imp.certify(
        rejects, jm.Normal(-3.0, 1.0), draws, delta=0.01, pilot=pilot, bound=imp.Box(1.5)
    )
    assert truth < one.supremum < 1.2 * truth
    with pytest.raises(ValueError, match=r"Draw \d+ lies outside the declared support"):
        imp.certify(
            rejects, jm.Normal(-3.0, 1.0), draws, delta=0.01, pilot=pilot, bound=imp.Box(2.5)
        )


@pytest.mark.parametrize("labelled", [False, True])
def test_how_often_a_bound_is_too_low(labelled):
    """The supremum inside ONE cell: the corners alone are far below it."""
    family, grid = normals([-1.2, 0.2]), normals([-1.0, 0.0])
    draw = imp.draw_labelled if labelled else imp.draw
    runs, missed, corners = 100, 0, 0
    pilot = imp.draw(jax.random.key(5), family, 500)
    for seed in range(runs):
        draws = draw(jax.random.key(100 + seed), family, 4000 if labelled else 2000)
        certificate = imp.certify(bump, grid, draws, delta=0.2, pilot=pilot)
        missed += certificate.supremum < BUMP
        corners += certificate.vertex_upper.max() < BUMP
    # At most the stated .2, and far more if the gap were left out (measured: .04 and .97).
    finer = certificate.refined(splits=8)
    assert BUMP < finer.supremum < certificate.supremum and finer.upper.shape == (1,)
    assert missed <= st.binom.ppf(1 - 1e-4, runs, 0.1) and corners > 0.9 * runs


def test_calibration():
    grid = normals(np.linspace(-1, 0, 5))
    # Plain draws at one vertex: the order statistic number floor((n + 1) alpha), from above.
    draws = imp.draw(jax.random.key(0), jm.Normal(0.0, 1.0), 4000)
    plain = imp.calibrate(lambda x: x, jm.Normal(0.0, 1.0), draws, alpha=0.025)
    assert plain.value == float(np.sort(np.asarray(draws.events))[-int(4001 * 0.025)])
    pilot = imp.draw(jax.random.key(1), normals(PROPOSALS), 500)
    draws = imp.draw(jax.random.key(2), normals(PROPOSALS), 8000)
    sure = imp.calibrate(lambda x: x, grid, draws, alpha=0.025, delta=0.05, pilot=pilot)
    assert 0.024 < st.norm.sf(sure.value) < 0.025 and sure.level <= 0.025
    assert "0.95" in str(sure)
    errors = []
    for seed in range(30):
        draws = imp.draw_labelled(jax.random.key(10 + seed), normals(PROPOSALS), 8000)
        threshold = imp.calibrate(lambda x: x, grid, draws, alpha=0.025)
        errors.append(st.norm.sf(threshold.value))
    assert 0.0235 < np.mean(errors) < 0.025 + 3 * np.std(errors) / 30**0.5
    never = imp.calibrate(lambda x: x, grid, draws, alpha=1e-5)
    assert never.value == np.inf and "never" in str(never)


def _rounds():
    return imp.Rounds(*[None] * len(imp.Rounds._fields))  # what it holds is not looked at


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"self_normalised": True}, "self-normalised weights"),
        ({"smooth": True}, "smoothed weights"),
        ({"control_variates": True}, "control variates"),
        ({"weights": jnp.ones((5, 4)) / 4}, "weights of one's own"),
        ({"f": lambda x: jnp.where(x > 0, 2.0, 0.0)}, r"between 0 and 1 .*it is 2"),
        ({"f": lambda x: jnp.log(x)}, "between 0 and 1 .*it is nan"),
        ({"grid": lambda: normals([-1.0, 3.0])}, "has no upper bound"),
        ({"draws": _rounds}, "adapted rounds"),
        ({"pilot": "draws"}, "draws are the draws themselves"),
        ({"pilot": None}, "Betting needs a pilot"),
        ({"delta": 1.5}, "between 0 and 1"),
        ({"method": "bootstrap"}, "method is one of betting, normal"),
        ({"grid": lambda: jax.vmap(jm.Laplace)(jnp.zeros(3), jnp.ones(3))}, "no exponential family"),
        ({"grid": lambda: jax.vmap(jm.Poisson)(jnp.array([0.0, 1.0]))}, "on the boundary"),
        ({"grid": lambda: jax.vmap(jm.Poisson)(jnp.array([0.5, 1.0]))}, "they are Poisson and Normal"),
        ({"grid": lambda: normals([0.0])}, "2 vertices or more"),
        ({"grid": lambda: jax.vmap(jm.VonMises)(jnp.zeros(2), jnp.ones(2))}, "give the simplices"),
        ({"grid": lambda: jnp.zeros(3)}, "The region is a stack of densities"),
        ({"bound": 3.0}, "bound must be a"),
        ({"bound": imp.Box((0.0, 1.0))}, "ends are shaped like an event"),
        ({"bound": imp.Box(3.0, 1.0)}, "from low up to high"),
        ({"seen": lambda x: jnp.ones(3, bool)}, "one truth value an observation"),
    ],
)  # fmt: skip
def test_refused_by_a_sentence(change, sentence):
    pilot, draws = drawn(1, normals(PROPOSALS), 100)
    given = {"f": rejects, "grid": lambda: normals([-1.0, 0.0]), "draws": draws, "delta": 0.1}
    given = given | {"pilot": pilot} | change
    if given["pilot"] == "draws":
        given["pilot"] = draws
    if given["draws"] is _rounds:
        given["draws"] = _rounds()
    f, grid, drawn_ = given.pop("f"), given.pop("grid")(), given.pop("draws")
    with pytest.raises(ValueError, match=sentence):
        imp.certify(f, grid, drawn_, **given)


def test_calibration_refuses_fixed_counts_in_expectation():
    draws = imp.draw(jax.random.key(2), normals(PROPOSALS), 100)
    with pytest.raises(ValueError, match="draw_labelled"):
        imp.calibrate(lambda x: x, normals([-1.0, 0.0]), draws, alpha=0.1)


def test_proposals_are_placed_outside_and_where_a_test_rejects():
    grid = normals(np.linspace(-1, 0, 5))
    placed = imp.place(jax.random.key(0), rejects, grid, num_draws=2000)
    means, shares = np.asarray(placed.proposals.mean), np.asarray(placed.weights)
    # A quarter of a standard deviation outward; most draws about the mean of what is rejected.
    assert np.allclose(np.sort(means)[:2], [-1.25, 0.25], atol=1e-3)
    assert abs(means[shares.argmax()] - (2.34)) < 0.3 and np.isclose(shares.sum(), 1, atol=1e-5)
    draws = imp.draw(jax.random.key(1), placed.proposals, imp.allocate(placed.weights, 2000))
    assert np.isfinite(imp.max_weight(grid, draws)).all()
    # A wide region is covered: no vertex is far from every proposal.
    wide = imp.place(jax.random.key(0), lambda x: x > 0, normals(np.linspace(-9, 9, 19)))
    line = np.asarray(wide.proposals.mean)
    assert np.abs(np.linspace(-9, 9, 19)[:, None] - line[None]).min(1).max() < 1.5
