"""The limit of thumbnails: libvips alone, on the photos 0, n, 2n, … of `count`, with Filemill's settings.

python -m tests.benchmarks.peers.bare_vips PHOTO FOLDER START STEP COUNT: prints when it began and ended.
"""

# mypy: ignore-errors
# it runs beside the service's own pyvips, which has no types

import json
import sys
import time
from pathlib import Path

WIDTH, QUALITY = 800, 80


def main():
    photo, folder, start, step, count = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    import pyvips  # noqa: PLC0415 - loading it is not the work

    pyvips.cache_set_max(0)
    _shrink(pyvips, photo, folder / f"warm-{start}.jpg")
    began = time.monotonic()
    for number in range(start, count, step):
        _shrink(pyvips, photo, folder / f"{number}.jpg")
    sys.stdout.write(json.dumps({"began": began, "ended": time.monotonic()}) + "\n")


def _shrink(pyvips, photo, target):
    image = pyvips.Image.thumbnail(photo, WIDTH, height=10_000_000, size="down")
    image.jpegsave(str(target), Q=QUALITY, optimize_coding=True, keep="none")


main()
