"""FastAPI takes photos in, Celery on Redis makes the thumbnails, by libvips with Filemill's settings."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import os
import uuid
from pathlib import Path

from celery import Celery
from fastapi import FastAPI, UploadFile

PIECE_BYTES = 1024**2
FOLDER = Path(os.environ["BENCH_FOLDER"])
WIDTH, QUALITY = 800, 80

celery = Celery("photos", broker=os.environ["BENCH_REDIS"])
celery.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_send_task_events=False)
app = FastAPI()


@celery.task(name="thumbnail")
def thumbnail(name):
    import pyvips  # noqa: PLC0415 - only the worker needs it

    pyvips.cache_set_max(0)
    image = pyvips.Image.thumbnail(str(FOLDER / "in" / name), WIDTH, height=10_000_000, size="down")
    partial = FOLDER / f"{name}.part.jpg"
    image.jpegsave(str(partial), Q=QUALITY, optimize_coding=True, keep="none")
    partial.rename(FOLDER / "out" / f"{name}.jpg")


@app.post("/photos", status_code=202)
async def take(file: UploadFile):
    name = uuid.uuid4().hex
    with (FOLDER / "in" / name).open("wb") as target:
        while piece := await file.read(PIECE_BYTES):
            target.write(piece)
    thumbnail.delay(name)
    return {"name": name}
