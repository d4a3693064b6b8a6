"""Requests that offer another protocol (`Upgrade: h2c`, as the HttpClient of Java does) are requests like any other.

Nobody has to take such an offer (RFC 9110, section 7.8). But the parser holds all that follows the headers for the
other protocol: uvicorn would answer as if there were no body, and an upload would be stored as an empty file.
"""

import httptools

from service.web.body_pieces import PiecesProtocol


class OneProtocol(PiecesProtocol):
    """HTTP/1.1 to the end of the connection; the body of a request is read whatever it offers."""

    _owes_body = False
    _is_resuming = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # whatever uvicorn gives
        self._renew_parser()

    def go_on(self) -> httptools.HttpRequestParser:
        """Return a parser that reads on behind the headers of a request that offers another protocol."""
        parser = self._renew_parser()
        if self._owes_body:
            self._owes_body, self._is_resuming = False, True
            parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(self._framing()) + b"\r\n")
            self._is_resuming = False
        return parser

    def on_message_begin(self) -> None:
        """Begin a request, unless it has begun."""
        if not self._is_resuming:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        if not self._is_resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if not self._is_resuming:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take the headers as complete."""
        if not self._is_resuming:
            super().on_headers_complete()
            self._owes_body = self.parser.should_upgrade() and any(self._framing())

    def on_message_complete(self) -> None:
        """Take the request as complete, unless the parser only believes so."""
        if not self._owes_body:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Take no WebSocket either: there is none here, and uvicorn never answers a POST that offers one."""
        return False

    def _framing(self) -> list[bytes]:
        """Return the lines that say how long the body is."""
        names = (b"content-length", b"transfer-encoding")
        return [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name in names]

    def _renew_parser(self) -> "_Parser":
        self.parser = parser = _Parser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser


class _Parser(httptools.HttpRequestParser):
    """The parser, which does not stop at an offer."""

    def __init__(self, protocol: OneProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # bytes are all that comes
        """Parse the next bytes.

        Raises:
            HttpParserError: they are not HTTP.
        """
        parser: httptools.HttpRequestParser = self
        while data:  # each request of one piece may offer something
            try:
                httptools.HttpRequestParser.feed_data(parser, data)
            except httptools.HttpParserUpgrade as offer:
                data, parser = data[offer.args[0] :], self._protocol.go_on()
            else:
                return
