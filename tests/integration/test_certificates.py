"""Certificates from the person's records to whoever checks them: offline, without a home, until they are revoked."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from tanzhang.core.access import Actor, Role
from tanzhang.core.credential import CONTEXT, IssuerEntry
from tanzhang.core.errors import TanzhangError
from tanzhang.core.multibase import public_key_text
from tanzhang.core.note import format_note, parse_note
from tanzhang.core.policy import parse_policy
from tanzhang.engine.data_integrity import IssuerKey, canonical
from tanzhang.engine.signing import Cosigner
from tanzhang.service import certificates as service
from tanzhang.service.certificate_check import check_certificate, credential_in
from tanzhang.service.certificate_contents import DonatedPoints, Donation
from tanzhang.service.certificate_page import page_of, pdf_of
from tanzhang.service.check_certificates import check_certificates
from tanzhang.service.consents import consents
from tanzhang.service.consents import revoke as take_consent_back
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.service.points import points_of
from tanzhang.service.privacy import about, ask_erasure, erase_due, rotate_keys
from tanzhang.service.reading import Reader
from tanzhang.stores import fonts as fonts_module
from tanzhang.stores.book.schema import metadata
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.register.certificates import certificate
from tanzhang.stores.register.people import person

from ..homes import BOX_MG, account, assert_verified, box, new_home, on, power, ride, settle_on, write

PUBLIC = "https://carbon.example"
OPERATOR = Actor(Role.OPERATOR, "a test", "command line")
LATER = datetime.fromisoformat("2025-07-20T02:00:00+00:00")
JUNE = date(2025, 6, 1)
POINTS = DonatedPoints("points:beijing_carbon_energy", "carbon energy", "碳能量", 500)
FONTS = "the fonts of package fonts-noto-cjk are not installed"


def fonts() -> None:
    """Skip without the system's Chinese fonts, fail where all tests must run."""
    if not fonts_module.fonts_are_there():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(FONTS)


