"""The till in a browser: a merchant signs in, sees what a voucher is for, takes it once, and is told why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.service.mall import own_order
from tanzhang.service.staff import accept, invite
from tanzhang.service.vouchers import what_it_brings
from tanzhang.stores.home import Home
from tanzhang.web.app import create_app

from ..homes import new_home
from ..mall import MERCHANT, OPERATOR, buy, grant, number, offer, person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ANNA, PASSWORD = person(1), "several words together"
SITE = "https://tanzhang.example"


@pytest.fixture
def home(quick: Path) -> Home:
    home = new_home(quick / "home")
    grant(home, [ANNA], 1_000, last="9999-12-31")
    offer(home, stock=3)
    for name, position in (("till", "merchant"), ("reader", "analyst")):
        made = invite(
            home, "enterprise", name, partner=MERCHANT, position=position, actor=OPERATOR, now=datetime.now(UTC)
        )
        accept(home, made["token"], PASSWORD, now=datetime.now(UTC))
    return home


@pytest.fixture
def page(home: Home, browser: Browser) -> Iterator[Page]:
    """The page in a browser whose every request the application answers; what it says wrong fails the test."""
    with TestClient(create_app(home), base_url=SITE) as client:
        context, wrong = browser.new_context(locale="zh-CN"), list[str]()
        shown = context.new_page()
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        context.route("**/*", lambda route: _answer(client, route))
        shown.goto(f"{SITE}/merchant")
        yield shown
        context.close()
    assert wrong == []


def _answer(client: TestClient[Litestar], route: Route) -> None:
    """The application's answer to the browser; cookies stay with the client, as they would with the browser."""
    asked = route.request
    sent = {name: value for name, value in asked.headers.items() if name in ("content-type", "x-csrf-token")}
    answer = client.request(asked.method, asked.url.removeprefix(SITE), content=asked.post_data or b"", headers=sent)
    kind = answer.headers.get("content-type", "text/plain")
    route.fulfill(status=answer.status_code, body=answer.content, headers={"content-type": kind})


def sign_in(page: Page, name: str) -> None:
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.click("#sign-in button[type=submit]")
    page.wait_for_selector("#till:visible")


def verdict(page: Page) -> str:
    page.wait_for_selector("#result:visible")
    return str(page.get_attribute("#verdict", "data-code"))


def voucher(home: Home, **more: Any) -> str:
    order = number(buy(home, ANNA, now=datetime.now(UTC), **more))
    return what_it_brings(home, own_order(home, [ANNA], order))["voucher"]


def test_a_merchant_takes_a_voucher_once_and_sees_why_not_twice(page: Page, home: Home) -> None:
    text = voucher(home)
    page.fill("#name", "till")
    page.fill("#password", "something else")
    page.click("#sign-in button[type=submit]")
    assert verdict(page) == "sign-in-failed"
    sign_in(page, "till")
    page.fill("#voucher", text.lower())
    page.press("#voucher", "Enter")
    page.wait_for_selector("[data-code=good]")
    assert "咖啡一杯" in page.inner_text("#headline")
    page.click("#language")
    assert "A cup of coffee" in page.inner_text("#headline")
    page.click("#redeem")
    page.wait_for_selector("[data-code=taken]")
    assert page.is_hidden("#redeem")
    assert home.mall.orders_of([str(ANNA)])[0].state == "redeemed"
    page.fill("#voucher", text)
    page.press("#voucher", "Enter")
    page.wait_for_selector("[data-code=voucher-redeemed]")
    assert "refused" in str(page.get_attribute("#verdict", "class"))
    page.fill("#voucher", text[:-1] + str((int(text[-1]) + 1) % 10))
    page.press("#voucher", "Enter")
    page.wait_for_selector("[data-code=voucher-malformed]")
    page.click("#sign-out")
    page.wait_for_selector("#sign-in:visible")


def test_who_only_reads_takes_nothing(page: Page, home: Home) -> None:
    text = voucher(home)
    sign_in(page, "reader")
    page.fill("#voucher", text)
    page.press("#voucher", "Enter")
    page.wait_for_selector("[data-code=not-allowed]")
    assert page.is_hidden("#redeem")
    assert home.mall.orders_of([str(ANNA)])[0].state == "issued"
