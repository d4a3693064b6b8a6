"""The web application, and the process that serves it."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from service.environment import CURE, read_variables
from service.errors import StartError
from service.forks import in_each_fork
from service.garbage import spare_what_stays
from service.logs import set_up_logs
from service.own_threads import leave_in_time
from service.runtime import open_runtime
from service.settings import Settings
from service.steady_loop import end_what_is_left, run_to_end, take_back_tasks
from service.version import version
from service.web import events, files, health, jobs, processors, remedies, stats
from service.web.dashboard import pages
from service.web.head import HeadAsGet, HeadFraming
from service.web.header_limit import BoundedHttpProtocol, HeaderLimit
from service.web.openapi import add_document
from service.web.problems import add_problem_handlers
from service.web.prompt_close import PromptClose
from service.web.trailing_slash import TrailingSlash

log = structlog.get_logger()

_CUT_OFF_S = 2.0
# longer than nginx and AWS (60), Traefik and Go (90) and Caddy (120), or they would send on what is just being closed
_KEEP_ALIVE_S = 130
_ROUTERS = (
    jobs.router, files.router, events.router, stats.router, processors.router, health.router, remedies.router,
    pages.router,
)  # fmt: skip


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
        redirect_slashes=False,  # `TrailingSlash` sees to them
        telemetry={"tracing": False, "metrics": False, "logs": False},  # it asks the environment at each request
    )
    app.state.trials = health.Trials()
    for router in _ROUTERS:
        app.include_router(router)
    add_problem_handlers(app)
    add_document(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(TrailingSlash)
    app.add_middleware(HeaderLimit)
    return app


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, within the grace.

    Raises:
        StartError: the service cannot start.
        SystemExit: nor is it known why.
    """
    set_up_logs(settings.log_level, settings.log_format)
    if links := read_variables(os.environ).links:
        log.warning("variables of Services ignored", variables=list(links), cure=CURE)
    # uvicorn hears these signals first, and passes them on when it is done: that is no reason to die of them
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with _bound(settings.host, settings.port) as listener:
        app = create_app(settings)
        config = uvicorn.Config(
            PromptClose(HeadFraming(app)),
            http=BoundedHttpProtocol,
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(int(settings.shutdown_grace_s), 1),
        )
        logging.getLogger("uvicorn.error").addFilter(lambda record: _is_news(record, app))
        server = _Server(config, app, settings)
        # not with asyncio.run, whose loop is the slow one: uvicorn takes uvloop, where it is installed;
        # SystemExit is how it ends when the lifespan could not start
        with suppress(SystemExit), _loop_of(config) as loop, in_each_fork(server.leave_to_the_parent):
            run_to_end(loop, server.serve([listener]))
    if (error := getattr(app.state, "start_error", None)) is not None:
        raise error
    if not server.started:
        raise SystemExit(1)  # the log has the traceback
    leave_in_time()


@contextmanager
def _loop_of(config: uvicorn.Config) -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop, and close it: not as `asyncio.Runner` does, which what user code left behind can hold up or stop."""
    make = config.get_loop_factory() or asyncio.new_event_loop
    with closing(make()) as loop:
        try:
            yield loop
        finally:
            end_what_is_left(loop)


class _Server(uvicorn.Server):
    """uvicorn, which says where it listens, and stops claiming jobs the moment it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._address = settings.data_folder / "server.json"
        self._grace_s = settings.shutdown_grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started and sockets:
            spare_what_stays()
            url = _url(sockets[0])
            _write_address(self._address, url)
            registry = self._app.state.runtime.registry
            log.info("processors loaded", catalogue=len(registry) - len(registry.own), own=registry.own)
            log.info("serving", dashboard=url, docs=f"{url}/docs", data_dir=str(self._address.parent))

    async def main_loop(self) -> None:
        """Go on until it is to stop, also when code on the event loop has cancelled this very task."""
        while not self.should_exit:
            try:
                await super().main_loop()
            except asyncio.CancelledError:
                log.error("code on the event loop has cancelled the server, which goes on")  # noqa: TRY400 - no accident
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()

    async def on_tick(self, counter: int) -> bool:
        """Look now and then whether the signals that stop the server still come here, and what makes its tasks."""
        if take_back_tasks(self._loop):
            log.error("code on the event loop has set a task factory, which was taken back")
        for number in HANDLED_SIGNALS:
            if signal.getsignal(number) != self.handle_exit:
                log.error("code in the server has taken a signal, which was taken back", signal=number.name)
                self._loop.remove_signal_handler(number)
                signal.signal(number, self.handle_exit)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, and the second time make haste: called by the signal handler."""
        super().handle_exit(sig, frame)
        if self.started:
            self._loop.call_soon_threadsafe(self._app.state.runtime.begin_stop)

    def leave_to_the_parent(self) -> None:
        """Hold no connection of a client in this process, a fork, and have a signal end it as any other program.

        A client that waits for the end of its connection would wait for that of the fork. The numbers stay taken: what
        else the fork opened under them, a transport that is cleared away would close.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        for one in self.server_state.connections:
            with suppress(Exception):  # one that is being closed
                os.dup2(nowhere, one.transport.get_extra_info("socket").fileno(), inheritable=False)
        os.close(nowhere)
        signal.set_wakeup_fd(-1)  # it leads to the loop of the parent
        for number in HANDLED_SIGNALS:
            if signal.getsignal(number) == self.handle_exit:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        running = sum(busy for busy, _ in self._app.state.runtime.pool.occupancy().values())
        log.info("stopping", running=running, grace_s=self._grace_s)
        await super().shutdown(sockets)
        if self.force_exit:  # then uvicorn leaves all as it is, but what runs is still to be put back
            await _cut_off(self.server_state.tasks)
            await self.lifespan.shutdown()
        self._address.unlink(missing_ok=True)
        log.info("stopped", put_back=self._app.state.runtime.put_back())


async def _cut_off(requests: Collection[asyncio.Task[None]]) -> None:
    """End the requests that are on their way; each clears away what it began."""
    for request in (waited := list(requests)):
        request.cancel()
    if waited:
        await asyncio.wait(waited, timeout=_CUT_OFF_S)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the address before anything else, so that a taken port is told at once."""
    try:
        listener = _bind(host[1:-1] if host[0] + host[-1] == "[]" else host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host can look like that
        why = getattr(error, "strerror", None) or error
        raise StartError(f"cannot listen on {host}:{port}: {why}; name another with --host and --port") from None
    # not `listener.close`: uvloop has a share in the socket, and keeps it open
    with listener, in_each_fork(lambda: os.close(listener.fileno())):
        yield listener


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # of a name that has addresses of both kinds, the one that FILEMILL_URL has by default
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    # the protocol is spelled out because asyncio sets TCP_NODELAY only where it sees it: 40 ms for each answer
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write_address(path: Path, url: str) -> None:
    """Leave the address where programs find it: whole, or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"url": url}), encoding="utf-8")
    temporary.replace(path)


def _is_news(record: logging.LogRecord, app: FastAPI) -> bool:
    """Keep out tracebacks of what is no accident.

    A reason not to start is told in a sentence by the command. Requests that are cut off because the grace is over
    have been counted in a line before.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not hasattr(app.state, "start_error") and not isinstance(error, asyncio.CancelledError)
