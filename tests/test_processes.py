"""What conftest.py asks of xdist."""

from __future__ import annotations

import pytest


def test_the_tests_of_a_file_stay_in_one_process(request: pytest.FixtureRequest) -> None:
    """A group that xdist does not see is none, and nothing else says so."""
    if not request.config.getoption("loadgroup", False, skip=False):
        pytest.skip("not one of several processes: pytest -n 2 --dist loadgroup")
    assert request.node.nodeid.endswith(f"@{__file__}")
