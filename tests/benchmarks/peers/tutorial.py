"""The FastAPI tutorial: `UploadFile`, and work by `BackgroundTasks`. Nothing is durable, nothing is hashed."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import os
import time
import uuid
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI, UploadFile

PIECE_BYTES = 1024**2
FOLDER = Path(os.environ["BENCH_FOLDER"])

app = FastAPI()
jobs = {"known": {"id": "known", "state": "running", "processor": "spin"}}


def noop(path):
    """The work after the upload."""


def spin(seconds):
    """Keep one core busy: a plain function, which Starlette runs in a thread."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@app.post("/copy", status_code=202)
async def copy(file: UploadFile, background: BackgroundTasks):
    path = FOLDER / uuid.uuid4().hex
    with path.open("wb") as target:
        while piece := await file.read(PIECE_BYTES):
            target.write(piece)
    background.add_task(noop, path)
    return {"name": path.name}


@app.post("/read", status_code=202)
async def read(file: UploadFile, background: BackgroundTasks):
    contents = await file.read()
    path = FOLDER / uuid.uuid4().hex
    with path.open("wb") as target:
        target.write(contents)
    background.add_task(noop, path)
    return {"name": path.name}


@app.post("/spin", status_code=202)
async def start_spin(seconds: float, background: BackgroundTasks):
    background.add_task(spin, seconds)
    return {}


@app.get("/jobs/{job_id}")
async def get_job(job_id: str):
    return jobs[job_id]
