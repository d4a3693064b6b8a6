"""The tracks of a transcoding: each takes the packets of one stream in, and gives packets for the new file out."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol

from service.catalogue.media.encoding import (
    ENCODERS,
    fitted,
    is_lossless,
    layout_of,
    sample_rate,
    video_options,
)
from service.catalogue.media.reading import frames_of, pyav
from service.processors.base import InputFile

GAP_S = 0.1
_TURNS = {90: ("transpose", "clock"), 180: ("rotate", "PI"), 270: ("transpose", "cclock")}


class Track(Protocol):
    """One stream on its way into the new file."""

    source: Any

    def convert(self, packet: Any) -> Iterable[Any]:
        """Return the packets that are ready; an empty packet is the last one."""
        ...


class CopyTrack:
    """Takes the packets over as they are; `start_s` becomes the beginning."""

    def __init__(self, source: Any, target: Any, start_s: float) -> None:
        self.source = source
        self._stream = target.add_stream_from_template(source, opaque=True)
        self._offset = round(start_s / source.time_base)

    def convert(self, packet: Any) -> Iterator[Any]:
        if packet.dts is None:  # the empty one at the end
            return
        packet.dts -= self._offset
        if packet.pts is not None:
            packet.pts -= self._offset
        packet.stream = self._stream
        yield packet


class VideoTrack:
    """Decodes, turns upright, scales and encodes. `turn` is in degrees, clockwise."""

    def __init__(
        self,
        file: InputFile,
        source: Any,
        target: Any,
        start_s: float,
        *,
        codec: str,
        quality: int,
        box: tuple[int | None, int | None],
        turn: int,
    ) -> None:
        self.source = source
        self._file = file
        self._offset = round(start_s / source.time_base)
        self._turn = turn
        self._last = -1
        self._graph: Any = None
        self._shape: Any = None
        size = (source.width, source.height) if turn % 180 == 0 else (source.height, source.width)
        self._size = fitted(size, *box)
        source.thread_type = "AUTO"
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        self._stream = target.add_stream(ENCODERS[codec], rate=rate, options=video_options(codec, quality))
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = source.time_base
        if aspect := source.codec_context.sample_aspect_ratio:
            self._stream.codec_context.sample_aspect_ratio = aspect if turn % 180 == 0 else 1 / aspect

    def convert(self, packet: Any) -> Iterator[Any]:
        for frame in frames_of(self._file, packet):
            if frame.pts is None or frame.pts - self._offset <= self._last:
                continue  # encoders take frames in the order of their times alone
            self._last = frame.pts = frame.pts - self._offset
            yield from self._stream.encode(self._scaled(frame))
        if packet.size == 0:
            yield from self._stream.encode(None)

    def _scaled(self, frame: Any) -> Any:
        shape = (frame.width, frame.height, frame.format.name)
        if shape != self._shape:  # also when it changes in the middle of a stream
            self._graph, self._shape = self._new_graph(frame), shape
        self._graph.push(frame)
        scaled = self._graph.pull()
        scaled.pict_type = 0  # the encoder decides which are key frames
        return scaled

    def _new_graph(self, frame: Any) -> Any:
        graph = pyav().filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self.source.time_base
        )
        turns = [graph.add(*_TURNS[self._turn])] if self._turn in _TURNS else []
        scale = graph.add("scale", f"{self._size[0]}:{self._size[1]}")
        nodes = [source, *turns, scale, graph.add("format", "yuv420p"), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        return graph


class AudioTrack:
    """Decodes, resamples and encodes."""

    def __init__(
        self, file: InputFile, source: Any, target: Any, start_s: float, *, codec: str, bits_per_second: int
    ) -> None:
        self.source = source
        self._file = file
        self._start_s = start_s
        context = source.codec_context
        rate = sample_rate(codec, context.sample_rate)
        layout = layout_of(context)
        self._stream = target.add_stream(ENCODERS[codec], rate=rate, layout=layout)
        if not is_lossless(codec):
            self._stream.codec_context.bit_rate = bits_per_second
        self._next_pts = 0  # in samples
        self._resampler = pyav().AudioResampler(self._stream.format, layout, rate)

    def convert(self, packet: Any) -> Iterator[Any]:
        for frame in frames_of(self._file, packet):
            if frame.pts is not None:
                frame.pts -= round(self._start_s / frame.time_base)
            for resampled in self._resampler.resample(frame):
                yield from self._stream.encode(self._in_time(resampled))
        if packet.size == 0:
            for rest in self._resampler.resample(None):
                yield from self._stream.encode(self._in_time(rest))
            yield from self._stream.encode(None)

    def _in_time(self, frame: Any) -> Any:
        """Let the frame begin where the last one ended, unless there is a gap: times in files are often inexact."""
        at = self._next_pts if frame.pts is None else round(frame.pts * frame.time_base * frame.sample_rate)
        gap = at - self._next_pts
        frame.pts = at if gap > frame.sample_rate * GAP_S else self._next_pts
        frame.time_base = Fraction(1, frame.sample_rate)
        self._next_pts = frame.pts + frame.samples
        return frame
