"""A policy says who must have signed; one that is not exactly of the form is refused with every line that is wrong."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import Signature
from tanzhang.core.policy import Policy, parse_policy
from tanzhang.engine.signing import Cosigner, NoteSigner

LOG = NoteSigner("log.example/a", bytes(32))
WITNESSES = [Cosigner(f"witness.example/{number}", bytes([number]) * 32) for number in range(7)]
W = [each.verifier_key.to_text() for each in WITNESSES]
TWO_LEVELS = f"""
# comment
  log {LOG.verifier_key.to_text()} https://log.example/a

witness X1 {W[0]} https://x1.example
witness X2\t{W[1]}
witness X3 {W[2]}
group X-witnesses 2 X1 X2 X3
witness Y1 {W[3]}
witness Y2 {W[4]}
\tgroup Y-witnesses any Y1 Y2\t
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def read(text: str | bytes) -> Policy:
    return parse_policy(text.encode() if isinstance(text, str) else text, where="policy")


def signed(*numbers: int) -> list[Signature]:
    return [Signature(WITNESSES[n].name, WITNESSES[n].key_id, b"verified by the caller") for n in numbers]


@given(st.sets(st.integers(0, 6)))
def test_the_quorum_of_two_levels_is_met_by_exactly_the_sets_that_it_describes(numbers: set[int]) -> None:
    met = len(numbers & {0, 1, 2}) >= 2 and bool(numbers & {3, 4})
    policy = read(TWO_LEVELS)
    assert policy.is_met(signed(*numbers)) == met
    if met:
        policy.check_met(signed(*numbers))
    else:
        with pytest.raises(TanzhangError, match="witness-quorum-missing"):
            policy.check_met(signed(*numbers))


def test_keys_and_addresses_are_those_of_the_file() -> None:
    policy = read(TWO_LEVELS)
    assert policy.log_of("log.example/a").url == "https://log.example/a"
    assert policy.witnesses["X1"].url == "https://x1.example"
    assert policy.witnesses["X2"].url is None
    assert policy.witnesses["X2"].key.to_text() == W[1]
    with pytest.raises(TanzhangError, match="log-not-in-policy"):
        policy.log_of("log.example/b")


def test_no_witness_is_asked_for_where_the_quorum_is_none() -> None:
    assert read("quorum none").is_met([])
    assert not read(f"witness a {W[0]}\nquorum a\n").is_met([])


def test_signing_twice_counts_once() -> None:
    policy = read(f"witness a {W[0]}\nwitness b {W[1]}\ngroup g 2 a b\nquorum g\n")
    assert not policy.is_met(signed(0, 0))
    assert policy.is_met(signed(1, 0, 1))


def test_a_key_of_the_same_name_with_another_id_does_not_count() -> None:
    line = Signature(WITNESSES[0].name, b"\0\0\0\0", b"")
    assert not read(f"witness a {W[0]}\nquorum a\n").is_met([line])


@pytest.mark.parametrize("kind", ["any", "all", "1", "2", "3"])
def test_a_group_holds_from_its_threshold_on(kind: str) -> None:
    policy = read("".join(f"witness w{n} {W[n]}\n" for n in range(3)) + f"group g {kind} w0 w1 w2\nquorum g\n")
    needed = {"any": 1, "all": 3}.get(kind) or int(kind)
    for count in range(4):
        for numbers in itertools.combinations(range(3), count):
            assert policy.is_met(signed(*numbers)) == (count >= needed)


def test_names_are_compared_byte_by_byte() -> None:
    kelvin = "\u212a"
    policy = read(f"witness K {W[0]}\nwitness {kelvin} {W[1]}\nquorum {kelvin}\n")
    assert not policy.is_met(signed(0))
    assert policy.is_met(signed(1))
    raw = b"witness \xff " + W[0].encode() + b"\nwitness \xfe " + W[1].encode() + b"\nquorum \xfe\n"
    assert read(raw).is_met(signed(1))


