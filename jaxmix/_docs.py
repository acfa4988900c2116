"""Pages of every public name, by pdoc: `python -m jaxmix docs --out DIR`."""

import importlib
import os
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm.auto import tqdm

from ._formulas import with_formulas
from ._lazy import imported, public
from ._page import door

ROOMS = (
    "howto", "em", "importance", "objectives", "data", "choice", "plot", "divergences", "adapters",
    "datasets", "sklearn",
)  # fmt: skip
PAGES = ("family", "combinator", "solver", "objective")


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
