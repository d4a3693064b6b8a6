"""An address with a slash behind it is the same without: a redirect would have an upload sent twice, or not at all."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlash:
    """Passes a request for `/v1/jobs/` on as one for `/v1/jobs`; what does not follow redirects is answered, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and (path := _without_slash(scope)) != scope["path"]:
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def _without_slash(scope: Scope) -> str:
    """Return the path; where the app is mounted, or told its `root_path`, the slash behind that is its own page."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    begin = len(root) if f"{path}/".startswith(f"{root}/") else 0
    return str(path[:begin] + (path[begin:].rstrip("/") or "/"))
