"""Files as people write them, and columns as they are: no compilation, few scores."""

import gzip
import subprocess
import sys
import time as clock
import zipfile
from datetime import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats

import jaxmix as jm
from jaxmix.__main__ import main
from jaxmix._fit_table import pieces, read, work
from jaxmix._fit_table.apply import _patterns, apply
from jaxmix._fit_table.asked import Asked, as_text, read_proposal
from jaxmix._fit_table.describe import described, share
from jaxmix._fit_table.joint import blocks_of, joined
from jaxmix._fit_table.long import drawn, kept
from jaxmix._fit_table.read import read_table
from jaxmix._fit_table.regressions import in_own_units
from jaxmix._fit_table.report import on_a_part
from jaxmix._fit_table.rows import filled_in, rows_under
from jaxmix._fit_table.summary import _jaccard, doubt
from jaxmix._fit_table.work import Place, stopped_by_ctrl_c
from jaxmix._fit_table.write import imputed
from jaxmix._page import door
from jaxmix.data.candidates import choose_number
from jaxmix.data.column import column_of, names_rows, step_of
from jaxmix.data.copies import copies_among
from jaxmix.plot._canvas import fonts_for

choose_module = sys.modules["jaxmix._fit_table.choose"]


def _read(folder, text, name="t.csv", **options):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    readings = options.pop("readings", None)
    return read_table(path, Asked(**options), readings)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ('"a;x";"b"\n1,5;2\n2,5;3\n', {}, {"a;x": [1.5, 2.5], "b": [2, 3]}),
        ('p,s\n"$1,234.50",12.3%\n"($34.50)",1%\n', {}, {"p": [1234.5, -34.5], "s": [12.3, 1]}),
        ("a;n\n1.250;1\n12.400;2\n", {}, {"a": [1250, 12400], "n": [1, 2]}),
        ("a;n\n1.250;1\n7;2\n12.400;3\n", {}, {"a": [1250, 7, 12400]}),
        ("a,n\n1.250,1\n7,2\n", {"thousands": "."}, {"a": [1250, 7], "n": [1, 2]}),
        ("a,n\n1.250,1\n12.400,2\n", {}, {"a": [1.25, 12.4], "n": [1, 2]}),
        ("a;n\n1.250;1\n12.400;2\n", {"decimal": "."}, {"a": [1.25, 12.4], "n": [1, 2]}),
        ("a\tb\n1 234,5\t1\n2 000,25\t2\n", {}, {"a": [1234.5, 2000.25], "b": [1, 2]}),
        ("# made\n\na,b\n1,2\n", {}, {"a": [1], "b": [2]}),
        ("s,n\n12.5%,1\n0.25,2\n", {}, {"s": [0.125, 0.25]}),
        ("s,n\n12.5%,1\n25,2\n", {}, {"s": [12.5, 25]}),
        (
            "t,n\n+49 30 3661351,1\n+49 30 2661352,2\n",
            {},
            {"t": ["+49 30 3661351", "+49 30 2661352"]},
        ),
        (
            "a\tg\n\u0663\u066b\u0665\t\u0663\u063a\n\uff11\u0662\tx\n",
            {},
            {"a": [3.5, 12], "g": ["\u0663\u063a", "x"]},
        ),
        ("g,x\nNone,1\nNA,2\n", {}, {"g": ["None", "NA"], "x": [1, 2]}),
        ("g,x\nNA,1\nu,NA\n", {}, {"g": [None, "u"], "x": [1, None]}),
        ("g,x\nnil,1\nu,2\n", {"na": ["nil"]}, {"g": [None, "u"], "x": [1, 2]}),
        ("d,x\n2024-02-28,1\n2024-03-01,2\n", {}, {"d": [0, 2], "x": [1, 2]}),
        ('"x" "y"\n"r1" 1 2\n"r2" 3 4\n', {}, {"x": [1, 3], "y": [2, 4]}),
        ("a,b\n1,2\n# one, two\n3,4\n", {}, {"a": [1, 3], "b": [2, 4]}),
        ("a,b\n#1,2\n#3,4\n", {}, {"a": ["#1", "#3"], "b": [2, 4]}),
        ("# a,b\n1.5,2\n3.5,4\n", {}, {"a": [1.5, 3.5], "b": [2, 4]}),
        ('"a\nb","c, d"\n1,2\n3,4\n', {}, {"a\nb": [1, 3], "c, d": [2, 4]}),
        ("% u\n// v\na,b\n1,2\n", {}, {"a": [1], "b": [2]}),
        ('t,v\n"u\n# w, x",1\n"5"" pipe",2\n', {}, {"t": ["u\n# w, x", '5" pipe'], "v": [1, 2]}),
        ("Of all\n\na,b,c\n1,2,3\n4,5,6\nTotal: 2\n", {}, {"a": [1, 4], "c": [3, 6]}),
        ("sep=;\na;b\n1,5;2\n", {}, {"a": [1.5], "b": [2]}),
        ("a;p\n1;1,5 %\n2;22,5 %\n", {}, {"p": [1.5, 22.5]}),
        ("a;p\n1;R$ 1.234,50\n2;R$ 2,00\n", {}, {"p": [1234.5, 2]}),
        ("a;p\n1;12,34,567\n2;1,234\n", {}, {"p": [1234567, 1234]}),
        ("w,x\n12 kg,1\n7.5 kg,2\n", {}, {"w": [12, 7.5]}),
        ("w,x\n12 kg,1\n7 lb,2\n", {}, {"w": ["12 kg", "7 lb"]}),
        ("zip,x\n01234,1\n99999,2\n", {}, {"zip": ["01234", "99999"], "x": [1, 2]}),
        ("d,x\n31.1.2024,1\n1.2.2024,2\n", {}, {"d": [0, 1]}),
        ("d,x\n12/31/2024,1\n01/01/2025,2\n", {}, {"d": [0, 1]}),
        ("d,x\n2 Mar 2024,1\n1 Mar 2024,2\n", {}, {"d": [1, 0]}),
        ("d,x\n2000Q1,1\n2000-Q2,2\n", {}, {"d": [0, 91]}),
        ("a,b,\n1,2,\n3,4,\n", {}, {"a": [1, 3], "b": [2, 4]}),
        ("ä\n1\n".encode("cp1252"), {}, {"ä": [1]}),
        ("ä,g\n1,ü\n".encode() + "2,ö\n".encode("cp1252"), {}, {"ä": [1, 2], "g": ["ü", "ö"]}),
        ("a,b\n9007199254740993,1\n1,2\n", {}, {"a": [2**53 + 1, 1]}),
        ("a,,\n1,2,\n  ,3,\n", {}, {"a": [1, None], "column 2": [2, 3]}),
        ("| a | g |\n|---|---|\n| 1 | u |\n| 2 | v |\n", {}, {"a": [1, 2], "g": ["u", "v"]}),
        ("d,x\n2024-02-28,1e400\n1.3.2024,2.5-\n", {}, {"d": [0, 2], "x": [None, -2.5]}),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, {"a": [1], "b": [2]}),
        ("a\n-0,5\n12,25\n", {}, {"a": [-0.5, 12.25]}),
        ("a;b;c\n1;2;3;\n4;5;6;\n", {}, {"a": [1, 4], "c": [3, 6]}),
        ("1.5,2\n3.5,4\n", {}, {"column 1": [1.5, 3.5], "column 2": [2, 4]}),
        ("2001,2002\n3,4\n", {}, {"2001": [3], "2002": [4]}),
        ("a,b\nkg,\n" + "1,2\n" * 5, {}, {"a": [1] * 5, "b": [2] * 5}),
        ("a,a\nm,s\n" + "1,2\n" * 5, {}, {"a m": [1] * 5, "a s": [2] * 5}),
        ("a    b c\n1.5  u 2\n22.5 v 3\n", {}, {"a": [1.5, 22.5], "b": ["u", "v"], "c": [2, 3]}),
        (" a , b \n 1 , u \n2,u\n", {}, {"a": [1, 2], "b": ["u", "u"]}),
        ("s,x\n1.5k,1\n2M,2\n7,3\n", {}, {"s": [1500, 2e6, 7]}),
        ("t,x\n7:30,1\n17:45:36,2\n", {}, {"t": [7.5, 17.76]}),
        ("t,x\n12:30 am,1\n1:30 PM,2\n", {}, {"t": [0.5, 13.5]}),
        ("d,x\n" + "".join(f"202402{i:02d},1\n" for i in range(1, 7)), {}, {"d": [*range(6)]}),
        (
            "x,y\n" + "".join(f"{i}.5,1\n" for i in range(12)) + "error,1\n",
            {},
            {"x": [*(i + 0.5 for i in range(12)), None]},
        ),
        (
            "x,y\n" + "".join(f"{i}.5,1\n" for i in range(12)) + "<0.5,1\n",
            {},
            {"x": [*(i + 0.5 for i in range(12)), 0.5]},
        ),
    ],
)
def test_text_is_read_by_the_column_as_a_whole(text, options, expected, tmp_path):
    frame = _read(tmp_path, text, **options).frame
    for name, values in expected.items():
        got = [None if v != v else v for v in frame[name].tolist()]
        assert got == values, (name, got)


