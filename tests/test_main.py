"""The command line and the chapters of its tour, on fewer fits than the tour itself makes."""

import matplotlib

matplotlib.use("Agg")

import json
import os
import re
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy.stats import kstest

import jaxmix as jm
from jaxmix import _tour
from jaxmix.__main__ import main
from jaxmix._tour.birds import clusters, records
from jaxmix._tour.evidence import evidence
from jaxmix._tour.rejections import certified, integrals
from jaxmix.datasets import penguins
from tests._browser import BROWSER, opened


def test_penguins_table():
    rows = penguins().rows
    x, species = penguins().measured()
    assert len(rows) == 344 and len(species) == 342
    assert sum(row["sex"] is None for row in rows) == 11
    # Means as published with the table (Horst, Hill and Gorman 2020).
    assert np.allclose(x.mean(0), [43.92, 17.15, 200.92, 4201.75], rtol=1e-4)
    assert sorted(species.count(s) for s in set(species)) == [68, 123, 151]


def test_clusters_chapter_stars_the_least_bic(tmp_path, capsys):
    written = clusters(tmp_path, components=(1, 3), covariances=("full", "diag"))
    page = capsys.readouterr().out
    table = {}
    for k, *cells in re.findall(r"^(\d) +([\d.]+\*?) +([\d.]+\*?) *$", page, re.MULTILINE):
        table |= {(int(k), j): cell for j, cell in enumerate(cells)}
    values = {choice: float(cell.rstrip("*")) for choice, cell in table.items()}
    starred = [choice for choice, cell in table.items() if cell.endswith("*")]
    assert len(values) == 4 and starred == [min(values, key=values.get)]
    # One Gaussian is known in closed form.
    x, _ = penguins().measured()
    n, d = x.shape
    log_det = float(np.linalg.slogdet(np.corrcoef(np.asarray(x, float).T))[1])
    of_one = n * (d * np.log(2 * np.pi) + d + log_det) + 14 * np.log(n)
    assert abs(values[1, 0] - of_one) < 0.2
    assert {path.name for path in written} == {
        "penguins_mixture.png", "penguins_assignments.png", "penguins_history.png",
    }  # fmt: skip
    assert all(path.stat().st_size > 10_000 for path in written)


def test_records_chapter_finds_the_species_and_fills_the_gaps(tmp_path, capsys):
    written = records(tmp_path, components=(3,))
    page = capsys.readouterr().out
    assert [path.name for path in written] == ["records_fields.png"]
    counts = [
        list(map(int, row.split()[1:]))
        for row in re.findall(r"^[012] +\d+ +\d+ +\d+$", page, re.MULTILINE)
    ]
    assert sum(map(sum, counts)) == 344
    # Gentoo differ in size: next to no component mixes them with the others.
    assert sum(min(adelie + chinstrap, gentoo) for adelie, chinstrap, gentoo in counts) <= 5
    means = {row["species"]: [] for row in penguins().rows}
    for row in penguins().rows:
        if row["body_mass_g"] is not None:
            means[row["species"]].append(row["body_mass_g"])
    imputed = re.findall(r"^\d+ +(\w+) +\w+ +(\d{4})$", page, re.MULTILINE)
    assert [species for species, _ in imputed] == ["Adelie", "Gentoo"]
    for species, mass in imputed:
        mine, spread = np.mean(means[species]), np.std(means[species])
        assert abs(float(mass) - mine) < 2 * spread


def test_integrals_chapter_agrees_with_the_exact_values(tmp_path, capsys):
    integrals(tmp_path)
    rows = re.findall(r"^-?\d\.\d .*$", capsys.readouterr().out, re.MULTILINE)
    z = np.array([float(row.split()[4]) for row in rows])
    assert len(z) == 9 and (abs(z) < 4).all()


def test_evidence_chapter_orders_the_bounds(tmp_path, capsys):
    evidence(tmp_path)
    page = capsys.readouterr().out
    number = r" +([+-][\d.]+) +([\d.]+) +([+-][\d.]+)"
    gap = {name: [float(x) for x in re.search(re.escape(name) + number, page).groups()]
           for name in ("ELBO, 1 sample", "IWAE, 6 samples", "multilevel, single term",
                        "multilevel, roulette", "SUMO")}  # fmt: skip
    assert gap["ELBO, 1 sample"][0] < gap["IWAE, 6 samples"][0] < 0
    assert gap["IWAE, 6 samples"][2] < -4
    for name in ("multilevel, single term", "multilevel, roulette", "SUMO"):
        assert abs(gap[name][2]) < 4.5, name


