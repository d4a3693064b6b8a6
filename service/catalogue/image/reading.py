"""Opening images from anywhere: by their content alone, and within limits."""

import re
from typing import Any

from service.processors.base import Fail, InputFile

ACCEPTS = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/tiff", "image/avif")
MAX_PIXELS = 200_000_000
MAX_SIDE = 16_383  # the most that WebP can hold
_FORMATS = {
    "jpegload": "jpeg",
    "pngload": "png",
    "webpload": "webp",
    "gifload": "gif",
    "tiffload": "tiff",
    "heifload": "avif",
}
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height


def vips() -> Any:
    """Return pyvips, made safe for files from anywhere; it is loaded by the first job that needs it."""
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415 - libvips is large, and the server itself has no use for it

    pyvips.block_untrusted_set(True)  # noqa: FBT003 - the function takes no keyword
    pyvips.cache_set_max(0)
    return pyvips


def source_of(file: InputFile) -> Any:
    """Return the bytes of the file as libvips reads them; its name has no say in the format."""
    return vips().Source.new_from_file(str(file.path))


def open_image(file: InputFile, *, all_pages: bool = False) -> Any:
    """Return the image with nothing but its header read; its pixels can be read once, from top to bottom.

    With `all_pages`, the pictures of an animation stand one below the other, and all of their pixels count.

    Raises:
        Fail: it is not an image of an accepted format, is broken, or has too many pixels to be decoded.
    """
    if file.size_bytes == 0:
        raise Fail(f"{file.name!r} is empty; send a whole image", code="empty_file")
    try:
        option = "[n=-1]" if all_pages else ""
        image = vips().Image.new_from_source(source_of(file), option, access="sequential", fail_on="error")
    except vips().Error as error:
        raise _unreadable(file, error) from None
    if _loader_of(image) not in _FORMATS:
        raise _unsupported(file)
    if image.width * image.height > MAX_PIXELS:
        raise Fail(
            f"{file.name!r} has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are decoded",
            code="too_large",
        )
    return image


def format_of(image: Any) -> str:
    """Return the format that the image was read from: `jpeg`, `png`, `webp`, `gif`, `tiff` or `avif`."""
    return _FORMATS[_loader_of(image)]


def orientation_of(image: Any) -> int:
    """Return the EXIF orientation, 1 to 8; 1 is upright."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def size_as_seen(image: Any) -> dict[str, int]:
    """Return width and height of the first picture, in pixels, once it is turned upright."""
    height = page_height(image)
    if orientation_of(image) in _TURNED:
        return {"width": height, "height": image.width}
    return {"width": image.width, "height": height}


def page_height(image: Any) -> int:
    """Return the height of one picture, in pixels; an animation has several, one below the other."""
    return int(image.get("page-height")) if image.get_typeof("page-height") else int(image.height)


def has_foreign_colours(image: Any) -> bool:
    """Return whether the colours mean something else than sRGB."""
    return bool(image.get_typeof("icc-profile-data")) or image.interpretation == "cmyk"


def damaged(file: InputFile, error: Exception) -> Fail:
    """Return the failure in one sentence; the lines of libvips say who found out, and then what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = re.sub(r"\A\w+: ", "", lines[1] if len(lines) > 1 else lines[0])
    return Fail(f"{file.name!r} cannot be read as an image: {reason[:200]}", code="damaged_file")


def _loader_of(image: Any) -> str:
    return str(image.get("vips-loader")).removesuffix("_source")


def _unreadable(file: InputFile, error: Exception) -> Fail:
    return _unsupported(file) if "not in a known format" in str(error) else damaged(file, error)


def _unsupported(file: InputFile) -> Fail:
    wanted = ", ".join(_FORMATS.values())
    return Fail(f"{file.name!r} is not an image of an accepted format; send one of {wanted}", code="unsupported")
