"""Audio and video in another container, codec or size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from service.catalogue.media.encoding import HOLDERS, AudioCodec, Container, Kind, VideoCodec, chosen_codec
from service.catalogue.media.reading import (
    ACCEPTS,
    EXTRA,
    REQUIRES,
    duration_of,
    find_stream,
    frames_of,
    get_stream,
    open_media,
    packets_of,
    pyav,
    seconds,
)
from service.catalogue.media.tracks import AudioTrack, CopyTrack, Track, VideoTrack
from service.naming import DistinctNames, stem_of
from service.processors.base import Fail, InputFile, JobContext, processor

MAX_SIDE = 8192
_EXACT = {"mov", "matroska"}  # formats whose headers tell the length, where it is not guessed from the bit rate
_SHORT_BY_S = 2


@processor("media.transcode", accepts=ACCEPTS, extra=EXTRA, requires=REQUIRES, reads_only=True)
def transcode(
    job: JobContext,
    *,
    container: Container = "mp4",
    video_codec: VideoCodec | None = None,
    audio_codec: AudioCodec | None = None,
    width: Annotated[int, Field(ge=16, le=MAX_SIDE)] | None = None,
    height: Annotated[int, Field(ge=16, le=MAX_SIDE)] | None = None,
    quality: Annotated[int, Field(ge=1, le=100)] = 60,
    audio_kbps: Annotated[int, Field(ge=16, le=512)] = 128,
) -> dict[str, Any]:
    """Convert each audio or video file to another container, codec or size.

    The first video and the first audio stream are taken, with the tags of the file. Videos are turned upright,
    and more than two channels become stereo, unless a stream is copied.

    Args:
        container: Kind of file to make; m4a, mp3, ogg, flac and wav hold sound alone.
        video_codec: Codec of the video; copy takes it over as it is, none leaves it out, and without it each
            container has its usual one.
        audio_codec: Codec of the audio, in the same way.
        width: Width of the box that the video is made to fit in; it is never enlarged.
        height: Height of that box.
        quality: Quality of the video, from 1 to 100.
        audio_kbps: Bit rate of the audio, in kilobits a second; flac and wav have none to choose.
    """
    plan = _Plan(container, video_codec, audio_codec, (width, height), quality, audio_kbps * 1000)
    names = DistinctNames()
    files = []
    for file in job.files:
        name = names.take(stem_of(file.name, "media"), HOLDERS[container].suffix)
        path = job.output(name)
        facts = plan.carry_out(job, file, path)
        files.append({"name": name, "source": file.name, "size_bytes": path.stat().st_size, **facts})
    return {"files": files}


class _Plan:
    """What is made of each file."""

    def __init__(
        self,
        container: Container,
        video: str | None,
        audio: str | None,
        box: tuple[int | None, int | None],
        quality: int,
        bits_per_second: int,
    ) -> None:
        self._holder = HOLDERS[container]
        self._codecs: dict[Kind, str | None] = {
            "video": chosen_codec(container, "video", video),
            "audio": chosen_codec(container, "audio", audio),
        }
        if not any(self._codecs.values()):
            raise Fail("nothing is left to convert: ask for video or audio", code="invalid_params")
        self._box = box
        self._quality = quality
        self._bits_per_second = bits_per_second

    def carry_out(self, job: JobContext, file: InputFile, path: Path) -> dict[str, Any]:
        """Convert one file, and return what was made.

        Raises:
            Fail: the file is broken, or has nothing that was asked for.
        """
        with open_media(file) as source, self._new_file(path) as target:
            target.metadata.update(source.metadata)
            tracks = list(self._tracks(file, source, target))
            if not tracks:
                wanted = " or ".join(kind for kind, codec in self._codecs.items() if codec)
                raise Fail(f"{file.name!r} has no {wanted}", code="no_such_stream")
            end_s = _run(job, file, source, target, tracks)
            streams = [{"type": one.type, "codec": one.codec_context.codec.canonical_name} for one in target.streams]
        return {"duration_s": round(end_s, 3), "streams": streams}

    def _new_file(self, path: Path) -> Any:
        return pyav().open(str(path), "w", format=self._holder.muxer, container_options=self._holder.options)

    def _tracks(self, file: InputFile, source: Any, target: Any) -> Iterator[Track]:
        start_s = (source.start_time or 0) / pyav().time_base
        for kind, codec in self._codecs.items():
            if codec is None or find_stream(source, kind) is None:
                continue
            stream = get_stream(file, source, kind)
            if codec == "copy":
                yield self._copied(file, stream, target, start_s)
            elif kind == "video":
                turn = _turn_of(file)
                yield VideoTrack(
                    file, stream, target, start_s, codec=codec, quality=self._quality, box=self._box, turn=turn
                )
            else:
                yield AudioTrack(file, stream, target, start_s, codec=codec, bits_per_second=self._bits_per_second)

    def _copied(self, file: InputFile, stream: Any, target: Any, start_s: float) -> Track:
        try:
            return CopyTrack(stream, target, start_s)
        except ValueError:
            codec = stream.codec_context.codec.canonical_name
            raise Fail(
                f"{self._holder.suffix[1:]} cannot hold the {stream.type} of {file.name!r}, which is {codec}; name a"
                " codec to convert it to",
                code="unsupported",
            ) from None


def _run(job: JobContext, file: InputFile, source: Any, target: Any, tracks: list[Track]) -> float:
    """Pass all packets through their tracks, and return the time that was reached, in seconds.

    Raises:
        Fail: the file is broken, or ends before its time.
    """
    by_index = {track.source.index: track for track in tracks}
    start_s = (source.start_time or 0) / pyav().time_base
    duration_s = duration_of(source)
    end_s = 0.0
    for packet in packets_of(file, source, *(track.source for track in tracks)):
        at_s = seconds(packet.pts, packet.time_base)
        if at_s is not None:
            end_s = max(end_s, at_s - start_s + (seconds(packet.duration, packet.time_base) or 0))
            if duration_s:
                job.progress(min(end_s / duration_s, 1), file.name)
        with _writing(file, target):
            for done in by_index[packet.stream.index].convert(packet):
                target.mux(done)
    job.progress(1, file.name)
    _check_end(file, source, end_s, duration_s)
    return end_s


@contextmanager
def _writing(file: InputFile, target: Any) -> Iterator[None]:
    """Raise `Fail` for what the encoders or the container do not take; a full disk is another matter."""
    try:
        yield
    except (pyav().error.ArgumentError, pyav().error.InvalidDataError):
        raise Fail(
            f"{file.name!r} cannot be converted to {target.format.name}; ask for other codecs, and copy none",
            code="conversion_failed",
        ) from None


def _check_end(file: InputFile, source: Any, end_s: float, duration_s: float | None) -> None:
    name = source.format.name.split(",")[0]
    if end_s == 0:
        raise Fail(f"nothing of {file.name!r} can be decoded", code="damaged_file")
    if duration_s and name in _EXACT and end_s < duration_s * 0.9 - _SHORT_BY_S:
        raise Fail(
            f"{file.name!r} is cut short: it ends after {end_s:.1f} s of {duration_s:.1f} s", code="damaged_file"
        )


def _turn_of(file: InputFile) -> int:
    """Return by how many degrees the video must be turned clockwise; its first frame says so."""
    with open_media(file) as container:
        stream = get_stream(file, container, "video")
        for packet in packets_of(file, container, stream):
            for frame in frames_of(file, packet):
                return int(-frame.rotation % 360)
    return 0
