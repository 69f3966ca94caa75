"""The harness lives beside the integration tests; what is started here is private too."""

import pytest
from harness import world as worlds


def pytest_collection_modifyitems(items):
    why = worlds.missing_program()
    if items and why:
        pytest.exit(why, returncode=2)
