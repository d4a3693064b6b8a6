"""Processors of images."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from service.processors.base import Fail, InputFile, JobContext, processor

MAX_PIXELS = 200_000_000
MAX_SIDE = 16_383  # the most that WebP can hold
_LOADERS = {"jpegload", "pngload", "webpload", "gifload", "tiffload", "heifload"}
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height

Fit = Literal["contain", "cover", "attention", "fill"]
Format = Literal["jpeg", "webp", "png", "avif"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


@processor(
    "image.thumbnail",
    accepts=["image/jpeg", "image/png", "image/webp", "image/gif", "image/tiff", "image/avif"],
)
def thumbnail(
    job: JobContext,
    *,
    width: Annotated[Side, Field(description="width of the box, in pixels")] = 800,
    height: Annotated[
        Side | None,
        Field(description="height of the box; without it, contain looks at the width alone, the rest is square"),
    ] = None,
    fit: Annotated[
        Fit,
        Field(
            description="contain: all of it, inside the box; cover: fill the box and crop to the centre;"
            " attention: fill the box and crop to what draws the eye; fill: stretch to the box"
        ),
    ] = "contain",
    format: Annotated[Format, Field(description="format of the thumbnails")] = "jpeg",  # noqa: A002
    quality: Annotated[int, Field(ge=1, le=100, description="quality of the compression; png has none to choose")] = 80,
    enlarge: Annotated[bool, Field(description="let a small image grow to the box")] = False,
) -> dict[str, Any]:
    """Make a thumbnail of each image.

    Photos are turned upright as their EXIF data asks, colours become sRGB, and all metadata is left out. Of
    animations and documents, the first picture counts.
    """
    names = _Names()
    images = []
    for number, file in enumerate(job.files):
        job.progress(number / len(job.files), file.name)
        header = _header(file)
        picture = _shrunk(file, header, _box(width, height, fit), fit, grow=enlarge)
        content = _encoded(file, picture, format, quality)
        name = names.take(f"{_stem(file.name)}-{width}w", _SAVERS[format][0])
        job.output(name).write_bytes(content)
        size = {"width": picture.width, "height": picture.height, "size_bytes": len(content)}
        images.append({"name": name, "format": format, **size, "source": _size_as_seen(header)})
    job.progress(1)
    return {"images": images}


_SAVERS: dict[Format, tuple[str, dict[str, Any]]] = {
    "jpeg": (".jpg", {"optimize_coding": True}),
    "webp": (".webp", {}),
    "png": (".png", {}),
    "avif": (".avif", {"effort": 2}),
}


# ---- names


class _Names:
    """Gives each output a name of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, stem: str, suffix: str) -> str:
        name = next(name for name in _variants(stem, suffix) if name.lower() not in self._taken)
        self._taken.add(name.lower())
        return name


def _variants(stem: str, suffix: str) -> Iterator[str]:
    yield stem + suffix
    number = 2
    while True:
        yield f"{stem}-{number}{suffix}"
        number += 1


def _stem(name: str) -> str:
    """Return what a client's file name says, without folders, suffix, control characters and outer dots."""
    clean = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/"))
    return PurePosixPath(clean).stem.strip(". ")[:180] or "image"


# ---- pictures


def _vips() -> Any:
    """Return pyvips, made safe for files from anywhere; it is loaded by the first job that needs it."""
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415 - libvips is large, and the server itself has no use for it

    pyvips.block_untrusted_set(True)  # noqa: FBT003 - the function takes no keyword
    pyvips.cache_set_max(0)
    return pyvips


def _header(file: InputFile) -> Any:
    """Return the image with nothing but its header read.

    Raises:
        Fail: it is not an image of a known format, or has too many pixels to be decoded.
    """
    vips = _vips()
    source = vips.Source.new_from_file(str(file.path))
    try:
        header = vips.Image.new_from_source(source, "", access="sequential")
    except vips.Error as error:
        raise _invalid(file, error) from None
    if header.get("vips-loader").removesuffix("_source") not in _LOADERS:
        raise Fail(f"{file.name!r} is not an image of an accepted format", code="invalid_image")
    if header.width * header.height > MAX_PIXELS:
        raise Fail(
            f"{file.name!r} has {header.width} x {header.height} pixels; at most {MAX_PIXELS:,} are decoded",
            code="too_many_pixels",
        )
    return header


def _size_as_seen(header: Any) -> dict[str, int]:
    if header.get_typeof("orientation") and header.get("orientation") in _TURNED:
        return {"width": header.height, "height": header.width}
    return {"width": header.width, "height": header.height}


def _box(width: int, height: int | None, fit: Fit) -> tuple[int, int]:
    if height is None:
        return width, MAX_SIDE if fit == "contain" else width
    return width, height


def _shrunk(file: InputFile, header: Any, box: tuple[int, int], fit: Fit, *, grow: bool) -> Any:
    """Return the thumbnail, not yet decoded.

    Raises:
        Fail: the image is broken, or the thumbnail would have too many pixels.
    """
    vips = _vips()
    options = {
        "size": "force" if fit == "fill" else "both" if grow else "down",
        "crop": {"cover": "centre", "attention": "attention"}.get(fit, "none"),
        # As an argument of its own, fail_on is ignored by thumbnail_source (libvips 8.18).
        "option_string": "fail_on=error",
    }
    if header.get_typeof("icc-profile-data") or header.interpretation == "cmyk":
        options["output_profile"] = "srgb"  # costs time, so not for those that are sRGB anyway
    source = vips.Source.new_from_file(str(file.path))
    try:
        image = vips.Image.thumbnail_source(source, box[0], height=box[1], **options)
        if image.interpretation not in {"srgb", "b-w"}:
            image = image.colourspace("srgb")
    except vips.Error as error:
        raise _invalid(file, error) from None
    if image.width * image.height > MAX_PIXELS:
        raise Fail("the thumbnail would have too many pixels; ask for a smaller box", code="too_many_pixels")
    return image


def _encoded(file: InputFile, picture: Any, format: Format, quality: int) -> bytes:  # noqa: A002
    """Decode, shrink and encode the picture in one pass, into memory, without metadata.

    Raises:
        Fail: the image is broken, or the format cannot be written here.
    """
    vips = _vips()
    if picture.hasalpha() and format == "jpeg":
        picture = picture.flatten(background=[255, 255, 255])
    if format == "avif" and not vips.type_find("VipsOperation", "heifsave_buffer"):
        raise Fail("this server cannot write avif", code="format_unavailable")
    suffix, options = _SAVERS[format]
    if format != "png":
        options = {**options, "Q": quality}
    try:
        content: bytes = picture.write_to_buffer(suffix, keep="none", **options)
    except vips.Error as error:
        raise _invalid(file, error) from None
    return content


def _invalid(file: InputFile, error: Exception) -> Fail:
    """Return the failure in one sentence; the lines of libvips say who found out, and then what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = re.sub(r"\A\w+: ", "", lines[1] if len(lines) > 1 else lines[0])
    return Fail(f"{file.name!r} cannot be read as an image: {reason[:200]}", code="invalid_image")