def test_a_table_in_pieces_is_the_table_as_a_whole(tmp_path, monkeypatch):
    """Labels, gaps and numbers that hardly a row has are among the rows that are drawn."""
    monkeypatch.setattr(read, "MANY_ROWS", 300)
    rng, rows = np.random.default_rng(0), 5000
    x = rng.normal(size=rows).round(2)
    price = np.where(
        np.arange(rows) == 4321, "n.a.", [f"${v:,.2f}" for v in rng.gamma(2, 900, rows)]
    )
    x[1234] = 99.25
    label = np.where(np.arange(rows) == 3210, "rare", rng.choice(["u", "v"], rows))
    day = "2024-01-0" + pd.Series(rng.integers(1, 9, rows)).astype(str)
    count = pd.array(rng.poisson(3, rows), dtype="Int64")
    frame = pd.DataFrame({"x": x, "price": price, "g": label, "n": count, "day": day})
    frame.loc[2345, "n"] = None
    text = "# made\n" + frame.to_csv(index=False) + "# end\n"
    for name, content in ("t.csv", text), ("t.parquet", None), ("t.jsonl", None):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        else:
            frame.to_parquet(path) if name == "t.parquet" else frame.to_json(
                path, orient="records", lines=True
            )
        whole, few = read_table(path), read_table(path, Asked(memory=0))
        long = few.long
        assert long.rows == few.rows == rows and long.at_random == 300 and len(few.frame) < 1200
        assert few.readings["price"] == whole.readings["price"] and few.frame["price"].isna().any()
        assert (
            few.frame["x"].max() == 99.25
            and "rare" in set(few.frame["g"])
            and few.frame["n"].isna().any()
        )
        at = whole.frame.iloc[long.numbers].reset_index(drop=True)
        pd.testing.assert_frame_equal(few.frame[:300], at, check_dtype=False, check_freq=False)
        again = pd.concat(list(few.pieces()), ignore_index=True)
        pd.testing.assert_frame_equal(again, whole.frame, check_dtype=False)
    # Every row is as likely to be drawn: the mean of 300 numbers of 5000.
    means = [
        np.mean(drawn(iter([frame[:700], frame[700:]]), 300, seed).numbers) for seed in range(8)
    ]
    assert abs(np.mean(means) - (rows - 1) / 2) < 4 * rows / np.sqrt(12 * 300 * 8)


