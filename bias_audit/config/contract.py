"""What a plugin must be: an object of its class whose fields are what the class says.

The annotations of the class are the contract. They are checked for plugins of other packages
alone, when these are imported and at every call; type checkers and tests check the built-in ones.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import types
from collections import abc
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bias_audit.config.schema import Strict
from bias_audit.errors import AuditError, ExtensionError

_T = TypeVar("_T")


def problems_of_contract(plugin: object, names: tuple[str, ...]) -> list[str]:
    """Everything about an object that is not as the classes of these dotted names say."""
    allowed = tuple(map(_class, names))
    if not isinstance(plugin, allowed):
        expected = " or ".join(each.__name__ for each in allowed)
        return [f"expected an object of the class {expected}, got one of {type(plugin).__name__}"]
    return [*_problems(plugin)]


def watched(plugin: _T, whose: str) -> _T:
    """The plugin with functions that check what they return, and say whose they are on errors.

    Raises, when they are called:
        ExtensionError: A function returned something else than the class says.
    """
    changed = {
        field.name: _checked(getattr(plugin, field.name), returned, f"{whose}: {field.name}")
        for field, returned in _functions(plugin)
        if getattr(plugin, field.name) is not field.default
    }
    return dataclasses.replace(plugin, **changed)  # type: ignore[type-var]


def _class(dotted: str) -> type[Any]:
    module, _, name = dotted.rpartition(".")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def _problems(plugin: Any) -> Iterator[str]:
    hints = get_type_hints(type(plugin))
    functions = {field.name for field, _ in _functions(plugin)}
    for field in dataclasses.fields(plugin):
        value, name = getattr(plugin, field.name), field.name
        if name == "params_type":
            if not (isinstance(value, type) and issubclass(value, Strict)):
                yield (
                    "params_type: expected a subclass of bias_audit.config.schema.Strict, got "
                    f"{value!r}"
                )
        elif name == "title":
            if not (isinstance(value, str) and value.strip()):
                yield f"title: expected a name for readers, got {value!r}"
        elif name in functions:
            if not (callable(value) or (value is None and field.default is None)):
                yield f"{name}: expected a function, got {value!r}"
        else:
            try:
                settings = ConfigDict(arbitrary_types_allowed=True, strict=True)
                TypeAdapter(hints[name], config=settings).validate_python(value)
            except ValidationError:
                choices = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
                expected = " or ".join(map(repr, choices)) or field.type
                yield f"{name}: expected {expected}, got {value!r}"


def _functions(plugin: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Fields that are functions, each with the annotation of what it returns."""
    hints = get_type_hints(type(plugin))
    for field in dataclasses.fields(plugin):
        choices = (hints[field.name], *get_args(hints[field.name]))
        hint = next((each for each in choices if get_origin(each) is abc.Callable), None)
        if hint is not None:
            yield field, get_args(hint)[1]


def _checked(function: Any, returned: Any, whose: str) -> Any:
    expected = _plain_class(returned)

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            found = function(*arguments, **named)
        except AuditError:
            raise
        except Exception as error:
            error.add_note(f"This is an error of the {whose}, and not of bias-audit.")
            raise
        if not isinstance(found, expected):
            names = " or ".join(each.__name__ for each in expected)
            raise ExtensionError(f"{whose}: expected {names}, got {type(found).__name__}")
        return found

    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    called.__module__ = inner.__module__  # by which its code is found
    return called


def _plain_class(hint: Any) -> tuple[type[Any], ...]:
    """The classes that an annotation allows, whatever is inside."""
    origin = get_origin(hint) or hint
    if origin in {Union, types.UnionType}:
        return tuple(each for part in get_args(hint) for each in _plain_class(part))
    if isinstance(origin, TypeVar) or origin is Any:
        return (object,)
    if origin is float:
        return (float, int)
    return (origin if isinstance(origin, type) else type(origin),)
