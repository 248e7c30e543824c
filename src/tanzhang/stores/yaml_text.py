"""YAML for people to argue with: every value keeps the line it stands on, and nothing is rounded on the way in.

Scalars stay text unless they are plain whole numbers, ``true``/``false`` or ``null``; a bare decimal is refused,
because a reader would round it. Duplicate keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tanzhang.core.errors import TanzhangError, refuse

Path = tuple[str | int, ...]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
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
    """Read one document; raise ``yaml-malformed``, ``duplicate-key`` or ``bare-decimal`` with file and line."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or str(error)
        raise refuse(
            "yaml-malformed", f"not valid YAML: {problem}", where=line, remedy="correct the syntax at that line"
        ) from None
    lines: dict[Path, int] = {}
    data = None if node is None else _plain(node, (), name, lines)
    return Document(name, data, lines)


def _plain(node: yaml.Node, path: Path, name: str, lines: dict[Path, int]) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                raise _at(name, key_node, "duplicate-key", f"key {key!r} appears twice", "keep one of the two")
            result[key] = _plain(value_node, (*path, key), name, lines)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), name, lines) for index, item in enumerate(node.value)]
    return _scalar(node, name)


def _scalar(node: yaml.Node, name: str) -> Any:
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
        raise _at(
            name,
            node,
            "bare-decimal",
            f"{text} is a bare decimal",
            f'write it as text: "{text}", so no reader rounds it',
        )
    return text


def _at(name: str, node: yaml.Node, code: str, message: str, remedy: str) -> TanzhangError:
    return refuse(code, message, where=f"{name}:{node.start_mark.line + 1}", remedy=remedy)
