"""Filemill: what a processor's author imports."""

from service.processors.base import Fail, InputFile, JobContext, Processor, Retry, Snooze, processor

__all__ = ["Fail", "InputFile", "JobContext", "Processor", "Retry", "Snooze", "processor"]
