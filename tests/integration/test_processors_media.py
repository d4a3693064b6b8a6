"""The media family on audio and video made by real encoders."""

import array
import math
import os
from fractions import Fraction

import pytest
import pyvips  # type: ignore[import-untyped]

from service.catalogue.media.frames import frames
from service.catalogue.media.info import info
from service.catalogue.media.transcode import transcode
from service.processors.base import Fail, InputFile, JobContext, Note, ProgressNote

av = pytest.importorskip("av")
RATE = 10  # frames a second
SECONDS = 3


@pytest.fixture(autouse=True)
def _ordinary_priority():
    """Take back what SVT-AV1 does to a process of root, and so to all tests after it: real-time priority."""
    yield
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a processor and returns the job, its result and the notes."""
    count = iter(range(100))

    def run(processor, *paths, **params):
        files = [InputFile(path.name, path.name, "video/any", path.stat().st_size, "", path) for path in paths]
        notes: list[Note] = []
        job = JobContext("job", 1, 1, files, tmp_path / f"attempt-{next(count)}", {}, notes.append)
        result = processor(job, **processor.arguments(processor.check_params(params)))
        return job, result, notes

    return run


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a file: its left half is red, and its right half tells the time in green."""

    def make(name, video="libx264", audio="aac", *, size=(64, 32), seconds=SECONDS, channels="mono", turn=0, tags=None):
        with av.open(str(tmp_path / name), "w") as container:
            container.metadata.update(tags or {})
            streams = [
                *([add_video(container, video, size, turn)] if video else []),
                *([add_audio(container, audio, channels)] if audio else []),
            ]
            for stream in streams:
                write = write_video if stream.type == "video" else write_audio
                write(container, stream, seconds)
        return tmp_path / name

    return make


def add_video(container, codec, size, turn):
    stream = container.add_stream(codec, rate=RATE)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    if turn:
        stream.set_display_rotation(turn)
    return stream


def add_audio(container, codec, channels):
    return container.add_stream(codec, rate=48_000, layout=channels)


