"""A setting's JSON schema in words: its type, range, default and unit."""

from __future__ import annotations

import json
from typing import Any

_WORDS = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "table",
    "null": "none",
}


def is_text(schema: dict[str, Any], name: str) -> bool:
    """Whether a setting or argument is text and nothing else."""
    return _property(schema, name).get("type") == "string"


def unit_of(schema: dict[str, Any], name: str) -> str:
    """The unit of a setting; empty where it has none."""
    return str(_property(schema, name).get("unit", ""))


def type_of(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """What kind of value a setting takes."""
    field = _resolved(schema, field)
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return " | ".join(str(value) for value in field["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " | ".join(type_of(schema, part) for part in field[choice])
    if field.get("type") == "array":
        return _array(schema, field)
    return _WORDS.get(str(field.get("type")), "anything")


def range_of(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """Between which values a setting lies; empty where all are allowed."""
    field = _resolved(schema, field)
    for part in field.get("anyOf", []):
        found = range_of(schema, part)
        if found:
            return found
    if field.get("type") == "array" and "prefixItems" not in field:
        return range_of(schema, field.get("items", {}))
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    limits = {
        "above": field.get("exclusiveMinimum"),
        "at least": low,
        "below": field.get("exclusiveMaximum"),
        "at most": high,
    }
    return ", ".join(f"{word} {_number(at)}" for word, at in limits.items() if at is not None)


def default_of(schema: dict[str, Any], name: str) -> str:
    """The value of a setting that is not given, as TOML writes it."""
    if name in schema.get("required", []):
        return "must be given"
    field = _property(schema, name)
    return toml(field["default"]) if "default" in field else ""


def toml(value: Any) -> str:
    """A value as TOML writes it, so that it can be typed in again."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(toml(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(part)}" for name, part in value.items()) + "}"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | int) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _array(schema: dict[str, Any], field: dict[str, Any]) -> str:
    parts = [type_of(schema, part) for part in field.get("prefixItems", [])]
    if parts:
        return f"[{', '.join(parts)}]"
    return f"list of {type_of(schema, field.get('items', {}))}"


def _property(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("properties", {}).get(name, {})
    return found


def _resolved(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """A field whose type stands elsewhere in the schema, with that type."""
    if "$ref" not in field:
        return field
    name = field["$ref"].rpartition("/")[2]
    found: dict[str, Any] = schema.get("$defs", {}).get(name, {})
    return found | {key: value for key, value in field.items() if key != "$ref"}