def test_many_logs_witnesses_and_groups_are_read() -> None:
    signers = [NoteSigner(f"log.example/{n}", bytes([n]) * 32) for n in range(64)]
    cosigners = [Cosigner(f"w.example/{n}", bytes([n + 100]) * 32) for n in range(64)]
    lines = [f"log {each.verifier_key.to_text()}" for each in signers]
    lines += [f"witness w{n} {each.verifier_key.to_text()}" for n, each in enumerate(cosigners)]
    lines += [f"group g{n} any w{n}" for n in range(64)]
    lines += [f"group all-groups 33 {' '.join(f'g{n}' for n in range(64))}", "quorum all-groups"]
    policy = read("\n".join(lines))
    lines_of = [Signature(each.name, each.key_id, b"") for each in cosigners]
    assert policy.is_met(lines_of[:33])
    assert not policy.is_met(lines_of[:32])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no quorum line"),
        (f"witness a {W[0]}\n", "no quorum line"),
        ("quorum none\nquorum none\n", "second quorum"),
        ("quorum a\n", "not defined"),
        (f"quorum a\nwitness a {W[0]}\n", "not defined"),
        (f"witness none {W[0]}\nquorum none\n", "taken"),
        (f"witness a {W[0]}\nwitness a {W[1]}\nquorum a\n", "taken"),
        (f"witness a {W[0]}\ngroup a any a\nquorum a\n", "taken"),
        (f"witness a {W[0]}\nwitness b {W[0]}\nquorum a\n", "listed twice"),
        (f"witness a {W[0]}\ngroup g any none\nquorum g\n", "not defined"),
        (f"witness a {W[0]}\ngroup g any g a\nquorum g\n", "not defined"),
        (f"witness a {W[0]}\ngroup g any a\ngroup h any a\nquorum g\n", "in a group already"),
        (f"witness a {W[0]}\ngroup g any a a\nquorum g\n", "in a group already"),
        (f"witness a {W[0]}\ngroup g 0 a\nquorum g\n", "'0'"),
        (f"witness a {W[0]}\ngroup g 2 a\nquorum g\n", "'2'"),
        (f"witness a {W[0]}\ngroup g 01 a\nquorum g\n", "'01'"),
        (f"witness a {W[0]}\ngroup g some a\nquorum g\n", "'some'"),
        (f"witness a {W[0]}\ngroup g any\nquorum a\n", "no line of a policy"),
        (f"witness a {LOG.verifier_key.to_text()}\nquorum a\n", "type 0x04, this one 0x01"),
        (f"log {W[0]}\nquorum none\n", "type 0x01, this one 0x04"),
        ("log nonsense\nquorum none\n", "three parts"),
        (f"log {LOG.verifier_key.to_text()} url more\nquorum none\n", "no line of a policy"),
        ("Quorum none\n", "no line of a policy"),
        ("quorum none # really\n", "no line of a policy"),
        ("quorum\u00a0none\n", "no line of a policy"),
    ],
)
def test_a_mistake_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        read(text)
    assert refused.value.code == "policy-invalid"
    assert said in " ".join(problem.message for problem in refused.value.problems)


def test_every_line_that_is_wrong_is_named() -> None:
    with pytest.raises(TanzhangError) as refused:
        read(f"log x\nwitness a {W[0]}\ngroup g 9 a\nnonsense\nquorum a\n")
    assert [problem.where for problem in refused.value.problems] == [f"policy, line {n}" for n in (1, 3, 4)]


@pytest.mark.parametrize("data", [b"quorum none\r\n", b"quorum none\0", b"\x7fquorum none\n", b"quorum none\n\x0b"])
def test_control_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TanzhangError, match="policy-invalid"):
        read(data)


@given(st.binary(max_size=200))
def test_anything_else_is_refused_with_a_code(data: bytes) -> None:
    policy = None
    with suppress(TanzhangError):
        policy = read(data)
    assert policy is None or b"quorum" in data
