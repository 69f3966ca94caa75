"""A short run of faults.py: many clients on a network that breaks. Longer ones are run by hand."""

import os

import faults
import pytest

# The seed decides what is drawn, not how clients and faults meet: a run is never quite another's.
SEED = os.environ.get("POSTERN_FAULT_SEED", "7")
SECONDS = int(os.environ.get("POSTERN_FAULT_SECONDS", "8"))


@pytest.mark.needs_postern
def test_on_a_network_that_breaks_nothing_is_crossed_lost_or_left_behind():
    with faults.Run(SEED, SECONDS, clients=16) as run:
        try:
            run.go()
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}: {error}\n{run.summary()}\n{run.postern.log_text()}") from error
