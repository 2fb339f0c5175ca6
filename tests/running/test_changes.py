"""One rule and one message for whatever has changed since a run began."""

import pytest

from diffsci.errors import DataError
from diffsci.running.changes import Change, ChangedError, changes, names, refuse_changes

OLD = {"a.lr": 1.0, "a.steps": 3, "gone": 1}
NEW = {"a.lr": 2.0, "a.steps": 3, "new": None}


def refused(found, *allow, **given):
    return refuse_changes(found, allow, what="x: another", hint="mend it", **given)


def test_changes_are_listed_by_key_with_old_and_new():
    """A key that is not there counts as none: `new: null` is no change."""
    assert changes(OLD, NEW) == [
        Change(key="a.lr", old=1.0, new=2.0),
        Change(key="gone", old=1, new=None),
    ]
    assert changes(NEW, NEW) == []


def test_a_word_names_a_key_all_below_it_and_what_is_recorded_whole():
    assert names("a", "a.lr") and names("a.lr", "a.lr") and names("a.lr.x", "a.lr")
    assert not names("a.l", "a.lr") and not names("a.lr", "a.steps") and not names("b", "a.lr")


def test_what_is_not_allowed_is_told_with_the_way_to_allow_it():
    found = changes(OLD, NEW)
    with pytest.raises(ChangedError) as error:
        refused(found)
    assert str(error.value) == (
        "x: another (a.lr: 1.0 -> 2.0; gone: 1 -> null); mend it; "
        "or go on and have it recorded with --allow a.lr --allow gone"
    )
    with pytest.raises(DataError, match=r"another \(gone: 1 -> null\)"):
        refused(found, "a", kind=DataError)
    assert refused(found, "a", "gone") == tuple(found)
    assert refused([]) == ()


def test_digests_are_told_by_their_first_digits():
    """Which are many enough; what is recorded has all."""
    found = Change(key="data.content.train", old="ab" * 32, new="cd" * 32)
    assert str(found) == "data.content.train: 'abababababab' -> 'cdcdcdcdcdcd'"
    assert found.old == "ab" * 32
    assert str(Change(key="name", old="abc", new="abd")) == "name: 'abc' -> 'abd'"


def test_many_are_counted_and_allowed_by_section_data_and_code_whole():
    many = [Change(key=f"a.k{n}", old=0, new=1) for n in range(6)]
    with pytest.raises(ChangedError, match=r"; and 2 more\).*recorded with --allow a$"):
        refused(many)
    whole = [Change(key=key, old=0, new=1) for key in ("data.content.train", "code.diffsci")]
    with pytest.raises(ChangedError, match="with --allow data --allow code$"):
        refused(whole)
