"""``python -m tanzhang``."""

from tanzhang.cli.main import run

run()