def write_video(container, stream, seconds):
    for number in range(seconds * RATE):
        green = number * 255 // (seconds * RATE)
        row = bytes([255, 0, 0]) * (stream.width // 2) + bytes([0, green, 0]) * (stream.width // 2)
        frame = av.VideoFrame(stream.width, stream.height, "rgb24")
        plane = frame.planes[0]
        plane.update(b"".join(row.ljust(plane.line_size, b"\0") for _ in range(stream.height)))
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_audio(container, stream, seconds):
    channels = stream.codec_context.channels
    for number in range(seconds * 50):
        wave = [int(9000 * math.sin((number * 960 + at) / 20)) for at in range(960) for _ in range(channels)]
        frame = av.AudioFrame(format="s16", layout=stream.codec_context.layout.name, samples=960)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, number * 960, Fraction(1, 48_000)
        frame.planes[0].update(array.array("h", wave).tobytes())
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def read_back(path):
    """Decode all of a file: its format, and for each stream the codec, the number of frames and the length."""
    with av.open(str(path)) as container:
        found = {stream.type: [stream.codec_context.codec.canonical_name, 0, 0.0] for stream in container.streams}
        for frame in container.decode(*container.streams):
            facts = found["video" if isinstance(frame, av.VideoFrame) else "audio"]
            facts[1] += 1
            facts[2] = frame.time + (
                1 / RATE if isinstance(frame, av.VideoFrame) else frame.samples / frame.sample_rate
            )
        return container.format.name, found


def green_at(path, x=-4):
    picture = pyvips.Image.new_from_file(str(path))
    return picture(picture.width + x if x < 0 else x, picture.height // 2)[1]


# ---- media.info


@pytest.mark.parametrize(
    ("name", "video", "audio", "codecs"),
    [
        ("some.mp4", "libx264", "aac", ["h264", "aac"]),
        ("some.mkv", "libx264", "flac", ["h264", "flac"]),
        ("some.webm", "libvpx-vp9", "libopus", ["vp9", "opus"]),
        ("some.avi", "mpeg4", "libmp3lame", ["mpeg4", "mp3"]),
        ("some.ts", "libx264", "aac", ["h264", "aac"]),
        ("some.mp3", None, "libmp3lame", ["mp3"]),
        ("some.wav", None, "pcm_s16le", ["pcm_s16le"]),
        ("some.ogg", None, "libopus", ["opus"]),
        ("some.flac", None, "flac", ["flac"]),
    ],
)
def test_the_streams_and_the_duration_are_told(run, make, name, video, audio, codecs):
    _, result, notes = run(info, make(name, video, audio))
    [file] = result["files"]
    assert file["name"] == name
    assert file["duration_s"] == pytest.approx(SECONDS, abs=0.2)
    assert [stream["codec"] for stream in file["streams"]] == codecs
    assert (file["has_video"], file["has_audio"]) == (video is not None, True)
    if video:
        assert (file["streams"][0]["width"], file["streams"][0]["height"]) == (64, 32)
        assert file["streams"][0]["frames_per_second"] == RATE
    assert file["streams"][-1]["sample_rate"] == 48_000
    assert notes[-1] == ProgressNote(1, "")


def test_tags_are_told_and_very_long_ones_are_cut(run, make):
    tags = {"title": "Ein Lied", "comment": "x" * 5000}
    _, result, _ = run(info, make("some.mp3", None, "libmp3lame", tags=tags))
    assert result["files"][0]["tags"]["title"] == "Ein Lied"
    assert result["files"][0]["tags"]["comment"] == "x" * 500


# ---- media.frames


def test_frames_at_times_are_those_to_be_seen_then(run, make):
    job, result, notes = run(frames, make("some.mp4"), at_s=[2.95, 0, 1.55], format="png")
    assert [image["time_s"] for image in result["images"]] == [0, 1.55, 2.95]
    assert [green_at(output.path) for output in job.outputs] == pytest.approx([0, 15 * 8.5, 29 * 8.5], abs=8)
    assert [output.name for output in job.outputs] == ["some-0s.png", "some-1.55s.png", "some-2.95s.png"]
    assert [note.fraction for note in notes] == pytest.approx([1 / 3, 2 / 3, 1])


def test_frames_at_every_so_many_seconds_begin_with_the_first(run, make):
    job, result, _ = run(frames, make("some.webm", "libvpx-vp9", "libopus"), every_s=0.5, width=32)
    assert [image["time_s"] for image in result["images"]] == [0, 0.5, 1, 1.5, 2, 2.5]
    assert (result["images"][0]["width"], result["images"][0]["height"]) == (32, 16)
    greens = [green_at(output.path) for output in job.outputs]
    assert greens == pytest.approx([0, 42, 85, 127, 170, 212], abs=12)


def test_without_times_one_frame_is_taken_of_a_tenth_of_the_way_in(run, make):
    job, result, _ = run(frames, make("some.mkv"), format="png")
    [image] = result["images"]
    assert image["time_s"] == pytest.approx(0.3, abs=0.05)
    assert green_at(job.outputs[0].path) == pytest.approx(25, abs=9)


def test_far_frames_are_found_by_the_index(run, make):
    path = make("long.mp4", audio=None, seconds=40, size=(16, 16))
    job, _, _ = run(frames, path, at_s=[1, 20.05, 39], format="png")
    assert [green_at(output.path) for output in job.outputs] == pytest.approx([6, 127, 248], abs=8)


def test_a_turned_video_gives_upright_frames(run, make):
    job, result, _ = run(frames, make("turned.mp4", turn=-90), at_s=[2.9], format="png")
    picture = pyvips.Image.new_from_file(str(job.outputs[0].path))
    assert (picture.width, picture.height) == (32, 64) == (result["images"][0]["width"], result["images"][0]["height"])
    assert picture(16, 4)[0] > 200  # what was left is on top
    assert picture(16, 60)[1] > 200


def test_times_beyond_the_end_and_both_ways_at_once_are_refused(run, make):
    with pytest.raises(Fail, match=r"ends at 3 s, before 9 s") as caught:
        run(frames, make("some.mp4", audio=None), at_s=[1, 9])
    assert caught.value.code == "no_such_time"
    with pytest.raises(Fail) as caught:
        run(frames, make("some.mp4"), at_s=[1], every_s=1)
    assert caught.value.code == "invalid_params"


def test_sound_has_no_frames(run, make):
    with pytest.raises(Fail, match=r"'some\.mp3' has no video") as caught:
        run(frames, make("some.mp3", None, "libmp3lame"))
    assert caught.value.code == "no_such_stream"


# ---- media.transcode


@pytest.mark.parametrize(
    ("container", "muxer", "codecs"),
    [
        ("mp4", "mov", {"video": "h264", "audio": "aac"}),
        ("mov", "mov", {"video": "h264", "audio": "aac"}),
        ("webm", "matroska", {"video": "vp9", "audio": "opus"}),
        ("mkv", "matroska", {"video": "h264", "audio": "aac"}),
        ("m4a", "mov", {"audio": "aac"}),
        ("mp3", "mp3", {"audio": "mp3"}),
        ("ogg", "ogg", {"audio": "opus"}),
        ("flac", "flac", {"audio": "flac"}),
        ("wav", "wav", {"audio": "pcm_s16le"}),
    ],
)
def test_every_container_holds_its_usual_codecs(run, make, container, muxer, codecs):
    job, result, notes = run(
        transcode, make("some.avi", "mpeg4", "libmp3lame", tags={"title": "T"}), container=container
    )
    name, found = read_back(job.outputs[0].path)
    assert name.split(",")[0] == muxer
    assert {kind: facts[0] for kind, facts in found.items()} == codecs
    if "video" in codecs:
        assert found["video"][1] == SECONDS * RATE
        assert found["video"][2] == pytest.approx(SECONDS, abs=0.11)
    assert found["audio"][2] == pytest.approx(SECONDS, abs=0.15)
    [file] = result["files"]
    assert file["duration_s"] == pytest.approx(SECONDS, abs=0.15)
    assert {stream["type"]: stream["codec"] for stream in file["streams"]} == codecs
    assert job.outputs[0].name == file["name"] == f"some.{container}"
    fractions = [note.fraction for note in notes]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(fractions) > 10


@pytest.mark.parametrize("codec", ["h265", "vp8", "vp9", "av1"])
def test_every_video_codec_keeps_the_pictures(run, make, codec):
    job, _, _ = run(transcode, make("some.ts"), container="mkv", video_codec=codec, audio_codec="none")
    _, found = read_back(job.outputs[0].path)
    assert list(found) == ["video"]
    assert found["video"][1] == SECONDS * RATE
    job.outputs[0].path.rename(job.folder / "some.mkv")
    shown, _, _ = run(frames, job.folder / "some.mkv", at_s=[2.5], format="png")
    assert green_at(shown.outputs[0].path) == pytest.approx(212, abs=20)


def test_a_box_makes_the_video_smaller_and_never_larger(run, make):
    path = make("some.mp4", size=(320, 180))
    sizes = []
    for box in ({"width": 160}, {"width": 200, "height": 50}, {"width": 4000}):
        job, _, _ = run(transcode, path, audio_codec="none", **box)
        with av.open(str(job.outputs[0].path)) as container:
            sizes.append((container.streams.video[0].width, container.streams.video[0].height))
    assert sizes == [(160, 90), (88, 50), (320, 180)]


def test_a_turned_video_is_turned_upright(run, make):
    job, _, _ = run(transcode, make("turned.mp4", turn=-90), container="webm", video_codec="vp8")
    shown, _, _ = run(frames, job.outputs[0].path, at_s=[2.9], format="png")
    picture = pyvips.Image.new_from_file(str(shown.outputs[0].path))
    assert (picture.width, picture.height) == (32, 64)
    assert picture(16, 4)[0] > 190
    assert picture(16, 60)[1] > 190


def test_copied_streams_are_the_same_to_the_bit(run, make):
    path = make("some.ts")
    job, result, _ = run(transcode, path, container="mp4", video_codec="copy", audio_codec="copy")
    with av.open(str(path)) as before, av.open(str(job.outputs[0].path)) as after:
        assert [bytes(frame.planes[0]) for frame in before.decode(video=0)] == [
            bytes(frame.planes[0]) for frame in after.decode(video=0)
        ]
        assert after.start_time == pytest.approx(0, abs=50_000)  # a .ts begins at 1.4 s
    assert [stream["codec"] for stream in result["files"][0]["streams"]] == ["h264", "aac"]


def test_more_channels_become_stereo_and_the_tags_stay(run, make):
    path = make("some.mkv", None, "flac", channels="5.1", tags={"title": "Ein Lied"})
    job, _, _ = run(transcode, path, container="mp3", audio_kbps=64)
    with av.open(str(job.outputs[0].path)) as container:
        assert container.streams.audio[0].codec_context.channels == 2
        assert container.metadata["title"] == "Ein Lied"


def test_a_higher_quality_and_bit_rate_make_a_larger_file(run, make):
    path = make("some.mp4", size=(320, 180))
    sizes = []
    for quality, kbps in ((20, 32), (90, 256)):
        _, result, _ = run(transcode, path, quality=quality, audio_kbps=kbps)
        sizes.append(result["files"][0]["size_bytes"])
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"container": "webm", "video_codec": "h264"}, "webm holds video as vp9, vp8, av1; h264 is not possible there"),
        ({"container": "mp3", "video_codec": "copy"}, "mp3 holds no video; copy is not possible there"),
        ({"container": "mp3", "audio_codec": "none"}, "nothing is left to convert"),
    ],
)
def test_what_a_container_cannot_hold_is_refused(run, make, params, message):
    with pytest.raises(Fail, match=message) as caught:
        run(transcode, make("some.mp3", None, "libmp3lame"), **params)
    assert caught.value.code == "invalid_params"


def test_a_stream_that_cannot_be_copied_is_named(run, make):
    with pytest.raises(Fail, match=r"webm cannot hold the video of 'some\.mp4', which is h264") as caught:
        run(transcode, make("some.mp4"), container="webm", video_codec="copy")
    assert caught.value.code == "unsupported"


def test_a_video_without_sound_has_nothing_for_an_audio_file(run, make):
    with pytest.raises(Fail, match=r"'silent\.mp4' has no audio") as caught:
        run(transcode, make("silent.mp4", audio=None), container="mp3")
    assert caught.value.code == "no_such_stream"
