"""Proofs of cryptosuite eddsa-jcs-2022 against the vectors of its specification, and every change to what was signed.

Vectors: W3C Data Integrity EdDSA Cryptosuites v1.0, appendix B.2 "Representation: eddsa-jcs-2022", and the same case
under an https:// verification method as repository w3c/vc-di-eddsa has it (TestVectors/eddsa-jcs-2022/signedJCS.json at
commit 369f0f00ad3d08fb51abafc7935f3b6fa6e693c8); keys of both: TestVectors/keyPair.json.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.multibase import decode_base58, encode_base58, parse_public_key
from tanzhang.engine.data_integrity import IssuerKey, canonical, hash_data, proof_holds

PUBLIC, SECRET = "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2", "z3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq"
CREATED = "2023-02-24T23:36:38Z"
METHODS = {
    f"did:key:{PUBLIC}#{PUBLIC}": (
        "z2HnFSSPPBzR36zdDgK8PbEHeXbR56YF24jwMpt3R1eHXQzJDMWS93FCzpvJpwTWd3GAVFuUfjoJdcnTMuVor51aX"
    ),
    f"https://vc.example/issuers/5678#{PUBLIC}": (
        "z63t83Y53KfzJ5ZosfKTnqfMcKB2dmTrfjSaQjeNNjAD5srBowQfmWqeRb8rRjmeEuCBEsddF9LsVogtuTsijJKh4"
    ),
}
DOCUMENT: dict[str, Any] = {
    "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
    "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
    "type": ["VerifiableCredential", "AlumniCredential"],
    "name": "Alumni Credential",
    "description": "A minimum viable example of an Alumni Credential.",
    "issuer": "https://vc.example/issuers/5678",
    "validFrom": "2023-01-01T00:00:00Z",
    "credentialSubject": {"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
}
KEY = IssuerKey.parse(SECRET)


@pytest.mark.parametrize("method", METHODS)
def test_the_published_vectors_come_out(method: str) -> None:
    signed = KEY.sign(DOCUMENT, created=CREATED, method=method)
    assert signed["proof"]["proofValue"] == METHODS[method]
    assert proof_holds(signed, parse_public_key(PUBLIC))


def test_every_step_of_the_published_vector_comes_out() -> None:
    proof = KEY.sign(DOCUMENT, created=CREATED)["proof"]
    options = {name: value for name, value in proof.items() if name != "proofValue"}
    assert KEY.did == f"did:key:{PUBLIC}"
    assert hash_data(DOCUMENT, options).hex() == (
        "66ab154f5c2890a140cb8388a22a160454f80575f6eae09e5a097cabe539a1db"
        "59b7cb6251b8991add1ce0bc83107e3db9dbbab5bd2c28f687db1a03abc92f19"
    )
    assert decode_base58(proof["proofValue"]).hex() == (
        "407cd12654b33d718ecbb99179a1506daaa849450bf3fc523cce3e1c96f8b803"
        "51da3f253d725c6f00b07c9e5448d50b3ef78012b9ab54255116d069c6dd2808"
    )
    assert canonical(options).startswith(b'{"@context":["https://www.w3.org/ns/credentials/v2","https://www.w3.org/ns')


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    """The example of section 3.2.3: names sorted by UTF-16 code units, whatever the language."""
    names = {"€": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One"}
    names |= {"\U0001f600": "Emoji: Grinning Face", "\x80": "Control", "ö": "Latin Small Letter O With Diaeresis"}
    found = canonical(names).decode()
    order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
    assert sorted(order, key=found.index) == order
    with pytest.raises(TanzhangError) as refused:
        canonical({"half": "\ud800"})
    assert refused.value.code == "json-not-canonical"


CHANGES: dict[str, Any] = {
    "a value": lambda each: each["credentialSubject"].update(alumniOf="Another School"),
    "a member more": lambda each: each.update(more="1"),
    "a member less": lambda each: each.pop("description"),
    "the order of a list": lambda each: each["type"].reverse(),
    "the context": lambda each: each["@context"].pop(),
    "the context of the proof": lambda each: each["proof"]["@context"].pop(),
    "when it was signed": lambda each: each["proof"].update(created="2023-02-24T23:36:39Z"),
    "the purpose": lambda each: each["proof"].update(proofPurpose="authentication"),
    "the method": lambda each: each["proof"].update(verificationMethod="did:example:1#1"),
    "the suite": lambda each: each["proof"].update(cryptosuite="eddsa-rdfc-2022"),
    "the type of proof": lambda each: each["proof"].update(type="Ed25519Signature2020"),
    "no proof": lambda each: each.pop("proof"),
    "a proof that is none": lambda each: each.update(proof="z1"),
    "a signature that is no text": lambda each: each["proof"].update(proofValue=1),
    "another multibase": lambda each: each["proof"].update(proofValue="u" + each["proof"]["proofValue"][1:]),
    "a shorter signature": lambda each: each["proof"].update(proofValue=encode_base58(bytes(63))),
    "a character outside": lambda each: each["proof"].update(proofValue="z0" + each["proof"]["proofValue"][2:]),
    "a half surrogate": lambda each: each.update(name="\ud800"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_no_longer_holds(change: str) -> None:
    signed = KEY.sign(DOCUMENT, created=CREATED)
    changed = copy.deepcopy(signed)
    CHANGES[change](changed)
    assert proof_holds(signed, KEY.public_key)
    assert not proof_holds(changed, KEY.public_key)


def test_another_key_does_not_fit_and_no_message_has_the_secret() -> None:
    signed = KEY.sign(DOCUMENT, created=CREATED)
    assert not proof_holds(signed, IssuerKey(bytes(32)).public_key)
    assert IssuerKey.parse(IssuerKey.generate().to_text()).to_text() != SECRET
    assert KEY.to_text() == SECRET
    assert SECRET not in repr(KEY)
    with pytest.raises(TanzhangError) as refused:
        IssuerKey.parse(SECRET[:-1])
    assert refused.value.code == "multibase-malformed"
    assert SECRET[:20] not in str(refused.value)
