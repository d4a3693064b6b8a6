"""Processors that make images of images."""

import shutil
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.catalogue.image import optimizing
from service.catalogue.image.reading import (
    ACCEPTS,
    MAX_PIXELS,
    MAX_SIDE,
    damaged,
    format_of,
    has_foreign_colours,
    open_image,
    page_height,
    size_as_seen,
    source_of,
    vips,
)
from service.catalogue.image.writing import SUFFIXES, Format, Metadata, encoded, in_srgb, quality_options, upright
from service.naming import DistinctNames, stem_of
from service.processors.base import Fail, InputFile, JobContext, processor

Fit = Literal["contain", "cover", "attention", "fill"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Quality = Annotated[int, Field(ge=1, le=100)]
_ANIMATED = {"gif", "webp"}


class Box(BaseModel):
    """One of several sizes."""

    model_config = ConfigDict(extra="forbid")

    width: Side = Field(description="Width of the box, in pixels.")
    height: Side | None = Field(None, description="Height of the box, in pixels.")
    fit: Fit | None = Field(None, description="How the image fills this box; without it, as the job says.")


@processor("image.thumbnail", accepts=ACCEPTS, reads_only=True)
def thumbnail(
    job: JobContext,
    *,
    width: Side = 800,
    height: Side | None = None,
    sizes: Annotated[tuple[Box, ...], Field(max_length=20)] = (),
    fit: Fit = "contain",
    format: Format = "jpeg",  # noqa: A002 - the word that clients use
    quality: Quality = 80,
    enlarge: bool = False,
) -> dict[str, Any]:
    """Make a thumbnail of each image, or several of different sizes.

    Photos are turned upright as their EXIF data asks, colours become sRGB, and all metadata is left out. Of
    animations and documents, the first picture counts.

    Args:
        width: Width of the box that the thumbnail fits in, in pixels.
        height: Height of the box; without it, contain looks at the width alone, and the rest is square.
        sizes: Several boxes, for one thumbnail each; they take the place of width and height.
        fit: contain shows all of the image inside the box; cover fills the box and crops to the centre;
            attention fills the box and crops to what draws the eye; fill stretches to the box.
        format: Format of the thumbnails.
        quality: Quality of the compression, from 1 to 100; png has none to choose.
        enlarge: Let a small image grow to the box.
    """
    boxes = sizes or (Box(width=width, height=height, fit=None),)
    names = DistinctNames()
    images = []
    for file, header, box in _each_with_boxes(job, boxes):
        picture = _shrunk(file, header, box, box.fit or fit, grow=enlarge)
        content = encoded(file, picture, format, quality_options(format, quality))
        name = names.take(f"{stem_of(file.name, 'image')}-{box.width}w", SUFFIXES[format])
        job.output(name).write_bytes(content)
        size = {"width": picture.width, "height": picture.height, "size_bytes": len(content)}
        images.append({"name": name, "format": format, **size, "source": size_as_seen(header)})
    return {"images": images}


@processor("image.convert", accepts=ACCEPTS, reads_only=True)
def convert(
    job: JobContext,
    *,
    format: Literal["jpeg", "webp", "png", "avif", "gif", "tiff"] = "webp",  # noqa: A002
    quality: Quality = 80,
    metadata: Metadata = "strip",
) -> dict[str, Any]:
    """Convert each image to another format, in its full size.

    Photos are turned upright as their EXIF data asks, and colours become sRGB with 8 bits. An animation stays
    one in gif and webp; elsewhere its first picture counts. Transparency becomes white in jpeg.

    Args:
        format: Format to convert to.
        quality: Quality of the compression, from 1 to 100; png, gif and tiff have none to choose.
        metadata: keep carries EXIF, XMP and IPTC data over; strip leaves all of it out, places included.
    """
    names = DistinctNames()
    images = []
    for file in job.each_file():
        header = open_image(file)
        whole = open_image(file, all_pages=True) if {format_of(header), format} <= _ANIMATED else header
        picture = in_srgb(file, upright(file, whole))
        content = encoded(file, picture, format, quality_options(format, quality), metadata)
        name = names.take(stem_of(file.name, "image"), SUFFIXES[format])
        job.output(name).write_bytes(content)
        shape = {**size_as_seen(header), "pages": picture.height // page_height(picture)}
        images.append({"name": name, "format": format, **shape, "size_bytes": len(content)})
    return {"images": images}


@processor("image.optimize", accepts=ACCEPTS, reads_only=True)
def optimize(
    job: JobContext,
    *,
    quality: Quality = 80,
    target_bytes: Annotated[int, Field(ge=100)] | None = None,
    format: Format | None = None,  # noqa: A002
    metadata: Metadata = "strip",
) -> dict[str, Any]:
    """Make each image's file smaller, in its full size.

    The best quality is taken that fits the target, up to the quality asked for. A png stays exact unless only
    fewer colours reach the target. A file that cannot be made smaller, and has nothing to strip, is passed on
    as it is. Photos are turned upright, and of animations the first picture counts.

    Args:
        quality: Highest quality of the compression, from 1 to 100; png has none to choose.
        target_bytes: Size that each result must not exceed; without it, quality alone decides.
        format: Format of the results; without it each keeps its own, and gif and tiff become webp.
        metadata: keep carries EXIF, XMP and IPTC data over; strip leaves all of it out, places included.
    """
    names = DistinctNames()
    images = []
    for file in job.each_file():
        header = open_image(file)
        wanted = format or optimizing.own_format(header)
        name = names.take(stem_of(file.name, "image"), SUFFIXES[wanted])
        result = optimizing.smallest(file, header, wanted, quality, target_bytes, metadata)
        path = job.output(name)
        if result.content is None:
            shutil.copyfile(file.path, path)
        else:
            path.write_bytes(result.content)
        images.append({"name": name, "format": wanted, **size_as_seen(header), **result.facts(file.size_bytes)})
    return {"images": images}


# ---- going through the files


def _each_with_boxes(job: JobContext, boxes: tuple[Box, ...]) -> Iterator[tuple[InputFile, Any, Box]]:
    for file in job.each_file():
        header = open_image(file)
        for box in boxes:
            yield file, header, box


# ---- thumbnails


def _shrunk(file: InputFile, header: Any, box: Box, fit: Fit, *, grow: bool) -> Any:
    """Return the thumbnail, not yet decoded.

    Raises:
        Fail: the image is broken, or the thumbnail would have too many pixels.
    """
    options = {
        "height": box.height or (MAX_SIDE if fit == "contain" else box.width),
        "size": "force" if fit == "fill" else "both" if grow else "down",
        "crop": {"cover": "centre", "attention": "attention"}.get(fit, "none"),
        # As an argument of its own, fail_on is ignored by thumbnail_source (libvips 8.18).
        "option_string": "fail_on=error",
    }
    if has_foreign_colours(header):
        options["output_profile"] = "srgb"  # costs time, so not for those that are sRGB anyway
    try:
        image = vips().Image.thumbnail_source(source_of(file), box.width, **options)
        if image.interpretation not in {"srgb", "b-w"}:
            image = image.colourspace("srgb")
    except vips().Error as error:
        raise damaged(file, error) from None
    if image.width * image.height > MAX_PIXELS:
        raise Fail("the thumbnail would have too many pixels; ask for a smaller box", code="too_large")
    return image
