"""Data packages of lots: they verify without the home, hold no more than they should, and no change stays unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tanzhang.core.checkpoint import Checkpoint
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot_package import (
    CELLS,
    CHECKPOINT,
    ENTRIES,
    FILES,
    FINDINGS,
    LOT,
    MEMBERS,
    NODES,
    NOTE,
    PLANS,
    PUBLIC,
    SIBLINGS,
    UNITS,
    VERIFICATION,
    VERIFIER,
)
from tanzhang.core.note import sign_note
from tanzhang.engine.signing import NoteSigner
from tanzhang.service.erase import erase
from tanzhang.service.market.issue import issue
from tanzhang.service.market.package import make_package
from tanzhang.service.market.verify_lot import verify_lot
from tanzhang.stores.home import Home

from ..homes import account, market_home
from ..lots import LATER, drafted
from ..trading import OPERATOR
from ..verifying import PEOPLE, change_json, frozen_lot, registered, sealed_again

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Path]:
    """A home with a registered lot on SQLite, and a folder with its package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    home = market_home(folder / "home")
    number = frozen_lot(home, folder)
    registered(home, number)
    for kind in (PUBLIC, VERIFIER):
        make_package(home, number, kind, folder / kind, actor=OPERATOR, now=LATER)
    return home, folder


def codes(home: Home, package: Path) -> set[str]:
    answer = verify_lot(package, home.values["vkey"])
    found = {problem["code"] for check in answer["checks"] for problem in check["problems"]}
    assert (answer["status"] == "failed") == bool(found)
    return found


@pytest.mark.parametrize("kind", [PUBLIC, VERIFIER])
def test_a_package_verifies_by_its_files_and_the_key_alone(
    place: Callable[[str], str | None], quick: Path, tmp_path: Path, kind: str
) -> None:
    home = market_home(quick / "home", book=place("tests"))
    number = frozen_lot(home, tmp_path)
    registered(home, number)
    for name in ("package", "package.zip"):
        said = make_package(home, number, kind, tmp_path / name, actor=OPERATOR, now=LATER)
        moved = tmp_path / f"elsewhere-{name}"
        (tmp_path / name).rename(moved)
        answer = verify_lot(moved, said["key"])
        assert [each["problems"] for each in answer["checks"]] == [[]] * len(answer["checks"])
        assert (answer["status"], answer["lot"], answer["kind"]) == ("verified", "L000001", kind)
    counted = {each["check"]: each["count"] for each in answer["checks"]}
    if kind == VERIFIER:
        assert counted["members"] == counted["records"] == counted["quantities"] == home.lots.one(number).members
    assert home.audit.page(None, 1)[0].act == "lot package made"


def test_a_package_in_the_middle_of_verification_or_before_verifies_too(quick: Path, tmp_path: Path) -> None:
    home = market_home(quick / "home")
    number = frozen_lot(home, tmp_path)
    make_package(home, number, VERIFIER, tmp_path / "package", actor=OPERATOR, now=LATER)
    answer = verify_lot(tmp_path / "package", home.values["vkey"])
    assert answer["status"] == "verified"
    notes = [note for check in answer["checks"] for note in check["notes"]]
    assert "no sample was drawn yet" in notes
    assert "no units were issued yet" in notes


