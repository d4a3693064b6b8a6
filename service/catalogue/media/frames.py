"""Frames of videos, as images."""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field

from service.catalogue.image.reading import MAX_SIDE, vips
from service.catalogue.image.writing import SUFFIXES, encoded, quality_options
from service.catalogue.media.reading import (
    EXTRA,
    REQUIRES,
    duration_of,
    frames_of,
    get_stream,
    open_media,
    packets_of,
    pyav,
    seconds,
)
from service.naming import DistinctNames, stem_of
from service.processors.base import Fail, InputFile, JobContext, processor

MAX_FRAMES = 1000
MAX_TIME_S = 7 * 24 * 3600
SEEK_AHEAD_S = 5  # to decode so much is about as fast as to look for the next key frame
SOUND_AFTER_S = 0.05  # sound often goes on for a little after the last frame
_POSTER_AT = 0.1  # of the duration: the very beginning is often black


@processor("media.frames", accepts=("video/*",), extra=EXTRA, requires=REQUIRES, reads_only=True)
def frames(
    job: JobContext,
    *,
    at_s: Annotated[tuple[Annotated[float, Field(ge=0, le=MAX_TIME_S)], ...], Field(max_length=MAX_FRAMES)] = (),
    every_s: Annotated[float, Field(ge=0.01, le=MAX_TIME_S)] | None = None,
    width: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None,
    format: Literal["jpeg", "png", "webp"] = "jpeg",  # noqa: A002 - the word that clients use
    quality: Annotated[int, Field(ge=1, le=100)] = 85,
) -> dict[str, Any]:
    """Make images of frames of each video, at given times or at every so many seconds.

    Each image is the frame that is to be seen at that time, upright. With neither times nor an interval there is
    one image, of a tenth of the way in. At most 1,000 frames of a video are taken.

    Args:
        at_s: Times from the beginning, in seconds.
        every_s: Seconds from each frame to the next, beginning with the first; not together with at_s.
        width: Width of the images in pixels; without it, that of the video. They are never enlarged.
        format: Format of the images.
        quality: Quality of the compression, from 1 to 100; png has none to choose.
    """
    if at_s and every_s is not None:
        raise Fail("give either at_s or every_s, not both", code="invalid_params")
    names = DistinctNames()
    images = []
    for file in job.files:
        with open_media(file) as container:
            times = _times(file, container, at_s, every_s)
            player = _Player(file, container)
            for done, time_s in enumerate(times, 1):
                picture = _picture(player.frame_at(time_s), width)
                content = encoded(file, picture, format, quality_options(format, quality))
                name = names.take(f"{stem_of(file.name, 'video')}-{time_s:.10g}s", SUFFIXES[format])
                job.output(name).write_bytes(content)
                size = {"width": picture.width, "height": picture.height, "size_bytes": len(content)}
                images.append({"name": name, "source": file.name, "time_s": time_s, **size})
                job.progress(done / len(times), f"{file.name}, {time_s:g} s")
    return {"images": images}


# ---- when


def _times(file: InputFile, container: Any, at_s: tuple[float, ...], every_s: float | None) -> list[float]:
    """Return the times, from the first to the last.

    Raises:
        Fail: a time lies beyond the end, or there are too many.
    """
    duration_s = duration_of(container)
    if at_s:
        return _within(file, sorted(set(at_s)), duration_s)
    if every_s is None:
        return [round(duration_s * _POSTER_AT, 3) if duration_s else 0.0]
    if duration_s is None:
        raise Fail(f"{file.name!r} does not say how long it is; give the times in at_s", code="unknown_duration")
    count = max(1, math.ceil((duration_s - SOUND_AFTER_S) / every_s))
    if count > MAX_FRAMES:
        raise Fail(
            f"{file.name!r} has {duration_s:g} s, which makes {count:,} frames; at most {MAX_FRAMES:,} are taken, so"
            " ask for a longer every_s",
            code="too_large",
        )
    return [round(number * every_s, 3) for number in range(count)]


def _within(file: InputFile, times: list[float], duration_s: float | None) -> list[float]:
    if duration_s is not None and times[-1] > duration_s:
        raise Fail(f"{file.name!r} ends at {duration_s:g} s, before {times[-1]:g} s", code="no_such_time")
    return times


# ---- finding the frames


class _Player:
    """Goes through a video from time to time, each at or after the one before."""

    def __init__(self, file: InputFile, container: Any) -> None:
        self._file = file
        self._container = container
        self._stream = get_stream(file, container, "video")
        self._stream.thread_type = "AUTO"
        self._start_s = seconds(self._stream.start_time, self._stream.time_base) or 0.0
        self._shown: Any = None
        self._frames = self._decoded()
        self._next: Any = next(self._frames, None)

    def frame_at(self, time_s: float) -> Any:
        """Return the frame that is to be seen then: the last one that begins at or before it."""
        wanted_s = time_s + self._start_s
        if wanted_s > (self._shown.time if self._shown else self._start_s) + SEEK_AHEAD_S:
            self._seek(wanted_s)
        while self._next is not None and (self._shown is None or self._next.time <= wanted_s):
            self._shown, self._next = self._next, next(self._frames, None)
        if self._shown is None:
            raise Fail(f"no frame of {self._file.name!r} can be decoded", code="damaged_file")
        return self._shown

    def _seek(self, time_s: float) -> None:
        """Go to the last key frame before the time; a file without an index stays where it is."""
        with suppress(pyav().FFmpegError):
            self._container.seek(int(time_s * pyav().time_base))
            self._shown, self._frames = None, self._decoded()
            self._next = next(self._frames, None)

    def _decoded(self) -> Iterator[Any]:
        for packet in packets_of(self._file, self._container, self._stream):
            yield from (frame for frame in frames_of(self._file, packet) if frame.time is not None)


# ---- making images of them


def _picture(frame: Any, width: int | None) -> Any:
    """Return the frame as an upright picture in memory."""
    rgb = frame.reformat(format="rgb24")
    plane = rgb.planes[0]
    row_bytes = rgb.width * 3
    rows = memoryview(bytes(plane))
    content = b"".join(rows[y * plane.line_size : y * plane.line_size + row_bytes] for y in range(rgb.height))
    picture = vips().Image.new_from_memory(content, rgb.width, rgb.height, 3, "uchar").copy(interpretation="srgb")
    picture = picture.rot(f"d{-frame.rotation % 360}") if frame.rotation % 90 == 0 else picture
    return picture.thumbnail_image(width, height=MAX_SIDE, size="down") if width else picture
