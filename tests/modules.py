# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The modules of the package under test, and what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import amp_stream

__all__ = [
    "CHECKOUT",
    "PACKAGE",
    "importedAtOnce",
    "importedBy",
    "importsIn",
    "moduleNames",
]

PACKAGE = Path(amp_stream.__file__).parent
"""
The directory that the package under test was imported from.
"""

CHECKOUT = Path(__file__).resolve().parent.parent
"""
The directory that these tests are in, where the documentation and the examples are.
"""


def moduleNames(package: Path = PACKAGE) -> dict[str, Path]:
    """
    Find the modules of the package.

    @return: The file of each by its full name, in order.
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def importsIn(source: str) -> Iterator[str]:
    """
    Find the modules that a module imports, also in functions and for types only.

    @return: C{a.b} for C{import a.b}, C{a.b.c} for C{from a.b import c}, and C{.a} for
        a relative import.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield "." * node.level + f"{node.module or ''}.{alias.name}".lstrip(".")


def importedAtOnce(name: str, modules: dict[str, Path]) -> set[str]:
    """
    Find which modules of the package are imported when one of them is: not those that
    it imports in functions, or for types only.

    @param name: The importing module.

    @param modules: All modules of the package.
    """
    tree = ast.parse(modules[name].read_text(encoding="utf-8"))
    kept = [
        node
        for node in tree.body
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    source = ast.unparse(ast.Module(kept, []))
    return _known(importsIn(source), modules) - {name}


def _known(imported: Iterable[str], modules: dict[str, Path]) -> set[str]:
    found = (each if each in modules else each.rpartition(".")[0] for each in imported)
    return {module for module in found if module in modules}


def importedBy(name: str, modules: dict[str, Path]) -> set[str]:
    """
    Find which modules of the package one of them imports.

    @param name: The importing module.

    @param modules: All modules of the package.
    """
    return _known(importsIn(modules[name].read_text(encoding="utf-8")), modules)