def test_units_of_a_package_are_those_that_the_log_says_were_issued(quick: Path, tmp_path: Path) -> None:
    home = market_home(quick / "home")
    number = frozen_lot(home, tmp_path)
    registered(home, number)
    issue(home, number, reference="i", actor=OPERATOR, now=LATER)
    make_package(home, number, PUBLIC, tmp_path / "package", actor=OPERATOR, now=LATER)
    assert codes(home, tmp_path / "package") == set()
    said = json.loads((tmp_path / "package" / UNITS).read_bytes())
    assert sum(map(int, said["states"].values())) == int(said["issued"]) == home.lots.one(number).units
    assert "holder" not in said["blocks"][0]
    first, *rest = said["blocks"]
    wrong: list[Callable[[Any], Any]] = [
        lambda said: said | {"issued": "0", "states": {}, "blocks": []},
        lambda said: said | {"blocks": rest},
        lambda said: said | {"blocks": [first, *said["blocks"]]},
        lambda said: said | {"blocks": [{**first, "hi": str(int(first["hi"]) + 1)}, *rest]},
        lambda said: said | {"blocks": [{**first, "state": "retired"}, *rest]},
        lambda said: said | {"blocks": [{**first, "vintage": 2024}, *rest]},
        lambda said: said | {"unit_mass_mg": "1"},
        lambda said: said | {
            "states": {"held": said["issued"]}, "blocks": [{**each, "state": "held"} for each in said["blocks"]]
        },
    ]  # fmt: skip
    for place, change in enumerate(wrong):
        copy = tmp_path / str(place)
        shutil.copytree(tmp_path / "package", copy)
        change_json(copy, UNITS, change)
        sealed_again(home, copy)
        assert "units-mismatch" in codes(home, copy), place
    change_json(tmp_path / "package", ENTRIES, lambda said: said[:-1])
    sealed_again(home, tmp_path / "package")
    assert codes(home, tmp_path / "package") == {"units-mismatch"}


def test_the_public_package_names_nobody_and_no_record(made: tuple[Home, Path]) -> None:
    _, folder = made
    text = b"".join(path.read_bytes() for path in sorted((folder / PUBLIC).iterdir()))
    members = pq.read_table(folder / VERIFIER / MEMBERS)
    for name in ("account", "child", "action_id", "claim"):
        for value in set(members[name].drop_null().to_pylist()):
            assert value.bytes not in text
            assert str(value).encode() not in text
            assert value.hex.encode() not in text
    for name in ("salt", "leaf"):
        assert not any(value in text or value.hex().encode() in text for value in members[name].drop_null().to_pylist())
    assert {path.name for path in (folder / PUBLIC).iterdir()} == {*FILES[PUBLIC], "package.json", NOTE}


def test_a_salt_of_a_member_tells_no_salt_of_another_record(made: tuple[Home, Path]) -> None:
    _, folder = made
    members = pq.read_table(folder / VERIFIER / MEMBERS)
    assert "seed" not in members.column_names
    assert len(set(members["salt"].to_pylist())) == members.num_rows


def test_erased_members_are_leaves_and_the_lot_still_verifies(quick: Path, tmp_path: Path) -> None:
    home = market_home(quick / "home")
    number = frozen_lot(home, tmp_path)
    registered(home, number)
    before = json.dumps(_public(home, number, tmp_path / "before"))
    erase(home, [account(home, "cainiao", PEOPLE[0])], now=LATER)
    make_package(home, number, VERIFIER, tmp_path / "package", actor=OPERATOR, now=LATER)
    answer = verify_lot(tmp_path / "package", home.values["vkey"])
    assert answer["status"] == "verified", answer
    assert any("of erased records" in note for check in answer["checks"] for note in check["notes"])
    members = pq.read_table(tmp_path / "package" / MEMBERS)
    gone = members.filter(members["leaf"].is_valid())
    assert gone.num_rows > 0
    assert gone["account"].null_count == gone["salt"].null_count == gone.num_rows
    assert json.dumps(_public(home, number, tmp_path / "after")) == before, "what is published tells no erasing"


def _public(home: Home, number: int, folder: Path) -> Any:
    make_package(home, number, PUBLIC, folder, actor=OPERATOR, now=LATER)
    return json.loads((folder / CELLS).read_bytes())


