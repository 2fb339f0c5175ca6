"""One torch thread and one seed for the whole suite: no result depends on the machine's cores."""

import pytest
import torch

torch.set_num_threads(1)

LONG = (
    "test_stopped.py",
    "test_together.py",
    "test_pipeline.py",
    "test_six_steps_docs.py",
    "test_kills.py",
    "test_browser.py",
    "test_shared.py",
    "test_outage.py",
)
"""Files that take longest, few tests though they have."""


def pytest_collection_modifyitems(items):
    """Long files first: processes that share the files (`-n 2`) then end at about the same time."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
