"""YAML for people to argue with: every value keeps the line it stands on, and nothing is rounded on the way in.

Scalars stay text unless they are plain whole numbers, ``true``/``false`` or ``null``; a bare decimal is refused,
because a reader would round it. Refused as well: duplicate keys, keys that are not text, and aliases that contain
themselves. All such mistakes of a file are found together; only broken syntax ends the reading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tanzhang.core.errors import Problem, TanzhangError

Path = tuple[str | int, ...]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,29})")  # longer ones stay text; nothing here counts that far
_DECIMAL = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9]*([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+|[-+]?[0-9]+[eE][-+]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data with the line of every path in it."""

    name: str
    data: Any
    lines: Mapping[Path, int]

    def where(self, *path: str | int) -> str:
        """``file:line`` of a path, or of its nearest parent that is written down."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.name}:{line}"
        return self.name


def load_yaml(text: str, name: str) -> Document:
    """Read one document; raise every mistake of :func:`read_yaml` together."""
    document, problems = read_yaml(text, name)
    if document is None or problems:
        raise TanzhangError(problems)
    return document


def read_yaml(text: str, name: str) -> tuple[Document | None, list[Problem]]:
    """Read one document as far as it can be read, with every mistake found: file, line, and what to write instead.

    Codes: ``yaml-malformed`` (no document), ``duplicate-key`` (the first one is kept), ``bare-decimal`` (its text is
    kept), ``key-malformed`` (left out).
    """
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{name}:{mark.line + 1}" if mark else name
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        problem = Problem("yaml-malformed", f"not valid YAML: {reason}", line, "correct the syntax at or before it")
        return None, [problem]
    reader = _Reader(name)
    data = None if node is None else reader.plain(node, ())
    return Document(name, data, reader.lines), reader.problems


class _Reader:
    """One walk over the nodes of a document; keeps lines and collects problems."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()  # nodes being read, to notice an alias to one of them

    def plain(self, node: yaml.Node, path: Path) -> Any:
        """The node's value as plain data."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._mistake(node, "yaml-malformed", "an alias stands inside what it names", "write the content out")
            return None
        self._open.add(id(node))
        result = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return result

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(key_node, "key-malformed", "a key is not text", "write a plain name before the colon")
                continue
            key = str(key_node.value)
            if key in result:
                self._mistake(key_node, "duplicate-key", f"key {key!r} appears twice", "keep one of the two")
                continue
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.plain(value_node, (*path, key))
        return result

    def _sequence(self, node: yaml.Node, path: Path) -> list[Any]:
        return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if getattr(node, "style", None) not in (None, ""):  # quoted or block text
            return text
        if text in ("null", "~", ""):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _WHOLE.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            remedy = f'write it as text: "{text}", so no reader rounds it'
            self._mistake(node, "bare-decimal", f"{text} is a bare decimal", remedy)
        return text

    def _mistake(self, node: yaml.Node, code: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(code, message, f"{self.name}:{node.start_mark.line + 1}", remedy))
