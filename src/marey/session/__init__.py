"""Sessions: named nodes under one supervisor, described by Python or by a TOML file."""

from marey.session.session import Session
from marey.session.shared import SharedSettings

__all__ = ["Session", "SharedSettings"]
