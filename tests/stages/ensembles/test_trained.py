"""The pipeline of a trained model that was never to be sampled."""

import pytest

from diffsci.stages.ensembles.trained import trained

FILE = """name: alone
data: {entry: ks_train, domain: pde, task: forecast, split: {train: {}, test: {}}}
model: {}
train: {steps: 1, objective: OBJECTIVE}
"""


@pytest.mark.parametrize(
    ("objective", "direct", "members"),
    [("edm", False, 16), ("crps", True, 16), ("deterministic", True, 1)],
)
def test_a_run_without_a_section_sample_takes_one_that_its_objective_can_make(
    tmp_path, objective, direct, members
):
    file = tmp_path / "config.yaml"
    file.write_text(FILE.replace("OBJECTIVE", objective))
    section = trained(file).pipeline.sample
    assert (section.sampler is None, section.members) == (direct, members)
    # What is said on the command line goes before.
    assert trained(file, ["sample.leads=7"]).pipeline.sample.leads == 7
