"""Encoding images, and the colours that they are encoded with."""

from typing import Any, Literal

from service.catalogue.image.reading import damaged, has_foreign_colours, orientation_of, page_height, vips
from service.processors.base import Fail, InputFile

Format = Literal["jpeg", "webp", "png", "avif"]
Metadata = Literal["strip", "keep"]
SUFFIXES: dict[str, str] = {
    "jpeg": ".jpg",
    "webp": ".webp",
    "png": ".png",
    "avif": ".avif",
    "gif": ".gif",
    "tiff": ".tif",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize_coding": True},
    "webp": {},
    "png": {},
    "avif": {"effort": 2},
    "gif": {},
    "tiff": {"compression": "deflate", "predictor": "horizontal"},
}
_MAX_SIDES = {"webp": 16_383, "avif": 16_384, "jpeg": 65_500, "gif": 65_535}
_HAVE_QUALITY = {"jpeg", "webp", "avif"}
_KEEP = {"strip": "none", "keep": "exif|xmp|iptc"}


def quality_options(format: str, quality: int) -> dict[str, Any]:  # noqa: A002 - the word that clients use
    """Return the options of the saver; a format without a choice of quality has none."""
    return {"Q": quality} if format in _HAVE_QUALITY else {}


def upright(file: InputFile, image: Any) -> Any:
    """Return the image turned as its EXIF orientation asks.

    Raises:
        Fail: the image is broken.
    """
    if orientation_of(image) == 1 or page_height(image) < image.height:
        return image
    try:
        return image.copy_memory().autorot()  # to turn it, its pixels are needed in another order
    except vips().Error as error:
        raise damaged(file, error) from None


def in_srgb(file: InputFile, image: Any) -> Any:
    """Return the image with its colours as sRGB, or grey, of 8 bits each.

    Raises:
        Fail: the image is broken.
    """
    try:
        if has_foreign_colours(image):
            image = image.icc_transform("srgb", embedded=True, input_profile=_usual_profile(image))
        if image.interpretation not in {"srgb", "b-w"}:
            image = image.colourspace("srgb")
    except vips().Error as error:
        raise damaged(file, error) from None
    return image if image.format == "uchar" else image.cast("uchar")


def encoded(
    file: InputFile,
    picture: Any,
    format: str,  # noqa: A002
    options: dict[str, Any],
    metadata: Metadata = "strip",
) -> bytes:
    """Decode, change and encode the picture in one pass, into memory.

    Raises:
        Fail: the image is broken, or the format cannot hold it or be written here.
    """
    _check_writable(format)
    _check_sides(picture, format)
    if picture.hasalpha() and format == "jpeg":
        picture = picture.flatten(background=[255] * (picture.bands - 1))
    try:
        content: bytes = picture.write_to_buffer(
            SUFFIXES[format], keep=_KEEP[metadata], **{**_OPTIONS[format], **options}
        )
    except vips().Error as error:
        raise damaged(file, error) from None
    return content


def _check_writable(format: str) -> None:  # noqa: A002
    """Raise `Fail` when this server's libvips cannot write the format; AVIF is the one that may be missing."""
    if format == "avif" and not vips().type_find("VipsOperation", "heifsave_buffer"):
        raise Fail("this server cannot write avif; ask for webp", code="format_unavailable")


def _check_sides(picture: Any, format: str) -> None:  # noqa: A002
    longest, most = max(picture.width, page_height(picture)), _MAX_SIDES.get(format)
    if most is not None and longest > most:
        raise Fail(
            f"{format} holds at most {most:,} pixels a side, and the image has {longest:,}; ask for png",
            code="too_large",
        )


def _usual_profile(image: Any) -> str:
    """Return the profile of colours that come without one, or with one that is broken."""
    return "cmyk" if image.interpretation == "cmyk" else "srgb"
