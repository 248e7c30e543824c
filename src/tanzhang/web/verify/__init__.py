"""The page that checks receipts and certificates in a browser: one file of HTML with its own script, no network.

It does what :mod:`tanzhang.core.receipt` and :mod:`tanzhang.core.credential` do, with the same codes.
The layout of records is put in from :mod:`tanzhang.core.record` when the page is made, so it stands in one place.
"""

from __future__ import annotations

import json
from importlib.resources import files

from tanzhang.core import credential, lot, recipe, record, retirement, status_list
from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.merkle import EMPTY_ROOT
from tanzhang.core.receipt import FORMAT, MANIFEST_FORMAT
from tanzhang.web.inline import filled

NOBLE = "3.2.0"
"""Version of the vendored noble-ed25519; its digest is in vendor/SHA256SUMS."""

_HERE = files(__package__)


def page() -> str:
    """The page, the same bytes each time. Its policy lets nothing run, load or connect but what is in it."""
    script, style = _script(), _read("page.css")
    return filled(_read("page.html"), style=style, script=script, version=NOBLE)


def fixed() -> dict[str, object]:
    """What the script has to know of records, plans, manifests and certificates."""
    return {
        "members": list(record.Record.__slots__),
        "inputs": list(INPUT_NAMES),
        "optional": list(record.OPTIONAL),
        "kinds": record.KIND_NUMBER,
        "outcomes": record.OUTCOME_NUMBER,
        "evidence": record.EVIDENCE_NUMBER,
        "layout_version": record.LAYOUT_VERSION,
        "layout_bytes": record.LAYOUT_BYTES,
        "empty_root": EMPTY_ROOT.hex(),
        "receipt_format": FORMAT,
        "manifest_format": MANIFEST_FORMAT,
        "plan_format": recipe.FORMAT,
        "context": credential.CONTEXT,
        "credential_types": dict(credential.TYPES),
        "issuer_format": credential.ISSUER_FORMAT,
        "log_evidence": credential.LOG_EVIDENCE,
        "places": status_list.PLACES,
        "retirements": retirement.RETIREMENTS.format,
        "retirement_proof": retirement.RETIREMENTS.proof_format,
        "retirement_opening": retirement.OPENING_FORMAT,
        "lot": lot.FORMAT,
        "issue": retirement.ISSUE_FORMAT,
    }


def _script() -> str:
    library, _, exports = _read("vendor", f"noble-ed25519-{NOBLE}.js").rpartition("\nexport {")
    if "verifyAsync" not in exports:
        raise ValueError("the vendored library does not end with its exports")
    parts = [
        f"const noble = (() => {{\n{library}\nreturn {{ verifyAsync }};\n}})();",
        f"const FIXED = {json.dumps(fixed())};",
        _read("checks.js"),
        _read("retirement.js"),
        _read("certificate.js"),
        _read("page.js"),
    ]
    return "\n".join(parts)


def _read(*names: str) -> str:
    return _HERE.joinpath(*names).read_text(encoding="utf-8")
