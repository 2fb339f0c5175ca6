"""One torch thread and one seed for the whole suite: no result depends on the machine's cores."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
