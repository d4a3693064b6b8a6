"""What an image is: size, format, EXIF data, dominant colours."""

import re
from collections import defaultdict
from typing import Annotated, Any

from pydantic import Field

from service.catalogue.image.reading import (
    ACCEPTS,
    damaged,
    format_of,
    has_foreign_colours,
    open_image,
    orientation_of,
    size_as_seen,
    source_of,
    vips,
)
from service.processors.base import Fail, InputFile, JobContext, processor

MAX_TAGS = 300
MAX_VALUE_CHARS = 500
MM_PER_INCH = 25.4
_SAMPLE_SIDE = 64
_NEAR = 48  # two colours less far apart than this, on each of three axes of 256, are taken as one
_BITS = {"uchar": 8, "char": 8, "ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}
_TAG_FIELD = re.compile(r"exif-ifd(\d)-(\w+)")
_TAG_VALUE = re.compile(r"(?s)(.*), ([A-Za-z ]+), \d+ components?, \d+ bytes?\)")


@processor("image.info", accepts=ACCEPTS, reads_only=True)
def info(job: JobContext, *, colours: Annotated[int, Field(ge=0, le=16)] = 5) -> dict[str, Any]:
    """Tell the size, format, EXIF data, place and dominant colours of each image.

    Width and height are those of the picture once it is turned upright.

    Args:
        colours: Most dominant colours to tell; with 0 the pixels are not decoded at all, which is faster.
    """
    images = []
    for file in job.each_file():
        header = open_image(file)
        found = {"colours": _dominant(file, header, colours)} if colours else {}
        images.append({"name": file.name, **_facts(file, header), **found})
    return {"images": images}


def _facts(file: InputFile, header: Any) -> dict[str, Any]:
    exif = _exif(header)
    return {
        "format": format_of(header),
        "size_bytes": file.size_bytes,
        **size_as_seen(header),
        "orientation": orientation_of(header),
        "colour_space": header.interpretation,
        "has_alpha": bool(header.hasalpha()),
        "has_colour_profile": bool(header.get_typeof("icc-profile-data")),
        "bits_per_channel": _BITS.get(header.format, 8),
        "pages": int(header.get("n-pages")) if header.get_typeof("n-pages") else 1,
        "dots_per_inch": round(header.xres * MM_PER_INCH, 1) if header.get_typeof("resolution-unit") else None,
        "place": _place(header),
        "exif": exif,
    }


# ---- EXIF


def _exif(header: Any) -> dict[str, str]:
    """Return the tags as people read them; those of the embedded thumbnail (directory 1) are left out."""
    tags: dict[str, str] = {}
    for field in header.get_fields():
        match = _TAG_FIELD.fullmatch(field)
        if match and match[1] != "1" and len(tags) < MAX_TAGS:
            raw, told = _tag(str(header.get(field)))
            value = raw if told.startswith("Internal error") else told
            tags[match[2]] = value.replace("\0", "").strip()[:MAX_VALUE_CHARS]
    return tags


def _tag(text: str) -> tuple[str, str]:
    """Split what libvips says of a tag, `raw (told, Type, 1 components, 2 bytes)`, into `raw` and `told`."""
    match = _TAG_VALUE.fullmatch(text)
    if match is None:
        return text, text
    both = match[1]
    half = (len(both) - 2) // 2
    if both[:half] == both[half + 2 :]:  # both the same, as they are for text, which may hold brackets of its own
        return both[:half], both[:half]
    raw, _, told = both.partition(" (")
    return raw, told


def _place(header: Any) -> dict[str, float] | None:
    """Return latitude and longitude in degrees, or None."""
    latitude = _degrees(header, "GPSLatitude", "S")
    longitude = _degrees(header, "GPSLongitude", "W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:  # noqa: PLR2004
        return None
    return {"latitude": latitude, "longitude": longitude}


def _degrees(header: Any, name: str, negative: str) -> float | None:
    field = f"exif-ifd3-{name}"
    if not header.get_typeof(field):
        return None
    parts = [_fraction(part) for part in _tag(str(header.get(field)))[0].split()[:3]]
    if not parts or None in parts:
        return None
    degrees = sum(part / 60.0**power for power, part in enumerate(parts) if part is not None)
    reference = _tag(str(header.get(field + "Ref")))[0] if header.get_typeof(field + "Ref") else ""
    return round(-degrees if reference.strip("\0 ") == negative else degrees, 7)


def _fraction(text: str) -> float | None:
    top, _, bottom = text.partition("/")
    try:
        return int(top) / int(bottom or 1)
    except (ValueError, ZeroDivisionError):
        return None


# ---- colours

_Colour = tuple[int, int, int]


def _dominant(file: InputFile, header: Any, count: int) -> list[dict[str, Any]]:
    """Return the colours that cover most of the image, and their shares, from a small copy of it.

    Raises:
        Fail: the image is broken.
    """
    groups: dict[_Colour, list[_Colour]] = defaultdict(list)
    pixels = _sample(file, header)
    for red, green, blue in pixels:
        groups[red >> 4, green >> 4, blue >> 4].append((red, green, blue))
    merged: list[tuple[_Colour, int]] = []
    for group in sorted(groups.values(), key=len, reverse=True):
        _merge(merged, _mean(group), len(group))
    merged.sort(key=lambda one: one[1], reverse=True)
    return [
        {"hex": "#{:02x}{:02x}{:02x}".format(*colour), "share": round(size / len(pixels), 3)}
        for colour, size in merged[:count]
    ]


def _merge(merged: list[tuple[_Colour, int]], colour: _Colour, size: int) -> None:
    for place, (other, others) in enumerate(merged):
        if all(abs(a - b) < _NEAR for a, b in zip(colour, other, strict=True)):
            merged[place] = (other, others + size)
            return
    merged.append((colour, size))


def _mean(group: list[_Colour]) -> _Colour:
    red, green, blue = (round(sum(channel) / len(group)) for channel in zip(*group, strict=True))
    return red, green, blue


def _sample(file: InputFile, header: Any) -> list[_Colour]:
    """Return the pixels of a small copy, without those that are more clear than not."""
    options = {"height": _SAMPLE_SIDE, "size": "force", "option_string": "fail_on=error"}
    if has_foreign_colours(header):
        options["output_profile"] = "srgb"
    try:
        small = vips().Image.thumbnail_source(source_of(file), _SAMPLE_SIDE, **options)
        small = small.colourspace("srgb").cast("uchar")
        small = small if small.hasalpha() else small.bandjoin(255)
        raw = bytes(small.write_to_memory())
    except vips().Error as error:
        raise damaged(file, error) from None
    if small.bands != 4:  # noqa: PLR2004 - red, green, blue and alpha
        raise Fail(f"{file.name!r} has {small.bands} channels; ask for colours=0", code="unsupported")
    return [(raw[at], raw[at + 1], raw[at + 2]) for at in range(0, len(raw), 4) if raw[at + 3] >= 128]  # noqa: PLR2004
