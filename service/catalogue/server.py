"""What the catalogue is given of the server that it runs in."""

from typing import Annotated

from service.processors.dependencies import Depends
from service.settings import Settings, load_settings


async def server_settings() -> Settings:
    """Return the settings of the environment; a running server puts its own in the place of this."""
    return load_settings()


ServerSettings = Annotated[Settings, Depends(server_settings)]