def test_a_table_simulated_from_the_same_seed_is_not_drawn_by_its_values():
    u = pd.DataFrame({"u": np.random.default_rng(3).random(5000)})
    few = drawn(iter([u]), 300, 3)
    assert abs(few.frame["u"][:300].mean() - 0.5) < 4 / np.sqrt(12 * 300)


def test_events_kept_on_disk_are_those_of_the_table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=50), "g": [None, "u", "v", "v", "u"] * 10})
    template = jm.Composite({
        "x": jm.Normal.template(), "g": jm.Optional.template(jm.Categorical.template(labels=("u", "v")))
    })  # fmt: skip
    cut = [frame[:20], frame[20:50]]
    found = kept(
        tmp_path / "rows", cut, template, 50, lambda piece, first: piece["x"].to_numpy() ** 2
    )
    whole = jm.encode(template, frame)
    (batch,) = found.batches()
    for got, index in (batch, np.arange(50)), (found.take(np.array([41, 3])), np.array([41, 3])):
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a, b[i], rtol=1e-6), got, whole
        )
    np.testing.assert_array_equal(found.weights, frame["x"] ** 2)
    odd = frame[20:50].assign(g=["w" if i == 31 else "u" for i in range(20, 50)])
    with pytest.raises(ValueError, match="Row 31, field g: 'w' was given"):
        kept(tmp_path / "again", [frame[:20], odd], template, 50)


def test_numbers_and_times_of_a_database_and_sheets_behind_a_title_page(tmp_path):
    table = pd.DataFrame({"price": [Decimal("1.25"), None], "at": [time(6, 30), time(18, 0)]})
    table.to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet").frame
    np.testing.assert_array_equal(found.to_numpy(float), [[1.25, 6.5], [np.nan, 18]])
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        for name, rows in (("about", ["made by"]), ("data", [1, 2, 3])):
            pd.DataFrame({"a": rows}).to_excel(book, sheet_name=name, index=False)
    sheet = read_table(tmp_path / "t.xlsx")
    assert sheet.frame["a"].tolist() == [1, 2, 3] and "not 'about'" in sheet.notes[0]


def test_a_packed_text_with_what_a_macintosh_adds_and_one_that_is_cut(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as packed:
        packed.writestr("t.csv", "a,b\n1,2\n3,4\n")
        packed.writestr("__MACOSX/._t.csv", "?")
    assert read_table(tmp_path / "t.zip").frame["b"].tolist() == [2, 4]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:-20])
    with pytest.raises(ValueError, match=r"t\.csv\.gz can't be read as gz"):
        read_table(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("memory", [None, 0])
def test_a_bad_line_of_json_is_told_by_its_number(memory, tmp_path):
    text = '{"a": 1}\n\n{"a": 2}\n{"a": 3\n'
    with pytest.raises(ValueError, match=r"t\.jsonl can't be read as jsonl: line 4: "):
        _read(tmp_path, text, "t.jsonl", memory=memory)


def test_texts_of_json_keep_their_zeros_and_what_is_no_table_is_told(tmp_path):
    text = '{"z": "01234", "n": 9007199254740993}\n{"z": "99999", "n": 1}\n'
    frame = _read(tmp_path, text, "t.jsonl").frame
    assert frame["z"].tolist() == ["01234", "99999"] and frame["n"].tolist() == [2**53 + 1, 1]
    with pytest.raises(ValueError, match="neither a list of rows nor a dict of columns"):
        _read(tmp_path, '{"a": 1}', "t.json")


def test_errors_have_the_line_numbers_of_the_file(tmp_path):
    with pytest.raises(ValueError, match="Expected 2 fields in line 6, saw 3"):
        _read(tmp_path, "# made\na,b\n1,2\n# more\n3,4\n5,6,7\n")


def test_spans_of_time_are_days(tmp_path):
    pd.DataFrame({"t": pd.to_timedelta([12, 36], unit="h")}).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").frame["t"].tolist() == [0.5, 1.5]


def test_dates_in_digits_stay_with_the_names_of_their_rows(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("when x\n" + "".join(f"r{i} 202401{i + 10} {i}.5\n" for i in range(12)))
    frame = read_table(path).frame
    assert frame.index.tolist() == [f"r{i}" for i in range(12)]
    assert frame["when"].tolist() == list(range(12))


def test_dates_and_currencies_that_may_be_others_are_said(tmp_path):
    text = "d,p\n01/02/2024,$1\n03/04/2024,€2\n"
    dates, money, mixed = _read(tmp_path, text).notes
    assert "either may be first" in dates and "money" in money and "$, €" in mixed
    assert "either" not in str(_read(tmp_path, "d,x\n01/22/2024,1\n03/04/2024,2\n").notes)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--restarts", "0"), ("--resamples", "-1"), ("--prior", "nan"), ("--prior", "-1"),
     ("--memory", "0"), ("--seed", "-1"), ("--thousands", "xx"), ("--components", "5:2")],
)  # fmt: skip
def test_an_option_without_a_meaning_is_refused_before_the_file_is_opened(option, value, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "absent.csv", option, value])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and option in said and value in said, said


