"""The till (核销): the page at which a merchant signs in and takes vouchers, by camera, scanner or keys.

It asks the routes of :mod:`tanzhang.api.routes.merchants` and no others, and keeps nothing.
"""

from __future__ import annotations

from importlib.resources import files

from tanzhang.web.inline import filled

_HERE = files(__package__)


def page() -> str:
    """The page, the same bytes each time. Its policy lets it connect to the server that it came from alone."""
    html, style, script = (_HERE.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return filled(html, style=style, script=script, also="; connect-src 'self'")
