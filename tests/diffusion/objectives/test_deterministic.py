"""One forecast: least for the mean, or for the median."""

import pytest
import torch

from diffsci.diffusion.objectives.deterministic import Deterministic


@pytest.mark.parametrize(("error", "best"), [("squared", 3.0), ("absolute", 1.0)])
def test_what_is_best(error, best):
    """Of the truths 0, 1 and 8 the mean is 3 and the median 1."""
    truth = torch.tensor([0.0, 1.0, 8.0], dtype=torch.float64).reshape(3, 1, 1)
    places = torch.linspace(0, 8, 81, dtype=torch.float64)
    loss = [
        float(Deterministic(error=error).loss(place.expand(1, 3, 1, 1), truth).mean())
        for place in places
    ]
    assert float(places[int(torch.tensor(loss).argmin())]) == pytest.approx(best)


def test_by_hand():
    found = torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    target = torch.tensor([4.0, -1.0]).reshape(1, 1, 2)
    assert Deterministic().loss(found, target).flatten().tolist() == [9.0, 1.0]
    assert Deterministic(error="absolute").loss(found, target).flatten().tolist() == [3.0, 1.0]
