"""Photos of the size that cameras make, grown from a real one among the test samples; kept in the cache folder."""

from pathlib import Path

from tests.acceptance.server import REPOSITORY
from tests.benchmarks.lab import Lab

PHONE = (4000, 3000)  # 12 megapixels
CAMERA = (6000, 4000)  # 24 megapixels
_SAMPLE = "hubble_deep_field.jpg"
_QUALITY = 90


def photo(lab: Lab, size: tuple[int, int]) -> Path:
    """Return a JPEG of this width and height, made if need be."""
    path = lab.cache / "photos" / f"{size[0]}x{size[1]}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _grow(REPOSITORY / "tests" / "samples" / _SAMPLE, size, path)
    return path


def _grow(sample: Path, size: tuple[int, int], path: Path) -> None:
    import pyvips  # type: ignore[import-untyped]  # noqa: PLC0415 - only needed when there is no photo yet

    image = pyvips.Image.new_from_file(str(sample))
    image = image.resize(size[0] / image.width, vscale=size[1] / image.height)
    # grain, as a sensor has it: without it the file would be much smaller than a photo is
    grain = pyvips.Image.gaussnoise(image.width, image.height, sigma=6)
    partial = path.with_suffix(".partial.jpg")
    (image + grain).cast("uchar").jpegsave(str(partial), Q=_QUALITY)
    partial.rename(path)
