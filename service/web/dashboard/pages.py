"""/: the pages of the dashboard, and the files that they load.

A page is the frame of a view; its script asks the API for what is in it. The policy lets a page load nothing from
another host and run nothing that is written into it, so what a hostile name might smuggle in stays text.
"""

from functools import cache
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.states import State
from service.version import version
from service.web.dashboard.assets import MEDIA_TYPES, load_assets
from service.web.dashboard.catalogue import groups, processor_facts
from service.web.requests import JobId, ProcessorName, Service
from service.web.schemas import processor_view

router = APIRouter(include_in_schema=False)

_TEMPLATES = Path(__file__).parents[1] / "templates"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"


# `def`: the first page reads the templates and the assets, which must not hold up the loop


@router.get("/")
def overview() -> HTMLResponse:
    """Show how the queue is doing."""
    return _page("overview", "Overview")


@router.get("/jobs")
def jobs(service: Service) -> HTMLResponse:
    """Show the list of jobs."""
    return _page("jobs", "Jobs", states=list(State), processors=list(service.registry))


@router.get("/jobs/{job_id}")
def job(job_id: JobId) -> HTMLResponse:
    """Show a job; its script says so where there is none."""
    return _page("job", "Job", job_id=job_id)


@router.get("/upload")
def upload(service: Service) -> HTMLResponse:
    """Show the form to submit jobs."""
    return _page("upload", "Upload", groups=groups(service.registry.values()))


@router.get("/processors")
def processors(service: Service) -> HTMLResponse:
    """Show the catalogue."""
    return _page("processors", "Processors", groups=groups(service.registry.values()))


@router.get("/processors/{name}")
def processor(name: ProcessorName, request: Request, service: Service) -> HTMLResponse:
    """Show what a processor takes, and how to call it."""
    if name not in service.registry:
        return _page("missing", "No such processor", HTTPStatus.NOT_FOUND, wanted=name)
    view = processor_view(service.registry.get_named(name), service.settings)
    return _page("processor", name, one=view, facts=processor_facts(view, str(request.base_url).rstrip("/")))


@router.get("/static/{release}/{name:path}")
def asset(release: str, name: str) -> Response:
    """Send a script, the stylesheet or the icon."""
    assets = load_assets()
    content = assets.files.get(name)
    if content is None:
        return Response(status_code=HTTPStatus.NOT_FOUND, headers=_HEADERS)
    caching = _FOR_EVER if release == assets.version else "no-cache"  # a page of an older server may still ask
    media_type = MEDIA_TYPES[PurePosixPath(name).suffix]
    return Response(content, headers={**_HEADERS, "Cache-Control": caching}, media_type=media_type)


def _page(name: str, title: str, status: HTTPStatus = HTTPStatus.OK, **facts: Any) -> HTMLResponse:
    assets = load_assets()
    script = f"js/{name}_page.js"
    script = script if script in assets.files else "js/shell.js"
    html = (
        _environment()
        .get_template(f"{name}.html")
        .render(
            page=name, title=title, version=version(), assets=f"/static/{assets.version}", script=script,
            modules=assets.modules_of(script), **facts,
        )
    )  # fmt: skip
    return HTMLResponse(html, status, {**_HEADERS, "Cache-Control": "no-cache"})


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
