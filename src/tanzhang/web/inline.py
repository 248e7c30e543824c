"""Pages of one file: their script and style inside, and a policy that lets nothing else run."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256


def filled(html: str, *, style: str, script: str, also: str = "", **parts: str) -> str:
    """A page with what its ``{names}`` stand for. ``also`` is what its policy lets it do beside running its script."""
    policy = f"default-src 'none'; script-src {_allowed(script)}; style-src {_allowed(style)}; base-uri 'none'; "
    named = {
        "policy": f"{policy}form-action 'none'{also}",
        "style": style,
        "script": script,
        **parts,
    }
    for name, text in named.items():
        html = html.replace(f"{{{name}}}", text, 1)
    return html


def _allowed(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
