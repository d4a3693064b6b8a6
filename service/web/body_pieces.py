"""Request bodies, handed on as they were read: without copying each piece into a buffer and out of it again."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PiecesProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, but for one thing: a piece that finds the buffer empty becomes the buffer.

    Nearly all do, because the application takes each as soon as it is there. Once a second one comes, the buffer is
    one that can grow: one read may bring thousands of small chunks.
    """

    def on_body(self, body: bytes) -> None:
        """Take the next piece of a body."""
        if not self.cycle.body:
            self.cycle.body = body  # type: ignore[assignment]  # it is measured, and read as bytes
            super().on_body(b"")
            return
        held: object = self.cycle.body
        if isinstance(held, bytes):
            self.cycle.body = bytearray(held)
        super().on_body(body)
