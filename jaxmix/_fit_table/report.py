"""A report in Markdown, and as one page of HTML, its pictures inside."""

import base64
import html
import re
from collections.abc import Sequence as Many
from pathlib import Path

from .choose import Found, compared

STYLE = """body{font:16px/1.5 system-ui,"Noto Sans","Noto Sans CJK SC",sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;display:block;
overflow-x:auto}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}th{background:#f4f4f4}
img{max-width:100%}pre{background:#f4f4f4;padding:.6rem;overflow-x:auto}"""


def markdown(header: Many, rows: Many[Many]) -> str:
    """A table of the report."""
    lines = [header, ["---"] * len(header), *rows]
    clean = lambda cell: str(cell).replace("|", "\\|").replace("\n", " ")
    return "\n".join(f"| {' | '.join(map(clean, line))} |" for line in lines)


def report(folder: Path, blocks: Many[str]) -> str:
    """Write blocks of Markdown, with an empty line between them, as such and as a page."""
    text = "\n\n".join(filter(None, blocks)) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(page(text, folder), encoding="utf-8")
    return text


def comparison(found: Found, *said: str) -> list[str]:
    """How many components, and what is said of the numbers; then the fit."""
    table = markdown(*compared(found))
    return ["## How many components", table, " ".join(said), f"```\n{found.best}\n```"]


def on_a_part(found: Found, rows: int) -> list[str]:
    """What is to be said of the numbers of a comparison that not all rows took part in."""
    if found.compared_on == rows:
        return []
    if found.failed:
        return [
            f"The mixture is that of {found.compared_on} rows drawn at random. It could not be fitted "
            f"to all rows: {found.failed}."
        ]
    return [
        f"These are of {found.compared_on} rows drawn at random, which chose K; the mixture chosen "
        "was then fitted to all rows, and all else is of that."
    ]


def page(markdown: str, folder: Path) -> str:
    """The report's own Markdown (headings, paragraphs, tables, lists, code, pictures) as a page."""
    body = "\n".join(_block(block, folder) for block in re.split(r"\n\s*\n", markdown.strip()))
    title = html.escape(markdown.splitlines()[0].lstrip("# "))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _block(block: str, folder: Path) -> str:
    lines = block.splitlines()
    if block.startswith("#"):
        depth = len(block) - len(block.lstrip("#"))
        return f"<h{depth}>{_text(block.lstrip('# '))}</h{depth}>"
    if block.startswith("```"):
        return f"<pre>{html.escape(block.strip('`').strip())}</pre>"
    if block.startswith("|"):
        rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
        cells = lambda row, tag: "".join(f"<{tag}>{_text(c.strip())}</{tag}>" for c in row)
        inner = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows[2:])
        return f"<table><tr>{cells(rows[0], 'th')}</tr>{inner}</table>"
    if block.startswith("- "):
        return "<ul>" + "".join(f"<li>{_text(line[2:])}</li>" for line in lines) + "</ul>"
    if match := re.fullmatch(r"!\[(.*?)\]\((.*?)\)", block):
        name, file = match[1], folder / match[2]
        data = base64.b64encode(file.read_bytes()).decode()
        return f'<p><img alt="{html.escape(name)}" src="data:image/png;base64,{data}"></p>'
    return f"<p>{_text(' '.join(lines))}</p>"


def _text(text: str) -> str:
    text = text.replace(" ± ", "\u00a0±\u00a0")  # a number and its error stay on one line
    return re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(text.replace("\\|", "|")))