def test_packages_of_lots_that_are_not_frozen_or_over_others_are_not_made(quick: Path, tmp_path: Path) -> None:
    home = market_home(quick / "home")
    number = frozen_lot(home, tmp_path)
    make_package(home, number, PUBLIC, tmp_path / "there", actor=OPERATOR, now=LATER)
    cases = (
        (number, "there", "package-exists"),
        (9, "new", "unknown-lot"),
        (drafted(home, "d-2"), "new", "lot-not-frozen"),
    )
    for lot, where, code in cases:
        with pytest.raises(TanzhangError, match=code):
            make_package(home, lot, PUBLIC, tmp_path / where, actor=OPERATOR, now=LATER)
    with pytest.raises(TanzhangError, match="package-missing"):
        verify_lot(tmp_path / "nowhere", home.values["vkey"])
    with pytest.raises(TanzhangError, match="usage"):
        verify_lot(tmp_path / "there")


# -- every file, whoever changed it -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PUBLIC, VERIFIER])
def test_a_byte_that_changed_in_any_file_or_a_file_more_or_less_is_found(
    made: tuple[Home, Path], tmp_path: Path, kind: str
) -> None:
    home, folder = made
    for name in FILES[kind]:
        copy = tmp_path / name
        shutil.copytree(folder / kind, copy)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        assert "package-file" in codes(home, copy), name
        (copy / name).unlink()
        assert "package-file" in codes(home, copy), name
    shutil.copytree(folder / kind, tmp_path / "more")
    (tmp_path / "more" / "README").write_text("more")
    assert codes(home, tmp_path / "more") == {"package-file"}


def test_a_package_that_somebody_else_listed_anew_is_not_the_operators(made: tuple[Home, Path], tmp_path: Path) -> None:
    home, folder = made
    copy = tmp_path / "copy"
    shutil.copytree(folder / PUBLIC, copy)
    change_json(copy, UNITS, lambda said: said | {"issued": "0"})
    stranger = NoteSigner(home.values["origin"], bytes(range(32)))
    note = (copy / NOTE).read_bytes().split(b"\n\n")[0].decode() + "\n"
    (copy / NOTE).write_bytes(sign_note(note, [stranger]))
    assert "note-not-trusted" in codes(home, copy)
    with pytest.raises(TanzhangError):
        Checkpoint.parse(note)


# -- what even the operator could not change --------------------------------------------------------------------


def table(change: Callable[[pa.Table], pa.Table], name: str = MEMBERS) -> Change:
    def run(folder: Path) -> None:
        pq.write_table(change(pq.read_table(folder / name)).cast(pq.read_schema(folder / name)), folder / name)

    return run


def says(name: str, change: Callable[[Any], Any]) -> Change:
    return lambda folder: change_json(folder, name, change)