def test_certified_chapter_bounds_the_truth(tmp_path, capsys):
    written = certified(tmp_path, num_draws=20_000)
    page = capsys.readouterr().out
    bound = float(re.search(r"is at most ([\d.]+) for every", page).group(1))
    threshold = float(re.search(r"exceeds ([\d.]+):", page).group(1))
    assert 0.049372 < bound < 0.056 and 1.9545 < threshold < 2.05
    assert [path.name for path in written] == ["certified_square.png", "certified_threshold.png"]


def test_main_writes_where_it_says(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_tour, "CHAPTERS", {"one": lambda folder: [folder / "picture.png"]})
    before = jax.config.read("jax_disable_most_optimizations")
    main(["--out", str(tmp_path / "here")])
    page = capsys.readouterr().out
    assert str(tmp_path / "here") in page and "picture.png" in page
    assert (tmp_path / "here").is_dir()
    assert jax.config.read("jax_disable_most_optimizations") == before


@pytest.mark.parametrize("dies", [False, True])
def test_later_chapters_of_a_process_of_their_own_stand_last(tmp_path, capsys, monkeypatch, dies):
    def chapter(name):
        return lambda folder: print(f"{name} here") or [folder / f"{name}.png"]

    said = json.dumps(["evidence there\n", ["evidence.png"]])
    code = f"#!{sys.executable}\nimport sys\nprint({said!r})\n"
    code += f"assert sys.argv[1:] == ['-m', 'jaxmix._tour', {str(tmp_path)!r}, 'evidence']\n"
    python = tmp_path / "python"
    python.write_text(code + f"sys.exit({int(dies)})\n")
    python.chmod(0o700)
    monkeypatch.setattr(_tour, "CHAPTERS", {n: chapter(n) for n in ("evidence", "clusters")})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(sys, "executable", str(python))
    written = _tour.tour(tmp_path)
    assert [path.name for path in written] == ["clusters.png", "evidence.png"]
    where = "here" if dies else "there"
    assert capsys.readouterr().out.startswith(f"clusters here\nevidence {where}\n")


def test_the_process_of_later_chapters_says_all_as_one_text(tmp_path, capsys, monkeypatch):
    stub = {"evidence": lambda folder: print("two\nlines") or [folder / "a.png", folder / "b.png"]}
    monkeypatch.setattr(_tour, "CHAPTERS", stub)
    monkeypatch.setattr("jaxmix._compile.compilation_cache", lambda: None)
    monkeypatch.setattr(sys, "argv", ["jaxmix._tour", str(tmp_path), "evidence"])
    runpy.run_module("jaxmix._tour", run_name="__main__")
    assert json.loads(capsys.readouterr().out) == ["two\nlines\n", ["a.png", "b.png"]]


def test_main_refuses_an_unknown_option():
    with pytest.raises(SystemExit):
        main(["--outt"])


def test_importing_jaxmix_brings_no_optional_package():
    optional = "{'matplotlib', 'pandas', 'pyarrow', 'sklearn'}"
    program = f"import sys, jaxmix; print(*{optional} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == ""


