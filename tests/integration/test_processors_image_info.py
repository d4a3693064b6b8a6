"""image.info on real photos, and on broken and hostile files."""

from pathlib import Path

import pytest
import pyvips  # type: ignore[import-untyped]

from service.catalogue.image.info import info
from service.processors.base import Fail, InputFile, JobContext

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def tell(tmp_path):
    """Return a function that returns what the processor tells of each file."""

    def run(*paths, **params):
        files = [InputFile(path.name, path.name, "image/any", path.stat().st_size, "", path) for path in paths]
        job = JobContext("job", 1, 1, files, tmp_path / "attempt", {}, lambda _: None)
        return info(job, **info.arguments(info.check_params(params)))["images"]

    return run


def photo(path, **fields):
    image = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    for name, value in fields.items():
        image.set_type(pyvips.GValue.gstr_type, f"exif-{name.replace('_', '-')}", value)
    image.write_to_file(str(path))
    return path


def test_a_photo_tells_its_size_format_and_exif_data(tell):
    [image] = tell(SAMPLES / "hubble_deep_field.jpg")
    assert image["name"] == "hubble_deep_field.jpg"
    assert (image["width"], image["height"], image["format"]) == (1000, 872, "jpeg")
    assert (image["has_alpha"], image["has_colour_profile"], image["bits_per_channel"]) == (False, True, 8)
    assert (image["pages"], image["dots_per_inch"], image["place"]) == (1, 300.0, None)
    assert image["exif"]["Software"] == "Adobe Photoshop CS5 Macintosh"
    assert image["exif"]["PixelXDimension"] == "1000"


def test_the_place_is_told_in_degrees(tell, tmp_path):
    path = photo(
        tmp_path / "there.jpg",
        ifd3_GPSLatitude="33/1 51/1 3060/100",
        ifd3_GPSLatitudeRef="S",
        ifd3_GPSLongitude="151/1 12/1 3600/100",
        ifd3_GPSLongitudeRef="E",
    )
    [image] = tell(path)
    assert image["place"] == {"latitude": -33.8585, "longitude": 151.21}


@pytest.mark.parametrize("latitude", ["1/0 0/1 0/1", "999/1 0/1 0/1"])
def test_a_place_that_cannot_be_is_no_place(tell, tmp_path, latitude):
    path = photo(tmp_path / "there.jpg", ifd3_GPSLatitude=latitude, ifd3_GPSLongitude="1/1 0/1 0/1")
    assert tell(path)[0]["place"] is None


def test_a_tag_with_brackets_and_a_very_long_one_are_told(tell, tmp_path):
    path = photo(
        tmp_path / "odd.jpg", ifd0_Artist="A (B), C (..., ASCII, 9 components, 9 bytes)", ifd0_Copyright="x" * 5000
    )
    exif = tell(path)[0]["exif"]
    assert exif["Artist"] == "A (B), C"
    assert exif["Copyright"] == "x" * 500


def test_the_size_is_that_of_the_upright_picture(tell, tmp_path):
    image = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 8)
    image.write_to_file(str(tmp_path / "turned.jpg"))
    [told] = tell(tmp_path / "turned.jpg")
    assert (told["width"], told["height"], told["orientation"]) == (427, 640, 8)


def test_the_colours_that_cover_most_come_first(tell, tmp_path):
    flag = pyvips.Image.black(90, 60, bands=3).draw_rect([200, 16, 46], 0, 0, 60, 60, fill=True)
    flag = flag.draw_rect([0, 36, 125], 60, 0, 30, 60, fill=True).cast("uchar").copy(interpretation="srgb")
    flag.write_to_file(str(tmp_path / "flag.png"))
    first, second, *rest = tell(tmp_path / "flag.png")[0]["colours"]
    assert first == {"hex": "#c8102e", "share": pytest.approx(0.66, abs=0.03)}
    assert second == {"hex": "#00247d", "share": pytest.approx(0.33, abs=0.03)}
    assert sum(colour["share"] for colour in rest) < 0.03


def test_what_is_transparent_has_no_colour(tell, tmp_path):
    clear = pyvips.Image.black(50, 50, bands=4).copy(interpretation="srgb")
    clear.write_to_file(str(tmp_path / "clear.png"))
    [image] = tell(tmp_path / "clear.png")
    assert (image["colours"], image["has_alpha"]) == ([], True)


def test_an_animation_has_pages_of_one_size(tell, tmp_path):
    frames = pyvips.Image.black(40, 60, bands=3).draw_rect([255, 0, 0], 0, 0, 40, 30, fill=True)
    frames = frames.cast("uchar").copy(interpretation="srgb")
    frames.set_type(pyvips.GValue.gint_type, "page-height", 30)
    frames.write_to_file(str(tmp_path / "moving.gif"))
    [image] = tell(tmp_path / "moving.gif")
    assert (image["width"], image["height"], image["pages"], image["format"]) == (40, 30, 2, "gif")


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_and_deep_pictures_are_told_as_such(tell, tmp_path, bits):
    grey = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).colourspace("b-w" if bits == 8 else "grey16")
    grey.write_to_file(str(tmp_path / "grey.png"))
    [image] = tell(tmp_path / "grey.png")
    assert (image["bits_per_channel"], image["colour_space"]) == (bits, "b-w" if bits == 8 else "grey16")
    assert len({image["colours"][0]["hex"][at : at + 2] for at in (1, 3, 5)}) == 1


def test_without_colours_the_pixels_are_not_decoded(tell, tmp_path):
    whole = (SAMPLES / "rocket.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert tell(tmp_path / "half.jpg", colours=0)[0]["width"] == 640
    with pytest.raises(Fail) as caught:
        tell(tmp_path / "half.jpg")
    assert caught.value.code == "damaged_file"


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty_file"), (b"text", "unsupported"), (b"\xff\xd8\xff", "damaged_file")]
)
def test_what_is_not_a_picture_is_refused(tell, tmp_path, content, code):
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(Fail) as caught:
        tell(tmp_path / "photo.jpg", colours=0)
    assert caught.value.code == code
