"""Cameras: simulated scenes, files, network streams and real devices."""

from typing import TYPE_CHECKING, Any

from marey.node.registry import lazy

if TYPE_CHECKING:
    from marey.cameras.beads import Beads
    from marey.cameras.counter import Counter
    from marey.cameras.images import Images
    from marey.cameras.noise import Noise
    from marey.cameras.replay import Replay
    from marey.cameras.video import Video

__all__ = ["Beads", "Counter", "Images", "Noise", "Replay", "Video"]


def __getattr__(name: str) -> Any:
    return lazy(__name__, __all__, name)
