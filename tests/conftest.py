"""What holds for all tests: the order in which workers take them, and the examples of Hypothesis."""

import os

import pytest
from hypothesis import settings

# threads of torch that wait keep a core busy, which another worker needs
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("tests.images", "tests.real_files")
settings.register_profile("full", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=15)
settings.load_profile("full")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first, so that workers end together."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is None
            and "first_run" not in getattr(item, "fixturenames", ())
        )
    )
