"""Devices: stages, focus, lights; simulated ones first."""

from marey.devices.stage import Stage

__all__ = ["Stage"]