@pytest.mark.parametrize("words", [("--given", "x"), ("--decimal", ",", "--thousands", ",")])
def test_options_that_contradict_one_another_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "absent.csv", *words])
    said = capsys.readouterr().err
    assert all(word in said for word in words if word.startswith("-")), said


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--weights", "z"], "--weights z: the columns are"), (["--weights", "a"], "row 1: -2 is no"),
     (["--response", "a", "--given", "a"], "'a' is the response"),
     (["--ignore", "a", "--ignore", "b"], "All columns"), (["--proposal", "{}"], "is no text")],
)  # fmt: skip
def test_columns_that_cannot_be_meant_are_told_of_a_proposal(words, said, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,b\n1,3\n-2,5\n2,4\n")
    (tmp_path / "odd").write_bytes(b"\x80")
    with pytest.raises(SystemExit):
        words = [word.format(tmp_path / "odd") for word in words]
        main(["fit", str(tmp_path / "t.csv"), "--dry-run", *words])
    assert said in capsys.readouterr().err


def test_a_text_or_number_that_does_not_fit_is_named_with_its_place(tmp_path):
    read = _read(tmp_path, "x,y\n1.5%,1\n2%,2\n")
    with pytest.raises(ValueError, match="Row 1, x: 'no' is no percentage"):
        _read(tmp_path, "x,y\n1%,1\nno,2\n", readings=read.readings)
    with pytest.raises(ValueError, match=r"is no Gamma: Gamma does not hold .* such as -2"):
        jm.infer_template(pd.DataFrame({"x": [-2.0, *range(1, 40)]}), families={"x": "Gamma"})


def test_what_was_guessed_is_said(tmp_path):
    notes = " ".join(_read(tmp_path, "# made\na;n\n1.250;$1\n12.400;$2\n").notes)
    assert "'# made'" in notes and "'1.250' was read as 1250" in notes and "'$1'" in notes


def test_headers_of_two_lines_as_spreadsheets_merge_their_cells(tmp_path):
    body = "".join(f"{i}.5,{i}.25,{-i}.5,{i}.75\n" for i in range(1, 7))
    over = _read(tmp_path, "size,,mass,\na,b,a,b\n" + body)
    assert list(over.frame) == ["size a", "size b", "mass a", "mass b"]
    titled = _read(tmp_path, "Table,,,\na,b,c,d\n" + body)
    assert list(titled.frame) == ["a", "b", "c", "d"] and len(titled.frame) == 6
    pytest.importorskip("openpyxl")
    path = tmp_path / "t.xlsx"
    cells = [["size", None, "mass"], ["a", "b", "in g"], *np.arange(18.0).reshape(6, 3).tolist()]
    with pd.ExcelWriter(path) as book:
        pd.DataFrame(cells).to_excel(book, index=False, header=False)
        pd.DataFrame([1]).to_excel(book, sheet_name="more")
    sheet = read_table(path)
    assert list(sheet.frame) == ["size a", "size b", "mass in g"]
    assert sheet.frame.to_numpy().ravel().tolist() == list(range(18))
    assert "and not 'more'" in sheet.notes[0]


def test_packed_text_is_read(tmp_path):
    assert _read(tmp_path, gzip.compress(b"a\n1\n2\n"), "t.csv.gz").frame["a"].tolist() == [1, 2]


def test_a_proposal_comes_back(tmp_path):
    table = {"a = b": list("xyxyxyxyzz"), "n": [1] * 10}
    inferred = jm.infer_template(table)
    path = tmp_path / "proposal.txt"
    path.write_text(as_text("t.csv", inferred), encoding="utf-8")
    assert read_proposal(path) == (["n"], {"a = b": "Categorical"})
    path.write_text("a: Normal\n")
    with pytest.raises(ValueError, match="line 1"):
        read_proposal(path)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0, 0.5, 1], 0.5),
        ([100, 250], 50),
        ([0.1, 0.3, 12.7], 0.1),
        ([np.pi, 1.0], None),
        (np.float32([0.1, 0.3, 12.7]), 0.1),
        ([1.3e-13, 2.17e-12], None),
    ],
)
def test_the_last_digit_of_a_column(values, step):
    assert step_of(np.unique(np.asarray(values, float))) == step


def test_scores_in_other_units_have_a_step_and_marks_of_gaps_stand_apart():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 300)
    step = column_of((scores - scores.mean()) / scores.std()).step
    assert abs(step * scores.std() - 1) < 1e-9
    assert column_of(np.where(rng.random(300) < 0.05, -99, scores).astype(float)).marks == (-99,)
    assert column_of(scores.astype(float)).marks == ()
    clipped = np.clip(rng.normal(50, 25, 400), 0, 100).round(2)
    assert column_of(clipped).atoms == (0.0, 100.0)


def test_lumps_are_atoms_and_codes_are_codes():
    rng = np.random.default_rng(0)
    claims = np.where(rng.random(800) < 0.4, rng.lognormal(6, 1, 800), 0).round(2)
    assert column_of(claims).atoms == (0.0,)
    capped = np.minimum(rng.normal(40, 9, 800), 50)
    assert column_of(capped).atoms == (50.0,) and not column_of(rng.normal(size=800)).atoms
    codes = rng.choice(np.arange(10_000, 100_000), 300, replace=False).astype(float)
    assert names_rows(column_of(codes), codes) and names_rows(
        column_of(codes[:50], "id"), codes[:50]
    )
    uneven = np.cumsum(rng.integers(1, 30, 300)).astype(float)
    assert "no chance" in names_rows(column_of(uneven), rng.permutation(uneven))
    groups = np.repeat(rng.choice(10**6, 100, replace=False), 3).astype(float)
    assert "3 rows for each" in names_rows(column_of(groups), groups)
    keys = rng.choice(10**6, 100)[rng.integers(0, 100, 300)].astype(float)
    assert names_rows(column_of(keys, "customer_id"), keys)
    assert names_rows(column_of(keys, "income"), keys) is None
    income = rng.lognormal(11, 0.6, 300).round()
    assert names_rows(column_of(income), income) is None


