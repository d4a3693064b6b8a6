"""image.thumbnail on real photos, and on broken and hostile files."""

import struct
import zlib
from pathlib import Path

import pytest
import pyvips  # type: ignore[import-untyped]

from service.catalogue.image.processors import thumbnail
from service.catalogue.image.reading import MAX_PIXELS
from service.errors import InvalidParamsError
from service.processors.base import Fail, InputFile, JobContext, Note, ProgressNote

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def make(tmp_path):
    """Return a function that makes thumbnails of files and returns the job and the images of its result."""

    def run(*paths, names=None, **params):
        files = [
            InputFile(str(number), name, "image/any", path.stat().st_size, "", path)
            for number, (path, name) in enumerate(zip(paths, names or [path.name for path in paths], strict=True))
        ]
        folder = tmp_path / "attempt"
        folder.mkdir()
        notes: list[Note] = []
        job = JobContext("job", 1, 1, files, folder, {}, notes.append)
        result = thumbnail(job, **thumbnail.arguments(thumbnail.check_params(params)))
        return job, result["images"], notes

    return run


def opened(job, number=0):
    return pyvips.Image.new_from_file(str(job.outputs[number].path))


def refusal(make, path, **params):
    with pytest.raises(Fail) as caught:
        make(path, **params)
    return caught.value


# ---- real photos


@pytest.mark.parametrize(
    "name", ["astronaut.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg", "grace_hopper.jpg"]
)
def test_a_photo_becomes_a_small_jpeg_of_the_same_shape(make, name):
    job, [image], _ = make(SAMPLES / name, width=200)
    picture, source = opened(job), pyvips.Image.new_from_file(str(SAMPLES / name))
    assert picture.get("vips-loader") == "jpegload"
    assert (picture.width, picture.interpretation) == (200, "srgb")
    assert picture.height == pytest.approx(200 * source.height / source.width, abs=1)
    assert image == {
        "name": name.rpartition(".")[0] + "-200w.jpg",
        "format": "jpeg",
        "width": 200,
        "height": picture.height,
        "size_bytes": job.outputs[0].path.stat().st_size,
        "source": {"width": source.width, "height": source.height},
    }
    assert job.outputs[0].name == image["name"]


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({"width": 100, "height": 100}, (100, 67)),
        ({"width": 1000, "height": 50}, (75, 50)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 100, "fit": "cover"}, (100, 100)),
        ({"width": 90, "height": 120, "fit": "attention"}, (90, 120)),
        ({"width": 90, "height": 120, "fit": "fill"}, (90, 120)),
        ({"width": 1000}, (451, 300)),
        ({"width": 902, "enlarge": True}, (902, 600)),
    ],
)
def test_the_box_and_the_fit_decide_the_size(make, params, size):
    _, [image], _ = make(SAMPLES / "chelsea.png", **params)
    assert (image["width"], image["height"]) == size


@pytest.mark.parametrize(
    ("format", "loader", "suffix"),
    [
        ("jpeg", "jpegload", "jpg"),
        ("webp", "webpload", "webp"),
        ("png", "pngload", "png"),
        ("avif", "heifload", "avif"),
    ],
)
def test_the_thumbnail_has_the_format_asked_for(make, format, loader, suffix):  # noqa: A002
    job, [image], _ = make(SAMPLES / "rocket.jpg", width=64, format=format)
    assert opened(job).get("vips-loader") == loader
    assert image["name"] == f"rocket-64w.{suffix}"


def test_several_sizes_are_made_in_one_job(make):
    sizes = [{"width": 200}, {"width": 100, "height": 100, "fit": "cover"}, {"width": 100, "height": 50}]
    job, images, _ = make(SAMPLES / "rocket.jpg", SAMPLES / "chelsea.png", sizes=sizes, width=9)
    assert [(image["name"], image["width"], image["height"]) for image in images] == [
        ("rocket-200w.jpg", 200, 133),
        ("rocket-100w.jpg", 100, 100),
        ("rocket-100w-2.jpg", 75, 50),
        ("chelsea-200w.jpg", 200, 133),
        ("chelsea-100w.jpg", 100, 100),
        ("chelsea-100w-2.jpg", 75, 50),
    ]
    assert [(opened(job, number).width, opened(job, number).height) for number in range(6)] == [
        (image["width"], image["height"]) for image in images
    ]