def put(name: str, place: int, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    """Change one value of a column."""

    def run(rows: pa.Table) -> pa.Table:
        values = rows[name].to_pylist()
        values[place] = change(values[place])
        column = pa.array(values, rows.schema.field(name).type)
        return rows.set_column(rows.column_names.index(name), name, column)

    return run


def both(*changes: Callable[[pa.Table], pa.Table]) -> Callable[[pa.Table], pa.Table]:
    def run(rows: pa.Table) -> pa.Table:
        for change in changes:
            rows = change(rows)
        return rows

    return run


def without(place: int) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.filter(pa.array(np.arange(rows.num_rows) != place))


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def swapped(rows: pa.Table) -> pa.Table:
    return rows.take(pa.array([1, 0, *range(2, rows.num_rows)]))


def as_erased(rows: pa.Table) -> pa.Table:
    """The first member says that it was erased, and brings a leaf of its own."""
    kept = ("batch", "place", "amount_mg")
    for name in rows.column_names:
        if name not in kept:
            rows = put(name, 0, lambda _: None)(rows)
    return put("leaf", 0, lambda _: bytes(32))(rows)


def same_claim(rows: pa.Table) -> pa.Table:
    """Two members of an issuer's identifier have the same."""
    first, second = [place for place, claim in enumerate(rows["claim"].to_pylist()) if claim is not None][:2]
    return put("claim", second, lambda _: rows["claim"][first].as_py())(rows)


CHANGES: dict[str, tuple[Change, str]] = {
    "an amount": (table(put("amount_mg", 0, lambda mg: mg - 1)), "member-sum"),
    "amounts of two": (
        table(both(put("amount_mg", 0, lambda mg: mg - 1), put("amount_mg", 1, lambda mg: mg + 1))),
        "lot-root-mismatch",
    ),
    "nothing": (table(put("amount_mg", 0, lambda _: 0)), "member-amount"),
    "more than granted": (table(put("amount_mg", 0, lambda mg: 10 * mg)), "member-unfit"),
    "a member less": (table(without(3)), "member-sum"),
    "a member twice": (table(lambda rows: rows.take(pa.array([0, 0, *range(2, rows.num_rows)]))), "member-twice"),
    "another order": (table(swapped), "rows-not-in-order"),
    "another place": (table(put("place", -1, lambda place: place + 1)), "root-mismatch"),
    "another batch": (table(put("batch", -1, lambda batch: batch + 7)), "member-batch"),
    "an input": (table(put("distance_m", 0, lambda found: (found or 0) + 1_000)), "quantity-mismatch"),
    "a quantity": (
        table(both(put("quantified_mg", 0, lambda mg: mg + 1), put("granted_mg", 0, lambda mg: mg + 1))),
        "quantity-mismatch",
    ),
    "a grant": (table(put("granted_mg", 0, lambda mg: mg - 1)), "member-unfit"),
    "an outcome": (table(put("outcome", 0, lambda _: "duplicate_of")), "member-unfit"),
    "a kind": (table(put("kind", 0, lambda _: "emission")), "member-unfit"),
    "a day": (table(put("day", 0, lambda day: day.replace(year=2024))), "member-unfit"),
    "a region": (table(put("region", 0, lambda _: "CN-310000")), "member-unfit"),
    "a partner": (table(put("partner", 0, lambda _: "somebody")), "root-mismatch"),
    "an account": (table(put("account", 0, lambda found: type(found)(int=1))), "root-mismatch"),
    "a salt": (table(put("salt", 0, flipped)), "root-mismatch"),
    "a salt less": (table(put("salt", 0, lambda _: None)), "member-leaf"),
    "a claim": (table(same_claim), "claim-twice"),
    "a plan": (table(put("plan", 0, lambda _: "0" * 64)), "member-unfit"),
    "said to be erased": (table(as_erased), "root-mismatch"),
    "a sibling": (table(put("hash", 0, flipped), SIBLINGS), "root-mismatch"),
    "a sibling less": (table(without(0), SIBLINGS), "root-mismatch"),
    "a column": (
        lambda folder: pq.write_table(pq.read_table(folder / MEMBERS).drop_columns(["claim"]), folder / MEMBERS),
        "package-malformed",
    ),
    "a recipe": (
        says(PLANS, lambda said: {name: text.replace("37000", "37001") for name, text in said.items()}),
        "plan-changed",
    ),
    "a recipe less": (says(PLANS, lambda said: dict(list(said.items())[1:])), "plan-missing"),
    "the root": (says(LOT, lambda said: said | {"root": "0" * 64}), "lot-not-in-log"),
    "the units": (says(LOT, lambda said: said | {"units": "7"}), "lot-not-in-log"),
    "a manifest": (
        says(
            ENTRIES,
            lambda said: [{**each, "text": each["text"].replace('"records":"', '"records":"1')} for each in said],
        ),
        "inclusion-proof-invalid",
    ),
    "a path": (
        says(ENTRIES, lambda said: [{**said[0], "path": ["0" * 64, *said[0]["path"][1:]]}, *said[1:]]),
        "inclusion-proof-invalid",
    ),
    "an entry less": (says(ENTRIES, lambda said: said[1:]), "batch-not-in-log"),
    "the log's word": (says(ENTRIES, lambda said: said[:-1]), "verification-mismatch"),
    "findings": (says(FINDINGS, lambda said: said[1:]), "findings-mismatch"),
    "a severity": (says(FINDINGS, lambda said: [{**said[0], "severity": "minor"}, *said[1:]]), "findings-mismatch"),
    "the seed": (
        says(VERIFICATION, lambda said: said | {"sample": said["sample"] | {"seed": "0" * 64}}),
        "sample-mismatch",
    ),
    "the picks": (
        says(VERIFICATION, lambda said: said | {"sample": said["sample"] | {"picks": "60"}}),
        "verification-mismatch",
    ),
    "the decision": (
        says(VERIFICATION, lambda said: said | {"decision": said["decision"] | {"decision": "rejected"}}),
        "verification-mismatch",
    ),
    "a registry": (says(VERIFICATION, lambda said: said | {"registries": []}), "verification-mismatch"),
    "the verifier": (
        says(VERIFICATION, lambda said: said | {"verifier": said["verifier"] | {"id": "another"}}),
        "verification-mismatch",
    ),
    "issued": (says(UNITS, lambda said: said | {"issued": "1"}), "units-mismatch"),
    "a block": (
        says(
            UNITS,
            lambda said: (
                said
                | {
                    "blocks": [
                        {"lo": "0", "hi": "1", "vintage": 2025, "state": "held", "tier": "x", "holder": "programme"}
                    ]
                }
            ),
        ),
        "units-mismatch",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_the_operator_itself_changes_and_signs_anew_is_found(
    made: tuple[Home, Path], tmp_path: Path, what: str
) -> None:
    home, folder = made
    change, code = CHANGES[what]
    copy = tmp_path / "copy"
    shutil.copytree(folder / VERIFIER, copy)
    change(copy)
    sealed_again(home, copy)
    found = codes(home, copy)
    assert code in found
    assert not found & {"package-file", "package-note", "check-impossible"}


PUBLIC_CHANGES: dict[str, tuple[Change, str]] = {
    "a sum": (
        says(NODES, lambda said: [{**said[0], "sum": str(int(said[0]["sum"]) + 1)}, *said[1:]]),
        "lot-root-mismatch",
    ),
    "a hash": (says(NODES, lambda said: [{**said[0], "hash": "0" * 64}, *said[1:]]), "lot-root-mismatch"),
    "a node twice": (says(NODES, lambda said: [*said, said[0]]), "package-nodes"),
    "no node": (says(NODES, lambda _: []), "package-nodes"),
    "a cell": (
        says(CELLS, lambda said: said | {"cells": [{**said["cells"][0], "reduction_mg": "1"}, *said["cells"][1:]]}),
        "cells-mismatch",
    ),
    "a small cell": (
        says(CELLS, lambda said: said | {"cells": [{**each, "accounts": "1"} for each in said["cells"]]}),
        "cells-small",
    ),
}


@pytest.mark.parametrize("what", PUBLIC_CHANGES)
def test_what_is_changed_in_what_everybody_gets_is_found(made: tuple[Home, Path], tmp_path: Path, what: str) -> None:
    home, folder = made
    change, code = PUBLIC_CHANGES[what]
    copy = tmp_path / "copy"
    shutil.copytree(folder / PUBLIC, copy)
    change(copy)
    sealed_again(home, copy)
    assert code in codes(home, copy)


def test_a_checkpoint_of_another_key_is_refused_and_nothing_below_it_believed(
    made: tuple[Home, Path], tmp_path: Path
) -> None:
    home, folder = made
    copy = tmp_path / "copy"
    shutil.copytree(folder / VERIFIER, copy)
    text = (copy / CHECKPOINT).read_bytes().split(b"\n\n")[0].decode() + "\n"
    stranger = NoteSigner(home.values["origin"], bytes(range(32)))
    (copy / CHECKPOINT).write_bytes(sign_note(text, [stranger]))
    sealed_again(home, copy)
    assert "note-not-trusted" in codes(home, copy)
    with pytest.raises(TanzhangError, match="vkey-invalid"):
        verify_lot(folder / VERIFIER, "no key")
    other = verify_lot(folder / VERIFIER, stranger.verifier_key.to_text())
    assert other["status"] == "failed"
