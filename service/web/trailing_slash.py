"""An address with a slash behind it is the same without: a redirect would have an upload sent twice, or not at all."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlash:
    """Passes a request for `/v1/jobs/` on as one for `/v1/jobs`; what does not follow redirects is answered, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)
