"""Parties of the market on both databases: applying, documents at rest, states, and what goes when it is over."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.service.market.parties import (
    add_document,
    apply,
    described,
    document_data,
    forget,
    judge_document,
    listed,
    party_named,
    same_account,
    set_state,
)
from tanzhang.service.privacy import rotate_keys
from tanzhang.service.staff import invite
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.register.parties import market_party, party_document

from ..homes import on
from ..trading import OPERATOR, approved, party_said

NOW = on(8)
LICENCE = b"%PDF-1.7 an invented licence of road_builder"


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(TanzhangError) as caught:
        call(*arguments, **named)
    return caught.value.code


def test_a_party_is_approved_by_its_documents_and_can_be_suspended_and_let_in_again(home: Home) -> None:
    assert apply(home, "steel", party_said(), actor=OPERATOR, now=NOW)["state"] == "applied"

    def to(state: str) -> str:
        return str(set_state(home, "steel", state, note="looked at", actor=OPERATOR, now=NOW)["state"])

    assert refused(to, "approved") == "party-documents"
    document = add_document(home, "steel", "business_licence", "a.pdf", LICENCE, actor=OPERATOR, now=NOW)
    other = add_document(home, "steel", "authority", "b.pdf", b"b", actor=OPERATOR, now=NOW)
    judged = judge_document(home, "steel", document["digest"], accepted=True, note=None, actor=OPERATOR, now=NOW)
    assert judged["state"] == "accepted"
    assert refused(to, "approved") == "party-documents"
    judge_document(home, "steel", other["digest"], accepted=False, note="unreadable", actor=OPERATOR, now=NOW)
    assert to("approved") == to("approved") == "approved"
    assert refused(to, "applied") == "party-state"
    assert [to("suspended"), to("approved"), to("closed")] == ["suspended", "approved", "closed"]
    assert refused(to, "approved") == "party-state"
    assert refused(to, "somewhere") == "party-state"
    assert refused(set_state, home, "nobody", "closed", note=None, actor=OPERATOR, now=NOW) == "unknown-party"
    acts = [row.act for row in home.book.query(sa.select(audit.c.act).order_by(audit.c.id))]
    assert acts.count("party approved") == 2
    assert acts[0] == "party applied"


def test_an_application_that_comes_twice_is_one_and_another_of_its_id_or_number_is_refused(home: Home) -> None:
    said = party_said(credit_code="91350100M000100Y43")
    first = apply(home, "steel", said, actor=OPERATOR, now=NOW)
    assert apply(home, "steel", said, actor=OPERATOR, now=on(9)) == first
    assert refused(apply, home, "steel", party_said(title="Other"), actor=OPERATOR, now=NOW) == "party-exists"
    assert refused(apply, home, "iron", said, actor=OPERATOR, now=NOW) == "party-exists"
    wrong = party_said(credit_code="91350100M000100Y44")
    assert refused(apply, home, "iron", wrong, actor=OPERATOR, now=NOW) == "credit-code-wrong"
    assert refused(apply, home, "Iron Works", said, actor=OPERATOR, now=NOW) == "party-malformed"
    assert [each["id"] for each in listed(home)] == ["steel"]


def test_documents_and_contacts_are_sealed_and_stay_readable_when_the_key_is_changed(home: Home) -> None:
    apply(home, "steel", party_said(), actor=OPERATOR, now=NOW)
    digest = add_document(home, "steel", "other", "a.pdf", LICENCE, actor=OPERATOR, now=NOW)["digest"]
    add_document(home, "steel", "other", "again.pdf", LICENCE, actor=OPERATOR, now=NOW)
    rows = repr([home.book.query(sa.select(table)) for table in (market_party, party_document)])
    assert "Li Na" not in rows
    assert "6222" not in rows
    assert len(home.parties.documents("steel")) == 1
    rotate_keys(home)
    assert document_data(home, "steel", digest, actor=OPERATOR, now=NOW) == LICENCE
    shown = described(home, party_named(home, "steel"))
    assert (shown["contact"]["name"], shown["bank_account"]) == ("Li Na", "6222 0000 0001")
    acts = [row.act for row in home.book.query(sa.select(audit.c.act).order_by(audit.c.id))]
    assert acts[-1] == "party document read"
    assert refused(document_data, home, "steel", "0" * 64, actor=OPERATOR, now=NOW) == "not-found"
    assert refused(add_document, home, "steel", "other", "x", b"", actor=OPERATOR, now=NOW) == "party-document-size"
    big = bytes((2 << 20) + 1)
    assert refused(add_document, home, "steel", "other", "x", big, actor=OPERATOR, now=NOW) == "party-document-size"


def test_what_names_people_of_a_party_goes_when_it_is_over_and_not_before(home: Home) -> None:
    approved(home, "steel")
    assert refused(forget, home, "steel", actor=OPERATOR, now=NOW) == "party-state"
    set_state(home, "steel", "closed", note=None, actor=OPERATOR, now=NOW)
    left = forget(home, "steel", actor=OPERATOR, now=NOW)
    assert (left["contact"], left["bank_account"]) == (None, None)
    (document,) = left["documents"]
    assert refused(document_data, home, "steel", document["digest"], actor=OPERATOR, now=NOW) == "not-found"
    assert refused(add_document, home, "steel", "other", "x", b"x", actor=OPERATOR, now=NOW) == "party-state"


def test_staff_of_a_party_need_the_party_and_no_position(home: Home) -> None:
    apply(home, "steel", party_said(), actor=OPERATOR, now=NOW)
    assert invite(home, "buyer", "li.na@steel.example", partner="steel", actor=OPERATOR, now=NOW)["partner"] == "steel"
    for partner, position, code in (
        (None, None, "position-unknown"),
        ("steel", "owner", "position-unknown"),
        ("nobody", None, "unknown-party"),
        ("cainiao", None, "unknown-party"),
    ):
        found = refused(invite, home, "buyer", "x@y", partner=partner, position=position, actor=OPERATOR, now=NOW)
        assert found == code
    assert home.staff.page("steel", "", 10) == []  # staff of an enterprise of that id, which there is not


def test_bank_accounts_are_the_same_however_their_digits_are_grouped() -> None:
    assert same_account("6222 0000 0001", "6222-00000001")
    assert not same_account("6222 0000 0001", "6222 0000 0002")
    assert not same_account(None, None)
    assert not same_account("", "")


def test_no_party_takes_the_name_under_which_the_programme_sells(home: Home) -> None:
    assert refused(apply, home, "programme", party_said(), actor=OPERATOR, now=NOW) == "party-malformed"
    assert listed(home) == []
