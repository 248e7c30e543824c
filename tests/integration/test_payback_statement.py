"""What a person is told of their share, and the proof of a payment, which holds without the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payback import Divided, Evidence, FeeTaken
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.service.joining import join
from tanzhang.service.market.payback_statement import check_proof, overview, payment, payment_proof, sales, words
from tanzhang.service.privacy import about
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home

from ..homes import market_home, new_home
from ..paybacks import after, people, sold

# 6,000 fen over 10^9 mg: CNY 60 for a tonne.
SALE = Divided("beijing", 42, 60_976, 10**9, 7, 1, 6_000, 0, ())


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def test_a_share_of_a_tenth_of_a_fen_is_said_as_it_is() -> None:
    said, said_zh = words(SALE, 16_400, 0)
    assert said.startswith("Your 16.4 g in lot L000042 earned 0.098 fen of this sale; you hold 0 fen of it, and 0.098 ")
    assert said.endswith("nothing is kept back for you.")
    assert said_zh.startswith("您在批次 L000042 中的 16.4 克在本次出售中的份额为 0.098 分；您持有其中 0 分，其余 0.098")
    assert "you hold 1 fen of it, 0.901 fen more than your share" in words(SALE, 16_400, 1)[0]
    assert words(SALE, 500_000, 3)[0].endswith("3.000 fen of this sale; you hold 3 fen of it: exactly your share.")


def test_the_statement_has_each_sale_with_its_exact_share_and_what_was_got(home: Home, tmp_path: Path) -> None:
    anna, bo, _ = people(home, tmp_path)
    before = overview(home, anna, now=after(0))
    assert (before["owed_fen"], before["can_be_asked"], before["least_payout_fen"]) == ("0", False, "100")
    deal = sold(home, 10_001)
    (sale,) = sales(home, anna)
    assert (sale["deal"], sale["lot"], sale["total_mg"]) == (deal, "L000001", "7000000")
    assert abs(int(sale["fen"]) - float(sale["exact_fen"])) < 6
    assert sale["said"].startswith(
        f"Your {int(sale['mg']) / 1000:.10g} g in lot L000001 earned {sale['exact_fen']} fen"
    )
    assert overview(home, anna, now=after(1))["owed_fen"] == sale["fen"]
    (bos,) = sales(home, bo)
    join(home, bo, anna, now=after(1))
    (both,) = sales(home, anna)
    assert (both["fen"], both["mg"]) == (
        str(int(sale["fen"]) + int(bos["fen"])),
        str(int(sale["mg"]) + int(bos["mg"])),
    )
    assert sales(home, bo) == []
    shares = about(home, str(anna))["payback"]["shares"]
    assert [each["fen_by_run"] for each in shares] == [{"0": sale["fen"]}, {"0": bos["fen"]}]


def test_a_home_without_a_market_owes_nothing_and_says_so(quick: Path) -> None:
    home = new_home(quick / "none")
    said = overview(home, UUID(int=7), now=after(0))
    assert (said["owed_fen"], said["least_payout_fen"], said["can_be_asked"]) == ("0", None, False)


def acts_of(reader: Reader, account: UUID) -> list[UUID]:
    """The acts of an account, the latest first."""
    return [UUID(each["action_id"]) for each in reader.records(account, kind="reduction", limit=100)["items"]]


def proof_of(reader: Reader, account: UUID, action: UUID, deal: int) -> bytes | None:
    """The proof of a payment; none of an act that is not in the lot, which was cut to whole units."""
    try:
        return payment_proof(reader, account, action, deal)
    except TanzhangError as error:
        if error.code != "not-in-lot":
            raise
        return None


def test_every_payment_is_computed_again_from_its_proof_without_the_home(home: Home, tmp_path: Path) -> None:
    anna, bo, cai = people(home, tmp_path)
    deal = sold(home, 10_001)
    reader, vkey = Reader(home), home.values["vkey"]
    for account in (anna, bo, cai):
        proofs = [proof_of(reader, account, action, deal) for action in acts_of(reader, account)]
        found = [check_proof(proof, vkey) for proof in proofs if proof is not None]
        for said in found:
            assert int(said["to_fen"].split(".")[0]) - int(said["from_fen"].split(".")[0]) == int(said["fen"])
        assert sum(int(said["fen"]) for said in found) == int(sales(home, account)[0]["fen"])
    assert payment(reader, anna, acts_of(reader, anna)[0], deal)["fen"].isdigit()


def test_a_proof_whose_parts_do_not_belong_together_shows_nothing(home: Home, tmp_path: Path) -> None:
    anna, bo, _ = people(home, tmp_path)
    deal = sold(home, 10_001)
    reader, vkey = Reader(home), home.values["vkey"]
    action = acts_of(reader, anna)[0]
    proof = TlogProof.parse(payment_proof(reader, anna, action, deal))
    evidence = Evidence.parse(proof.extra or b"")
    divided = Divided.parse(evidence.entry)

    def code(extra: bytes | None) -> str:
        with pytest.raises(TanzhangError) as refused:
            check_proof(TlogProof(proof.index, proof.path, proof.checkpoint, extra).to_bytes(), vkey)
        return refused.value.code

    more = FeeTaken.of("platform", divided.fees[0].share / 2, divided.gross_fen)
    other = replace(divided, fees=(more, *divided.fees[1:]))
    assert code(Evidence(other.to_text(), evidence.share).to_bytes()) == "inclusion-proof-invalid"
    said = json.loads(evidence.entry) | {"total_mg": "8000000"}
    text = json.dumps(said, separators=(",", ":"), sort_keys=True)
    assert code(Evidence(text, evidence.share).to_bytes()) == "payback-proof-malformed"
    assert code(None) == code(b"{}") == "payback-proof-malformed"
    with pytest.raises(TanzhangError) as refused:
        payment_proof(reader, bo, action, deal)
    assert refused.value.code == "not-in-lot"
    with pytest.raises(TanzhangError) as refused:
        payment_proof(reader, anna, action, 99)
    assert refused.value.code == "unknown-sale"
