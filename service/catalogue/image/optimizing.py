"""Finding the best quality whose file is small enough."""

import math
from dataclasses import dataclass
from typing import Any

from service.catalogue.image.reading import damaged, format_of, orientation_of, vips
from service.catalogue.image.writing import Metadata, encoded, in_srgb, upright
from service.processors.base import Fail, InputFile

LOWEST_QUALITY = 5
_OWN = {"jpeg", "png", "webp", "avif"}
_BEST_EFFORT: dict[str, dict[str, Any]] = {
    "jpeg": {"interlace": True},
    "webp": {"effort": 5},
    "png": {"compression": 9},
    "avif": {"effort": 2},
}
_SECRETS = ("exif-data", "xmp-data", "iptc-data", "png-comment-", "jpeg-thumbnail-data")


@dataclass(frozen=True, slots=True)
class Optimized:
    """What came out; `content` None is the input itself. `quality` None is without loss."""

    content: bytes | None
    quality: int | None

    def facts(self, before_bytes: int) -> dict[str, Any]:
        """Return what the job's result says of it."""
        after_bytes = before_bytes if self.content is None else len(self.content)
        return {
            "quality": self.quality,
            "size_bytes": after_bytes,
            "saved_bytes": before_bytes - after_bytes,
            "changed": self.content is not None,
        }


def own_format(header: Any) -> str:
    """Return the format that an image is optimized in when none is asked for."""
    own = format_of(header)
    return own if own in _OWN else "webp"


def smallest(
    file: InputFile,
    header: Any,
    format: str,  # noqa: A002 - the word that clients use
    quality: int,
    target_bytes: int | None,
    metadata: Metadata,
) -> Optimized:
    """Return the image at the best quality that fits `target_bytes`, or at `quality` without a target.

    Without a target, an input that may stay as it is does so where nothing smaller comes out at once; one of which
    something must be taken out, or that must be turned, is made as small as it was, if it can be.

    Raises:
        Fail: the image is broken, or even the lowest quality is too large.
    """
    picture = _decoded(file, header)
    steps = _steps(format, quality)
    may_stay = _may_stay(header, format, metadata)
    target = target_bytes or math.inf
    if target_bytes is None and not may_stay and format_of(header) == format != "png":  # a png is to stay exact
        target = file.size_bytes
    tries = _tries(file, picture, format, steps, target, metadata)
    best = min((one for one in tries if one.size_bytes <= target), key=lambda one: one.step, default=None)
    if may_stay and file.size_bytes <= target and (best is None or best.size_bytes >= file.size_bytes):
        return Optimized(None, None)
    if best is None and target_bytes is not None:
        raise _out_of_reach(file, format, min(one.size_bytes for one in tries), target)
    best = best or min(tries, key=lambda one: one.size_bytes)
    return Optimized(best.content, steps[best.step][0])


@dataclass(frozen=True, slots=True)
class _Try:
    step: int
    content: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.content)


Step = tuple[int | None, dict[str, Any]]


def _steps(format: str, quality: int) -> list[Step]:  # noqa: A002
    """Return the ways to encode, from the best on; each makes a smaller file than the one before it."""
    effort = _BEST_EFFORT[format]
    if format == "png":
        palettes = [{**effort, "palette": True, "bitdepth": bits} for bits in (8, 4, 2)]
        return [(None, effort), *((None, options) for options in palettes)]
    return [(q, {**effort, "Q": q}) for q in range(quality, min(LOWEST_QUALITY, quality) - 1, -1)]


def _tries(
    file: InputFile,
    picture: Any,
    format: str,  # noqa: A002
    steps: list[Step],
    target: float,
    metadata: Metadata,
) -> list[_Try]:
    """Encode the best step, and if it is too large, search the others by halves: about seven of a hundred."""
    tries: list[_Try] = []
    low, high = 0, len(steps) - 1
    while low <= high:
        step = (low + high) // 2 if tries else 0
        tries.append(_Try(step, encoded(file, picture, format, steps[step][1], metadata)))
        if tries[-1].size_bytes <= target:
            high = step - 1
        else:
            low = step + 1
    return tries


def _out_of_reach(file: InputFile, format: str, least_bytes: int, target: float) -> Fail:  # noqa: A002
    return Fail(
        f"{file.name!r} takes {least_bytes:,} bytes as {format} even at the lowest quality, and target_bytes is"
        f" {target:,}; make it smaller with image.thumbnail, or try another format",
        code="target_not_reached",
    )


def _decoded(file: InputFile, header: Any) -> Any:
    """Return the pixels in memory, for it may be encoded several times."""
    try:
        return in_srgb(file, upright(file, header)).copy_memory()
    except vips().Error as error:
        raise damaged(file, error) from None


def _may_stay(header: Any, format: str, metadata: Metadata) -> bool:  # noqa: A002
    """Return whether the input itself is what was asked for, but for its size."""
    if format_of(header) != format or orientation_of(header) != 1:
        return False
    return metadata == "keep" or not any(name.startswith(_SECRETS) for name in header.get_fields())
