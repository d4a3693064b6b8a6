"""Which version this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """Return the version of the installed distribution."""
    try:
        return installed_version("filemill")
    except PackageNotFoundError:
        return "0+unknown"
