"""The README says what runs, and every public name has an example."""

import inspect
import re
from pathlib import Path

import jax
import matplotlib
import pytest

import jaxmix as jm

matplotlib.use("Agg")

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_block_is_the_two_commands():
    run, test = fenced("sh")[0].splitlines()
    assert run.endswith("python -m jaxmix") and "python -m pytest" in test
    assert f"\n    {test}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", fenced("python"))
def test_readme_examples_run(block, tmp_path, monkeypatch, capsys):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    # A reader has JAX's defaults, not the strictness of these tests.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, "README.md", "exec"), {})
    plt.close("all")
    assert capsys.readouterr().out


def test_the_figures_are_those_of_the_results():
    from benchmarks._results import table

    whole = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert whole == table()
    shown = [line for line in README.splitlines() if line.endswith("` |")]
    assert len(shown) == 6 and all(line in whole.splitlines() for line in shown)


def test_links_lead_to_files():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def public_names():
    for name in dir(jm):
        thing = getattr(jm, name)
        if not name.startswith("_") and not inspect.ismodule(thing) and name != "RESULTS":
            yield pytest.param(thing, id=name)


@pytest.mark.parametrize("thing", list(public_names()))
def test_every_public_function_and_density_has_an_example(thing):
    told = inspect.getdoc(thing) or ""
    assert told, "no docstring"
    if not inspect.isclass(thing) or ("log_prob" in vars(thing) and not inspect.isabstract(thing)):
        assert ">>>" in told, "no example"
