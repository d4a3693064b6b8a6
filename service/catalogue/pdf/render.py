"""Pictures of the pages of PDFs."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from service.catalogue.image.reading import MAX_SIDE, vips
from service.catalogue.image.writing import SUFFIXES, encoded, quality_options
from service.catalogue.pdf.reading import (
    ACCEPTS,
    EXTRA,
    MEMORY_LIMIT_BYTES,
    REQUIRES,
    Pages,
    Password,
    chosen_pages,
    load_page,
    open_pdf,
)
from service.naming import DistinctNames, stem_of
from service.processors.base import Fail, InputFile, JobContext, processor

MAX_RENDERED_PAGES = 1000
MAX_PAGE_PIXELS = 100_000_000  # A3 at 600 dots per inch has 70 million
POINTS_PER_INCH = 72
MM_PER_INCH = 25.4


@processor(
    "pdf.render",
    accepts=ACCEPTS,
    extra=EXTRA,
    requires=REQUIRES,
    memory_limit_bytes=MEMORY_LIMIT_BYTES,
    reads_only=True,
)
def render(  # noqa: PLR0913 - each is a param that clients may set
    job: JobContext,
    *,
    pages: Pages | None = None,
    dpi: Annotated[int, Field(ge=10, le=1200)] = 150,
    width: Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None,
    format: Literal["png", "jpeg", "webp"] = "png",  # noqa: A002 - the word that clients use
    quality: Annotated[int, Field(ge=1, le=100)] = 85,
    greyscale: bool = False,
    annotations: bool = True,
    password: Password | None = None,
) -> dict[str, Any]:
    """Make an image of each page of each PDF, on white.

    At most 1,000 pages of a file are rendered in one job.

    Args:
        pages: Pages to render, such as 1-3,5,8- from the first to the last; without it, all of them.
        dpi: Resolution, in dots per inch.
        width: Width of each image in pixels; it takes the place of dpi.
        format: Format of the images.
        quality: Quality of the compression, from 1 to 100; png has none to choose.
        greyscale: Leave the colours out.
        annotations: Draw comments, highlights and the like.
        password: Password of those files that are encrypted.
    """
    names = DistinctNames()
    images = []
    for file in job.files:
        with open_pdf(file, password) as document:
            document.init_forms()  # else the fields of forms are not drawn
            numbers = _limited(file, chosen_pages(file, document, pages))
            digits = len(str(len(document)))
            for done, number in enumerate(numbers, 1):
                picture = _picture(file, document, number, dpi, width, annotations=annotations)
                picture = picture.colourspace("b-w") if greyscale else picture
                content = encoded(file, picture, format, quality_options(format, quality))
                name = names.take(f"{stem_of(file.name, 'document')}-p{number:0{digits}}", SUFFIXES[format])
                job.output(name).write_bytes(content)
                size = {"width": picture.width, "height": picture.height, "size_bytes": len(content)}
                images.append({"name": name, "source": file.name, "page": number, **size})
                job.progress(done / len(numbers), f"{file.name}, page {number}")
    return {"images": images}


def _limited(file: InputFile, numbers: list[int]) -> list[int]:
    if len(numbers) > MAX_RENDERED_PAGES:
        raise Fail(
            f"these are {len(numbers):,} pages of {file.name!r}; choose at most {MAX_RENDERED_PAGES:,} with the"
            " pages param",
            code="too_large",
        )
    return numbers


def _picture(file: InputFile, document: Any, number: int, dpi: int, width: int | None, *, annotations: bool) -> Any:
    """Return the page as a picture in memory.

    Raises:
        Fail: the page is broken, or has too many pixels at this resolution.
    """
    page = load_page(file, document, number)
    page_width, page_height = page.get_size()
    scale = dpi / POINTS_PER_INCH if width is None else width / page_width
    pixels = math.ceil(page_width * scale) * math.ceil(page_height * scale)
    if pixels > MAX_PAGE_PIXELS:
        raise Fail(
            f"page {number} of {file.name!r} would have {pixels:,} pixels, and at most {MAX_PAGE_PIXELS:,} are"
            " rendered; ask for a lower dpi or a smaller width",
            code="too_large",
        )
    bitmap = page.render(scale=scale, draw_annots=annotations, prefer_bgrx=True, rev_byteorder=True)
    dots_per_mm = scale * POINTS_PER_INCH / MM_PER_INCH
    picture = vips().Image.new_from_memory(bitmap.buffer, bitmap.width, bitmap.height, bitmap.n_channels, "uchar")
    page.close()
    return picture.extract_band(0, n=3).copy(interpretation="srgb", xres=dots_per_mm, yres=dots_per_mm)
