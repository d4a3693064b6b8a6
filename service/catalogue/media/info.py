"""What is in audio and video: streams, duration and tags."""

import itertools
from collections.abc import Mapping
from typing import Any

from service.catalogue.media.reading import (
    ACCEPTS,
    EXTRA,
    REQUIRES,
    duration_of,
    find_stream,
    is_cover,
    open_media,
    seconds,
)
from service.processors.base import JobContext, processor

MAX_TAGS = 100
MAX_VALUE_CHARS = 500
MAX_CHAPTERS = 500


@processor("media.info", accepts=ACCEPTS, extra=EXTRA, requires=REQUIRES, reads_only=True)
def info(job: JobContext) -> dict[str, Any]:
    """Tell the streams, duration, tags and chapters of each audio or video file.

    Nothing is decoded: the facts are those that the file gives of itself.
    """
    files = []
    for file in job.each_file():
        with open_media(file) as container:
            files.append({"name": file.name, "size_bytes": file.size_bytes, **_facts(container)})
    return {"files": files}


def _facts(container: Any) -> dict[str, Any]:
    return {
        "format": container.format.name.split(",")[0],
        "duration_s": _rounded(duration_of(container)),
        "bits_per_second": container.bit_rate or None,
        "has_video": find_stream(container, "video") is not None,
        "has_audio": find_stream(container, "audio") is not None,
        "tags": _tags(container.metadata),
        "streams": [_stream(one) for one in container.streams],
        "chapters": [_chapter(one) for one in itertools.islice(container.chapters(), MAX_CHAPTERS)],
    }


def _stream(stream: Any) -> dict[str, Any]:
    context = stream.codec_context
    facts = {
        "index": stream.index,
        "type": "cover" if is_cover(stream) else stream.type or "unknown",
        "codec": None if context is None else context.codec.canonical_name,
        "duration_s": _rounded(seconds(stream.duration, stream.time_base)),
        "bits_per_second": None if context is None else context.bit_rate or None,
        "tags": _tags(stream.metadata),
    }
    if context is not None and stream.type == "video":
        facts |= _video(stream, context)
    if context is not None and stream.type == "audio":
        facts |= {"sample_rate": context.sample_rate, "channels": context.channels, "layout": context.layout.name}
    return facts


def _video(stream: Any, context: Any) -> dict[str, Any]:
    rate, aspect = stream.average_rate, context.sample_aspect_ratio
    return {
        "width": context.width,
        "height": context.height,
        "frames_per_second": None if rate is None else round(float(rate), 3),
        "pixel_format": context.pix_fmt,
        "pixel_aspect_ratio": f"{aspect.numerator}:{aspect.denominator}" if aspect else "1:1",
    }


def _chapter(chapter: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "start_s": _rounded(seconds(chapter["start"], chapter["time_base"])),
        "end_s": _rounded(seconds(chapter["end"], chapter["time_base"])),
        "title": _tags(chapter["metadata"]).get("title", ""),
    }


def _tags(metadata: Mapping[str, str]) -> dict[str, str]:
    some = itertools.islice(metadata.items(), MAX_TAGS)
    return {name.lower()[:100]: value[:MAX_VALUE_CHARS] for name, value in some}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
