"""Certificates as PDF files: one A4 page with its glyphs embedded, a QR code, and the signed credential attached.

The page is for people; what counts is the attachment, and :func:`attached` takes it out again. Files are PDF/A-3u, so
that they can be kept: nothing in them is looked up elsewhere. Of the system's Chinese fonts only the glyphs that are
used go into the file (:mod:`tanzhang.stores.fonts`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import segno

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.stores.fonts import SANS, SERIF, SERIF_BOLD, small_font

if TYPE_CHECKING:
    from fpdf import FPDF

ATTACHMENT = "credential.json"
MOST_BYTES = 20_000_000
_SERIF, _SANS = "serif", "sans"
_FILES = {(_SERIF, ""): SERIF, (_SERIF, "B"): SERIF_BOLD, (_SANS, ""): SANS}
_BADGE = "碳"
_MORE = ("其余各项见附件", "more in the attached credential")
_FOOT = (
    "本证书以电子签名为准，可离线验证",
    "The signed credential attached to this file is what counts; it verifies offline.",
)
Colour = tuple[int, int, int]
_INK, _GREY = (33, 37, 35), (104, 111, 108)
_WIDTH, _HEIGHT, _MARGIN = 210.0, 297.0, 24.0
_QR = 31.0
_FOOT_TOP = _HEIGHT - 12.2 - 7 - _QR
_TALLEST, _LOWEST = 8.0, 5.4
"""Height of a line of the table: as tall as there is room for, within these."""
_NOTE_POINTS, _NOTE_STEP = 7.4, 3.7


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: what it is in Chinese and English, and a value for each column."""

    zh: str
    en: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What a certificate shows. ``columns`` are the headings of the lines' values; ``small`` stands at the foot."""

    issuer_zh: str
    issuer_en: str
    title_zh: str
    title_en: str
    for_whom: tuple[str, ...]
    figure: str
    figure_unit: str
    figure_zh: str
    figure_en: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    mark: str | None
    qr: str
    small: tuple[tuple[str, str], ...]
    accent: Colour
    made: datetime


def certificate_pdf(page: Page, credential: bytes) -> bytes:
    """The file; ``fonts-missing`` where the system has no Chinese fonts."""
    pdf = _new(page)
    _frame(pdf, page)
    _head(pdf, page)
    _body(pdf, page)
    _foot(pdf, page)
    pdf.embed_file(
        bytes=credential,
        basename=ATTACHMENT,
        creation_date=page.made,
        modification_date=page.made,
        mime_type="application/vc",
        associated_file_relationship="SOURCE",
        desc="The signed credential: what this page shows, verifiable offline",
    )
    return bytes(pdf.output())


