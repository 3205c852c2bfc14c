"""Cameras: simulated scenes, files, network streams and real devices."""
