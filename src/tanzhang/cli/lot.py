"""``tanzhang authorise`` and ``tanzhang lot``: what may be pooled and sold, and the lots that are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import (
    AccountArgument,
    AsJson,
    HomeOption,
    answer,
    answering,
    check_new,
    content_of,
    day_of,
    home_of,
    looked_at,
    now,
    vkey_of,
)
from tanzhang.cli.partner import operator

authorise_app = typer.Typer(help="Whose reductions may go into lots; revoke it.")
lot_app = typer.Typer(help="Pool reductions into lots; where each milligram is.")

LotArgument = Annotated[str, typer.Argument(metavar="LOT", help="Number of the lot, such as L000042.")]


@authorise_app.command("grant")
def grant(
    account: AccountArgument,
    since: Annotated[str, typer.Option("--from", help="First local day of acts, YYYY-MM-DD.")],
    until: Annotated[str | None, typer.Option("--until", help="The local day after the last one.")] = None,
    behaviour: Annotated[list[str] | None, typer.Option("--behaviour", help="Only these; may stand again.")] = None,
    terms: Annotated[str | None, typer.Option("--terms", help="Digest of the terms that were shown.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Let reductions of an account go into lots, on the terms in force."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.authorise import authorise

        opened = home_of(home)
        own = looked_at(opened, account, "authorise grant")
        first, stop = day_of(since, "--from"), None if until is None else day_of(until, "--until")
        chosen = behaviour or None
        said = authorise(opened, own, since=first, until=stop, behaviours=chosen, terms=terms, now=now())
        answer(as_json, said, next_steps.authorised)


@authorise_app.command("list")
def list_(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What an account authorised, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.authorise import all_authorisations

        opened = home_of(home)
        own = looked_at(opened, account, "authorise list")
        answer(as_json, {"authorisations": all_authorisations(opened, own)}, tree)


@authorise_app.command("revoke")
def revoke_(
    account: AccountArgument,
    authorisation: Annotated[int, typer.Argument(help="Number of the authorisation.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an authorisation for the future; what is in a frozen lot stays there."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.authorise import revoke

        opened = home_of(home)
        own = looked_at(opened, account, "authorise revoke")
        answer(as_json, revoke(opened, own, authorisation, now=now()), tree)


@authorise_app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: subject, from_day, and until_day, behaviours.")],
    partner: Annotated[str, typer.Option("--partner", help="Whose users they are.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take over which users of a partner authorised: all of the file, or none of it."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.authorise import authorise_file

        answer(
            as_json, authorise_file(home_of(home), file, partner, actor=operator(), now=now()), next_steps.authorised
        )


@lot_app.command("draft")
def draft_(
    reference: Annotated[str, typer.Option("--reference", help="Your key of the lot; the same again is the same.")],
    vintage: Annotated[int, typer.Option("--vintage", help="Calendar year of the acts.")],
    region: Annotated[str, typer.Option("--region", help="Region of the acts, such as CN-110000.")],
    behaviour: Annotated[list[str] | None, typer.Option("--behaviour", help="Only these; may stand again.")] = None,
    units: Annotated[int | None, typer.Option("--units", min=1, help="How many units; default all that fit.")] = None,
    early: Annotated[str | None, typer.Option("--early", help="Why it is frozen before the year is over.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Draft a lot; nothing is taken yet."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.lots import LotSaid, draft

        wanted = None if units is None else str(units)
        said = LotSaid(reference, vintage, region, behaviour or None, wanted, early)
        answer(as_json, draft(home_of(home), said, actor=operator(), now=now()), next_steps.lot)


@lot_app.command("freeze")
def freeze_(lot: LotArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Fix the members of a draft for good, and write them into the log."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.cli.progress import progress_line
        from tanzhang.core.lot import lot_number
        from tanzhang.service.market.lots import freeze

        opened = home_of(home)
        with progress_line("freeze") as progress:
            said = freeze(opened, lot_number(lot), actor=operator(), now=now(), progress=progress)
        answer(as_json, said, next_steps.lot)


@lot_app.command("issue")
def issue_(
    lot: LotArgument,
    reference: Annotated[str, typer.Option("--reference", help="Names the issue; the same again answers the same.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Issue the units of a registered lot, once: for the programme, the error reserve and levies."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.core.lot import lot_number
        from tanzhang.service.market.issue import issue

        number = lot_number(lot)
        answer(
            as_json, issue(home_of(home), number, reference=reference, actor=operator(), now=now()), next_steps.issued
        )


@lot_app.command("dissolve")
def dissolve_(
    lot: LotArgument,
    why: Annotated[str, typer.Option("--why", help="Kept for good, so it must name nobody.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Give a lot up that is not being verified; what it held is free again."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.core.lot import lot_number
        from tanzhang.service.market.lots import dissolve

        answer(as_json, dissolve(home_of(home), lot_number(lot), why=why, actor=operator(), now=now()), next_steps.lot)


@lot_app.command("show")
def show(lot: LotArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """A lot and what became of it."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.core.lot import lot_number
        from tanzhang.service.market.lots import lot_page

        answer(as_json, lot_page(home_of(home), lot_number(lot)), next_steps.lot)


@lot_app.command("list")
def lots_(
    cursor: Annotated[str | None, typer.Option("--cursor", help="'next' of the page before.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Lots, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.lots import lots

        answer(as_json, lots(home_of(home), cursor=cursor), tree)


@lot_app.command("states")
def states(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Of each reduction of an account, how many milligrams are in which state."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.holdings import record_states
        from tanzhang.service.reading import Reader

        opened = home_of(home)
        own = looked_at(opened, account, "lot states")
        answer(as_json, record_states(Reader(opened), own), tree)


@lot_app.command("prove")
def prove(
    lot: LotArgument,
    account: AccountArgument,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Action id, or PARTNER:REFERENCE.")],
    out: Annotated[Path, typer.Option("--out", help="New file for the proof.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof of what a lot has of an act; it holds offline and names nobody."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.core.lot import lot_number
        from tanzhang.service.accounts import action_named
        from tanzhang.service.market.share import share_proof

        opened = home_of(home)
        own = looked_at(opened, account, "lot prove")
        check_new(out)
        out.write_bytes(share_proof(opened, own, action_named(opened, action), lot_number(lot)))
        answer(as_json, {"status": "written", "lot": lot, "file": str(out)}, tree)


@lot_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Proof file of a share.")],
    key: Annotated[str, typer.Option("--key", help="The log's public key, or the file that holds it.")],
    receipt: Annotated[Path | None, typer.Option("--receipt", help="The receipt of the act, to compare with.")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify the proof of a share without a home."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.share import check_share

        own = None if receipt is None else content_of(receipt)
        answer(as_json, check_share(content_of(file), vkey_of(key), own), tree)
