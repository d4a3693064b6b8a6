"""The media family on broken and hostile files; nothing but the file itself is ever opened."""

import os
import socket
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from service.catalogue.media.frames import frames
from service.catalogue.media.info import info
from service.catalogue.media.reading import MAX_PIXELS
from service.catalogue.media.transcode import transcode
from service.processors.base import Fail, InputFile, JobContext

av = pytest.importorskip("av")
SAMPLES = Path(__file__).parents[1] / "samples"
ALL = pytest.mark.parametrize("processor", [info, frames, transcode], ids=["info", "frames", "transcode"])
DECODING = pytest.mark.parametrize("processor", [frames, transcode], ids=["frames", "transcode"])


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a processor on a file of this content."""
    count = iter(range(100))

    def run(processor, content, name="some.mp4", **params):
        path = tmp_path / name
        path.write_bytes(content)
        file = InputFile("id", name, "video/mp4", len(content), "", path)
        job = JobContext("job", 1, 1, [file], tmp_path / f"attempt-{next(count)}", {}, lambda _: None)
        return processor(job, **processor.arguments(processor.check_params(params)))

    return run


@pytest.fixture
def video(tmp_path):
    """Return a function that makes a video of grey frames at these times, in tenths of a second."""

    def make(name="made.mp4", codec="libx264", times=range(30), size=(64, 48), fill=os.urandom):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for time in times:
                frame = av.VideoFrame(*size, stream.pix_fmt)
                for plane in frame.planes:
                    plane.update(fill(plane.buffer_size))
                frame.pts, frame.time_base = time, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return (tmp_path / name).read_bytes()

    return make


def refusal(run, processor, content, **more):
    with pytest.raises(Fail) as caught:
        run(processor, content, **more)
    assert "\n" not in str(caught.value)
    assert "/" not in str(caught.value).replace("and/or", "")  # no path
    return caught.value


# ---- what is no media


@ALL
def test_an_empty_file_is_refused(run, processor):
    assert refusal(run, processor, b"").code == "empty_file"


@ALL
@pytest.mark.parametrize(
    "content",
    [b"only text\n" * 50, b"%PDF-1.7\n", b"PK\3\4" + b"\0" * 100, b"\0" * 5000, (SAMPLES / "chelsea.png").read_bytes()],
    ids=["text", "pdf", "zip", "zeros", "png"],
)
def test_a_file_of_another_type_is_refused_whatever_its_name(run, processor, content):
    assert refusal(run, processor, content).code in {"unsupported", "damaged_file"}


@ALL
@pytest.mark.parametrize(
    "make",
    [
        lambda place, _: f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{place}\n#EXT-X-ENDLIST\n",
        lambda place, _: f"ffconcat version 1.0\nfile {place}\n",
        lambda _, port: f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
        lambda place, _: (
            f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            f"<BaseURL>{place}</BaseURL></Period></MPD>"
        ),
        lambda place, _: f"[InternetShortcut]\nURL={place}\n[Reference]\nRef1={place}\n",
    ],
    ids=["hls", "concat", "sdp", "dash", "asx"],
)
@pytest.mark.parametrize("how", ["file", "name", "http"])
def test_a_list_of_other_files_opens_none_of_them(run, video, tmp_path, processor, make, how):
    video("secret.ts")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003
        port = server.getsockname()[1]
        places = {"file": f"file://{tmp_path}/secret.ts", "name": "secret.ts", "http": f"http://127.0.0.1:{port}/a.ts"}
        error = refusal(run, processor, make(places[how], port).encode(), name="list.m3u8")
        assert error.code in {"unsupported", "damaged_file"}
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_concat_list_is_a_danger_without_our_care(video, tmp_path):
    """Else the test above would show nothing."""
    video("secret.ts")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile secret.ts\n")
    with av.open(str(tmp_path / "list")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_a_movie_that_refers_to_another_file_for_its_data_does_not_get_it(run, video, tmp_path):
    content = video("made.mov")
    (tmp_path / "made.mov").rename(tmp_path / "secret.mov")
    outside = with_reference(content, f"{tmp_path}/secret.mov")
    (tmp_path / "outside.mov").write_bytes(outside)
    with av.open(str(tmp_path / "outside.mov"), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 30  # else this test would show nothing
    for processor in (frames, transcode):
        assert refusal(run, processor, outside).code == "damaged_file"


def with_reference(movie, path):
    """Return a QuickTime movie, its index at the end, whose data are said to be in another file: an alias record."""
    inside = b"\0\0\0\x0curl \0\0\0\1"
    target = struct.pack(">HH", 2, len(path)) + path.encode() + b"\0" * (len(path) % 2) + b"\xff\xff\0\0"
    record = b"\0" * 10 + b"\4disk".ljust(28, b"\0") + b"\0" * 12 + b"\4file".ljust(64, b"\0") + b"\0" * 16
    record += struct.pack(">HH", 0, 0) + b"\0" * 16 + target
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    grown = len(alias) - len(inside)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):  # each lies in the one before it
        at = movie.rindex(box, 0, movie.index(inside)) - 4
        size = struct.unpack(">I", movie[at : at + 4])[0]
        movie = movie[:at] + struct.pack(">I", size + grown) + movie[at + 4 :]
    return movie.replace(inside, alias)


# ---- what is broken


@ALL
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_movie_without_its_index_is_refused(run, video, processor, share):
    content = video()
    assert refusal(run, processor, content[: int(len(content) * share)]).code == "damaged_file"


@pytest.mark.parametrize("video_codec", ["h264", "copy"])
def test_a_video_that_ends_before_its_time_is_refused(run, video, video_codec):
    content = video("made.mkv", times=range(100))
    error = refusal(run, transcode, content[: len(content) // 2], container="mkv", video_codec=video_codec)
    assert error.code == "damaged_file"
    assert "cut short" in str(error)


@pytest.mark.parametrize("name", ["made.mp4", "made.mkv", "made.avi", "made.ts", "made.webm"])
def test_noise_in_a_video_is_refused_or_passed_over_and_never_a_crash(run, video, name):
    codec = {"made.webm": "libvpx", "made.avi": "mpeg4"}.get(name, "libx264")
    content = bytearray(video(name, codec))
    for at in range(len(content) // 3, len(content) - 600, 997):
        content[at : at + 8] = os.urandom(8)
    for processor in (info, frames, transcode):
        try:
            assert run(processor, bytes(content))
        except Fail as error:
            assert error.code in {"damaged_file", "unsupported", "too_large", "no_such_stream"}  # noqa: PT017


# ---- what is too much


def test_frames_of_too_many_pixels_are_refused_before_decoding(run, video):
    content = video("made.mkv", "mjpeg", times=[0], size=(8000, 6000), fill=bytes)
    for processor in (frames, transcode):
        error = refusal(run, processor, content)
        assert error.code == "too_large"
        assert f"8000 x 6000 pixels; at most {MAX_PIXELS:,}" in str(error)


@ALL
def test_frames_of_a_size_that_no_screen_has_are_not_decoded(run, video, processor):
    content = video("made.webm", "libvpx")
    start, size = b"\x9d\x01\x2a", struct.pack("<HH", 64, 48)
    assert start + size in content
    bomb = content.replace(start + size, start + struct.pack("<HH", 16_383, 16_383))
    if processor is info:
        assert run(info, bomb)["files"][0]["streams"][0]["codec"] == "vp8"
    else:
        assert refusal(run, processor, bomb).code == "damaged_file"


@DECODING
def test_frames_that_grow_in_the_middle_of_a_video_are_refused(run, video, processor):
    content = bytearray(video("made.avi", "mjpeg"))
    start = bytes.fromhex("ffc0001108") + struct.pack(">HH", 48, 64)
    assert content.count(start) == 30
    at = content.rindex(start) + 5
    content[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    params = {"at_s": [2.9]} if processor is frames else {}
    assert refusal(run, processor, bytes(content), **params).code == "damaged_file"


def test_more_frames_than_one_job_takes_are_refused(run, video):
    content = video("made.mkv", times=[0, 10**7])  # a video of eleven days, in two frames
    error = refusal(run, frames, content, every_s=1)
    assert error.code == "too_large"
    assert "ask for a longer every_s" in str(error)
    assert run(info, content)["files"][0]["duration_s"] > 10**6


def test_a_codec_that_is_not_known_is_told_and_not_decoded(run, video):
    content = video("made.mkv", "ffv1", times=range(3))
    [file] = run(info, content)["files"]
    assert file["streams"][0]["codec"] == "ffv1"
    error = refusal(run, frames, content)
    assert error.code == "unsupported"
    assert str(error) == "the video of 'some.mp4' is ffv1, which is not decoded here"


@ALL
def test_an_mp4_that_is_cut_off_within_its_index_is_damaged(run, tmp_path, video, processor):
    with av.open(str(tmp_path / "fast.mp4"), "w", container_options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    content = (tmp_path / "fast.mp4").read_bytes()
    begin = content.index(b"moov") - 4
    end = begin + struct.unpack_from(">I", content, begin)[0]
    for cut in range(begin + 20, end, 97):
        assert refusal(run, processor, content[:cut]).code == "damaged_file"
    whole = video()
    assert refusal(run, processor, whole[:-10]).code == "damaged_file"  # here the index comes last
