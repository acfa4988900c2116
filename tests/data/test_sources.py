"""Every source gives the rows it was made of, in order, and says what is wrong with a bad one."""

import jax
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

import jaxmix as jm
from jaxmix.em.streaming.batches import Pieces, ahead, sampled

X = np.arange(46, dtype=np.float32).reshape(23, 2)


def rows(source):
    return np.concatenate(list(source.batches()))


def npy_file(folder):
    np.save(folder / "x.npy", X)
    return jm.data.NpyFile(folder / "x.npy", batch_size=5)


def npy_folder(folder):
    for i, (start, stop) in enumerate([(0, 7), (7, 8), (8, 23)]):
        np.save(folder / f"part{i}.npy", X[start:stop])
    return jm.data.NpyFolder(folder, batch_size=5)


def parquet(folder):
    table = pa.table({"a": X[:, 0], "b": X[:, 1]})
    pyarrow.parquet.write_table(table, folder / "x.parquet", row_group_size=9)
    return jm.data.Parquet(folder / "x.parquet", batch_size=5, as_vector=True)


def arrow(folder):
    return jm.data.Parquet(
        pyarrow.dataset.dataset(pa.table({"b": X[:, 1], "a": X[:, 0]})),
        columns=["a", "b"], batch_size=5, as_vector=True,
    )  # fmt: skip


SOURCES = [npy_file, npy_folder, parquet, arrow, lambda _: jm.data.Arrays(X, batch_size=5)]


@pytest.mark.parametrize("make", SOURCES)
def test_rows_in_order_twice_and_by_number(make, tmp_path):
    source = make(tmp_path)
    assert source.num_rows == 23
    for _ in range(2):
        np.testing.assert_array_equal(rows(source), X)
    index = np.array([0, 7, 8, 22])
    np.testing.assert_array_equal(source.take(index), X[index])
    assert max(len(batch) for batch in source.batches()) <= 5


def test_a_share_of_a_folder(tmp_path):
    npy_folder(tmp_path)
    shares = [jm.data.NpyFolder(tmp_path, part=(i, 2)) for i in range(2)]
    found = np.concatenate([rows(s) for s in shares])
    np.testing.assert_array_equal(found[np.argsort(found[:, 0])], X)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"bad\.npy is no readable \.npy file"):
        jm.data.NpyFile(tmp_path / "bad.npy")
    np.save(tmp_path / "order.npy", np.asfortranarray(X))
    with pytest.raises(ValueError, match="Fortran order"):
        jm.data.NpyFile(tmp_path / "order.npy")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match="must hold numbers"):
        jm.data.NpyFile(tmp_path / "words.npy")
    with pytest.raises(ValueError, match="holds no files"):
        jm.data.NpyFolder(tmp_path, pattern="*.none")
    with pytest.raises(ValueError, match="only once"):
        jm.data.Batches(iter([X]))
    with pytest.raises(ValueError, match="batch_size is a positive"):
        jm.data.Arrays(X, batch_size=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.bool_])
@pytest.mark.parametrize("shape", [(11,), (11, 3), (11, 2, 5), (0, 3), (11, 0)])
def test_windows_on_a_file_hold_its_rows(tmp_path, dtype, shape):
    whole = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.save(tmp_path / "w.npy", whole)
    for size in (1, 4, 11, 100):
        batches = list(jm.data.NpyFile(tmp_path / "w.npy", batch_size=size).batches())
        assert [len(b) for b in batches] == [
            len(whole[i : i + size]) for i in range(0, shape[0], size)
        ]
        np.testing.assert_array_equal(np.concatenate([whole[:0], *batches]), whole)


def test_rows_by_number_in_any_order_and_number(tmp_path):
    whole = np.arange(6000, dtype=np.float32).reshape(3000, 2)
    np.save(tmp_path / "w.npy", whole)
    source = jm.data.NpyFile(tmp_path / "w.npy")
    index = np.random.default_rng(0).integers(0, 3000, 2500)
    np.testing.assert_array_equal(source.take(index), whole[index])
    assert source.take(index[:0]).shape == (0, 2)


def test_a_sample_takes_no_memory_for_the_rows_it_leaves_out():
    class Huge:
        num_rows = 10**13

        def take(self, index):
            return index

    index, _, rows = sampled(Huge(), 5)
    assert rows == 10**13
    np.testing.assert_array_equal(index, np.round(np.linspace(0, 10**13 - 1, 5)))


def test_a_file_cut_short_is_told(tmp_path):
    source = npy_file(tmp_path)
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(200)
    with pytest.raises(ValueError, match="cut short"):
        rows(source)


def test_a_column_with_missing_integers_is_refused(tmp_path):
    pyarrow.parquet.write_table(pa.table({"a": [1, None, 3]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"'a' must be numeric without missing"):
        list(jm.data.Parquet(tmp_path / "x.parquet").batches())
    with pytest.raises(ValueError, match="no column 'z'"):
        jm.data.Parquet(tmp_path / "x.parquet", columns=["z"])


def test_pieces_have_one_shape_and_lose_no_row():
    batches = [X[:6], X[6:7], X[7:20], X[20:]]
    pieces = list(ahead(Pieces(jm.data.Batches(batches), X[:1], np.float32)))
    assert {piece.rows.shape for piece in pieces} == {(6, 2)}
    kept = np.concatenate([p.rows[p.weights > 0] for p in pieces])
    np.testing.assert_array_equal(kept, X)
    assert [p.first for p in pieces] == [0, 6, 7, 13, 19, 20]


def test_batches_of_another_shape_are_named():
    for bad, text in [
        (X[:, :1], r"Batch 1, rows: a row has shape \(1,\)"),
        ({"a": X}, "Batch 1 is built"),
    ]:
        with pytest.raises(ValueError, match=text):
            list(ahead(Pieces(jm.data.Batches([X, bad]), X[:1], np.float32)))


def test_a_reader_stops_with_its_user():
    import threading

    def endless():
        while True:
            yield X

    reader = ahead(endless())
    next(reader)
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("jaxmix-reader")]


@pytest.mark.parametrize("wanted", [4, 10, 23, 100])
def test_a_sample_is_spread_over_the_source(wanted):
    for source in (jm.data.Arrays(X, 5), jm.data.Batches([X[:5], X[5:6], X[6:]])):
        sample, _, total = sampled(source, wanted)
        assert total == 23
        assert len(sample) == min(wanted, 23)
        place = np.asarray(sample)[:, 0] / 2
        assert np.all(np.diff(place) > 0)
        assert place[0] <= 23 / wanted and place[-1] >= 22 - 2 * 23 / wanted


def test_records_stream_as_pytrees():
    data = {"a": X[:, 0], "n": np.arange(23)}
    source = jm.data.Arrays(data, batch_size=10)
    pieces = list(Pieces(source, jax.tree.map(lambda a: a[:1], data), np.float32))
    assert [p.count for p in pieces] == [10, 10, 3]
    assert pieces[2].rows["n"].tolist() == [20, 21, 22] + 7 * [22]
