"""Streams of frames in shared memory: one writer, any number of readers."""

from marey.stream.spec import MAX_DIMS, STAMP, UNKNOWN, UNKNOWN_TIME, Spec

__all__ = ["MAX_DIMS", "STAMP", "UNKNOWN", "UNKNOWN_TIME", "Spec"]