def test_a_value_of_many_rows_among_few_is_no_continuum():
    executions = np.array([37, 9, 6, 4, 3, 2, 2, 2, *[1] * 9], float)  # by state, 1997
    column = column_of(executions)
    assert column.heaped and column.atoms == () and column.step == 1
    assert not column_of(np.r_[np.arange(15.0), 3.0, 3.0]).heaped


def test_numbers_beyond_what_64_bits_can_tell_apart_are_left_out():
    x = np.random.default_rng(0).lognormal(size=100)
    for numbers, why in (
        (1e300 * x, "squares"),
        (1e-300 * x, "squares"),
        (2.0**63 + 5000 * x, "digits"),
    ):
        assert choose_number(np.trunc(numbers) if why == "digits" else numbers).reason.count(why)
    assert copies_among({"a": 1e300 * x, "b": -2e299 * x}) == {
        "b": "it is a in another unit (correlation 1.00000)"
    }


def test_counts_stay_counts_and_an_index_of_few_values_a_number():
    rng = np.random.default_rng(0)
    visits = rng.poisson(rng.lognormal(0.3, 1.0, 3000))  # of no family that is tried
    assert choose_number(visits.astype(float)).family.endswith("NegativeBinomial")
    places = np.array(
        [0, 3.4, 4.3, 6.9, 8.7, 9.97, 10.58, 11.84, 13.73, 17.2, 20.7, 24.1, 31, 41.4]
    )
    index = places[np.abs(rng.gamma(3.0, 4.0, 3000)[:, None] - places).argmin(1)]
    c = column_of(index)
    assert c.coarse and 1 <= c.step <= 3
    assert choose_number(index).family.startswith("Discretised")
    years = np.array([0.5, 2.5, 6, 9, 13, 16.5, 23])[rng.integers(0, 7, 3000)]
    assert choose_number(years).family == "Categorical"


def test_heavy_tails_in_units_of_a_last_digit_are_tails():
    """The scale that a score begins from is the column's own: 4 decimals are 10,000 steps of it."""
    x = np.random.default_rng(0).standard_t(2, 300)
    assert choose_number(x.round(4), "x").family == "StudentT"


def test_copies_recodings_and_other_units_are_named():
    rng = np.random.default_rng(0)
    celsius, kind = rng.normal(10, 8, 90).round(1), rng.choice(["u", "v", "w"], 90)
    table = {
        "c": celsius,
        "f": (celsius * 1.8 + 32).round(1),
        "kind": kind.tolist(),
        "code": np.searchsorted(["u", "v", "w"], kind),
        "again": kind.tolist(),
        "other": rng.normal(size=90),
        "rare": [int(i == 3) for i in range(90)],
        "rarer": [int(i == 7) for i in range(90)],
    }
    table["near"] = ["?" if i == 5 else k.upper() for i, k in enumerate(table["kind"])]
    table["cubed"], table["sum"] = table["other"] ** 3, celsius + table["other"]
    found = copies_among(table)
    assert set(found) == {"f", "code", "again", "near", "cubed", "sum"}
    assert "recodes kind" in found["code"] and "copies kind" in found["again"]
    assert found["cubed"] == "it is a function of other" and found["sum"].endswith("c, other")


def test_the_last_of_flags_one_of_which_is_always_up_is_left_out():
    which = np.random.default_rng(0).integers(0, 3, 90)
    flags = {name: (which == i).astype(int) for i, name in enumerate("abc")}
    assert copies_among(flags) == {"c": "it is a sum of a, b"}
    assert copies_among(flags | {"c": (which > 0).astype(int)}) == {"c": "it recodes a"}
    assert copies_among({name: flags[name] for name in "ab"}) == {}


def test_templates_from_rows_and_records_within_records():
    rows = [{"at": {"x": "uv"[i % 2]}, "g": "nop"[i % 3]} for i in range(30)]
    got = jm.infer_template(rows)
    assert list(got.template.parts) == ["at", "g"]
    assert jm.decode(got.template, jm.encode(got.template, rows)) == rows
    pairs = [(row["g"], row["at"]["x"]) for row in rows]
    of_tuples = jm.infer_template(pairs).template
    assert jm.decode(of_tuples, jm.encode(of_tuples, pairs)) == pairs


