"""What ``tanzhang --help`` lists, in the order of somebody who looks for it: every command once, in a section."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SECTIONS: dict[str, tuple[str, ...]] = {
    "Begin": ("demo", "init", "catalogue", "quantify", "simulate"),
    "Acts into books": ("intake", "settle", "replay", "guard"),
    "Accounts and people": ("account", "receipt", "certificate", "people"),
    "Points and what they buy": ("points", "whatif", "mall", "benefits", "donate", "pass-on"),
    "Market: lots": ("market", "authorise", "lot", "verification"),
    "Market: units and money": (
        "unit",
        "party",
        "deal",
        "auction",
        "pledge",
        "payment",
        "payback",
        "retire",
        "retirement",
    ),
    "Totals, log, checking": ("city", "epoch", "log", "witness", "verify"),
    "Who may do what": ("partner", "key", "staff", "audit"),
    "Running it": ("serve", "work", "tidy", "backup", "restore", "migrate"),
}


class Sectioned(TyperGroup):
    """The commands of ``tanzhang`` by section."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, section by section."""
        order = [name for names in SECTIONS.values() for name in names]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A heading and its commands, section by section."""
        longest = max(map(len, self.commands))
        limit = formatter.width - 6 - longest
        for title, names in SECTIONS.items():
            found = [(name.ljust(longest), command.get_short_help_str(limit)) for name, command in self._own(names)]
            with formatter.section(title):
                formatter.write_dl(found)

    def _own(self, names: tuple[str, ...]) -> list[tuple[str, Any]]:
        return [(name, self.commands[name]) for name in names]