def test_attention_keeps_what_draws_the_eye_where_the_centre_would_lose_it(make, tmp_path):
    scene = pyvips.Image.black(400, 100, bands=3).linear([1] * 3, [90, 90, 90])
    scene = scene.draw_rect([255, 60, 20], 10, 20, 60, 60, fill=True).cast("uchar").copy(interpretation="srgb")
    scene.write_to_file(str(tmp_path / "scene.png"))
    reds = {}
    for fit in ("cover", "attention"):
        job, _, _ = make(tmp_path / "scene.png", width=100, fit=fit, format="png")
        reds[fit] = opened(job)[0].max()
        job.folder.rename(tmp_path / fit)
    assert reds["cover"] < 100
    assert reds["attention"] > 200


def test_a_lower_quality_makes_a_smaller_file(make, tmp_path):
    _, images, _ = make(SAMPLES / "rocket.jpg", quality=90)
    (tmp_path / "attempt").rename(tmp_path / "first")
    _, smaller, _ = make(SAMPLES / "rocket.jpg", quality=30)
    assert smaller[0]["size_bytes"] < images[0]["size_bytes"]


def test_each_file_gets_a_thumbnail_a_name_and_a_step_of_progress(make):
    path = SAMPLES / "rocket.jpg"
    names = ["a.jpg", "b/../A.png", "..\\..\\", "\n.jpg", "x" * 300 + ".jpg"]
    job, images, notes = make(*[path] * 5, names=names, width=10)
    assert [image["name"] for image in images] == [
        *("a-10w.jpg", "A-10w-2.jpg", "image-10w.jpg", "jpg-10w.jpg", "x" * 180 + "-10w.jpg")
    ]
    assert [output.path.parent for output in job.outputs] == [job.folder] * 5
    assert notes[1] == ProgressNote(0.2, "b/../A.png")
    assert notes[-1] == ProgressNote(1.0, "")


# ---- pictures that need care


def test_exif_orientation_turns_the_picture_and_then_is_gone(make, tmp_path):
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    photo.set_type(pyvips.GValue.gint_type, "orientation", 6)
    photo.write_to_file(str(tmp_path / "turned.jpg"))
    job, [image], _ = make(tmp_path / "turned.jpg", width=100)
    assert image["source"] == {"width": 427, "height": 640}
    assert (image["width"], image["height"]) == (100, 150)
    assert opened(job).get_typeof("orientation") == 0


def test_metadata_is_left_out(make):
    assert pyvips.Image.new_from_file(str(SAMPLES / "hubble_deep_field.jpg")).get_typeof("exif-data")
    job, _, _ = make(SAMPLES / "hubble_deep_field.jpg")
    assert not {"exif-data", "xmp-data", "icc-profile-data"} & set(opened(job).get_fields())


def test_transparency_becomes_white_in_jpeg_and_stays_in_png(make, tmp_path):
    clear = pyvips.Image.black(50, 50, bands=4).copy(interpretation="srgb")
    clear.write_to_file(str(tmp_path / "clear.png"))
    job, _, _ = make(tmp_path / "clear.png", width=20)
    assert opened(job).getpoint(5, 5) == [255, 255, 255]
    (tmp_path / "attempt").rename(tmp_path / "first")
    job, _, _ = make(tmp_path / "clear.png", width=20, format="png")
    assert opened(job).getpoint(5, 5) == [0, 0, 0, 0]


@pytest.mark.parametrize("format", ["jpeg", "webp", "png", "avif"])
def test_cmyk_becomes_rgb(make, tmp_path, format):  # noqa: A002
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg"))
    photo.icc_transform("cmyk").write_to_file(str(tmp_path / "print.jpg"), keep="none")
    assert pyvips.Image.new_from_file(str(tmp_path / "print.jpg")).interpretation == "cmyk"
    job, _, _ = make(tmp_path / "print.jpg", width=100, format=format)
    expected = photo.thumbnail_image(100)
    assert (opened(job).bands, opened(job).interpretation) == (3, "srgb")
    assert abs(opened(job).avg() - expected.avg()) < 25


def test_the_colours_of_an_embedded_profile_are_converted(make, tmp_path):
    green = pyvips.Image.black(32, 32, bands=3).linear([1] * 3, [0, 200, 0]).cast("uchar").copy(interpretation="srgb")
    wide = green.icc_transform("p3")
    assert wide.getpoint(0, 0)[0] > 50
    wide.write_to_file(str(tmp_path / "wide.png"))
    job, _, _ = make(tmp_path / "wide.png", width=16, format="png")
    assert opened(job).getpoint(5, 5) == pytest.approx([0, 200, 0], abs=6)


