"""Fixtures of the integration tests; what they start is private and ends with the test file."""

import pytest
from harness import world as worlds


def pytest_collection_modifyitems(items):
    why = worlds.missing_program()
    for item in items:
        if why:
            pytest.exit(why, returncode=2)
        if worlds.DIRECT_ONLY and "needs_postern" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="says something of Postern alone"))


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_postern: says something of Postern alone")
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows the end of Postern's log."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            postern = getattr(value, "postern", None)
            if postern is not None:
                report.sections.append(("postern's log", postern.log_text(3000)))
