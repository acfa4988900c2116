"""Pages of every public name, by pdoc: `python -m jaxmix docs --out DIR`."""

import importlib
import os
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm.auto import tqdm

from ._lazy import imported, public
from ._page import door

ROOMS = (
    "howto", "em", "importance", "objectives", "data", "choice", "plot", "divergences", "adapters",
    "datasets", "sklearn",
)  # fmt: skip
PAGES = ("family", "combinator", "solver", "objective", "event_kind")


def docs(out: Path, notebooks: Path | None = None) -> list[Path]:
    """Write the pages into a folder, executed notebooks among them; and give their paths.

    Args:
        out: the folder.
        notebooks: a folder of notebooks to execute and show beside; None for none.

    Raises:
        ModuleNotFoundError: without the extra `docs`.
        OSError: for a folder that can't be written into, or has no notebooks, before the work.
    """
    wanted = ("pdoc", "nbclient", "nbconvert") if notebooks is not None else ("pdoc",)
    pdoc, *_ = (imported(name, "docs", f"Pages need {name}") for name in wanted)
    helpers: Any = importlib.import_module("pdoc.render_helpers")
    if notebooks is not None and not any(notebooks.glob("*.ipynb")):
        raise FileNotFoundError(f"There is no notebook in {notebooks}.")
    door(out)
    modules = [importlib.import_module("jaxmix")]
    modules += [importlib.import_module(f"jaxmix.{room}") for room in ROOMS]
    for page in PAGES:
        importlib.import_module(f"jaxmix.howto.{page}")
    for module in modules:
        module.__all__ = _told(module)  # pyright: ignore[reportAttributeAccessIssue]
    plain, below = pdoc.docstrings.convert, pdoc.extract.iter_modules2
    sources, exposed = helpers.possible_sources, helpers.module_candidates
    whole_name = lambda name: re.sub(r"^jm\.", "jaxmix.", name)  # so that it becomes a link
    helpers.possible_sources = lambda known, name: sources(known, whole_name(name))
    helpers.module_candidates = lambda name, *rest: exposed(whole_name(name), *rest)
    pdoc.docstrings.convert = lambda text, *rest: plain(with_formulas(text), *rest)
    # A module whose name a function has taken is no page of its own.
    pdoc.extract.iter_modules2 = lambda module: {
        name: found for name, found in below(module).items()
        if isinstance(getattr(module, name, None), ModuleType)
    }  # fmt: skip
    shown = [] if notebooks is None else _galleries(notebooks, out)
    pdoc.render.configure(docformat="google", show_source=False)
    first, told = modules[0], modules[0].__doc__
    if shown:
        links = "\n".join(f"- [{page.stem}](notebooks/{page.name})" for page in shown)
        first.__doc__ = f"{told}\n\nNotebooks, executed:\n\n{links}\n"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of annotations that pdoc reads in other libraries
            pdoc.pdoc("jaxmix", output_directory=out)
    finally:
        first.__doc__ = told
        pdoc.docstrings.convert, pdoc.extract.iter_modules2 = plain, below
        helpers.possible_sources, helpers.module_candidates = sources, exposed
    return sorted(out.rglob("*.html"))


def _told(module: ModuleType) -> list[str]:
    names = public(vars(module)) if module.__name__ != "jaxmix" else [n for n in dir(module)]
    rooms = ROOMS if module.__name__ == "jaxmix" else ()
    howto = PAGES if module.__name__ == "jaxmix.howto" else ()
    return [n for n in names if not n.startswith("_") and n not in rooms] + [*rooms, *howto]


def _galleries(notebooks: Path, out: Path) -> list[Path]:
    """Each notebook executed, as a page of its own."""
    import nbclient
    import nbconvert  # pyright: ignore[reportMissingImports]
    import nbformat

    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # of their processes
    pages = []
    (out / "notebooks").mkdir(parents=True, exist_ok=True)
    paths = sorted(notebooks.glob("*.ipynb"))
    for path in tqdm(paths, desc="Executing", unit="notebook", disable=None):
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
        page = out / "notebooks" / f"{path.stem}.html"
        named = {"metadata": {"name": path.stem}}
        text, _ = nbconvert.HTMLExporter().from_notebook_node(notebook, resources=named)
        page.write_text(text, encoding="utf-8")
        pages.append(page)
    return pages


