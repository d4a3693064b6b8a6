"""Which containers hold which codecs, and how each codec is asked for a quality."""

from dataclasses import dataclass, field
from typing import Any, Literal

from service.processors.base import Fail

Container = Literal["mp4", "webm", "mkv", "mov", "m4a", "mp3", "ogg", "flac", "wav"]
VideoCodec = Literal["h264", "h265", "vp8", "vp9", "av1", "copy", "none"]
AudioCodec = Literal["aac", "mp3", "opus", "flac", "pcm", "copy", "none"]
Kind = Literal["video", "audio"]


@dataclass(frozen=True, slots=True)
class Holder:
    """A container: the muxer's name, the suffix, and the codecs it holds, the usual one first."""

    muxer: str
    suffix: str
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    def codecs(self, kind: Kind) -> tuple[str, ...]:
        """Return the codecs of a kind of stream."""
        return self.video if kind == "video" else self.audio


_QUICK_START = {"movflags": "+faststart"}  # the index first, so that browsers can begin before the end has come
HOLDERS: dict[Container, Holder] = {
    "mp4": Holder("mp4", ".mp4", ("h264", "h265", "av1", "vp9"), ("aac", "mp3", "opus", "flac"), _QUICK_START),
    "mov": Holder("mov", ".mov", ("h264", "h265"), ("aac", "mp3", "pcm"), _QUICK_START),
    "webm": Holder("webm", ".webm", ("vp9", "vp8", "av1"), ("opus",)),
    "mkv": Holder("matroska", ".mkv", ("h264", "h265", "vp8", "vp9", "av1"), ("aac", "mp3", "opus", "flac", "pcm")),
    "m4a": Holder("ipod", ".m4a", (), ("aac",), _QUICK_START),
    "mp3": Holder("mp3", ".mp3", (), ("mp3",)),
    "ogg": Holder("ogg", ".ogg", (), ("opus", "flac")),
    "flac": Holder("flac", ".flac", (), ("flac",)),
    "wav": Holder("wav", ".wav", (), ("pcm",)),
}
ENCODERS = {
    "h264": "libx264",
    "h265": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "aac": "aac",
    "mp3": "libmp3lame",
    "opus": "libopus",
    "flac": "flac",
    "pcm": "pcm_s16le",
}
_SAMPLE_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000)  # each of mp3's codecs and of aac's knows all of them
_LOSSLESS = {"flac", "pcm"}


def chosen_codec(container: Container, kind: Kind, asked: str | None) -> str | None:
    """Return the codec of a kind of stream: what was asked for, or the usual one; None leaves the stream out.

    Raises:
        Fail: the container does not hold it.
    """
    held = HOLDERS[container].codecs(kind)
    if asked == "none" or (asked is None and not held):
        return None
    if asked is None:
        return held[0]
    if asked not in held and not (asked == "copy" and held):
        what = f"{kind} as {', '.join(held)}" if held else f"no {kind}"
        raise Fail(f"{container} holds {what}; {asked} is not possible there", code="invalid_params")
    return asked


def video_options(codec: str, quality: int) -> dict[str, str]:
    """Return the encoder's options for a quality from 1 to 100; 60 is near what each encoder does by itself."""
    of_51 = str(round(51 - 0.46 * quality))
    of_63 = str(round(63 - 0.53 * quality))
    match codec:
        case "h264":
            return {"crf": of_51, "preset": "fast"}
        case "h265":
            return {"crf": of_51, "preset": "fast", "x265-params": "log-level=none"}
        case "av1":
            return {"crf": of_63, "preset": "10"}
        case "vp8":
            return {"crf": str(max(4, int(of_63))), "b": "20M", "deadline": "realtime", "cpu-used": "4"}
        case _:
            return {"crf": of_63, "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}


def sample_rate(codec: str, rate: int) -> int:
    """Return the samples a second to encode: those of the source where the codec knows them, or the next above."""
    if codec == "opus":
        return 48_000
    if codec in _LOSSLESS:
        return min(rate, 192_000)
    return min((known for known in _SAMPLE_RATES if known >= rate), default=48_000)


def fitted(size: tuple[int, int], width: int | None, height: int | None) -> tuple[int, int]:
    """Return the size that fits the box in the same shape, never larger, of even numbers as the codecs want it."""
    ratio = min(1.0, (width or size[0]) / size[0], (height or size[1]) / size[1])
    return _even(size[0] * ratio), _even(size[1] * ratio)


def _even(value: float) -> int:
    return max(2, int(value + 0.001) // 2 * 2)


def is_lossless(codec: str) -> bool:
    """Return whether a codec has no bit rate to choose."""
    return codec in _LOSSLESS


def layout_of(context: Any) -> str:
    """Return the layout to encode: mono stays, all else becomes stereo, which every player knows."""
    return "mono" if context.channels == 1 else "stereo"
