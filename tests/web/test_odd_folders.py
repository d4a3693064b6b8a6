"""A whole service on a data folder whose path is read in other ways than as a path, by one library or another."""

import pytest

from service.settings import Settings
from tests.integration.catalogue import SAMPLES

ODD = "what?x%20#;&=:'{1..3}/region=eu/[*]"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"data_dir": settings.data_dir / ODD})


async def test_a_service_works_whatever_its_folder_is_called(submit, finished, client, settings):
    table = ("iris.csv", (SAMPLES / "iris.csv").read_bytes())
    photo = ("chelsea.png", (SAMPLES / "chelsea.png").read_bytes())
    described = await finished(await submit(table, processor="table.profile"))
    assert [one["name"] for one in described["result"]["files"][0]["columns"]][1:] == [
        "4",
        "setosa",
        "versicolor",
        "virginica",
    ]
    [output] = (await finished(await submit(photo, processor="image.thumbnail", params='{"width": 20}')))["outputs"]
    assert (await client.get(output["links"]["content"])).is_success
    assert (await client.get("/readyz")).json()["status"] == "ok"
    assert {path.name for path in settings.data_dir.iterdir()} >= {"filemill.db", "filemill.lock", "files"}
    assert [path.name for path in settings.data_dir.parents[2].iterdir()] == [settings.data_dir.parents[1].name]
