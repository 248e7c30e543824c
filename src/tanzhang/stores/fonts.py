"""Small fonts for a text: the glyphs that it needs of the system's Chinese fonts, which are 20 MB each.

A process keeps what it made, so that only a character that was not met before costs the half second of reading a large
file again.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tanzhang.core.errors import refuse

SERIF, SERIF_BOLD, SANS = "NotoSerifCJK-Regular.ttc", "NotoSerifCJK-Bold.ttc", "NotoSansCJK-Regular.ttc"
FOLDERS = tuple(Path("/usr/share/fonts") / each for each in ("opentype/noto", "google-noto-cjk", "noto-cjk"))
"""Where Debian and others install the fonts of package ``fonts-noto-cjk``."""
_SIMPLIFIED = " CJK SC"  # of the families in a collection: glyphs as mainland China writes them
_ALWAYS = "".join(map(chr, range(0x20, 0x7F))) + "，。；：（）《》、“”年月日至致"
_MOST_HELD = 4_000
_UNUSED = ["BASE", "GDEF", "GPOS", "GSUB", "VORG", "vhea", "vmtx"]  # of writing in columns and of ligatures


@dataclass(frozen=True, slots=True)
class _Held:
    characters: frozenset[str]
    data: bytes


_held: dict[str, _Held] = {}
_holding = threading.Lock()


def fonts_are_there() -> bool:
    """Whether Chinese can be set on this machine."""
    return all(_found(name) is not None for name in (SERIF, SERIF_BOLD, SANS))


def small_font(name: str, text: Iterable[str]) -> bytes:
    """An OpenType font with the glyphs of a text, and perhaps more; ``fonts-missing``."""
    wanted = frozenset(character for part in text for character in part) | frozenset(_ALWAYS)
    with _holding:
        held = _held.get(name)
        if held is None or not wanted <= held.characters:
            known = frozenset() if held is None or len(held.characters) > _MOST_HELD else held.characters
            characters = wanted | known
            held = _held[name] = _Held(characters, _subset(name, characters))
    return held.data


def _found(name: str) -> Path | None:
    return next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)


def _subset(name: str, characters: frozenset[str]) -> bytes:
    path = _found(name)
    if path is None:
        raise refuse(
            "fonts-missing",
            f"{name} is not installed, so Chinese cannot be set",
            where=", ".join(map(str, FOLDERS)),
            remedy="install the system's package fonts-noto-cjk; the certificate as JSON needs none",
        )
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTCollection

    options = Options(layout_features=[], hinting=False, notdef_outline=True, name_IDs=["*"])
    options.drop_tables += _UNUSED
    with TTCollection(path, lazy=True) as collection:
        font = next(each for each in collection.fonts if str(each["name"].getDebugName(1)).endswith(_SIMPLIFIED))
        subsetter = Subsetter(options)
        subsetter.populate(text="".join(sorted(characters)))
        subsetter.subset(font)
        written = io.BytesIO()
        font.save(written)
    return written.getvalue()