def test_ctrl_c_ends_the_command_line_while_it_is_imported():
    code = (
        "import os, signal, sys, weakref\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.argv, sys.orig_argv = ['-m'], ['python', '-m', 'jaxmix', 'fit']\n"
        f"exec(open({str(Path(jm.__file__).with_name('_command.py'))!r}).read())\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        # An exception inside such a callback is printed and forgotten.
        "kept = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGINT), list(range(99))))\n"
        "del thing\n"
        "print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "went on" not in done.stdout
    assert done.stderr == "\nInterrupted: nothing was written.\n"


def test_a_folder_that_will_not_do_is_found_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for inside in (tmp_path / "file", tmp_path / "file" / "more"):
        with pytest.raises(NotADirectoryError, match=r"can't be a folder: .*file is a file"):
            door(inside)
    with pytest.raises(OSError, match=r"The disk of .* is full: .* MB are free"):
        door(tmp_path / "a" / "b", room=2**70)
    door(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_an_earlier_report_left_goes_when_there_is_a_new_model(tmp_path, capsys):
    for name in ("model.npz", "joint.npz", "report.md", "notes.txt"):
        (tmp_path / name).write_text("old")
    beside = Place(tmp_path)
    assert beside.folder.name == f"{tmp_path.name}-2"
    beside.clear()
    assert not beside.folder.exists()
    place = Place(tmp_path, force=True)
    (place.part / "half").write_text("new")
    with pytest.raises(OSError), stopped_by_ctrl_c(place):
        raise OSError
    assert len(list(tmp_path.iterdir())) == 4  # as they were
    place = Place(tmp_path, force=True)
    (place.part / "model.npz").write_text("new")
    with pytest.raises(OSError), stopped_by_ctrl_c(place):
        place.keep("model.npz")
        raise OSError
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert left == {"model.npz": "new", "notes.txt": "old"}
    assert f"Not finished: the model is in {tmp_path}." in capsys.readouterr().err


def test_what_a_component_says_has_errors_and_labels_without_a_font_are_told():
    model = jm.mixture_of(jm.Composite({"a": jm.Normal(2.0, 3.0)}), 1)
    assert described(model, "a", [36.0]) == ["2 ± 0.5 (sd 3 ± 0.35)"]
    assert described(model, "a", [36.0], [1.0]) == ["2 ± 0.5 (sd 3 ± 0)"]
    assert share(0.36, 64) == "36% ± 6" and share(1.0, 64) == "100%"
    with fonts_for(["straße", "\U0010fffd"]) as said:
        assert "\U0010fffd:" in said[0] and "ß" not in said[0]
    with fonts_for(["straße", "a"]) as said:
        assert said == []


def test_blocks_are_what_correlations_join_among_normal_densities():
    normal = jm.Normal.template()
    parts = {name: normal for name in "abcde"}
    parts |= {"b": jm.Optional.template(normal), "c": jm.Discretised.template(normal, 0.1)}
    parts["d"] = jm.Gamma.template()
    pairs = [("a", "b", 0.5), ("c", "b", -0.4), ("d", "e", 0.9)]
    assert blocks_of(jm.Composite(parts), pairs) == [["a", "b", "c"]]


def test_rows_are_filled_in_by_what_the_mixture_says_of_them():
    both = lambda m: jm.Composite({
        "a": jm.Normal(m, 1.0), "b": jm.Optional(jm.Gamma(4.0, 2.0 - m / 20)),
        "c": jm.Optional(jm.Categorical(jnp.array([0.5 + m / 20, 0.5 - m / 20]))),
    })  # fmt: skip
    model = jm.MixtureSameFamily(jnp.array([0.3, 0.7]), jax.vmap(both)(jnp.array([-3.0, 4.0])))
    rng = np.random.default_rng(0)
    gone = lambda value, rows: jm.OptionalEvent(value, jnp.asarray(rows))
    data = {"a": jnp.asarray(rng.normal(size=40)), "b": gone(jnp.ones(40), rng.random(40) < 0.5),
            "c": gone(jnp.zeros(40, int), rng.random(40) < 0.5)}  # fmt: skip
    rows = rows_under(model, data)
    close = lambda got, expected: np.testing.assert_allclose(got, expected, rtol=2e-5)
    close(rows.posterior, jax.vmap(model.posterior)(data))
    close(rows.level, jax.vmap(model.log_prob)(data))
    alone = np.asarray(jax.vmap(model.marginal("a").posterior)(data["a"]))
    close(rows.told["a"], np.mean(np.sum(alone * np.log(alone / [0.3, 0.7]), 1)))
    full = jax.vmap(model.impute)(data)
    value, spread = filled_in(model, "b", rows.posterior)
    missing = ~np.asarray(data["b"].present)
    close(value[missing], full["b"][missing])
    given = jax.vmap(lambda row: model.conditional(row, "b").variance)(data)
    close(spread[missing] ** 2, given[missing])
    assert (filled_in(model, "c", rows.posterior)[0] == full["c"])[~data["c"].present].all()


def test_vectors_are_filled_in_by_regression_within_the_components():
    parts = jax.vmap(jm.PartialNormal)(
        jnp.array([[0.0, 1.0, -1.0], [3.0, 0.0, 2.0]]),
        jnp.array([[[2.0, 0.8, 0.1], [0.8, 1.0, 0.3], [0.1, 0.3, 1.5]], np.eye(3)]),
    )
    rng = np.random.default_rng(0)
    x = np.where(rng.random((30, 3)) < 0.4, np.nan, rng.normal(size=(30, 3)))
    x = x[~np.isnan(x).all(1)]
    label = jax.vmap(jm.Categorical)(jnp.array([[0.9, 0.1], [0.2, 0.8]]))
    record = jm.MixtureSameFamily(jnp.array([0.4, 0.6]), jm.Composite({"v": parts, "g": label}))
    rows = {"v": jnp.asarray(x, jnp.float32), "g": jnp.zeros(len(x), int)}
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda a: jnp.asarray(a, float if a.dtype.kind == "f" else a.dtype), (record, rows)
        )
        said = jm.data.imputed(*wide, level=0.9)
        weights = np.asarray(jax.vmap(wide[0].posterior)(wide[1]))
    at = np.isnan(x)
    np.testing.assert_allclose(said.events["v"][~at], x[~at], rtol=1e-6)
    assert (said.sd["v"] == 0).tolist() == (~at).tolist()
    mean, cov = np.asarray(parts.mean, float), np.asarray(parts.covariance, float)
    for row, gone in zip(*np.nonzero(at), strict=True):  # by regression, in NumPy
        seen = ~at[row]
        slopes = [np.linalg.solve(c[np.ix_(seen, seen)], c[seen, gone]) for c in cov]
        each = [m[gone] + b @ (x[row] - m)[seen] for m, b in zip(mean, slopes, strict=True)]
        left = [c[gone, gone] - b @ c[seen, gone] for c, b in zip(cov, slopes, strict=True)]
        share = weights[row]
        value = share @ each
        np.testing.assert_allclose(said.events["v"][row, gone], value, atol=1e-5)
        spread = np.sqrt(share @ (left + (np.array(each) - value) ** 2))
        np.testing.assert_allclose(said.sd["v"][row, gone], spread, rtol=1e-5)
        for ends, p in (said.low, 0.05), (said.high, 0.95):
            below = share @ scipy.stats.norm.cdf(ends["v"][row, gone], each, np.sqrt(left))
            np.testing.assert_allclose(below, p, atol=1e-5)


def test_a_model_of_blocks_takes_a_table(tmp_path):
    frame = pd.DataFrame({"p": [1.0, np.nan], "q": [2.0, 3.0], "r": ["u", "v"]})
    rows = joined(frame, [["p", "q"]])
    np.testing.assert_array_equal(rows["p & q"].tolist(), [[1, 2], [np.nan, 3]])
    assert rows["r"].tolist() == ["u", "v"]
    with pytest.raises(ValueError, match="no column 's'"):
        joined(frame, [["s", "p"]])
    patterns = _patterns({"v": np.array([[1, np.nan]]), "w": jm.OptionalEvent(np.ones(1), [True])})
    assert patterns.tolist() == [[True, False, True]]


def test_what_a_model_says_of_a_table_in_pieces_is_what_it_says_of_the_whole(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pieces, "piece_rows", lambda columns: 16)
    both = lambda m: jm.Composite({
        "a": jm.Optional(jm.Normal(m, 1.0)), "b": jm.Categorical(jnp.array([0.5, 0.5]), labels=("u", "v"))
    })  # fmt: skip
    model = jm.MixtureSameFamily(jnp.array([0.3, 0.7]), jax.vmap(both)(jnp.array([-3.0, 4.0])))
    jm.save(tmp_path / "model.npz", model)
    rng = np.random.default_rng(0)
    a = np.where(rng.random(50) < 0.2, np.nan, rng.normal(size=50))
    pd.DataFrame({"a": a, "b": rng.choice(["u", "v"], 50)}).to_csv(tmp_path / "t.csv", index=False)
    for out, memory in ("whole", None), ("cut", 0):
        apply(tmp_path / "model.npz", tmp_path / "t.csv", tmp_path / out, Asked(memory=memory))
    for name in "posteriors.csv", "rows.csv", "imputed.csv":
        whole, cut = (pd.read_csv(tmp_path / out / name) for out in ("whole", "cut"))
        pd.testing.assert_frame_equal(whole, cut)
    low, high = whole["a low"][np.isnan(a)], whole["a high"][np.isnan(a)]
    shares = lambda x: 0.3 * scipy.stats.norm.cdf(x, -3) + 0.7 * scipy.stats.norm.cdf(x, 4)
    np.testing.assert_allclose(shares(low), 0.025, rtol=1e-4)
    np.testing.assert_allclose(shares(high), 0.975, rtol=1e-6)
    assert capsys.readouterr().out.count("50 rows, mean log-density") == 2


def test_a_model_of_no_records_is_refused_by_a_sentence(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    law = jm.Regression(jm.LinearRegression.template(1), response="y", given=["a"])
    for part, words in (law, "events of Regression"), (jm.Normal(0, 1), "events of Normal"):
        jm.save(tmp_path / "m.npz", jm.mixture_of(part, 2))
        with pytest.raises(ValueError, match=words):
            apply(tmp_path / "m.npz", tmp_path / "t.csv", tmp_path / "out")


def test_groups_that_come_back_overlap():
    one = np.array([0, 0, 0, 1, 1, 1])
    assert _jaccard(one, 1 - one, 2).tolist() == [1, 1]
    assert _jaccard(one, np.array([0, 0, 1, 1, 1, 1]), 2).tolist() == [2 / 3, 3 / 4]


def test_regressions_are_of_the_family_that_the_response_asks_for():
    rng = np.random.default_rng(0)
    kind, x = rng.choice(list("uvw"), 200), rng.normal(size=200)
    table = {
        "x": x, "kind": kind.tolist(), "id": rng.permutation(200), "y": 1 + 2 * x,
        "count": rng.poisson(3, 200), "spread": rng.negative_binomial(1, 0.1, 200),
        "cost": rng.gamma(1, 3, 200), "flag": rng.integers(0, 2, 200), "sex": ["f", "m"] * 100,
    }  # fmt: skip
    kinds = {"y": "Linear", "count": "Poisson", "spread": "NegativeBinomial", "cost": "Gamma",
             "flag": "Logistic", "sex": "Logistic", "kind: u": "Logistic"}  # fmt: skip
    for response, family in kinds.items():
        given = ["x"] if response == "kind: u" else ["x", "kind"]
        found = jm.infer_template(table, response=response, given=given)
        assert type(found.template.family).__name__ == f"{family}Regression", response
    usual = max("uvw", key=lambda label: np.sum(kind == label))
    fields = jm.infer_template(table, response="count").template.given
    assert "id" not in fields and f"kind: {usual}" not in fields and "x" in fields
    template = jm.infer_template(table, response="sex", given=["x", "kind"]).template
    data = jm.encode(jm.mixture_of(template, 2), table)
    assert template.response == "sex: m" and data["sex: m"].tolist() == [0, 1] * 100
    others = [label for label in "uvw" if label != usual]
    assert all((np.asarray(data[f"kind: {o}"]) == (kind == o)).all() for o in others)
    for bad, words in ({"response": "kind"}, "name one"), ({"given": ["x"]}, "say which"):
        with pytest.raises(ValueError, match=words):
            jm.infer_template(table, **bad)
    with pytest.raises(ValueError, match="Row 3, field x"):
        jm.encode(template, table | {"x": np.where(np.arange(200) == 3, np.nan, x)})


def test_regressions_in_their_own_units():
    family = jm.LinearRegression(jnp.array([2.0, -1.0]), 3.0, 1.0)
    model = jm.mixture_of(jm.Regression(family, response="y", given=["a", "b"]), 1)
    centre, scale, x = np.array([5.0, -2.0]), np.array([10.0, 0.1]), np.array([7.0, -1.9])
    own = in_own_units(model, centre, scale).components.family
    mean = float(own.coefficients[0] @ x + own.intercept[0])
    unit = (x - centre) / scale
    np.testing.assert_allclose(mean, 3 + 2 * unit[0] - unit[1], rtol=1e-5)


def test_a_missing_label_is_filled_in_by_the_likeliest_without_a_deviation():
    label = jm.Optional(jm.Categorical(np.array([0.5, 0.5]), labels=("u", "v")))
    template = jm.Composite({"g": label, "x": jm.Optional(jm.Normal(0.0, 1.0))})
    probs, rates = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0.2, 0.2])
    of_label = jax.vmap(lambda p, q: jm.Optional(jm.Categorical(p, labels=("u", "v")), q))
    of_number = jax.vmap(lambda m, q: jm.Optional(jm.Normal(m, 2.0), q))
    parts = {"g": of_label(probs, rates), "x": of_number(np.array([1.0, 5.0]), rates)}
    model = jm.MixtureSameFamily(np.array([0.5, 0.5]), jm.Composite(parts))
    model = jax.tree.map(np.asarray, model)
    frame = pd.DataFrame({"g": ["u", None, None], "x": [1.0, 2.0, np.nan]})
    posterior = np.array([[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]])
    filled = imputed(model, template, None, frame, posterior)
    assert filled["g"].tolist() == ["u", "u", "v"] and filled["g imputed"].tolist() == [0, 1, 1]
    # 1/4 of 1 and 3/4 of 5; variance 4 + 3/16 * (5 - 1)^2.
    assert filled["x"].tolist() == pytest.approx([1.0, 2.0, 4.0])
    assert filled["x sd"][2] == pytest.approx(7**0.5) and "g sd" not in filled