def test_sixteen_bits_and_grey_become_eight_bits(make, tmp_path):
    grey = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).colourspace("grey16")
    grey.write_to_file(str(tmp_path / "grey.png"))
    for format in ("png", "jpeg", "webp", "avif"):  # noqa: A001
        job, _, _ = make(tmp_path / "grey.png", width=100, format=format)
        assert opened(job).format == "uchar"
        job.folder.rename(tmp_path / format)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_of_an_animation_the_first_picture_counts(make, tmp_path, suffix):
    red = pyvips.Image.black(40, 30, bands=3).linear([1] * 3, [250, 0, 0]).cast("uchar").copy(interpretation="srgb")
    frames = red.join(red.invert(), "vertical").copy()
    frames.set_type(pyvips.GValue.gint_type, "page-height", 30)
    frames.write_to_file(str(tmp_path / f"moving.{suffix}"))
    job, [image], _ = make(tmp_path / f"moving.{suffix}", width=20)
    assert (image["width"], image["height"], image["source"]) == (20, 15, {"width": 40, "height": 30})
    assert opened(job).getpoint(5, 5) == pytest.approx([250, 0, 0], abs=12)


@pytest.mark.parametrize("suffix", ["tif", "avif", "png", "jpg", "webp", "gif"])
def test_a_picture_of_one_pixel_in_any_format_will_do(make, tmp_path, suffix):
    one = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    one.write_to_file(str(tmp_path / f"one.{suffix}"))
    (tmp_path / f"one.{suffix}").rename(tmp_path / "[no] suffix")
    _, [image], _ = make(tmp_path / "[no] suffix", names=["one"], width=5)
    assert (image["width"], image["height"], image["name"]) == (1, 1, "one-5w.jpg")


# ---- broken and hostile files


@pytest.mark.parametrize("name", ["rocket.jpg", "chelsea.png"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_truncated_picture_is_a_failure_not_a_grey_thumbnail(make, tmp_path, name, share):
    whole = (SAMPLES / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    error = refusal(make, tmp_path / name, width=100)
    assert error.code == "damaged_file"
    assert str(error).startswith(f"{name!r} cannot be read as an image: ")
    assert "\n" not in str(error)
    assert str(tmp_path) not in str(error)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0" + b"\0" * 500,
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBPVP8 \0\0\0\0",
    ],
    ids=lambda content: content[:8].hex(),
)
def test_what_is_left_of_a_picture_is_refused(make, tmp_path, content):
    (tmp_path / "photo.jpg").write_bytes(content)
    assert refusal(make, tmp_path / "photo.jpg").code == "damaged_file"


@pytest.mark.parametrize(
    "content",
    [
        b"only text\n",
        b"P6 2 2 255 " + b"\0" * 12,
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%PDF-1.4\n",
        b"push graphic-context\nviewbox 0 0 1 1\nimage over 0,0 0,0 'label:@/etc/passwd'\npop graphic-context\n",
    ],
    ids=lambda content: content[:8].hex(),
)
def test_what_is_not_a_picture_is_refused_whatever_its_name(make, tmp_path, content):
    (tmp_path / "photo.jpg").write_bytes(content)
    assert refusal(make, tmp_path / "photo.jpg").code == "unsupported"


def test_an_empty_file_is_refused(make, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert refusal(make, tmp_path / "photo.jpg").code == "empty_file"


def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(make, tmp_path):
    (tmp_path / "bomb.png").write_bytes(_png_header(60_000, 60_000))
    error = refusal(make, tmp_path / "bomb.png")
    assert error.code == "too_large"
    assert str(error) == f"'bomb.png' has 60000 x 60000 pixels; at most {MAX_PIXELS:,} are decoded"


def test_a_thumbnail_of_too_many_pixels_is_refused(make):
    error = refusal(make, SAMPLES / "rocket.jpg", width=16_000, height=16_000, fit="fill")
    assert error.code == "too_large"


def test_a_format_that_this_libvips_cannot_write_is_named(make, monkeypatch):
    monkeypatch.setattr(pyvips, "type_find", lambda *_: 0)
    assert refusal(make, SAMPLES / "rocket.jpg", format="avif").code == "format_unavailable"


@pytest.mark.parametrize(
    "params",
    [
        {"width": 0},
        {"width": 16_384},
        {"height": -1},
        {"fit": "crop"},
        {"format": "bmp"},
        {"quality": 101},
        {"sizes": [{"width": 0}]},
    ],
)
def test_params_out_of_bounds_are_refused(params):
    with pytest.raises(InvalidParamsError, match=f"params.{next(iter(params))}"):
        thumbnail.check_params(params)


def _png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
