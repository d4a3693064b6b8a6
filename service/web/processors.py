"""/v1/processors: what this server can do."""

from fastapi import APIRouter

from service.errors import UnknownProcessorError
from service.web.problems import problem_responses
from service.web.requests import ProcessorName, Service
from service.web.schemas import PROCESSORS, ProcessorList, ProcessorView, processor_view

router = APIRouter(prefix=PROCESSORS, tags=["processors"])


@router.get("", responses=problem_responses())
async def list_processors(service: Service) -> ProcessorList:
    """List the processors, by name."""
    return ProcessorList(items=[processor_view(one, service.settings) for one in service.registry.values()])


@router.get("/{name}", responses=problem_responses(UnknownProcessorError))
async def get_processor(name: ProcessorName, service: Service) -> ProcessorView:
    """Look at a processor: what it accepts, and the JSON Schema of its params."""
    return processor_view(service.registry.get_named(name), service.settings)