def test_what_only_rows_outside_a_part_show_is_fitted_and_a_failure_leaves_the_part(monkeypatch):
    rng = np.random.default_rng(0)
    label, count, gap = rng.choice(["a", "b"], 400), np.zeros(400), rng.normal(size=400)
    part = np.random.default_rng([0, *b"rows"]).choice(400, 50, replace=False)
    rest = np.setdiff1d(np.arange(400), part)
    label[rest[0]], count[rest[1:5]], gap[rest[5]] = "c", [1, 2, 3, 4], np.nan
    frame = pd.DataFrame({"label": label, "count": count, "gap": gap})
    template = jm.infer_template(frame, families={"count": "Poisson"}).template
    monkeypatch.setattr(choose_module, "MANY_ROWS", 50)
    kept = []
    with jax.enable_x64(True):
        found = choose_module.choose(template, frame, [1], 1, 0, keep=kept.append)
        model = dict(found.best.model.components.items())
        shares = np.bincount(np.searchsorted(["a", "b", "c"], label)) / 400
        np.testing.assert_allclose(model["label"].probs[0], shares, atol=1e-12)
        np.testing.assert_allclose(model["count"].rate, 10 / 400)
        assert dict(kept[0].components.items())["count"].rate[0] < 1e-9 and not found.failed

        fits = choose_module.fit

        def fails(key, *rest, **options):
            if options.get("init") == "given":
                raise MemoryError("no room")
            return fits(key, *rest, **options)

        monkeypatch.setattr(choose_module, "fit", fails)
        found = choose_module.choose(template, frame, [1], 1, 0)
        assert found.failed == "no room" and found.best is found.fits[1]
        assert "no room" in on_a_part(found, 400)[0]


def test_what_lasts_is_said_while_it_lasts(monkeypatch, capsys):
    monkeypatch.setattr(work, "SECONDS", 0.02)
    with work.said_while_it_lasts():
        work.at_work("Reading", "5 rows")
        clock.sleep(0.3)
    said = capsys.readouterr().out.splitlines()
    assert set(said) == {"Reading: 5 rows (0 s)"}


def test_doubts_of_a_fit_name_its_columns_and_its_few_rows():
    law = jm.Composite({"a": jm.NegativeBinomial(1e6, 0.999999), "b": jm.Normal(0, 1)})
    model = jm.mixture_of(law, 2)
    fit = SimpleNamespace(result=jm.RESULTS.drifting, model=model, num_parameters=9, num_data=8.0)
    said = doubt(SimpleNamespace(best=fit, failed="no room", chosen=2))
    assert "alone: no room" in said and "9 parameters for 8 rows" in said and "(in a)" in said
