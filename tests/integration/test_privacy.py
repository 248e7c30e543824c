"""What a partner calls a person, an order or a card is kept nowhere but in the verdict file of refused rows."""

import json
import uuid
from datetime import UTC, date, datetime

import pytest

from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.stores.book import submission
from tanzhang.stores.home import Home

NOW = datetime(2022, 9, 2, tzinfo=UTC)
SECRETS = ("13800138000-subject", "order-7788-reference", "gate-5566-claim", "13900139000-refused")


def event(reference: str, subject: str, **data: object) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": reference,
            "source": "shenzhen_metro",
            "type": "travel.metro",
            "subject": subject,
            "time": "2022-09-01T08:10:00+08:00",
            "data": {"claim": {"issuer": "szmc", "identifier": "gate-5566-claim"}, **data},
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("privacy")
    file = folder / "trips.ndjson"
    good = event("order-7788-reference", "13800138000-subject", distance_m=7350)
    file.write_text(good + "\n" + event("13900139000-refused", "13800138000-subject", distance_m=1) + "\n")
    opened = Home.create(folder / "home", programme="shenzhen", origin="privacy.example", now=NOW, seed=b"privacy")
    intake(opened, file, now=NOW)
    settle(opened, through=date(2022, 9, 10), now=datetime(2022, 9, 20, tzinfo=UTC))
    return opened


def holding(home: Home, text: str) -> set[str]:
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert len(files) > 8, "the test found nothing to look at"
    return {path.name for path in files if text.encode() in path.read_bytes()}


@pytest.mark.parametrize("text", SECRETS[:3])
def test_texts_of_an_accepted_row_are_kept_nowhere(home: Home, text: str) -> None:
    assert holding(home, text) == set()


def test_the_reference_of_a_refused_row_is_in_the_verdict_file_alone(home: Home) -> None:
    assert holding(home, SECRETS[3]) == {"verdicts.csv"}


def test_nothing_in_the_log_names_an_account_or_an_action(home: Home) -> None:
    entries = b"".join(home.log.entries()).decode()
    for account in home.book.balances()["account"].to_pylist():
        assert str(uuid.UUID(bytes=account)) not in entries
        assert account.hex() not in entries


def test_the_first_problems_of_a_repeated_answer_come_from_the_verdict_file(home: Home) -> None:
    again = intake(home, home.folder.parent / "trips.ndjson", now=NOW)
    assert [problem["reference"] for problem in again["first_problems"]] == ["13900139000-refused"]
    assert "13900139000" not in home.book.rows(submission)[0].answer
