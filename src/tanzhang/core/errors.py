"""What a refusal looks like: a stable code, what is wrong, where, and what to do next.

Nothing here knows of HTTP or of a terminal; ``api`` and ``cli`` turn a :class:`Problem` into their own shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    ``code`` is stable and pinned by tests, ``message`` says what is wrong, ``where`` names the place (a file with
    line, a row of a submission, a parameter) and ``remedy`` says what to do next.
    """

    code: str
    message: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}\n  where  {self.where}\n  fix    {self.remedy}"

    def as_dict(self) -> dict[str, str]:
        """The problem as JSON members, in reading order."""
        return {"code": self.code, "message": self.message, "where": self.where, "remedy": self.remedy}


class TanzhangError(Exception):
    """A refusal with one or more problems. Checks collect every problem before they raise.

    ``again_in_s``: after how many seconds the same thing may be done, where that is known.
    """

    def __init__(self, problems: Problem | Iterable[Problem], *, again_in_s: float | None = None) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        if not self.problems:
            raise ValueError("an error without a problem says nothing")
        self.again_in_s = again_in_s
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def code(self) -> str:
        """The code of the first problem."""
        return self.problems[0].code


def refuse(code: str, message: str, *, where: str, remedy: str, again_in_s: float | None = None) -> TanzhangError:
    """Build the error for a single problem; the caller raises it."""
    return TanzhangError(Problem(code, message, where, remedy), again_in_s=again_in_s)


def file_system_problem(error: OSError) -> Problem:
    """What the operating system refused to read or write: ``file-system``."""
    where = str(error.filename or "file system")
    remedy = "check the path, its permissions and the free space, then run the same command again"
    return Problem("file-system", error.strerror or str(error), where, remedy)
