"""What is wrong with a canvas, in plain words: the path of the field, the value seen, what is allowed."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError


class CanvasError(ValueError):
    """Something on a canvas is wrong; the message names it, the value seen, and what is allowed."""


_ALLOWED = {  # pydantic's error types, with what they know, in words
    "int_type": "use a whole number",
    "float_type": "use a number",
    "finite_number": "use a finite number",
    "string_type": "use a text",
    "string_too_short": "use {min_length} or more characters",
    "string_too_long": "use {max_length} characters or fewer",
    "string_unicode": "use valid Unicode",
    "literal_error": "use {expected}",
    "greater_than": "use more than {gt:.10g}",
    "greater_than_equal": "use {ge:.10g} or more",
    "less_than": "use less than {lt:.10g}",
    "less_than_equal": "use {le:.10g} or less",
    "model_type": "use an object",
    "dict_type": "use an object",
    "tuple_type": "use a list",
}


def in_words(error: ValidationError) -> str:
    """The first of pydantic's errors, and how many more there are."""
    errors = error.errors(include_url=False)
    kind, loc, value = errors[0]["type"], errors[0]["loc"], errors[0]["input"]
    context = errors[0].get("ctx", {})
    if loc[:1] == ("regions",):
        loc = (*loc[:2], *loc[3:])  # pydantic names the kind of the region there
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)[1:-1]}" for part in loc).removeprefix(".")
    if loc[-1:] == ("[key]",):
        path = "a key of media"
    seen = f"{path} is {shown(value)}: "
    if kind == "missing":
        text = f"{path} is missing: add it"
    elif kind == "extra_forbidden":
        text = f"{path} is no field of a canvas: remove it"
    elif kind == "too_long":
        text = f"{path} has {len(value)} entries: use {context['max_length']} or fewer"
    elif kind.startswith("union_tag"):
        text = f"{path}.kind is missing or unknown: use box, mask or span"
    elif kind == "value_error":  # one of ours, about this value or about a field of this object
        message = str(context["error"])
        text = seen + message if isinstance(value, str) else f"{path}.{message}".removeprefix(".")
    else:
        text = seen + (_ALLOWED[kind].format(**context) if kind in _ALLOWED else errors[0]["msg"])
    return text + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")


def shown(value: Any) -> str:
    """A value as an error message quotes it: short, whatever it is."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=not value.isprintable())
    else:
        text = json.dumps(value) if value is None or isinstance(value, int | float) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "none"
