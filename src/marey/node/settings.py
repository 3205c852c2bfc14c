"""Settings and actions: one declaration serves validation, TOML, commands, forms and docs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import Field
from pydantic_core import PydanticUndefined

Apply = Literal["live", "reopen", "start"]
"""When a changed setting takes hold: between two frames, by closing and opening the node again
between two frames, or only when the session is started."""

F = TypeVar("F", bound=Callable[..., Any])


def Setting(  # noqa: N802 - reads as a declaration, like pydantic's Field
    default: Any = PydanticUndefined,
    *,
    unit: str = "",
    apply: Apply = "live",
    readonly: bool = False,
    follows: bool = False,
    advanced: bool = False,
    **field: Any,
) -> Any:
    """Declare a setting of a node, with its range, unit and the time at which a change holds.

    A plain pydantic field is a setting too: without unit, applied live.

    Args:
        default: the value when none is given; left out, the setting must be given.
        unit: unit of the value, e.g. `"s"`, `"Hz"`, `"nm"`, `"px"`.
        apply: when a change takes hold (see `Apply`).
        readonly: told by the device; setting it from outside is refused.
        follows: takes the session's value of the same name when that is changed
            (`acquiring`, `folder`, `run`, `mode`).
        advanced: shown by forms and lists only on request.
        field: anything that pydantic's `Field` takes: `ge`, `le`, `description` ...
    """
    extra: dict[str, Any] = {
        "unit": unit,
        "apply": apply,
        "readonly": readonly,
        "follows": follows,
        "advanced": advanced,
    }
    return Field(default, json_schema_extra=extra, **field)


def action(method: F) -> F:
    """Mark a method of a node as one that others may call; its parameters are validated.

    A method that is a generator is a long action: it is advanced between frames, may yield
    `(fraction, text)` to report progress, and answers with what it returns.
    """
    method.__marey_action__ = True  # type: ignore[attr-defined]
    return method
