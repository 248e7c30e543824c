"""``tanzhang partner``: who may report."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now

if TYPE_CHECKING:
    from tanzhang.core.access import Actor

partner_app = typer.Typer(help="Who may report to the programme.")

Partner = Annotated[str, typer.Argument(metavar="PARTNER", help="Id of the partner.")]


def operator() -> Actor:
    """Whoever may run commands on the home, by the name of the system's user."""
    from tanzhang.core.access import Actor, Role

    return Actor(Role.OPERATOR, getpass.getuser(), "command line")


@partner_app.command("add")
def add(
    partner: Partner,
    name: Annotated[str, typer.Option("--name", help="Name in English.")],
    name_zh: Annotated[str, typer.Option("--name-zh", help="Name in Chinese.")],
    behaviour: Annotated[
        list[str] | None, typer.Option("--behaviour", help="Behaviour it may report (default: all); may be repeated.")
    ] = None,
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="Best class of evidence it may claim (default: any).")
    ] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Each of its requests needs a signature.")] = False,
    also_serves: Annotated[
        list[str] | None, typer.Option("--also-serves", help="Another scheme it reports to; may be repeated.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="First day of the contract, YYYY-MM-DD.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day of the contract, YYYY-MM-DD.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Register a partner; running processes know it within seconds."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.partners import add_partner

        said: dict[str, Any] = {"id": partner, "name": name, "name_zh": name_zh, "behaviours": behaviour or None}
        contract = {"also_serves": also_serves or [], "from": since, "until": until}
        said |= {"evidence": evidence, "signed": signed, "contract": contract}
        answer(as_json, add_partner(home_of(home), said, actor=operator(), now=now()), tree)


@partner_app.command("list")
def list_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every partner, those of the programme's own list (version 0) among them."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.partners import listed_partners

        opened = home_of(home)
        answer(as_json, {"partners": listed_partners(opened, "", len(opened.programme.partners))}, tree)


@partner_app.command("show")
def show(partner: Partner, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What holds of a partner, and every earlier version with who said it and when."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.partners import described_partner, partner_history

        opened = home_of(home)
        found = described_partner(opened, partner, now=now())
        versions = partner_history(opened, partner, None, found["version"] + 1)
        said = [{key: each[key] for key in ("version", "recorded_at", "role", "actor")} for each in versions]
        answer(as_json, {**found, "history": said}, tree)


@partner_app.command("suspend")
def suspend(
    partner: Partner,
    reason: Annotated[str, typer.Option("--reason", help="Why; the partner sees it.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Let a partner report nothing more; what it reported stands."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.partners import suspend_partner

        answer(as_json, suspend_partner(home_of(home), partner, reason, actor=operator(), now=now()), tree)


@partner_app.command("resume")
def resume(partner: Partner, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let a suspended partner report again."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.partners import resume_partner

        answer(as_json, resume_partner(home_of(home), partner, actor=operator(), now=now()), tree)


@partner_app.command("limits")
def limits(
    partner: Partner,
    requests_per_s: Annotated[int | None, typer.Option("--requests-per-s", help="0 for no limit.")] = None,
    rows_per_s: Annotated[int | None, typer.Option("--rows-per-s", help="0 for no limit.")] = None,
    rows_per_day: Annotated[int | None, typer.Option("--rows-per-day", help="0 for no limit.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Limit what a partner sends; without an option, say what holds."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.partners import change_partner, described_partner

        given = {"requests_per_s": requests_per_s, "rows_per_s": rows_per_s, "rows_per_day": rows_per_day}
        wanted: dict[str, Any] = {name: value or None for name, value in given.items() if value is not None}
        opened = home_of(home)
        if wanted:
            found = change_partner(opened, partner, {"limits": wanted}, actor=operator(), now=now())
        else:
            found = described_partner(opened, partner, now=now())
        answer(as_json, {"partner": partner, "limits": found["limits"]}, tree)
