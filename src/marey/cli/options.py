"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""An option that is there or not."""

Word = Annotated[str, Parameter(show_default=False)]
"""An argument that may be left out."""

Seconds = Annotated[float | None, Parameter(name="--for")]
"""How long to run, s."""
