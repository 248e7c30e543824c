"""Imports point one way: core <- engine <- stores <- service <- api <- web, cli."""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "tanzhang"
LAYERS = ("core", "engine", "stores", "service", "api", "web", "cli")


def imports_of(file: Path) -> set[str]:
    """Every module a file imports, at the top or inside a function, and for type checking."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "tanzhang" and len(parts) > 1 and parts[1] in LAYERS else None


def test_every_file_belongs_to_a_layer():
    strays = [file.name for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in LAYERS]
    assert sorted(strays) == ["__init__.py", "__main__.py"]


def test_no_module_imports_from_a_layer_above_its_own():
    looked_at, upward = 0, []
    for file in PACKAGE.rglob("*.py"):
        own = file.relative_to(PACKAGE).parts[0]
        if own not in LAYERS:
            continue
        for module in imports_of(file):
            layer = layer_of(module)
            looked_at += layer is not None
            if layer is not None and LAYERS.index(layer) > LAYERS.index(own):
                upward.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert looked_at > 50, "the test found nothing to look at"
    assert upward == []


def test_core_needs_nothing_but_python():
    foreign = {
        f"{file.name} imports {module}"
        for file in (PACKAGE / "core").rglob("*.py")
        for module in imports_of(file)
        if module.split(".")[0] not in sys.stdlib_module_names | {"tanzhang", "__future__"}
    }
    assert foreign == set()


def test_core_opens_no_file_and_reads_no_clock():
    forbidden = {"open", "now", "utcnow", "today", "time", "read_text", "read_bytes", "write_text", "write_bytes"}
    calls = []
    for file in (PACKAGE / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in forbidden:
                    calls.append(f"{file.name}:{node.lineno} calls {name}")
    assert calls == []