def attached(data: bytes) -> bytes:
    """The credential out of a PDF file; ``pdf-malformed``, ``pdf-no-credential``. The page is not looked at."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    if len(data) > MOST_BYTES:
        raise _malformed(f"it has more than {MOST_BYTES} bytes")
    try:
        found = PdfReader(io.BytesIO(data)).attachments.get(ATTACHMENT, [])
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError) as error:
        raise _malformed(f"{type(error).__name__}: {error}".splitlines()[0]) from None
    if len(found) != 1:
        raise refuse(
            "pdf-no-credential",
            f"the file has {len(found)} attachments called {ATTACHMENT} instead of one",
            where="PDF file",
            remedy="use the file as it was issued: printing, scanning or saving anew takes the credential away",
        )
    return bytes(found[0])


def _malformed(message: str) -> TanzhangError:
    remedy = "use the file as it was issued, byte for byte"
    return refuse("pdf-malformed", f"the PDF file cannot be read: {message}", where="PDF file", remedy=remedy)


def _new(page: Page) -> FPDF:
    from fpdf import FPDF

    pdf = FPDF(format="A4", unit="mm", enforce_compliance="PDF/A-3U")
    with TemporaryDirectory() as folder:  # the library reads fonts from files
        for (family, style), name in _FILES.items():
            path = Path(folder) / f"{family}{style}.otf"
            path.write_bytes(small_font(name, _texts(page)))
            pdf.add_font(family, style, path)
    pdf.set_creation_date(page.made.astimezone(UTC))
    pdf.set_title(f"{page.title_zh} {page.title_en}")
    pdf.set_author(f"{page.issuer_zh} {page.issuer_en}")
    pdf.set_creator("Tanzhang 碳账")
    pdf.set_lang("zh-CN")
    pdf.set_auto_page_break(False)
    pdf.set_margin(0)
    pdf.c_margin = 0
    pdf.add_page()
    return pdf


def _texts(page: Page) -> Iterator[str]:
    """Everything that is set."""
    yield from (
        _BADGE,
        *_MORE,
        *_FOOT,
        page.issuer_zh,
        page.issuer_en.upper(),
        page.title_zh,
        page.title_en,
        page.mark or "",
    )
    yield from (*page.for_whom, page.figure, page.figure_unit, page.figure_zh, page.figure_en)
    yield from (*page.columns, *page.notes)
    for line in page.lines:
        yield from (line.zh, line.en, *line.values)
    for pair in page.small:
        yield from pair


# -- the page -----------------------------------------------------------------------------------------------------


def _frame(pdf: FPDF, page: Page) -> None:
    """Two lines around the page, and in its corners a small leaf each."""
    pdf.set_draw_color(*page.accent)
    for inset, width in ((10.0, 0.9), (12.2, 0.25)):
        pdf.set_line_width(width)
        pdf.rect(inset, inset, _WIDTH - 2 * inset, _HEIGHT - 2 * inset)
    if page.mark is not None:
        pdf.set_text_color(225, 225, 225)
        pdf.set_font(_SERIF, "B", 46)
        with pdf.rotation(32, _WIDTH / 2, _HEIGHT / 2):
            _centred(pdf, page.mark, _HEIGHT / 2 - 10, 20)


def _head(pdf: FPDF, page: Page) -> None:
    pdf.set_fill_color(*page.accent)
    pdf.ellipse(_WIDTH / 2 - 8, 19, 16, 16, style="F")
    pdf.set_text_color(255, 255, 255)
    pdf.set_font(_SERIF, "B", 24)
    _centred(pdf, _BADGE, 19, 15.6)
    pdf.set_text_color(*_INK)
    pdf.set_font(_SERIF, "", 12)
    _centred(pdf, page.issuer_zh, 37.5, 7)
    _spaced(pdf, page.issuer_en.upper(), 44, 7.2, 0.45, _GREY)
    _spaced(pdf, page.title_zh, 54, 30, 1.6, page.accent, family=_SERIF, style="B")
    pdf.set_text_color(*_GREY)
    pdf.set_font(_SANS, "", 11.5)
    _centred(pdf, page.title_en, 67.5, 7)
    pdf.set_draw_color(*page.accent)
    pdf.set_line_width(0.35)
    pdf.line(_WIDTH / 2 - 14, 77.5, _WIDTH / 2 + 14, 77.5)


def _body(pdf: FPDF, page: Page) -> None:
    """For whom, the figure, the table, the notes."""
    y = 82.0
    for number, text in enumerate(page.for_whom):
        pdf.set_font(_SERIF, "B" if number == 0 else "", 13 if number == 0 else 10.5)
        pdf.set_text_color(*(_INK if number == 0 else _GREY))
        _centred(pdf, text, y, 7)
        y += 6.6
    y = _figure(pdf, page, y + 3) + 5
    pdf.set_font(_SANS, "", _NOTE_POINTS)
    rows = [_lines_of(pdf, note) for note in page.notes]
    notes = sum(rows) * _NOTE_STEP + 1.2 * len(rows)
    y = _table(pdf, page, y, _FOOT_TOP - 6 - notes) + 2.5
    pdf.set_text_color(*_GREY)
    pdf.set_font(_SANS, "", _NOTE_POINTS)
    for note, count in zip(page.notes, rows, strict=True):
        pdf.set_xy(_MARGIN, y)
        pdf.multi_cell(_WIDTH - 2 * _MARGIN, _NOTE_STEP, note, align="L")
        y += count * _NOTE_STEP + 1.2


def _lines_of(pdf: FPDF, text: str) -> int:
    """How many lines a note takes."""
    found = pdf.multi_cell(_WIDTH - 2 * _MARGIN, _NOTE_STEP, text, align="L", dry_run=True, output="LINES")
    return len(found) if isinstance(found, list) else 1


def _figure(pdf: FPDF, page: Page, y: float) -> float:
    """The one large number, with its unit on its base line."""
    if not page.figure:
        return y
    pdf.set_font(_SERIF, "B", 40)
    width = pdf.get_string_width(page.figure)
    pdf.set_font(_SERIF, "", 16)
    unit = pdf.get_string_width(f" {page.figure_unit}")
    x = (_WIDTH - width - unit) / 2
    pdf.set_text_color(*page.accent)
    pdf.set_font(_SERIF, "B", 40)
    pdf.text(x, y + 14, page.figure)
    pdf.set_font(_SERIF, "", 16)
    pdf.text(x + width, y + 14, f" {page.figure_unit}")
    pdf.set_text_color(*_INK)
    pdf.set_font(_SERIF, "", 11)
    _centred(pdf, page.figure_zh, y + 18, 6)
    pdf.set_text_color(*_GREY)
    pdf.set_font(_SANS, "", 8.5)
    _centred(pdf, page.figure_en, y + 23.6, 5)
    return y + 28


def _table(pdf: FPDF, page: Page, y: float, bottom: float) -> float:
    """As many lines as there is room for; of the others the last one says how many are in the attachment."""
    left, right = _MARGIN, _WIDTH - _MARGIN
    step, lines = 34.0, page.lines
    if any(page.columns):
        pdf.set_font(_SANS, "", 7.4)
        pdf.set_text_color(*_GREY)
        for number, heading in enumerate(reversed(page.columns)):
            _right(pdf, heading, right - 3 - number * step, y, 4.5)
        y += 5
    most = int((bottom - y) / _LOWEST)
    if len(lines) > most:
        rest = len(lines) - most + 1
        lines = (*lines[: most - 1], Line(_MORE[0], _MORE[1], (str(rest),)))
    height = min(_TALLEST, (bottom - y) / max(len(lines), 1))
    size = 10.5 * (0.55 + 0.45 * height / _TALLEST)
    pdf.set_fill_color(*(round(255 - (255 - each) * 0.085) for each in page.accent))
    for row, line in enumerate(lines):
        if row % 2 == 0:
            pdf.rect(left, y, right - left, height, style="F")
        base = y + height / 2 + size * 0.128
        pdf.set_text_color(*_INK)
        pdf.set_font(_SERIF, "", size)
        pdf.text(left + 3, base, line.zh)
        width = pdf.get_string_width(line.zh)
        pdf.set_font(_SANS, "", size * 0.73)
        pdf.set_text_color(*_GREY)
        pdf.text(left + 3 + width + 2.5, base, line.en)
        pdf.set_text_color(*_INK)
        pdf.set_font(_SANS, "", size * 0.92)
        for number, value in enumerate(reversed(line.values)):
            _right(pdf, value, right - 3 - number * step, y, height)
        y += height
    return y


def _foot(pdf: FPDF, page: Page) -> None:
    """The QR code at the left, and beside it what tells this certificate apart."""
    top, x = _FOOT_TOP, _MARGIN + _QR + 7
    _qr(pdf, page.qr, _MARGIN, top, _QR)
    pdf.set_xy(x, top - 0.5)
    pdf.set_text_color(*_INK)
    pdf.set_font(_SERIF, "B", 9.5)
    pdf.cell(text=_FOOT[0])
    pdf.set_xy(x, top + 4.4)
    pdf.set_text_color(*_GREY)
    pdf.set_font(_SANS, "", 7.2)
    pdf.cell(text=_FOOT[1])
    line = top + 10.2
    for name, text in page.small:
        pdf.set_xy(x, line)
        pdf.set_font(_SERIF, "B", 6.2)
        pdf.set_text_color(*page.accent)
        pdf.cell(16, 3.6, name)
        pdf.set_text_color(*_GREY)
        pdf.set_font(_SANS, "", 6.2)
        pdf.cell(text=text, h=3.6)
        line += 4.1


def _qr(pdf: FPDF, text: str, x: float, y: float, size: float) -> None:
    """A QR code of rectangles, one for each run of a row, so that it is sharp at any size."""
    matrix = [list(row) for row in segno.make(text, error="m", micro=False).matrix]
    module = size / len(matrix)
    pdf.set_fill_color(*_INK)
    for number, row in enumerate(matrix):
        start = None
        for place, dark in enumerate([*row, 0]):
            if dark and start is None:
                start = place
            elif not dark and start is not None:
                pdf.rect(x + start * module, y + number * module, (place - start) * module, module * 1.02, style="F")
                start = None


def _centred(pdf: FPDF, text: str, y: float, height: float) -> None:
    pdf.set_xy(0, y)
    pdf.cell(_WIDTH, height, text, align="C")


def _right(pdf: FPDF, text: str, right: float, y: float, height: float) -> None:
    pdf.set_xy(right - 80, y)
    pdf.cell(80, height, text, align="R")


def _spaced(
    pdf: FPDF, text: str, y: float, points: float, space: float, colour: Colour, family: str = _SANS, style: str = ""
) -> None:
    """A line in the middle with space between its letters."""
    pdf.set_font(family, style, points)
    pdf.set_text_color(*colour)
    letters: Sequence[str] = text
    width = sum(pdf.get_string_width(each) for each in letters) + space * (len(text) - 1)
    x = (_WIDTH - width) / 2
    for each in letters:
        pdf.text(x, y + points * 0.27, each)
        x += pdf.get_string_width(each) + space
