"""The formulas of docstrings as MathML, which browsers set by themselves."""

import re

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
