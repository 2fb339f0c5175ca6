"""Where a store comes from, as its attributes say it."""

import copy

from diffsci.stages.ensembles.provenance import provenance

PLAIN = {
    "name": "a",
    "data": {"source": "a.nc"},
    "model": {},
    "train": {"steps": 6, "amplitude": 0.0},
    "seed": 0,
    "sample": {
        "sampler": None,
        "guidance": None,
        "observed": None,
        "members": 4,
        "persistent_noise": 0.0,
    },
}


def changed(section, **keys):
    plain = copy.deepcopy(PLAIN)
    plain[section] |= keys
    return provenance(plain, 0)


def test_a_store_of_before_there_were_some_keys_says_the_same():
    older = copy.deepcopy(PLAIN)
    del older["train"]["amplitude"], older["sample"]["persistent_noise"]
    assert provenance(older, 0) == provenance(PLAIN, 0)
    assert "diffsci_persistent_noise" not in provenance(PLAIN, 0)


def test_what_is_asked_of_them_is_told():
    told = changed("sample", persistent_noise=0.3)
    assert told["diffsci_persistent_noise"] == 0.3
    digests = [told, changed("train", amplitude=0.3), changed("train", steps=7), changed("train")]
    assert len({each["diffsci_config"] for each in digests}) == 4


def test_how_much_is_sampled_is_not_what():
    assert changed("sample", members=8) == provenance(PLAIN, 0)
