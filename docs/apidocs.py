# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The API reference by pydoctor: the names in C{__all__} of the public modules.

C{docs/conf.py} has pydoctor use L{System}, which differs from pydoctor's own.  It
shows a name on the page of the public module that exports it, and shows no other
names.  It checks links to Twisted and to the standard library by importing what they
name, so that the build needs no network.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Collection
from typing import Any

from pydoctor import model
from pydoctor.model import PrivacyClass
from pydoctor.sphinx import SphinxInventory

# Every other module is private, whatever its name.
PUBLIC = {
    "amp_stream",
    "amp_stream.errors",
    "amp_stream.files",
    "amp_stream.outofband",
    "amp_stream.testing",
}

PYTHON = "https://docs.python.org/3/library"
TWISTED = "https://docs.twisted.org/en/stable/api"
ZOPE = "https://zopeinterface.readthedocs.io/en/latest/api.html"


def locate(name: str) -> tuple[str, list[str], Any] | None:
    """
    Import the longest part of a name that is a module, and look up the rest.

    @return: The module, the attributes that lead from it to the object, and the
        object; L{None} if there is no such thing.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            try:
                found = found[part] if hasattr(found, "names") else getattr(found, part)
            except (AttributeError, KeyError):
                return None
        return ".".join(parts[:length]), parts[length:], found
    return None


class Inventory(SphinxInventory):
    """Addresses of what is documented elsewhere."""

    def getLink(self, name: str) -> str | None:
        """Find the page of an object of Twisted, zope.interface or Python."""
        if name in vars(builtins):
            return f"{PYTHON}/{builtinPage(getattr(builtins, name))}.html#{name}"
        top = name.split(".", maxsplit=1)[0]
        if top not in sys.stdlib_module_names | {"twisted", "zope"}:
            return None
        located = locate(name)
        if located is None:
            return None
        module, attributes, found = located
        if top == "zope":
            return f"{ZOPE}#{name}"
        if top != "twisted":
            return f"{PYTHON}/{module}.html" + (f"#{name}" if attributes else "")
        # pydoctor, which Twisted uses, gives a class a page, and other things an
        # anchor on the page of their class or module.
        if not attributes or isinstance(found, type) or hasattr(found, "names"):
            return f"{TWISTED}/{name}.html"
        return f"{TWISTED}/{name.rpartition('.')[0]}.html#{attributes[-1]}"


def builtinPage(found: object) -> str:
    """The page of Python's library reference that describes a builtin."""
    if found is None or isinstance(found, bool):
        return "constants"
    if isinstance(found, type):
        return "exceptions" if issubclass(found, BaseException) else "stdtypes"
    return "functions"


class Module(model.Module):
    """
    A module that keeps its names only if it is public.

    pydoctor moves a name to the package that exports it, unless C{__all__} of the
    module that defines it has the name too.
    """

    _all: Collection[str] | None = None

    @property
    def all(self) -> Collection[str] | None:
        """The C{__all__} of a public module."""
        return self._all if self.fullName() in PUBLIC else None

    @all.setter
    def all(self, names: Collection[str] | None) -> None:
        self._all = names

    @property
    def privacyClass(self) -> PrivacyClass:
        """C{__main__} is hidden like any other module that is not public."""
        return self.system.privacyClass(self)

    def _localNameToFullName(self, name: str) -> str:
        # The docstring of a name that has moved here uses imports of the module that
        # defines it.
        found = super()._localNameToFullName(name)
        if found == name and name not in self.contents:
            for module in self.system.objectsOfType(model.Module):
                found = module._localNameToFullName_map.get(name, found)
        return found


class Package(Module, model.Package):
    """The same for packages."""


class System(model.System):
    """The public names, and addresses without a network."""

    Module = Module
    Package = Package

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.intersphinx = Inventory(logger=self.msg)

    def privacyClass(self, ob: model.Documentable) -> PrivacyClass:
        """
        Hide each module that is not public, and each name that is not in
        C{__all__} of its module.
        """
        if isinstance(ob, model.Module):
            shown = ob.fullName() in PUBLIC
        elif isinstance(ob.parent, model.Module):
            shown = ob.name in (ob.parent.all or ())
        else:
            shown = isinstance(ob.parent, model.Class) and (
                not ob.name.startswith("_") or ob.name == "__init__"
            )
        return PrivacyClass.PUBLIC if shown else PrivacyClass.HIDDEN
