"""The web application, and the process that serves it."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from service.errors import StartError
from service.logs import set_up_logs
from service.runtime import open_runtime
from service.settings import Settings
from service.version import version
from service.web import files, health, jobs, processors
from service.web.problems import add_problem_handlers

log = structlog.get_logger()

_ROUTERS = (jobs.router, files.router, processors.router, health.router)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its lifespan opens the service, starts the consumers, and drains them at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with open_runtime(settings) as app.state.runtime:
                yield
        except StartError as error:
            app.state.start_error = error
            raise

    app = FastAPI(
        title="Filemill",
        version=version(),
        summary="Takes files over HTTP, answers at once, and processes them in the background without losing one.",
        lifespan=lifespan,
    )
    for router in _ROUTERS:
        app.include_router(router)
    add_problem_handlers(app)
    return app


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, within the grace.

    Raises:
        StartError: the service cannot start.
    """
    set_up_logs(settings.log_level, settings.log_format)
    # uvicorn hears these signals first, and passes them on when it is done: that is no reason to die of them
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with _bound(settings.host, settings.port) as listener:
        app = create_app(settings)
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=max(int(settings.shutdown_grace_s), 1),
        )
        logging.getLogger("uvicorn.error").addFilter(_is_not_ours)
        asyncio.run(_Server(config, app, settings).serve([listener]))
    if (error := getattr(app.state, "start_error", None)) is not None:
        raise error


class _Server(uvicorn.Server):
    """uvicorn, which says where it listens, and stops claiming jobs the moment it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._address = settings.data_dir / "server.json"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started and sockets:
            url = _url(sockets[0])
            _write_address(self._address, url)
            log.info("serving", url=url, docs=f"{url}/docs", data_dir=str(self._address.parent.resolve()))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop: called by the signal handler."""
        super().handle_exit(sig, frame)
        if self.started:
            self._loop.call_soon_threadsafe(self._app.state.runtime.begin_stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping")
        await super().shutdown(sockets)
        self._address.unlink(missing_ok=True)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the address before anything else, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise StartError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; name another with --host and --port"
            ) from None
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write_address(path: Path, url: str) -> None:
    """Leave the address where programs find it: whole, or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"url": url}), encoding="utf-8")
    temporary.replace(path)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Keep out uvicorn's traceback of a `StartError`, which is raised, and told in a sentence, by `serve`."""
    return "StartError" not in (text := record.getMessage()) and "service.errors." not in text
