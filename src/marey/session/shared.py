"""Settings of the whole session, followed by the nodes that declare them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SharedSettings(BaseModel):
    """Session-wide settings; a node follows one by declaring a setting with `follows=True`."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, use_attribute_docstrings=True
    )

    acquiring: bool = Field(True, description="whether frames are wanted now")
    folder: str = Field("data", description="where recordings go")
    run: str = Field("", description="name of the present run; empty: named after the time")
    mode: str = Field("", description="what is being done, in the user's own words")