NAMED = {
    "pi", "sum", "prod", "int", "Gamma", "kappa", "theta", "eta", "sigma", "mu", "zeta", "alpha",
    "beta", "delta", "lambda", "phi", "psi", "omega",
}  # fmt: skip
SIGNS = {
    "<=": "&le;", ">=": "&ge;", "!=": "&ne;", "*": "&middot;", "-": "&minus;", "'": "&prime;",
    "<": "&lt;", ">": "&gt;", "&": "&amp;", "\u27e8": "&lang;", "\u27e9": "&rang;",
}  # fmt: skip
FORMULA = re.compile(
    r"(?:log p\([^()]*\)|\bL|log Z|p\([^()]*\)) = .*?"
    r"(?=,? in nats|;\s(?![^()]*\))|:\s|\.\s|\.$|,\s+(?:with|where|so|of|T|h|natural)\s|\s\((?:[A-Z]|doi))",
    re.DOTALL,
)
TOKEN = re.compile(r"[A-Za-z]{2,}(?:_[A-Za-z]{2,})+|[A-Za-z]+|\d+(?:\.\d+)?|<=|>=|!=|\S")


def with_formulas(text: str) -> str:
    """A docstring whose formulas, up to its examples, are MathML.

    Example:
        >>> with_formulas("Density: log p(x) = -x^2 / 2, in nats.")[:42]
        'Density: <math><mrow><mi>log</mi><mspace w'
    """
    head, *examples = re.split(r"(?m)^(?=\s*Examples?:?)", text, maxsplit=1)
    pieces, last = [], 0
    for found in FORMULA.finditer(head):
        pieces += [_plain(head[last : found.start()]), mathml(found[0])]
        last = found.end()
    return "".join([*pieces, _plain(head[last:]), *examples])


def _plain(text: str) -> str:
    """Prose in which what looks like a tag is none; code, between backquotes, is left alone."""
    parts = text.split("`")
    return "`".join(re.sub(r"<(?=\w)", "&lt;", t) if i % 2 == 0 else t for i, t in enumerate(parts))


def mathml(formula: str) -> str:
    """One formula: words upright, `^` and `_` as scripts, sqrt( ) as a root."""
    angles = re.sub(r"(?<=[\w)])>", "\u27e9", re.sub(r"<(?=[\w])", "\u27e8", formula))
    tokens = TOKEN.findall(angles)
    row, rest = _row(tokens, "")
    return f"<math>{row}</math>" if not rest else f"`{' '.join(formula.split())}`"


def _row(tokens: list[str], end: str) -> tuple[str, list[str]]:
    """The tokens up to a bracket that closes the row, and those after it."""
    items: list[str] = []
    while tokens and tokens[0] != end:
        item, tokens = _atom(tokens)
        scripts: dict[str, str] = {}
        while tokens and tokens[0] in "^_" and len(tokens) > 1 and tokens[0] not in scripts:
            mark = tokens[0]
            scripts[mark], tokens = _atom(tokens[1:], bare=True)
        if len(scripts) == 2:
            item = f"<msubsup>{item}{scripts['_']}{scripts['^']}</msubsup>"
        elif scripts:
            kind = "msup" if "^" in scripts else "msub"
            item = f"<{kind}>{item}{next(iter(scripts.values()))}</{kind}>"
        items.append(item)
    return f"<mrow>{''.join(items)}</mrow>", tokens[1:]


def _atom(tokens: list[str], bare: bool = False) -> tuple[str, list[str]]:
    """One symbol or one bracketed row, whose brackets a script goes without."""
    first, rest = tokens[0], tokens[1:]
    if first in "({" and len(first) == 1:
        close = ")" if first == "(" else "}"
        row, rest = _row(rest, close)
        plain = bare or first == "{"
        return (row if plain else f"<mrow><mo>(</mo>{row}<mo>)</mo></mrow>"), rest
    if first == "sqrt" and rest[:1] == ["("]:
        row, rest = _row(rest[1:], ")")
        return f"<msqrt>{row}</msqrt>", rest
    if first == "-" and bare and rest:
        sign, rest = _atom(rest)
        return f"<mrow><mo>{SIGNS[first]}</mo>{sign}</mrow>", rest
    if first[0].isdigit():
        return f"<mn>{first}</mn>", rest
    if first[0].isalpha():
        name = f"&{first};" if first in NAMED else first
        apart = '<mspace width="0.2em"></mspace>' if len(first) > 1 and not bare else ""
        return f"<mi>{name}</mi>{apart}", rest
    return f"<mo>{SIGNS.get(first, first)}</mo>", rest
