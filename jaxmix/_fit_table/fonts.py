"""Fonts for labels in scripts that the default font of the pictures lacks."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

# What people have, by the name that the font itself says.
SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Heiti SC", "Hiragino Sans",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS", "Unifont",
)  # fmt: skip
SHOWN = 8


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[list[str]]:
    """Draw with fonts that have every character of the texts; gives what is to be said if none has."""
    wanted = {c for text in texts for c in text if ord(c) > 127 and not c.isspace()}
    if not wanted or find_spec("matplotlib") is None:
        yield []
        return
    from matplotlib import font_manager, rc_context, rcParams

    files = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    usual = [name for name in rcParams["font.sans-serif"][:1] if name in files]
    used, left = list(usual), set(wanted)
    for name in [*usual, *(name for name in SCRIPTS if name in files)]:
        has = font_manager.get_font(files[name]).get_charmap()
        if any(ord(c) in has for c in left):
            used += [name] if name not in used else []
            left = {c for c in left if ord(c) not in has}
    shown = "".join(sorted(left)[:SHOWN])
    said = [
        f"No font here has {shown}{'...' if len(left) > SHOWN else ''}: the pictures show boxes in "
        "their place. A font such as Noto Sans CJK draws them; the tables of this report need none."
    ]
    with rc_context({"font.family": used or ["sans-serif"]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        yield said if left else []
