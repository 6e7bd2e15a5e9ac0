"""How tests are spread over processes, where there are several: `pytest -n 2`."""

from __future__ import annotations

from pathlib import Path

import pytest

NETWORK = Path(__file__).parent / "network"


def pytest_configure(config: pytest.Config) -> None:
    """End when a process has crashed, and say in which test: with another in its place xdist 3.8 may wait for ever."""
    if config.getoption("maxworkerrestart", None, skip=False) is None and config.pluginmanager.hasplugin("xdist"):
        config.option.maxworkerrestart = "0"


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files stay whole, for what is compiled in one; so do all tests with nodes, which would starve each other."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "network" if NETWORK in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
