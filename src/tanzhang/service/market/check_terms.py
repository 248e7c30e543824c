"""What verification asks of published terms: each is a whole document of this programme, and stands in the log once."""

from __future__ import annotations

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.market import Published
from tanzhang.service.findings import RESTORE
from tanzhang.stores.home import Home


def check_terms(home: Home) -> tuple[int, list[Problem]]:
    """How many publications were looked at, and what is wrong: ``market-terms-changed``.

    Lots that are frozen name terms that are public: their digest is that of an entry before the lot's own.
    """
    problems: list[Problem] = []
    first: dict[str, int] = {}

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("market-terms-changed", message, f"{home.book.name}: {place}", RESTORE))

    texts = home.market_terms.texts()
    for index, text in texts:
        try:
            said = Published.parse(text)
        except TanzhangError:
            wrong("the entry is not one of market terms", f"entry {index}")
            continue
        if said.programme != home.programme.id:
            wrong(f"the terms are of programme {said.programme}", f"entry {index}")
        if said.digest in first:
            wrong(f"the same terms are entry {first[said.digest]} already", f"entry {index}")
        first.setdefault(said.digest, index)
    for row in home.lots.all():
        if row.entry is not None and first.get(row.terms, row.entry) >= row.entry:
            wrong("the lot was frozen under terms that the log did not have before", f"lot {row.number}")
    return len(texts), problems
