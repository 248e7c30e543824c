"""``tanzhang log``: where the published log stands, and its witnesses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of

log_app = typer.Typer(help="The published log and its witnesses.")
policy_app = typer.Typer(help="Which witnesses the log has.")
log_app.add_typer(policy_app, name="policy")


@log_app.command("status")
def log_status(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Size and root, what each witness signed last, and whether the quorum is met."""
    with answering(as_json):
        from tanzhang.cli.show import log_status as render
        from tanzhang.service.log import status

        answer(as_json, status(home_of(home)), render)


@log_app.command("publish")
def log_publish(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Publish what the book has and the log not, such as after restoring."""
    with answering(as_json):
        from tanzhang.cli.show import log_status as render
        from tanzhang.service.log import publish

        answer(as_json, publish(home_of(home)), render)


@log_app.command("witness")
def log_witness(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Ask the witnesses now; ends with 1 while the quorum is not met."""
    with answering(as_json):
        from tanzhang.cli.show import log_status as render
        from tanzhang.service.log import ask_witnesses

        result = ask_witnesses(home_of(home))
        answer(as_json, result, render)
        if not result["witnessing"]["met"]:
            raise typer.Exit(1)


@log_app.command("tidy")
def log_tidy(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Remove partial tiles and bundles that a full one has replaced."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.log import tidy

        answer(as_json, tidy(home_of(home)), tree)


@policy_app.command("set")
def log_policy_set(
    file: Annotated[Path, typer.Argument(help="A policy as c2sp.org/tlog-policy describes it.")],
    when_unmet: Annotated[
        str, typer.Option("--when-unmet", help="publish: show checkpoints without a quorum; wait: hold them back.")
    ] = "publish",
    deadline_s: Annotated[
        int, typer.Option("--deadline-s", min=1, max=600, help="Seconds that all witnesses have to answer.")
    ] = 5,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Keep the policy that names this log's witnesses."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.log import set_policy, use_of

        answer(as_json, set_policy(home_of(home), file, use_of(when_unmet, deadline_s)), tree)