def set_up(home: Home) -> Home:
    """Three acts of June and a footprint, an epoch over them, and the key of certificates."""
    (home.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": PUBLIC}))
    events = [box("a"), box("b", day=date(2025, 6, 6)), ride("r"), power("p"), box("o", "bo")]
    intake(home, write(home.folder.parent / "acts.ndjson", events), now=on(7))
    settle_on(home, 9)
    close(home, now=on(9))
    service.make_key(home, actor=OPERATOR, now=on(10))
    return home


@pytest.fixture
def issuing(home: Home) -> Home:
    """A home on either database that issues certificates."""
    return set_up(home)


@pytest.fixture
def quick_home(quick: Path) -> Home:
    """The same on SQLite alone."""
    return set_up(new_home(quick / "home"))


@pytest.fixture(scope="module")
def kept(in_memory: Path) -> Home:
    """The same for tests that change nothing in it but for certificates more."""
    return set_up(new_home(Path(tempfile.mkdtemp(dir=in_memory)) / "home"))


@pytest.fixture(scope="module")
def signed(kept: Home) -> bytes:
    """A statement of that home."""
    return statement_of(kept)[1]


def anna(home: Home) -> uuid.UUID:
    return account(home, "cainiao", "anna")


def statement_of(home: Home, *, now: datetime = LATER, **more: Any) -> tuple[dict[str, Any], bytes]:
    made = service.issue_statement(Reader(home), anna(home), JUNE, now=now, **more)
    return made, service.own_certificate(home, str(anna(home)), made["id"])


def bank_of(home: Home, members: list[str], **more: Any) -> dict[str, Any]:
    until = more.pop("until", date(2025, 6, 30))
    return service.issue_green_credit(
        Reader(home), anna(home), JUNE, until, members, addressed_to="Example Bank 示例银行", now=LATER, **more
    )


def checked(home: Home, data: bytes, **more: Any) -> dict[str, Any]:
    return check_certificate(data, home.values["vkey"], now=more.pop("now", LATER), **more)


def refused(call: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    with pytest.raises(TanzhangError) as error:
        call(*arguments, **more)
    assert all(each.remedy and each.where for each in error.value.problems)
    return error.value.code


def test_a_statement_says_what_was_settled_of_the_month_and_by_what_it_can_be_traced(issuing: Home) -> None:
    made, data = statement_of(issuing)
    says = checked(issuing, data)["says"]
    assert says == made["credential"]["credentialSubject"]
    assert (says["since"], says["until"], says["state"]) == ("2025-06-01", "2025-06-30", "confirmed")
    assert (says["reductionMg"], says["acts"]) == (str(2 * BOX_MG), "2")
    assert says["ofUnpublishedFactorsMg"] == says["reductionMg"]
    assert [each["category"] for each in says["byCategory"]] == ["use"]
    assert (says["footprintReports"], "footprintMg" in says, "grades" in says) == ("0", False, False)
    own = points_of(Reader(issuing), anna(issuing), now=LATER)["items"]
    assert [(each["unit"], each["amount"], each["asOf"]) for each in says["points"]] == [
        (each["unit"], each["usable"], "2025-07-20") for each in own
    ]
    assert says["points"]
    assert "holderName" not in says
    assert str(anna(issuing)) not in data.decode()
    counted, batches, epoch = made["credential"]["evidence"][1:]
    assert counted["records"] == "2"
    assert batches["lastRoot"] in issuing.log.entry(int(batches["entry"])).decode()
    assert epoch["trees"]["co2e_mg"]["root"] in issuing.log.entry(int(epoch["entry"])).decode()
    assert_verified(issuing)


def test_a_month_whose_windows_are_open_is_provisional(kept: Home) -> None:
    made, _ = statement_of(kept, now=on(20))
    assert made["state"] == "provisional"


def test_a_certificate_for_a_bank_says_what_its_person_picked_and_nothing_else(issuing: Home) -> None:
    made = bank_of(issuing, ["reduction"])
    says = made["credential"]["credentialSubject"]
    assert {*says} == {
        "programme",
        "addressedTo",
        "since",
        "until",
        "state",
        "reductionMg",
        "ofUnpublishedFactorsMg",
    }
    named = bank_of(issuing, ["acts", "grades"], name="  Anna   安娜 ")["credential"]["credentialSubject"]
    assert (named["holderName"], named["holderNameCheckedBy"]) == ("Anna 安娜", "nobody")
    assert "reductionMg" not in named
    agreed = consents(issuing, str(anna(issuing)))
    assert [each["scope"] for each in agreed] == ["certificate", "certificate"]
    told = "tell Example Bank 示例银行 of 2025-06-01 to 2025-06-30: "
    assert sorted(each["purpose"] for each in agreed) == [f"{told}acts, grades", f"{told}reduction"]


def test_what_cannot_be_said_is_refused_with_every_mistake(kept: Home) -> None:
    with pytest.raises(TanzhangError) as error:
        bank_of(kept, ["salary"], until=date(2025, 5, 1), name="\x00")
    assert [each.code for each in error.value.problems] == ["certificate-member", "certificate-span", "name-malformed"]
    assert refused(bank_of, kept, []) == "certificate-member"
    reader = Reader(kept)
    assert refused(service.issue_statement, reader, anna(kept), date(2025, 8, 1), now=LATER) == "certificate-span"


def test_a_donation_is_certified_from_plain_values(kept: Home) -> None:
    given = Donation("d-1", "Saxaul in Alxa", "阿拉善梭梭", "示例基金会", date(2025, 7, 1), POINTS)
    made = service.issue_donation(kept, anna(kept), given, now=LATER)
    data = service.own_certificate(kept, str(anna(kept)), made["id"])
    answer = checked(kept, data)
    assert (answer["kind"], answer["says"]["points"][0]["amount"]) == ("donation", "500")
    assert page_of(data).figure == "500"


def test_it_verifies_without_a_home_until_it_is_revoked(issuing: Home) -> None:
    made, data = statement_of(issuing)
    other, _ = statement_of(issuing)
    listed = service.status_of(issuing, 0, now=LATER)
    answer = checked(issuing, data, status=listed)
    assert answer["revoked"] is False
    assert answer["status_list"] == f"{PUBLIC}/certificates/status/0"
    assert checked(issuing, data)["revoked"] is None
    assert service.status_of(issuing, 0, now=LATER + timedelta(minutes=20)) == listed
    service.revoke(issuing, made["id"], "issued in error", actor=OPERATOR, now=LATER)
    fresh = service.status_of(issuing, 0, now=LATER + timedelta(seconds=2))
    assert refused(checked, issuing, data, status=fresh) == "credential-revoked"
    standing = service.own_certificate(issuing, str(anna(issuing)), other["id"])
    assert checked(issuing, standing, status=fresh)["revoked"] is False
    assert [each["status"] for each in service.own_certificates(issuing, str(anna(issuing)))["items"]].count(
        "revoked"
    ) == 1
    assert refused(service.revoke, issuing, made["id"], "again", actor=OPERATOR, now=LATER) == "certificate-revoked"
    assert refused(service.revoke, issuing, "x", "again", actor=OPERATOR, now=LATER) == "certificate-unknown"
    assert refused(service.status_of, issuing, 1, now=LATER) == "certificate-unknown"
    (row,) = issuing.book.query(sa.select(audit).where(audit.c.act == "certificate revoked"))
    assert row.subject == f"certificate {made['id']}"
    assert_verified(issuing)


def test_a_person_takes_one_back_or_the_consent_that_it_rests_on(issuing: Home) -> None:
    first, second = bank_of(issuing, ["acts"]), bank_of(issuing, ["grades"])
    mine = str(anna(issuing))
    assert refused(service.revoke_own, issuing, str(account(issuing, "cainiao", "bo")), first["id"], now=LATER) == (
        "certificate-unknown"
    )
    service.revoke_own(issuing, mine, first["id"], now=LATER)
    standing = [each for each in consents(issuing, mine) if each["revoked_at"] is None]
    assert len(standing) == 1
    take_consent_back(issuing, mine, standing[0]["id"], now=LATER)
    states = {each["id"]: each["status"] for each in service.own_certificates(issuing, mine)["items"]}
    assert states == {first["id"]: "revoked", second["id"]: "revoked"}


def test_the_list_goes_page_by_page(quick_home: Home) -> None:
    made = [statement_of(quick_home, now=LATER + timedelta(seconds=n))[0]["id"] for n in range(5)]
    mine, found, cursor = str(anna(quick_home)), [], None
    while True:
        page = service.own_certificates(quick_home, mine, cursor=cursor, limit=2)
        found += [each["id"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == made[::-1]


def test_only_so_many_are_made_a_day(quick_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_A_DAY", 2)
    for _ in range(2):
        statement_of(quick_home)
    assert refused(statement_of, quick_home) == "too-many-certificates"
    statement_of(quick_home, now=LATER + timedelta(days=1, seconds=1))


def test_erasing_its_person_revokes_it_and_forgets_what_it_said(issuing: Home) -> None:
    made, data = statement_of(issuing)
    mine = str(anna(issuing))
    with issuing.book.transaction() as con:
        con.execute(person.insert(), {"account": mine, "created_at": "2025-06-01"})
    (copied,) = about(issuing, mine)["certificates"]
    assert copied["credential"] == made["credential"]
    ask_erasure(issuing, mine, now=LATER)
    erase_due(issuing, now=LATER + timedelta(days=8))
    row = issuing.certificates.get(made["id"])
    assert (row.account, row.sealed, row.reason) == (None, None, "erased")
    after = LATER + timedelta(days=8, seconds=2)
    listed = service.status_of(issuing, 0, now=after)
    assert refused(checked, issuing, data, status=listed, now=after) == "credential-revoked"
    texts = [str(row) for table in metadata.sorted_tables for row in issuing.book.query(sa.select(table))]
    assert not any(made["sha256"] in text for text in texts)
    assert_verified(issuing)


# -- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_is_made_by_its_own_command_alone(quick: Path) -> None:
    home = new_home(quick / "home")
    (home.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": PUBLIC}))
    donated = Donation("d-1", "Trees", "树", "x", date(2025, 7, 1), POINTS)
    mine = uuid.UUID(int=7)
    assert refused(service.issue_donation, home, mine, donated, now=LATER) == "issuer-missing"
    assert refused(service.rotate_key, home, actor=OPERATOR, now=LATER) == "issuer-missing"
    home.keep_issuer_key(IssuerKey(bytes(32)))  # as if making it had died before the log had it
    assert refused(service.issue_donation, home, mine, donated, now=LATER) == "issuer-missing"
    assert service.make_key(home, actor=OPERATOR, now=LATER)["issuer"] == IssuerKey(bytes(32)).did
    assert refused(service.make_key, home, actor=OPERATOR, now=LATER) == "issuer-exists"
    file = home.folder / "keys" / "issuer.key"
    assert file.stat().st_mode & 0o077 == 0
    file.unlink()
    assert refused(service.make_key, home, actor=OPERATOR, now=LATER) == "key-missing"
    (home.folder / "keys" / "people.yaml").unlink()
    home.keep_issuer_key(IssuerKey(bytes(32)))
    assert refused(service.issue_donation, home, mine, donated, now=LATER) == "public-url-missing"


def test_what_was_signed_with_an_earlier_key_still_holds(issuing: Home) -> None:
    _, data = statement_of(issuing)
    service.rotate_key(issuing, actor=OPERATOR, now=LATER)
    _, second = statement_of(issuing)
    listed = service.status_of(issuing, 0, now=LATER)
    answers = [checked(issuing, each, status=listed) for each in (data, second)]
    assert answers[0]["issuer"] != answers[1]["issuer"]
    document = service.did_document(issuing)
    assert document["id"] == "did:web:carbon.example"
    assert document["alsoKnownAs"] == [each["issuer"] for each in answers]
    assert_verified(issuing)


def test_sealed_texts_come_along_when_the_key_of_personal_fields_is_changed(issuing: Home) -> None:
    _, data = statement_of(issuing)
    rotate_keys(issuing)
    rotate_keys(issuing)
    (row,) = issuing.certificates.all()
    assert service.own_certificate(issuing, str(anna(issuing)), row.id) == data
    assert b"reductionMg" not in row.sealed.encode()


def test_a_list_that_moved_keeps_the_address_that_its_certificates_name(quick_home: Home) -> None:
    _, data = statement_of(quick_home)
    (quick_home.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": "https://new.example"}))
    _, second = statement_of(quick_home)
    for number, each in enumerate((data, second)):
        listed = service.status_of(quick_home, number, now=LATER)
        assert checked(quick_home, each, status=listed)["revoked"] is False
    assert refused(checked, quick_home, data, status=listed) == "credential-status-other"


def test_places_are_drawn_until_a_list_is_half_full(quick_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tanzhang.stores.register.certificates.MOST_IN_LIST", 3)
    for _ in range(5):
        statement_of(quick_home)
    rows = quick_home.certificates.all()
    assert [row.list for row in rows] == [0, 0, 0, 1, 1]
    assert [row.place for row in rows] != [*range(5)]


# -- whoever would forge one --------------------------------------------------------------------------------------


def signed_again(document: dict[str, Any], key: IssuerKey) -> bytes:
    """A changed credential under another key, as a forger would sign it."""
    unsigned = {name: value for name, value in document.items() if name != "proof"}
    return canonical(key.sign(unsigned, created=document["proof"]["created"]))


def test_every_member_that_is_changed_is_noticed(kept: Home, signed: bytes) -> None:
    """One change at every leaf of the document, outside and inside the evidence and the proof."""
    data = signed
    places = [*leaves(json.loads(data))]
    assert len(places) > 50
    for place in places:
        changed = json.loads(data)
        inside = changed
        for step in place[:-1]:
            inside = inside[step]
        value = inside[place[-1]]
        inside[place[-1]] = not value if isinstance(value, bool) else f"{value}x"
        assert refused(checked, kept, canonical(changed)), place


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*place, name))
    else:
        yield place


def test_every_byte_that_is_flipped_is_noticed(kept: Home, signed: bytes) -> None:
    """Each 13th byte; a file that says the same in other spelling still holds, and only such a one."""
    data = signed
    for place in range(0, len(data), 13):
        changed = bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]])
        assert refused(checked, kept, changed)
    spelled = json.dumps(json.loads(data), indent=2).encode()
    assert checked(kept, spelled)["status"] == "verified"


def test_a_forger_with_a_key_of_their_own_gets_nowhere(kept: Home, signed: bytes) -> None:
    document, forger = json.loads(signed), IssuerKey(bytes(32))
    document["issuer"]["id"] = forger.did
    assert refused(checked, kept, signed_again(document, forger)) == "credential-issuer-unproved"
    log = document["evidence"][0]
    log["entry"] = IssuerEntry("beijing", False, forger.public_key).to_text()
    assert refused(checked, kept, signed_again(document, forger)) == "inclusion-proof-invalid"
    log["entry"] = "{}"
    assert refused(checked, kept, signed_again(document, forger)) == "issuer-entry-malformed"
    document["evidence"] = []
    assert refused(checked, kept, signed_again(document, forger)) == "credential-issuer-unproved"


def test_the_programmes_own_key_cannot_say_it_is_another_programme_or_kind(kept: Home, signed: bytes) -> None:
    made = {"credential": json.loads(signed)}
    key = kept.issuer_key
    assert key is not None

    def changed(**members: Any) -> bytes:
        return signed_again({**made["credential"], **members}, key)

    other = {**made["credential"]["credentialSubject"], "programme": {"id": "shenzhen", "rehearsal": False}}
    cases = {
        "credential-issuer-unproved": [changed(credentialSubject=other)],
        "credential-not-yet-valid": [changed(validFrom="2026-01-01T00:00:00Z")],
        "credential-expired": [changed(validUntil="2025-07-20T02:00:00Z")],
        "credential-malformed": [
            changed(type=["VerifiableCredential"]),
            changed(type="CarbonStatement"),
            changed(validFrom="yesterday"),
            changed(credentialStatus=None),
            changed(credentialStatus={**made["credential"]["credentialStatus"], "more": "1"}),
            changed(**{"@context": [*CONTEXT, "https://more.example"]}),
            changed(credentialSubject=[]),
            changed(issuer=key.did),
            b"",
            b"[]",
            b'{"id": 1, "id": 2}',
            b'{"id": 1.5}',
            b'{"id": "\\ud800"}',
            b"\xff",
            b"[" * 100_000,
            b" " * 1_000_001,
        ],
        "multibase-malformed": [changed(issuer={**made["credential"]["issuer"], "id": "did:web:carbon.example"})],
    }
    for code, files in cases.items():
        for data in files:
            assert refused(checked, kept, data) == code, data[:80]


def test_a_status_list_has_to_be_the_right_one_of_the_same_programme_and_of_today(kept: Home, signed: bytes) -> None:
    made, data = {"credential": json.loads(signed)}, signed
    key = kept.issuer_key
    assert key is not None
    listed = json.loads(service.status_of(kept, 0, now=LATER))

    def with_list(document: dict[str, Any], signer: IssuerKey = key, **more: Any) -> str:
        return refused(checked, kept, data, status=signed_again(document, signer), **more)

    subject = listed["credentialSubject"]
    assert with_list({**listed, "id": f"{PUBLIC}/certificates/status/1"}) == "credential-status-other"
    assert with_list({**listed, "type": ["VerifiableCredential"]}) == "credential-status-other"
    assert with_list({**listed, "credentialSubject": {**subject, "statusPurpose": "suspension"}}) == (
        "credential-status-other"
    )
    assert with_list({**listed, "credentialSubject": {**subject, "encodedList": "u"}}) == "status-list-malformed"
    assert with_list(listed, IssuerKey(bytes(32))) == "credential-signature-invalid"
    assert refused(checked, kept, data, status=canonical(listed), now=LATER + timedelta(days=2)) == (
        "credential-status-outdated"
    )
    assert refused(checked, kept, data, status=data) == "credential-status-other"
    far = {**made["credential"]["credentialStatus"], "statusListIndex": str(1 << 30)}
    far["id"] = f"{far['statusListCredential']}#{1 << 30}"
    beyond = signed_again({**made["credential"], "credentialStatus": far}, key)
    assert refused(checked, kept, beyond, status=canonical(listed)) == "status-place-unknown"


def test_another_log_is_not_believed_and_witnesses_can_be_asked_for(kept: Home, signed: bytes, quick: Path) -> None:
    data = signed
    other = new_home(quick / "other", seed=b"other")
    assert refused(check_certificate, data, other.values["vkey"], now=LATER) == "note-not-trusted"
    assert refused(check_certificate, data, now=LATER) == "usage"
    witness = Cosigner("witness.example", bytes(32))
    lines = f"log {kept.values['vkey']}\nwitness w {witness.verifier_key.to_text()}\nquorum w\n"
    policy = parse_policy(lines.encode(), where="policy")
    assert refused(check_certificate, data, policy=policy, now=LATER) == "witness-quorum-missing"
    document = json.loads(data)
    note = document["evidence"][0]["proof"]
    head, _, checkpoint = note.partition("\n\n")
    text = parse_note(checkpoint.encode()).text
    cosigned = format_note(text, [*parse_note(checkpoint.encode()).signatures, witness.cosign(text, 1_750_000_000)])
    document["evidence"][0]["proof"] = f"{head}\n\n{cosigned.decode()}"
    assert kept.issuer_key is not None
    answer = check_certificate(signed_again(document, kept.issuer_key), policy=policy, now=LATER)
    assert "quorum w" in " ".join(answer["checks"])


# -- what the book keeps ------------------------------------------------------------------------------------------


def test_verify_finds_what_was_changed_in_the_register(issuing: Home) -> None:
    made, _ = statement_of(issuing)
    other, _ = statement_of(issuing)
    service.revoke(issuing, made["id"], "a test", actor=OPERATOR, now=LATER)
    assert_verified(issuing)
    rows = {row.id: row for row in issuing.certificates.all()}

    def changed(name: str, **values: Any) -> list[str]:
        own = certificate.c.id == name
        with issuing.book.transaction() as con:
            con.execute(certificate.update().where(own).values(**values))
        found = [each.code for each in check_certificates(issuing)[1]]
        with issuing.book.transaction() as con:
            con.execute(certificate.update().where(own).values({each: getattr(rows[name], each) for each in values}))
        return found

    assert changed(made["id"], revoked_at=None) == ["certificate-unrevoked"]
    assert changed(other["id"], place=(rows[other["id"]].place + 1) % 1000) == ["certificate-changed"]
    assert changed(other["id"], list=9) == ["certificate-changed", "certificate-changed"]
    assert changed(other["id"], account=None) == ["certificate-changed", "certificate-changed"]
    assert changed(other["id"], sealed=rows[made["id"]].sealed) == ["personal-field-changed"]
    assert_verified(issuing)


# -- pages --------------------------------------------------------------------------------------------------------


def test_one_pdf_file_is_enough_to_verify(kept: Home) -> None:
    fonts()
    _, data = statement_of(kept, name="安娜")
    file = pdf_of(data)
    assert credential_in(file) == data
    assert checked(kept, file) == checked(kept, data)
    assert len(file) < 300_000
    assert b"pdfaid" in file
    assert "/verify#certificate=urn:uuid:" in page_of(data).qr


def test_a_pdf_that_lost_its_credential_is_refused(kept: Home, signed: bytes) -> None:
    fonts()
    from fpdf import FPDF

    blank = FPDF()
    blank.add_page()
    assert refused(credential_in, bytes(blank.output())) == "pdf-no-credential"
    assert refused(credential_in, b"%PDF-1.7\nnothing") == "pdf-malformed"
    data = signed
    file = pdf_of(data)
    forged = file.replace(data[200:240], b"x" * 40)
    assert forged != file  # the attachment is not packed
    assert refused(checked, kept, forged)


def test_a_machine_without_chinese_fonts_says_so(kept: Home, signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = signed
    monkeypatch.setattr(fonts_module, "FOLDERS", (Path("/nowhere"),))
    monkeypatch.setattr(fonts_module, "_held", {})
    assert refused(pdf_of, data) == "fonts-missing"


def test_the_key_in_the_log_is_that_of_the_certificate_and_names_no_person(kept: Home, signed: bytes) -> None:
    data = signed
    entry = json.loads(json.loads(data)["evidence"][0]["entry"])
    assert {*entry} == {"format", "programme", "rehearsal", "public_key_multibase"}
    assert kept.issuer_key is not None
    assert entry["public_key_multibase"] == public_key_text(kept.issuer_key.public_key)
