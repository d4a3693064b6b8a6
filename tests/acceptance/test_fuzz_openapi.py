"""What the OpenAPI document says is true of a running server, also for requests that nobody would think of.

The long form (`python -m tests.chaos --only fuzz`) sends thousands.
"""

import os
import random

import pytest

from tests.chaos import fuzz

SEED = os.environ.get("FUZZ_SEED") or str(random.getrandbits(32))
EXAMPLES, LEAST = 3, 200


@pytest.mark.skipif(fuzz.COMMAND is None, reason="schemathesis is not installed; pip install 'filemill[test]'")
def test_answers_to_requests_of_every_kind_are_as_the_document_says_and_never_a_5xx(tmp_path):
    print(f"repeat this run with FUZZ_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    found = fuzz.run_schemathesis(tmp_path, SEED, examples=EXAMPLES)
    assert not found.wrong, "\n".join(found.wrong)
    assert found.cases >= LEAST
