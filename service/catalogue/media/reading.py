"""Opening audio and video from anywhere: known formats only, and nothing but the file itself.

FFmpeg knows formats that are lists of other files or addresses (HLS, DASH, concat, SDP). Which formats may open is
therefore a list of our own, no protocol is allowed, and the bytes are handed over rather than the path.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from service.processors.base import Fail, InputFile

ACCEPTS = ("video/*", "audio/*")
EXTRA = "media"
REQUIRES = ("av",)
MAX_PIXELS = 40_000_000  # of one frame; 8K has 35 million
MAX_STREAMS = 50
_BOX = struct.Struct(">I4s")
_MAX_BOXES = 1000
MAX_CHANNELS = 64
_FORMATS = (
    "aac", "ac3", "aiff", "amr", "asf", "avi", "flac", "flv", "mov", "mp4", "m4a", "3gp", "3g2", "matroska", "webm",
    "mp3", "mpeg", "mpegts", "ogg", "wav", "w64",
)  # fmt: skip
# Each further decoder is a further thousand lines of C that read what strangers send.
_DECODERS = frozenset({
    "av1", "flv", "h263", "h264", "hevc", "libdav1d", "libvpx", "libvpx-vp9", "mjpeg", "mpeg1video", "mpeg2video",
    "mpeg4", "msmpeg4", "msmpeg4v2", "prores", "theora", "vp8", "vp9", "wmv1", "wmv2", "wmv3",
    "aac", "ac3", "alac", "amrnb", "amrwb", "eac3", "flac", "libopus", "mp2", "mp2float", "mp3", "mp3float", "opus",
    "vorbis", "wmav1", "wmav2", "pcm_alaw", "pcm_mulaw", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le",
    "pcm_s32be", "pcm_s32le", "pcm_f32be", "pcm_f32le", "pcm_f64le", "pcm_s8", "pcm_u8", "adpcm_ima_wav", "adpcm_ms",
})  # fmt: skip
_OPTIONS = {
    "format_whitelist": ",".join(_FORMATS),
    "codec_whitelist": ",".join(sorted(_DECODERS)),
    "protocol_whitelist": "none",
    "max_streams": str(MAX_STREAMS),
    "max_pixels": str(4 * MAX_PIXELS),  # while the streams are probed: more, so that we can say what is too much
}


def pyav() -> Any:
    """Return PyAV; it is loaded by the first job that needs it."""
    os.environ.setdefault("SVT_LOG", "1")  # of the AV1 encoder, which would fill the job's log: errors alone
    import av  # noqa: PLC0415 - an extra, and large

    return av


@dataclass(frozen=True, slots=True)
class Bytes:
    """The content of a file and nothing else: no name, by whose suffix FFmpeg would guess a format."""

    file: BinaryIO

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to another place."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self.file.tell()


@contextmanager
def open_media(file: InputFile) -> Iterator[Any]:
    """Yield the container, with its streams known and nothing decoded.

    Raises:
        Fail: it is not audio or video of an accepted format, or is broken.
    """
    if file.size_bytes == 0:
        raise Fail(f"{file.name!r} is empty; send a whole file", code="empty_file")
    with file.path.open("rb") as content:
        _check_index(file, content)
        container = _opened(file, content)
        try:
            yield container
        finally:
            container.close()


def find_stream(container: Any, kind: str) -> Any | None:
    """Return the first stream of `video` or `audio`, or None; cover pictures do not count as video."""
    streams = [one for one in container.streams if one.type == kind and not is_cover(one)]
    return streams[0] if streams else None


def get_stream(file: InputFile, container: Any, kind: str) -> Any:
    """Return the first stream of `video` or `audio`, ready to be decoded.

    Raises:
        Fail: there is none, or it is of a kind or size that is not decoded here.
    """
    stream = find_stream(container, kind)
    if stream is None:
        raise Fail(f"{file.name!r} has no {kind}", code="no_such_stream")
    check_stream(file, stream)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def check_stream(file: InputFile, stream: Any) -> None:
    """Raise `Fail` when the stream must not be decoded: the codec is not known, or a frame would be too large."""
    context = stream.codec_context
    if context is None or context.codec.name not in _DECODERS:
        name = "an unknown codec" if context is None else context.codec.name
        raise Fail(f"the {stream.type} of {file.name!r} is {name}, which is not decoded here", code="unsupported")
    if stream.type == "video":
        _check_size(file, context)
    elif context.channels > MAX_CHANNELS:
        raise Fail(f"{file.name!r} has {context.channels} channels; at most {MAX_CHANNELS} are read", code="too_large")


def is_cover(stream: Any) -> bool:
    """Return whether the stream is a picture that goes with the sound."""
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)


def packets_of(file: InputFile, container: Any, *streams: Any) -> Iterator[Any]:
    """Yield the packets of the streams in the order of the file; the last one of each is empty and flushes.

    Raises:
        Fail: the file is broken.
    """
    with reading(file):
        yield from container.demux(*streams)


def frames_of(file: InputFile, packet: Any) -> list[Any]:
    """Decode a packet.

    Raises:
        Fail: the packet is broken.
    """
    if packet.is_corrupt:
        raise _damaged(file, "a part of it is missing")
    with reading(file):
        return list(packet.decode())


def seconds(value: int | None, time_base: Any) -> float | None:
    """Return a time of a stream in seconds."""
    return None if value is None or time_base is None else float(value * time_base)


def duration_of(container: Any) -> float | None:
    """Return the length in seconds, or None where the file does not say."""
    return container.duration / pyav().time_base if container.duration else None


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """Raise `Fail` for what FFmpeg cannot read inside the block."""
    try:
        yield
    except pyav().FFmpegError as error:
        raise _damaged(file, (error.strerror or "unknown").lower()) from None


def _damaged(file: InputFile, reason: str) -> Fail:
    return Fail(f"{file.name!r} is damaged or cut short: {reason[:200]}", code="damaged_file")


def _check_index(file: InputFile, content: BinaryIO) -> None:
    """Raise `Fail` when the index of an MP4 is cut off: FFmpeg would make of it a file with fewer streams.

    A box has its size and its type in front (ISO 14496-12, 4.2).
    """
    at, head = 0, content.read(_BOX.size)
    for _ in range(_MAX_BOXES):
        size, kind = _BOX.unpack(head) if len(head) == _BOX.size else (0, b"")
        if not kind.isalnum() or (at == 0 and kind != b"ftyp"):
            break
        if size == 1:  # the size follows
            size = int.from_bytes(content.read(8), "big")
        if kind == b"moov" and at + size > file.size_bytes:
            raise _damaged(file, "its index is cut off")
        if size < _BOX.size:
            break
        at += size
        content.seek(at)
        head = content.read(_BOX.size)
    content.seek(0)


def _opened(file: InputFile, content: BinaryIO) -> Any:
    try:
        return pyav().open(Bytes(content), options=dict(_OPTIONS), metadata_errors="replace", io_open=_refuse_to_open)
    except pyav().error.ArgumentError:  # what a format that is not in the list comes to
        raise Fail(
            f"{file.name!r} is not audio or video of an accepted format; send one of {', '.join(_FORMATS)}",
            code="unsupported",
        ) from None
    except pyav().FFmpegError as error:
        raise _damaged(file, (error.strerror or "unknown").lower()) from None


def _refuse_to_open(*_: Any) -> Callable[..., Any]:
    raise PermissionError("no other file is opened")


def _check_size(file: InputFile, context: Any) -> None:
    if context.width * context.height > MAX_PIXELS:
        raise Fail(
            f"the frames of {file.name!r} have {context.width} x {context.height} pixels; at most {MAX_PIXELS:,} are"
            " decoded",
            code="too_large",
        )
    if not context.width or not context.height:
        raise _damaged(file, "its frames have no size, or an absurd one")
