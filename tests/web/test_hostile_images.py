"""Broken and hostile images: the job fails with a code and a sentence, and the server goes on."""

import struct
import zlib

import pytest
import pyvips  # type: ignore[import-untyped]

THUMBNAIL = {"processor": "image.thumbnail", "params": {"width": 40, "height": 40}}


def png_of(width, height):
    """Return a PNG that announces this size, and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(100))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def photo():
    noise = pyvips.Image.gaussnoise(200, 150, sigma=60, mean=128).cast("uchar")
    return noise.bandjoin([noise, noise]).copy(interpretation="srgb").write_to_buffer(".jpg")


async def test_a_hostile_image_fails_its_job_and_harms_nothing_else(client, submit, finished, photo, subtests):
    for case, name, content, code in [
        ("truncated", "photo.jpg", photo[: len(photo) // 2], "damaged_file"),
        ("only a header", "photo.jpg", photo[:40], "damaged_file"),
        ("60,000 x 60,000 pixels", "bomb.png", png_of(60_000, 60_000), "too_large"),
        ("cut off inside", "photo.png", png_of(200, 200), "damaged_file"),
    ]:
        with subtests.test(case=case):
            job = await finished(await submit((name, content), **THUMBNAIL))
            assert (job["state"], job["attempt"], job["outputs"]) == ("failed", 1, [])
            assert job["error"]["code"] == code
            assert " " in job["error"]["message"]
            assert "Traceback" not in job["error"]["message"]
    with subtests.test(case="a wrong extension"):
        job = await finished(await submit(("document.pdf", photo), **THUMBNAIL))
        assert (job["state"], job["inputs"][0]["media_type"]) == ("succeeded", "image/jpeg")
    assert (await client.get("/readyz")).status_code == 200