def test_fit_reads_a_table_of_mixed_columns(tmp_path, capsys):
    rows = penguins().rows[3::4]  # two of which lack the measurements
    names = ("species", "bill_length_mm", "flipper_length_mm", "sex")
    lines = [";".join("" if row[n] is None else str(row[n]) for n in names) for row in rows]
    path = tmp_path / "birds.csv"
    path.write_text("\n".join([";".join(names), *lines]))
    out = tmp_path / "out"
    main(["fit", str(path), "--components", "2", "--restarts", "4", "--out", str(out)])
    assert "Chosen by BIC: K = 2" in capsys.readouterr().out
    posterior = np.loadtxt(out / "posteriors.csv", delimiter=",", skiprows=1)
    assert posterior.shape == (len(rows), 2) and np.allclose(posterior.sum(1), 1, atol=1e-4)
    with pytest.warns(UserWarning, match="read with 32"):
        model = jm.load(out / "model.npz")
    data = jm.encode(model.components, [dict(r) for r in rows])
    assert np.allclose(jax.vmap(model.posterior)(data), posterior, atol=1e-4)
    # The species is a column, and the strongest: no species is shared out between components.
    kinds = np.array([row["species"] for row in rows])
    shares = np.array([posterior[kinds == kind, 0].mean() for kind in sorted(set(kinds))])
    assert np.minimum(shares, 1 - shares).max() < 0.02 and np.ptp(shares) > 0.9

    # What was there stays; a gap holds the mean given the rest of its row.
    lines = [line.split(",") for line in (out / "imputed.csv").read_text().splitlines()]
    header, table = lines[0], lines[1:]
    at, flag = header.index("bill_length_mm"), header.index("bill_length_mm imputed")
    gaps = [i for i, row in enumerate(rows) if row["bill_length_mm"] is None]
    assert gaps and [i for i, row in enumerate(table) if row[flag] == "1"] == gaps
    for i, (row, given) in enumerate(zip(table, rows, strict=True)):
        event = jax.tree.map(lambda a, i=i: a[i], data)
        expected = given["bill_length_mm"]
        if i in gaps:
            expected = model.conditional(event, "bill_length_mm").mean
        assert abs(float(row[at]) - expected) < 1e-3
        assert row[header.index("species")] == given["species"]

    report = (out / "report.md").read_text()
    assert "A mixture of 2 over birds.csv" in report and "fields.png" in report
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "form 2 groups" in page
    _seen_in_a_browser(out / "report.html", tmp_path)

    # The rows again as new ones.
    main(["apply", str(out / "model.npz"), str(path), "--out", str(tmp_path / "new")])
    again = np.loadtxt(tmp_path / "new" / "posteriors.csv", delimiter=",", skiprows=1)
    assert np.allclose(again, posterior, atol=1e-4)
    tail = np.genfromtxt(tmp_path / "new" / "rows.csv", delimiter=",", skip_header=1)[:, 3]
    assert kstest(tail, "uniform").statistic < 2 / np.sqrt(len(tail))  # uniform under the model
    assert not (tmp_path / "new" / ".part").exists()
    with pytest.raises(SystemExit):
        main(["apply", str(out / "model.npz"), _file(tmp_path, "other.csv", "a\n1\n")])
    assert "has no column" in capsys.readouterr().err
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"fields.png", "assignments.png", "history.png"}


def _seen_in_a_browser(page, folder):
    if BROWSER is None:
        return
    seen, pixels = opened(page, folder)
    assert "form 2 groups" in seen["text"] and "#" not in seen["text"]  # markdown was set
    assert len(seen["pictures"]) == 2 and min(seen["pictures"]) > 300
    assert max(seen["tables"]) > 3 and seen["overflow"] <= 0
    assert pixels.std() > 0.05  # there is ink


def _file(folder, name, content):
    path = folder / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("absent.csv", None, [], "There is no file"),
        ("folder.csv/", None, [], "There is no file"),
        ("table.doc", "a\n1\n", [], "TABLE must be a .csv, .tsv"),
        ("table.csv", "a\n1\n2\n", ["--components", "3:1"], "1 <= A <= B"),
        ("table.csv", "a\n1\n2\n", ["--components", "3"], "3 components are more than the 2 rows"),
        ("table.csv", "a\n1\n2\n", ["--ignore", "b"], "--ignore b: the columns are a"),
        ("empty.csv", "", [], "has no rows"),
        ("header.csv", "a,b\n", [], "has no rows"),
        ("binary.csv", bytes(range(256)), [], "can't be read as csv"),
        ("binary.parquet", bytes(range(256)), [], "can't be read as parquet"),
        ("ragged.csv", "a,b\n1,2\n1,2,3\n", [], "can't be read as csv: .*line 3, saw 3"),
        ("one.csv", "a,b\n1,2\n", [], "1 row: a mixture needs at least 2"),
        ("nothing.csv", "a,b\n,\n,\n", [], "a: no value at all; b: no value at all"),
        ("table.csv", "a\n1\n2\n", ["--as", "a=Gauss"], "no family 'Gauss'"),
        ("table.csv", "a\n1\n2\n", ["--weights", "w"], "--weights w: the columns are a"),
        ("ids.csv", "id\n" + "\n".join(map(str, range(99))), [], "id: it numbers the rows"),
        ("names.csv", "who\n" + "\n".join(f"n{i}" for i in range(99)), [], "99 different texts"),
        ("same.csv", "a\n1\n1\n", [], "a: every value is 1"),
    ],
)
def test_fit_says_what_is_wrong(name, content, options, sentence, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["fit", _file(tmp_path, name, content), "--out", str(out), *options])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error), error
    assert "Traceback" not in error and not list(out.glob("*"))
