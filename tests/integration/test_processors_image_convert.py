"""image.convert and image.optimize on real photos, and on broken and hostile files."""

import struct
import zlib
from pathlib import Path

import pytest
import pyvips  # type: ignore[import-untyped]

from service.catalogue.image.processors import convert, optimize
from service.errors import InvalidParamsError
from service.processors.base import Fail, InputFile, JobContext, Note, ProgressNote

SAMPLES = Path(__file__).parents[1] / "samples"
LOADERS = {
    "jpeg": "jpegload",
    "webp": "webpload",
    "png": "pngload",
    "avif": "heifload",
    "gif": "gifload",
    "tiff": "tiffload",
}


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a processor and returns the job, the images of its result and the notes."""
    count = iter(range(100))

    def run(processor, *paths, **params):
        files = [InputFile(path.name, path.name, "image/any", path.stat().st_size, "", path) for path in paths]
        notes: list[Note] = []
        job = JobContext("job", 1, 1, files, tmp_path / f"attempt-{next(count)}", {}, notes.append)
        result = processor(job, **processor.arguments(processor.check_params(params)))
        return job, result["images"], notes

    return run


def opened(job, number=0, option=""):
    return pyvips.Image.new_from_file(str(job.outputs[number].path) + option)


def without_alpha(image):
    return image.flatten() if image.hasalpha() else image


def plain(width, height, colour):
    image = pyvips.Image.black(width, height, bands=3).linear([1] * 3, colour).cast("uchar")
    return image.copy(interpretation="srgb")


def animation(path):
    frames = plain(40, 30, [250, 0, 0]).join(plain(40, 30, [0, 0, 250]), "vertical").copy()
    frames.set_type(pyvips.GValue.gint_type, "page-height", 30)
    frames.write_to_file(str(path))
    return path


# ---- image.convert


@pytest.mark.parametrize("format", LOADERS)
@pytest.mark.parametrize("name", ["rocket.jpg", "chelsea.png"])
def test_a_photo_keeps_its_size_and_colours_in_every_format(run, name, format):  # noqa: A002
    source = pyvips.Image.new_from_file(str(SAMPLES / name))
    job, [image], notes = run(convert, SAMPLES / name, format=format)
    picture = opened(job)
    assert picture.get("vips-loader") == LOADERS[format]
    assert (picture.width, picture.height) == (source.width, source.height) == (image["width"], image["height"])
    assert abs(without_alpha(picture).avg() - source.icc_transform("srgb").avg()) < 2
    assert image["size_bytes"] == job.outputs[0].path.stat().st_size
    assert (image["format"], image["pages"], job.outputs[0].name) == (format, 1, image["name"])
    assert notes[-1] == ProgressNote(1, "")


@pytest.mark.parametrize(("metadata", "expected"), [("strip", False), ("keep", True)])
def test_metadata_is_kept_only_if_asked_for(run, metadata, expected):
    job, _, _ = run(convert, SAMPLES / "hubble_deep_field.jpg", format="jpeg", metadata=metadata)
    fields = opened(job).get_fields()
    assert ("exif-ifd0-Software" in fields) is expected
    assert ("xmp-data" in fields) is expected
    assert "icc-profile-data" not in fields


def test_a_turned_photo_is_turned_upright_and_says_so_no_more(run, tmp_path):
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    photo.set_type(pyvips.GValue.gint_type, "orientation", 6)
    photo.write_to_file(str(tmp_path / "turned.jpg"))
    job, [image], _ = run(convert, tmp_path / "turned.jpg", format="jpeg", metadata="keep")
    assert (opened(job).width, opened(job).height) == (427, 640) == (image["width"], image["height"])
    assert opened(job).autorot().width == 427


@pytest.mark.parametrize(
    ("source", "format", "pages"), [("gif", "webp", 2), ("webp", "gif", 2), ("gif", "png", 1), ("gif", "gif", 2)]
)
def test_an_animation_stays_one_where_the_format_can_hold_it(run, tmp_path, source, format, pages):  # noqa: A002
    job, [image], _ = run(convert, animation(tmp_path / f"moving.{source}"), format=format)
    assert (image["width"], image["height"], image["pages"]) == (40, 30, pages)
    picture = opened(job)
    assert (picture.width, picture.height) == (40, 30)
    assert (picture.get("n-pages") if picture.get_typeof("n-pages") else 1) == pages


def test_print_colours_and_sixteen_bits_become_srgb_with_eight(run, tmp_path):
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg"))
    photo.icc_transform("cmyk").write_to_file(str(tmp_path / "print.jpg"))
    photo.colourspace("rgb16").write_to_file(str(tmp_path / "deep.png"))
    for path in (tmp_path / "print.jpg", tmp_path / "deep.png"):
        job, _, _ = run(convert, path, format="png")
        assert (opened(job).interpretation, opened(job).format, opened(job).bands) == ("srgb", "uchar", 3)
        assert abs(opened(job).avg() - photo.avg()) < 12


@pytest.mark.parametrize(("format", "side"), [("webp", 16_384), ("avif", 16_385), ("jpeg", 65_501), ("gif", 65_536)])
def test_a_picture_too_long_for_a_format_is_refused_and_fits_into_another(run, tmp_path, format, side):  # noqa: A002
    plain(side, 1, [0, 0, 0]).write_to_file(str(tmp_path / "long.png"))
    with pytest.raises(Fail, match=f"{format} holds at most .* and the image has {side:,}; ask for png") as caught:
        run(convert, tmp_path / "long.png", format=format)
    assert caught.value.code == "too_large"
    assert run(convert, tmp_path / "long.png", format="png")[1][0]["width"] == side


# ---- image.optimize


@pytest.mark.parametrize(("format", "target_bytes"), [("jpeg", 60_000), ("jpeg", 20_000), ("webp", 30_000)])
def test_the_target_is_met_with_the_best_quality_that_meets_it(run, format, target_bytes):  # noqa: A002
    _, [image], _ = run(optimize, SAMPLES / "rocket.jpg", format=format, target_bytes=target_bytes, quality=95)
    assert image["size_bytes"] <= target_bytes
    assert image["saved_bytes"] == (SAMPLES / "rocket.jpg").stat().st_size - image["size_bytes"]
    _, [better], _ = run(optimize, SAMPLES / "rocket.jpg", format=format, quality=image["quality"] + 1)
    assert better["size_bytes"] > target_bytes


def test_a_target_can_be_met_in_avif_too(run, tmp_path):
    pyvips.Image.thumbnail(str(SAMPLES / "rocket.jpg"), 160).write_to_file(str(tmp_path / "small.jpg"))
    job, [image], _ = run(optimize, tmp_path / "small.jpg", format="avif", target_bytes=2500)
    assert image["size_bytes"] <= 2500
    assert opened(job).get("vips-loader") == "heifload"


def test_without_a_target_the_quality_decides(run):
    _, [fine], _ = run(optimize, SAMPLES / "rocket.jpg", quality=80)
    _, [coarse], _ = run(optimize, SAMPLES / "rocket.jpg", quality=40)
    assert (fine["quality"], coarse["quality"]) == (80, 40)
    assert coarse["size_bytes"] < fine["size_bytes"] < (SAMPLES / "rocket.jpg").stat().st_size


def test_a_png_stays_exact_unless_only_fewer_colours_reach_the_target(run):
    source = pyvips.Image.new_from_file(str(SAMPLES / "astronaut.png"))
    job, [image], _ = run(optimize, SAMPLES / "astronaut.png")
    assert (image["format"], image["quality"]) == ("png", None)
    assert (opened(job) - source).abs().max() == 0
    job, [small], _ = run(optimize, SAMPLES / "astronaut.png", target_bytes=150_000)
    assert small["size_bytes"] <= 150_000 < image["size_bytes"]
    assert abs(without_alpha(opened(job)).avg() - source.avg()) < 4


def test_a_target_out_of_reach_is_a_failure_that_names_the_least(run):
    with pytest.raises(Fail, match=r"'rocket\.jpg' takes [\d,]+ bytes as jpeg even at the lowest") as caught:
        run(optimize, SAMPLES / "rocket.jpg", target_bytes=500)
    assert caught.value.code == "target_not_reached"


def test_what_cannot_be_made_smaller_is_passed_on_as_it_is(run, tmp_path):
    tight = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg"))
    tight.write_to_file(str(tmp_path / "tight.jpg"), Q=20, optimize_coding=True, interlace=True, keep="none")
    job, [image], _ = run(optimize, tmp_path / "tight.jpg", quality=90)
    assert (image["changed"], image["saved_bytes"], image["quality"]) == (False, 0, None)
    assert job.outputs[0].path.read_bytes() == (tmp_path / "tight.jpg").read_bytes()


def test_a_file_that_fits_the_target_as_it_is_is_no_failure(run, tmp_path):
    rough = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).icc_transform("srgb")
    rough.write_to_file(str(tmp_path / "rough.jpg"), Q=1, optimize_coding=True, interlace=True, keep="none")
    size_bytes = (tmp_path / "rough.jpg").stat().st_size
    _, [image], _ = run(optimize, tmp_path / "rough.jpg", target_bytes=size_bytes)
    assert (image["size_bytes"], image["changed"]) == (size_bytes, False)
    with pytest.raises(Fail, match="even at the lowest quality"):
        run(optimize, tmp_path / "rough.jpg", target_bytes=size_bytes - 1)


def test_metadata_is_stripped_even_if_the_file_does_not_become_smaller(run, tmp_path):
    tight = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    tight.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "somebody")
    tight.write_to_file(str(tmp_path / "tight.jpg"), Q=20, optimize_coding=True, interlace=True)
    job, [image], _ = run(optimize, tmp_path / "tight.jpg", quality=90)
    assert image["changed"]
    assert "exif-data" not in opened(job).get_fields()


def test_gif_and_tiff_become_webp_unless_a_format_is_asked_for(run, tmp_path):
    animation(tmp_path / "moving.gif")
    _, [image], _ = run(optimize, tmp_path / "moving.gif")
    assert (image["format"], image["name"]) == ("webp", "moving.webp")


# ---- broken and hostile files


@pytest.mark.parametrize("processor", [convert, optimize], ids=["convert", "optimize"])
@pytest.mark.parametrize("name", ["rocket.jpg", "chelsea.png"])
def test_a_truncated_picture_is_a_failure_not_a_grey_picture(run, tmp_path, processor, name):
    whole = (SAMPLES / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Fail) as caught:
        run(processor, tmp_path / name)
    assert caught.value.code == "damaged_file"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("processor", [convert, optimize], ids=["convert", "optimize"])
def test_a_truncated_picture_that_is_to_be_turned_is_a_failure_too(run, tmp_path, processor):
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    photo.set_type(pyvips.GValue.gint_type, "orientation", 3)
    whole = photo.write_to_buffer(".jpg")
    (tmp_path / "turned.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Fail) as caught:
        run(processor, tmp_path / "turned.jpg")
    assert caught.value.code == "damaged_file"


@pytest.mark.parametrize("processor", [convert, optimize], ids=["convert", "optimize"])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"a,b\n1,2\n", "unsupported"),
        (b"%PDF-1.4\n", "unsupported"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "unsupported"),
    ],
    ids=["empty", "table", "pdf", "svg"],
)
def test_what_is_not_a_picture_is_refused_whatever_its_name(run, tmp_path, processor, content, code):
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(Fail) as caught:
        run(processor, tmp_path / "photo.jpg")
    assert caught.value.code == code


@pytest.mark.parametrize("processor", [convert, optimize], ids=["convert", "optimize"])
def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(run, tmp_path, processor):
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    with pytest.raises(Fail, match="60000 x 60000 pixels") as caught:
        run(processor, tmp_path / "bomb.png")
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("processor", "params"),
    [
        (convert, {"format": "bmp"}),
        (convert, {"quality": 0}),
        (convert, {"metadata": "some"}),
        (optimize, {"target_bytes": 0}),
        (optimize, {"format": "gif"}),
    ],
)
def test_params_out_of_bounds_are_refused(processor, params):
    with pytest.raises(InvalidParamsError, match=f"params.{next(iter(params))}"):
        processor.check_params(params)


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_an_image_with_a_colour_profile_never_grows(run, tmp_path):
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg"))
    photo = photo.icc_transform("p3", input_profile="srgb")
    photo.write_to_file(str(tmp_path / "p3.jpg"), Q=20, optimize_coding=True, interlace=True, keep="icc")
    assert pyvips.Image.new_from_file(str(tmp_path / "p3.jpg")).get_typeof("icc-profile-data")
    job, [image], _ = run(optimize, tmp_path / "p3.jpg", quality=90)
    assert (image["changed"], image["saved_bytes"]) == (False, 0)
    assert job.outputs[0].path.read_bytes() == (tmp_path / "p3.jpg").read_bytes()


def test_taking_metadata_out_never_makes_an_image_larger(run, tmp_path):
    photo = pyvips.Image.new_from_file(str(SAMPLES / "rocket.jpg")).copy()
    photo.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "Ann")
    photo.write_to_file(str(tmp_path / "ann.jpg"), Q=20, optimize_coding=True, interlace=True)
    job, [image], _ = run(optimize, tmp_path / "ann.jpg", quality=90)
    assert image["changed"]
    assert image["saved_bytes"] >= 0
    assert not opened(job).get_typeof("exif-ifd0-Artist")
