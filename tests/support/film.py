"""Video files made for a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_film(
    path: Path,
    pictures: Sequence[np.ndarray[Any, Any]],
    *,
    av_format: str = "gray",
    codec: str = "ffv1",
    rate: int = 25,
    times: Iterable[int] | None = None,
) -> Path:
    """A film of these pictures, lossless unless another codec is asked.

    Args:
        path: where to; its suffix tells the container.
        pictures: arrays of FFmpeg's `av_format`.
        av_format: also the format in which they are encoded.
        codec: FFmpeg's name of the encoder.
        rate: pictures per second.
        times: when each is shown, ms; evenly by `rate` unless given.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = av_format
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        for picture, time in zip(
            pictures, times or (n * 1000 // rate for n in range(len(pictures))), strict=False
        ):
            frame = av.VideoFrame.from_ndarray(picture, format=av_format)
            frame.time_base, frame.pts = Fraction(1, 1000), time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
