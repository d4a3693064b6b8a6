"""Filemill: what a processor's author imports."""

from service.processors.base import Fail, InputFile, JobContext, Processor, Retry, Snooze, processor
from service.processors.dependencies import Depends

__all__ = ["Depends", "Fail", "InputFile", "JobContext", "Processor", "Retry", "Snooze", "processor"]
