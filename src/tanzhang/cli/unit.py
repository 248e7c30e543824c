"""``tanzhang unit``: carbon units in blocks, what is done with them, and their labels."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tanzhang.cli.common import AsJson, Evidence, HomeOption, answer, answering, day_of, digest_of, home_of, now
from tanzhang.cli.partner import operator

unit_app = typer.Typer(help="Carbon units: blocks, holds, labels, other registries.")

SerialArgument = Annotated[str, typer.Argument(metavar="SERIAL", help="Serial number of a range of units.")]
Serials = Annotated[list[str], typer.Argument(metavar="SERIAL...", help="Serial numbers, of one lot.")]
Reference = Annotated[str, typer.Option("--reference", help="Names the request; the same again answers the same.")]
Why = Annotated[str, typer.Option("--why", help="The reason, which the event keeps.")]
Holder = Annotated[str | None, typer.Option("--holder", help="Whose they must be: programme, party:ID, levy:ID.")]


def _answer(as_json: bool, said: dict[str, Any]) -> None:
    from tanzhang.cli.show import tree

    answer(as_json, said, tree)


@unit_app.command("list")
def list_(
    holder: Holder = None,
    lot: Annotated[str | None, typer.Option("--lot", help="Of one lot, such as L000042.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="In one state, such as held.")] = None,
    cursor: Annotated[str | None, typer.Option("--cursor", help="'next' of the page before.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many blocks.")] = 200,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Blocks by lot and serial number."""
    with answering(as_json):
        from tanzhang.service.market.units import blocks_page

        opened = home_of(home)
        _answer(as_json, blocks_page(opened, holder=holder, lot=lot, state=state, cursor=cursor, limit=limit))


