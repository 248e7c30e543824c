"""The page that checks receipts in a browser says what Python says: of every receipt, and of every change to one."""

from __future__ import annotations

import json
import random
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import format_note, parse_note
from tanzhang.core.policy import parse_policy
from tanzhang.core.receipt import Evidence
from tanzhang.core.record import Record, encode, leaf
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import Cosigner, NoteSigner
from tanzhang.service.accounts import action_named
from tanzhang.service.intake import intake
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.stores.home import Home
from tanzhang.web import verify
from tanzhang.web.verify import page

from ..homes import box, new_home, on, power, ride, settle_on, withdrawal, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WITNESSES = [Cosigner(f"witness.example/{number}", bytes([number]) * 32) for number in (1, 2, 3)]
SIGNED_AT = 1_760_000_000
# As the page's script offers it, with bytes as base64: the code, or what was verified.
ASK = """async ([data, vkey, policy]) => {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const plain = (_, value) => typeof value === "bigint" ? String(value) : value;
    try {
        const found = await verifyReceipt(bytes(data), vkey, policy === null ? null : bytes(policy));
        return JSON.stringify(found, plain);
    } catch (error) {
        return JSON.stringify({refused: error.code ?? String(error), message: error.message});
    }
}"""


@pytest.fixture(scope="module")
def home(in_memory: Path) -> Home:
    folder = Path(tempfile.mkdtemp(dir=in_memory))
    home = new_home(folder / "home")
    taken_back = box("b2")
    events = [ride(f"r{number}", hour=number) for number in range(5, 15)]
    events += [box("b1"), taken_back, withdrawal(taken_back, "w1"), power("p1", energy_wh=12_345)]
    intake(home, write(folder / "a.ndjson", events), now=on(6))
    settle_on(home, 9)
    note = parse_note(home.log.checkpoint_bytes())
    home.log.add_signatures(note.text, [each.cosign(note.text, SIGNED_AT) for each in WITNESSES[:2]])
    return home


@pytest.fixture(scope="module")
def receipts(home: Home) -> list[bytes]:
    names = ("amap:r7", "cainiao:b1", "cainiao:b2", "cainiao:w1", "alipay:p1")
    return [create_receipt(home, action_named(home, name)) for name in names]


@pytest.fixture(scope="module")
def vkey(home: Home) -> str:
    return home.values["vkey"]


