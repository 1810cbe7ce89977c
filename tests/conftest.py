"""What holds for all tests: the order in which workers take them, and the examples of Hypothesis."""

import os

import pytest
from hypothesis import settings

# threads of torch that wait keep a core busy, which another worker needs
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("tests.images")
settings.register_profile("full", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=15)
settings.load_profile("full")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first, so that workers end together; those that share a run go to one worker."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if "first_run" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("first run"))