@unit_app.command("show")
def show(serial: SerialArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What stands under a serial number: blocks, labels, and every event."""
    with answering(as_json):
        from tanzhang.service.market.units import block_page

        _answer(as_json, block_page(home_of(home), serial))


@unit_app.command("lot")
def lot_(
    lot: Annotated[str, typer.Argument(metavar="LOT", help="A lot, such as L000042.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """The units of a lot by state, and what was taken back of it since it was frozen."""
    with answering(as_json):
        from tanzhang.service.market.compensate import lot_with_compensation

        _answer(as_json, lot_with_compensation(home_of(home), lot))


@unit_app.command("split")
def split_(
    serial: SerialArgument,
    counts: Annotated[list[int], typer.Option("--count", min=1, help="Units of a new block; several times for more.")],
    reference: Reference,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Cut a block into blocks of so many units, the rest last."""
    with answering(as_json):
        from tanzhang.service.market.units import split

        _answer(as_json, split(home_of(home), serial, counts, reference=reference, actor=operator(), now=now()))


@unit_app.command("merge")
def merge_(serial: SerialArgument, reference: Reference, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Make one block of all those in a range that are equal in everything."""
    with answering(as_json):
        from tanzhang.service.market.units import merge

        _answer(as_json, merge(home_of(home), serial, reference=reference, actor=operator(), now=now()))


@unit_app.command("freeze")
def freeze_(serials: Serials, reference: Reference, why: Why, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Hold units back for an authority or a court, visible to everybody."""
    with answering(as_json):
        from tanzhang.service.market.units import freeze

        _answer(as_json, freeze(home_of(home), serials, reference=reference, why=why, actor=operator(), now=now()))


@unit_app.command("thaw")
def thaw_(serials: Serials, reference: Reference, why: Why, home: HomeOption = None, as_json: AsJson = False) -> None:
    """End such a hold."""
    with answering(as_json):
        from tanzhang.service.market.units import thaw

        _answer(as_json, thaw(home_of(home), serials, reference=reference, why=why, actor=operator(), now=now()))


@unit_app.command("expire")
def expire_(serials: Serials, reference: Reference, why: Why, home: HomeOption = None, as_json: AsJson = False) -> None:
    """End units whose time of use is over by a rule, for good."""
    with answering(as_json):
        from tanzhang.service.market.units import expire

        _answer(as_json, expire(home_of(home), serials, reference=reference, why=why, actor=operator(), now=now()))


@unit_app.command("cancel")
def cancel_(
    serials: Serials, reference: Reference, why: Why, holder: Holder = None, home: HomeOption = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take units out without a claim, for good."""
    with answering(as_json):
        from tanzhang.service.market.units import cancel

        opened, actor = home_of(home), operator()
        _answer(as_json, cancel(opened, holder, serials, reference=reference, why=why, actor=actor, now=now()))


@unit_app.command("export")
def export_(
    serials: Serials,
    registry: Annotated[str, typer.Option("--registry", help="Where they go.")],
    reference: Reference,
    holder: Holder = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Begin to move units to another registry: they wait for 'exported' or 'returned'."""
    with answering(as_json):
        from tanzhang.service.market.units import export

        opened, actor = home_of(home), operator()
        said = export(opened, holder, serials, registry=registry, reference=reference, actor=actor, now=now())
        _answer(as_json, said)


@unit_app.command("exported")
def exported_(
    reference: Reference,
    there: Annotated[str, typer.Option("--there", help="The other registry's reference.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """The other registry has what waited under a reference."""
    with answering(as_json):
        from tanzhang.service.market.units import exported

        _answer(as_json, exported(home_of(home), reference, there=there, actor=operator(), now=now()))


@unit_app.command("returned")
def returned(reference: Reference, why: Why, home: HomeOption = None, as_json: AsJson = False) -> None:
    """The other registry did not take what waited under a reference: the units are held again."""
    with answering(as_json):
        from tanzhang.service.market.units import export_back

        _answer(as_json, export_back(home_of(home), reference, why=why, actor=operator(), now=now()))


@unit_app.command("import")
def import_(
    registry: Annotated[str, typer.Option("--registry", help="Where they come from.")],
    foreign: Annotated[str, typer.Option("--foreign", help="Their serial number there.")],
    units: Annotated[int, typer.Option("--units", min=1, help="How many.")],
    vintage: Annotated[int, typer.Option("--vintage", help="The year in which it was avoided.")],
    tier: Annotated[str, typer.Option("--tier", help="Their tier of the market, of the market rules.")],
    evidence: Evidence,
    reference: Reference,
    unit: Annotated[str, typer.Option("--unit", help="T for 1 t, K for 1 kg.")] = "T",
    region: Annotated[str, typer.Option("--region", help="CN, or CN- and six digits.")] = "CN",
    holder: Annotated[str, typer.Option("--holder", help="Who holds them: programme, or party:ID.")] = "programme",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take units of another registry in, as a lot of their own that never mixes with the programme's."""
    with answering(as_json):
        from tanzhang.service.market.units import import_units

        opened, actor = home_of(home), operator()
        said = import_units(
            opened, registry=registry, foreign=foreign, units=units, unit=unit, vintage=vintage, region=region,
            tier=tier, holder=holder, evidence=digest_of(evidence), reference=reference, actor=actor, now=now(),
        )  # fmt: skip
        _answer(as_json, said)


@unit_app.command("compensate")
def compensate_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Replace what was taken back of lots by units of their error reserves; workers do it by themselves."""
    with answering(as_json):
        from tanzhang.service.market.compensate import compensate_due

        _answer(as_json, compensate_due(home_of(home), now=now()))


@unit_app.command("replace")
def replace_(
    lot: Annotated[str, typer.Argument(metavar="LOT", help="The lot with a shortfall, such as L000042.")],
    serials: Serials,
    reference: Reference,
    why: Why,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Cancel other units for what a lot's error reserve did not reach for."""
    with answering(as_json):
        from tanzhang.service.market.compensate import make_good

        opened, actor = home_of(home), operator()
        _answer(as_json, make_good(opened, lot, serials, reference=reference, why=why, actor=actor, now=now()))


@unit_app.command("label")
def label_(
    serial: SerialArgument,
    scheme: Annotated[str, typer.Option("--scheme", help="A label of the market rules.")],
    granted_by: Annotated[str, typer.Option("--granted-by", help="Who granted it.")],
    evidence: Evidence,
    since: Annotated[str, typer.Option("--from", help="First local day, YYYY-MM-DD.")],
    reference: Reference,
    until: Annotated[str | None, typer.Option("--until", help="The day from which it holds no more.")] = None,
    scope: Annotated[str, typer.Option("--scope", help="For what, such as the year of a surrender.")] = "",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Label units from a day on; no serial number changes."""
    with answering(as_json):
        from tanzhang.service.market.labels import label

        first, last = day_of(since, "--from"), None if until is None else day_of(until, "--until")
        said = label(
            home_of(home), serial, scheme=scheme, scope=scope, granted_by=granted_by, evidence=digest_of(evidence),
            first_day=first, until_day=last, reference=reference, actor=operator(), now=now(),
        )  # fmt: skip
        _answer(as_json, said)


@unit_app.command("unlabel")
def unlabel(
    number: Annotated[int, typer.Argument(metavar="LABEL", help="Number of the label, as 'unit show' tells it.")],
    reference: Reference,
    why: Why,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Let a label hold no longer, from today on."""
    with answering(as_json):
        from tanzhang.service.market.labels import revoke

        _answer(as_json, revoke(home_of(home), number, reference=reference, why=why, actor=operator(), now=now()))