@pytest.fixture(scope="module")
def file(in_memory: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=in_memory)) / "page.html"
    path.write_text(page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(browser: Browser, file: Path) -> Iterator[Page]:
    """The page from disk, in a browser that reports every request and every error."""
    context = browser.new_context(locale="en-GB")
    shown = context.new_page()
    shown.goto(file.as_uri())
    yield shown
    context.close()


Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(opened: Page) -> Ask:
    def asked(data: bytes, vkey: str, policy: bytes | None = None, shown: Page = opened) -> dict[str, Any]:
        trusted = None if policy is None else b64encode(policy).decode()
        found: dict[str, Any] = json.loads(shown.evaluate(ASK, [b64encode(data).decode(), vkey, trusted]))
        return found

    return asked


def code(data: bytes, vkey: str | None, policy: bytes | None = None) -> str | None:
    """What Python says: the code, or None where the receipt holds."""
    try:
        trusted = None if policy is None else parse_policy(policy, where="policy")
        check_receipt(data, vkey, trusted)
    except TanzhangError as error:
        return error.code
    return None


def policy_of(vkey: str | None, quorum: str) -> bytes:
    lines = [] if vkey is None else [f"log {vkey}"]
    lines += [f"witness w{n} {each.verifier_key.to_text()}" for n, each in enumerate(WITNESSES, 1)]
    lines += [f"group two-of-three {quorum} w1 w2 w3", "quorum two-of-three", ""]
    return "\n".join(lines).encode()


def with_members(receipt: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    proof = TlogProof.parse(receipt)
    said = json.loads(proof.extra or b"")
    change(said)
    extra = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    return TlogProof(proof.index, proof.path, proof.checkpoint, extra).to_bytes()


def test_every_kind_of_record_verifies_and_says_what_python_says(receipts: list[bytes], vkey: str, ask: Ask) -> None:
    for data in receipts:
        expected, found = check_receipt(data, vkey), ask(data, vkey)
        assert found["record"] == expected["record"]
        assert found["checkpoint"]["size"] == str(expected["log_size"])
        assert (found["plan"] or {}).get("key") == expected.get("methodology")
        assert found["quorum"] is None


@pytest.mark.parametrize("seed", range(4))
def test_every_changed_byte_is_refused_with_the_code_of_python(
    receipts: list[bytes], vkey: str, ask: Ask, seed: int
) -> None:
    chance = random.Random(seed)
    policy = policy_of(vkey, "2")
    for _ in range(150):
        receipt = chance.choice(receipts)
        place, value = chance.randrange(len(receipt)), chance.randrange(256)
        if chance.random() < 0.3:  # the short part, where every byte has a meaning of its own
            place = receipt.index(b"\nindex ") + chance.randrange(len(receipt) - receipt.index(b"\nindex "))
        changed = receipt[:place] + bytes([value]) + receipt[place + 1 :]
        assert ask(changed, vkey, policy).get("refused") == code(changed, vkey, policy), (place, value)


@pytest.mark.parametrize("seed", range(4))
def test_every_changed_byte_of_what_it_says_is_refused_with_the_code_of_python(
    receipts: list[bytes], vkey: str, ask: Ask, seed: int
) -> None:
    chance = random.Random(100 + seed)
    for _ in range(150):
        proof = TlogProof.parse(chance.choice(receipts))
        extra = proof.extra or b""
        place, value = chance.randrange(len(extra)), chance.randrange(32, 127)
        if extra[place] == value:
            continue
        extra = extra[:place] + bytes([value]) + extra[place + 1 :]
        changed = TlogProof(proof.index, proof.path, proof.checkpoint, extra).to_bytes()
        assert ask(changed, vkey).get("refused") == code(changed, vkey) is not None, (place, chr(value))


def test_every_member_that_is_changed_or_left_out_is_refused_with_the_code_of_python(
    receipts: list[bytes], vkey: str, ask: Ask
) -> None:
    values: list[Any] = [None, "", "0", "-1", "01", "x", [], {}, "2025-02-30", "2025-06-05T00:00:00.000000Z", "9" * 30]
    values += ["00000000-0000-0000-0000-000000000000", "a" * 64, "granted", "emission"]
    count = 0
    for receipt in (receipts[0], receipts[3]):
        said = json.loads(TlogProof.parse(receipt).extra or b"")
        for inside, names in (("record", Record.__slots__), (None, tuple(said))):
            for name in names:
                for value in values:
                    before = said["record"][name] if inside else said[name]
                    if value == before or (isinstance(value, list | dict) and inside and name != "inputs"):
                        continue

                    def change(all_of_it: dict[str, Any]) -> None:
                        (all_of_it["record"] if inside else all_of_it)[name] = value  # noqa: B023

                    changed = with_members(receipt, change)
                    found = ask(changed, vkey).get("refused")
                    assert found == code(changed, vkey) is not None, (inside, name, value)
                    count += 1

                def leave_out(all_of_it: dict[str, Any]) -> None:
                    del (all_of_it["record"] if inside else all_of_it)[name]  # noqa: B023

                changed = with_members(receipt, leave_out)
                assert ask(changed, vkey).get("refused") == code(changed, vkey) is not None, (inside, name)
    assert count > 500


def test_receipts_that_are_cut_off_or_are_something_else_are_refused_with_the_code_of_python(
    receipts: list[bytes], vkey: str, ask: Ask
) -> None:
    receipt = receipts[0]
    files = [receipt[:size] for size in range(0, len(receipt), 211)]
    files += [b"", b"c2sp.org/tlog-proof@v1\n\n", receipt + b"\n", receipt + receipt, b"\xff" * 100]
    files += [TlogProof(*proof_parts(receipt), None).to_bytes()]
    files += [
        TlogProof(*proof_parts(receipt), extra).to_bytes() for extra in (b"", b"null", b"[]", b"\xff", b"[" * 5000)
    ]
    for data in files:
        assert ask(data, vkey).get("refused") == code(data, vkey) is not None, data[:80]


def proof_parts(receipt: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    proof = TlogProof.parse(receipt)
    return proof.index, proof.path, proof.checkpoint


def test_forgeries_that_fit_in_themselves_are_refused_with_the_code_of_python(
    home: Home, receipts: list[bytes], vkey: str, ask: Ask
) -> None:
    receipt, other = receipts[0], receipts[1]
    plan = json.loads(TlogProof.parse(other).extra or b"")["plan"]
    evidence = Evidence.parse(TlogProof.parse(receipt).extra or b"")
    manifest = json.loads(evidence.manifest) | {
        "records": "1",
        "root": leaf(evidence.salt, encode(evidence.record)).hex(),
    }
    alone = json.dumps(manifest, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    genesis = home.log_entries()[0].decode()
    forged = {
        "amount": with_members(receipt, lambda said: said["record"].update(granted_mg="7200000")),
        "plan of another": with_members(receipt, lambda said: said.update(plan=plan)),
        "no plan": with_members(receipt, lambda said: said.update(plan=None)),
        "plan without need": with_members(receipts[3], lambda said: said.update(plan=plan)),
        "manifest of its own": with_members(receipt, lambda said: said.update(manifest=alone, index="0", path=[])),
        "entry that is no batch": with_members(receipt, lambda said: said.update(manifest=genesis)),
        "place": with_members(receipt, lambda said: said.update(index="3")),
        "path": with_members(receipt, lambda said: said.update(path=said["path"][1:])),
        "salt": with_members(receipt, lambda said: said.update(salt="00" * 16)),
    }
    codes = {name: code(data, vkey) for name, data in forged.items()}
    assert {name: ask(data, vkey).get("refused") for name, data in forged.items()} == codes
    assert set(codes.values()) == {"inclusion-proof-invalid", "receipt-plan", "receipt-manifest"}


def test_keys_and_policies_are_held_against_a_receipt_as_in_python(receipts: list[bytes], vkey: str, ask: Ask) -> None:
    receipt = receipts[0]
    other = NoteSigner(vkey.partition("+")[0], bytes(32)).verifier_key.to_text()
    stranger = NoteSigner("log.example/other", bytes(32)).verifier_key.to_text()
    two, three = policy_of(vkey, "2"), policy_of(vkey, "all")
    attempts: list[tuple[str, bytes | None]] = [
        *((key, None) for key in (vkey, other, stranger, "nonsense", f"{vkey}A", vkey[:-2], WITNESSES[0].name)),
        *(("", policy) for policy in (two, three, policy_of(None, "any"), policy_of(other, "2"), b"quorum none\n")),
        *((vkey, policy) for policy in (two, three, policy_of(None, "2"), policy_of(other, "2"), b"quorum none\n")),
        (stranger, two),
        (WITNESSES[0].verifier_key.to_text(), None),
        *((vkey, text.encode()) for text in ("", "quorum x\n", "log x\nquorum none\n", "quorum none\r\n")),
        (vkey, b"witness \xff " + WITNESSES[0].verifier_key.to_text().encode() + b"\nquorum \xff\n"),
        (vkey, b"witness \xff " + WITNESSES[2].verifier_key.to_text().encode() + b"\nquorum \xff\n"),
        (vkey, two.replace(b"2 w1 w2 w3", b"4 w1 w2 w3")),
        (vkey, two.replace(b"w1 w2 w3", b"w1 w2 w2")),
        (vkey, two.replace(b"quorum two-of-three", b"quorum two-of-three\nquorum w1")),
    ]
    codes = [code(receipt, key or None, policy) for key, policy in attempts]
    assert [ask(receipt, key, policy).get("refused") for key, policy in attempts] == codes
    assert {"witness-quorum-missing", "log-not-in-policy", "policy-invalid", "vkey-invalid", None} <= set(codes)
    assert {"note-not-trusted"} <= set(codes)
    cosigned = ask(receipt, "", two)["cosigned"]
    assert cosigned == [{"witness": f"witness.example/{n}", "time": str(SIGNED_AT)} for n in (1, 2)]


def test_a_wrong_cosignature_of_a_trusted_witness_refuses_the_receipt(
    receipts: list[bytes], vkey: str, ask: Ask
) -> None:
    proof = TlogProof.parse(receipts[0])
    note = parse_note(proof.checkpoint)
    wrong = [WITNESSES[2].cosign("another text\n", SIGNED_AT), WITNESSES[2].cosign(note.text, SIGNED_AT)]
    for line, refused in zip(wrong, ("note-signature-invalid", None), strict=True):
        signed = format_note(note.text, [*note.signatures, line])
        data = TlogProof(proof.index, proof.path, signed, proof.extra).to_bytes()
        for policy in (policy_of(vkey, "all"), policy_of(vkey, "2")):
            assert ask(data, vkey, policy).get("refused") == code(data, vkey, policy) == refused
        assert ask(data, vkey).get("refused") is None  # whom nobody asked about is ignored


FORMULAS = [
    "max(0, baseline - project) * distance_m",
    "(a - b) * c / 7",
    "-a * b - -c",
    "a / b / c * 3.5 + .5 - 5.",
    "min(a, b, c) + max(a, b,)",
    "a if a > b else b if b >= c else c",
    "a if not a > b and (b < c or a == 1) else 0 - b",
    "(a if a != b else b) * (c if a <= b else 1)",
    "a × b ÷ c − 1",
    "a / (b - b)",
    "a > b",
    "a and b",
    "min(a)",
    "a ** b",
    "a % b",
    "a < b < c",
    "f(a, b)",
    "a if b else c",
    "True + a",
    "1e5 * a",
    "1_0 * a",
    "007 * a",
    "a b",
    "(a",
    "",
    "a +",
    "'a'",
    "a.b",
    "missing * a",
]


def test_formulas_mean_what_they_mean_in_python(opened: Page) -> None:
    from fractions import Fraction

    from tanzhang.core.recipe import compute, read_recipe

    base = {
        "format": "tanzhang.plan/1", "methodology": "test", "version": 1, "behaviour": "x", "kind": "reduction",
        "inputs": {}, "rounding": "down", "accuracy": "x", "evidence": "measured", "activity_family": "x",
        "claim": {"fields": [], "overlap": False}, "caps": [], "discount": "9/10",
    }  # fmt: skip
    chance = random.Random(7)
    computed = 0
    for formula in FORMULAS:
        for _ in range(8):
            values = {name: chance.choice([0, 1, 2, 3, 7, 350, -4]) for name in ("a", "b", "c", "distance_m")}
            parameters = {
                "baseline": {"value": "467/10"},
                "project": {"value": str(Fraction(chance.randrange(900), 10))},
            }
            plan = json.dumps({**base, "formula": formula, "parameters": parameters})
            try:
                expected = str(compute(read_recipe(plan), values).mg)
                computed += 1
            except TanzhangError as error:
                expected = error.code
            except (KeyError, ArithmeticError):
                expected = "no amount"
            found = opened.evaluate(
                "([plan, inputs]) => globalThis.quantify(plan, inputs)", [plan, {k: str(v) for k, v in values.items()}]
            )
            assert found == expected, (formula, values, parameters)
    assert computed > 60


def test_a_browser_without_ed25519_of_its_own_gives_the_same_answers(
    browser: Browser, file: Path, receipts: list[bytes], vkey: str, ask: Ask
) -> None:
    context = browser.new_context()
    context.add_init_script(
        "const own = crypto.subtle.importKey.bind(crypto.subtle);"
        "globalThis.refusedImports = 0;"
        "crypto.subtle.importKey = (...all) => all[2]?.name === 'Ed25519'"
        " ? (globalThis.refusedImports++, Promise.reject(new DOMException('no', 'NotSupportedError'))) : own(...all);"
    )
    shown = context.new_page()
    shown.goto(file.as_uri())
    policy = policy_of(vkey, "2")
    assert ask(receipts[0], vkey, policy, shown)["quorum"] == "two-of-three"
    assert shown.evaluate("globalThis.refusedImports") == 1
    end = receipts[0].rindex(b" ") + 20
    flipped = bytes([receipts[0][end] ^ 1])
    for place in (end, receipts[0].index(b"\n\n") + 300):
        changed = receipts[0][:place] + flipped + receipts[0][place + 1 :]
        assert ask(changed, vkey, policy, shown).get("refused") == code(changed, vkey, policy) is not None
    context.close()


def test_a_person_sees_what_is_proved_and_which_check_failed_in_both_languages(
    browser: Browser, file: Path, receipts: list[bytes], vkey: str, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.receipt", tmp_path / "bad.receipt"
    good.write_bytes(receipts[0])
    bad.write_bytes(receipts[0].replace(b"\nindex 1\n", b"\nindex 0\n"))
    trusted = tmp_path / "policy.txt"
    trusted.write_bytes(policy_of(vkey, "all"))
    for locale, verified, refused, granted in (
        ("zh-CN", "核验通过", "核验未通过，问题出在「批次在公开日志内」", "720 g CO₂ · 减排量"),
        ("en-GB", "Verified", "Not verified. What failed: The batch is in the public log", "720 g CO₂ · reduction"),
    ):
        context = browser.new_context(locale=locale, viewport={"width": 390, "height": 844})
        shown = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        shown.on("request", lambda request, asked=asked: asked.append(request.url))
        shown.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        shown.on("console", lambda message, wrong=wrong: wrong.append(message.text))
        shown.goto(file.as_uri())
        assert shown.locator("#result").is_hidden()
        shown.set_input_files("#receipt", str(good))
        shown.locator("#verdict[data-code=waiting]").wait_for()
        shown.fill("#key", vkey)
        shown.locator("#verdict[data-code=verified]").wait_for()
        assert shown.inner_text("#headline") == verified
        assert shown.inner_text("dd.large") == granted
        assert shown.locator("li.holds").count() == 5
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        shown.set_input_files("#receipt", str(bad))
        shown.locator("#verdict[data-code=inclusion-proof-invalid]").wait_for()
        assert shown.inner_text("#headline") == refused
        assert shown.locator("li.fails").get_attribute("data-step") == "log"
        assert "inclusion-proof-invalid" in shown.inner_text("li.fails")
        assert shown.locator("dd.large").count() == 0
        shown.set_input_files("#receipt", str(good))
        shown.set_input_files("#policy-file", str(trusted))
        shown.locator("#verdict[data-code=witness-quorum-missing]").wait_for()
        shown.locator("summary").first.click()
        shown.fill("#policy", policy_of(vkey, "2").decode())
        shown.fill("#key", "")
        shown.locator("#verdict[data-code=verified]").wait_for()
        assert "witness.example/1 2025-10-09T08:53:20Z" in shown.inner_text("#facts")
        shown.click("#language")
        assert shown.inner_text("#headline") == ("Verified" if locale == "zh-CN" else "核验通过")
        assert asked == [file.as_uri()]
        assert wrong == []
        context.close()


def test_a_receipt_that_holds_markup_shows_it_as_text_and_runs_nothing(
    opened: Page, receipts: list[bytes], vkey: str, tmp_path: Path
) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>.receipt"
    file.write_bytes(receipts[0])
    opened.set_input_files("#receipt", str(file))
    opened.fill("#key", "<img src=x onerror=alert(1)>+00000000+AAAA")
    opened.locator("#verdict[data-code=vkey-invalid]").wait_for()
    assert opened.locator("img").count() == 0
    assert file.name in opened.inner_text("#receipt-name")


def test_where_the_browser_has_no_cryptography_the_page_says_so_and_decides_nothing(
    browser: Browser, receipts: list[bytes], vkey: str, tmp_path: Path
) -> None:
    context = browser.new_context(locale="en-GB")
    context.route("http://page.example/", lambda route: route.fulfill(body=page(), content_type="text/html"))
    shown = context.new_page()
    shown.goto("http://page.example/")
    (tmp_path / "receipt").write_bytes(receipts[0])
    shown.set_input_files("#receipt", str(tmp_path / "receipt"))
    shown.fill("#key", vkey)
    shown.locator("#verdict[data-code=insecure]").wait_for()
    assert "open it from disk" in shown.inner_text("#reason")
    context.close()


def test_the_page_allows_nothing_but_its_own_script_and_style() -> None:
    html = page()
    assert page() == html
    policy = html.partition('content="')[2].partition('"')[0]
    for opening, name in (("<style>", "style-src"), ('<script type="module">', "script-src")):
        text = html.partition(opening)[2].partition(f"</{opening[1:].split('>')[0].split()[0]}>")[0]
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for outside in ("src=", "url(", "import(", "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML", "http://"):
        assert outside not in html.replace("https://", ""), outside


def test_the_vendored_library_is_the_one_that_was_published() -> None:
    folder = Path(verify.__file__).parent / "vendor"
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    assert "MIT" in (folder / "noble-ed25519-LICENSE").read_text()
