"""Two complete lists of functions: what changed, and what differs from a declaration."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async import BatchFunction, CloudFunction, ConfigurationError, StatusReason
from tcb_async.compare import DeclaredFunction, FunctionChange, changes
from tcb_async.documents import read_functions

LOGIN = CloudFunction("login", "Active", "Nodejs16.13", mod_time="2026-11-25 09:30:00")
PAY = CloudFunction("payNotify", "UpdateFailed", "Go1")
SYNC = CloudFunction("syncErp", "Active")
UPDATING = CloudFunction("login", "Updating", "Nodejs16.13")


listings = st.lists(
    st.builds(CloudFunction, st.sampled_from("abcdefgh"), st.sampled_from(["Active", "Updating"])),
    unique_by=lambda function: function.name,
)


class TestChanges:
    """``changes`` compares two listings."""

    @given(before=listings, after=listings)
    def test_they_turn_one_listing_into_the_other(self, before, after):
        functions = {function.name: function for function in before}
        found = changes(before, after)
        assert len({change.name for change in found}) == len(found)
        for change in found:
            if change.before is not None:
                assert functions.pop(change.name) == change.before
            if change.after is not None:
                assert change.name not in functions
                functions[change.name] = change.after

        assert functions == {function.name: function for function in after}

    @given(listing=listings, data=st.data())
    def test_a_different_order_is_not_a_change(self, listing, data):
        assert changes(listing, data.draw(st.permutations(listing))) == []

    def test_each_change_has_the_old_and_the_new_function(self):
        assert changes([LOGIN, PAY], [UPDATING]) == [
            FunctionChange("removed", PAY, None),
            FunctionChange("updated", LOGIN, UPDATING, ("status", "mod_time")),
        ]
        assert changes([], [PAY]) == [FunctionChange("added", None, PAY)]

    @pytest.mark.parametrize("argument", ["before", "after"])
    def test_a_name_that_appears_twice_is_refused(self, argument):
        listings = {"before": [], "after": [], argument: [LOGIN, PAY, UPDATING]}
        with pytest.raises(ConfigurationError, match=f"^{argument} has the function 'login' twice"):
            changes(**listings)


@pytest.fixture
def declared(tmp_path):
    path = tmp_path / "cloudbaserc.json"
    functions = [{"name": "login", "runtime": "Nodejs18.15"}, {"name": "payNotify"}, {"name": "x"}]
    path.write_text(json.dumps({"functions": functions}), encoding="utf-8")
    return read_functions(path)


def test_a_declaration_is_compared_in_what_it_names(declared):
    differences = changes(declared, [SYNC, LOGIN, PAY], times=False)

    assert [(each.kind, each.name, each.details) for each in differences] == [
        ("removed", "x", ""),
        ("added", "syncErp", "Active"),
        ("updated", "login", "runtime Nodejs18.15 → Nodejs16.13, recreated"),
        ("updated", "payNotify", "status Active → UpdateFailed"),
    ]
    assert [each.after for each in differences[:2]] == [None, SYNC]


def test_times_are_compared_on_request(declared):
    times = {"add_time": "2026-11-24 09:30:00", "mod_time": "2026-11-26 09:30:00"}
    redeployed = [CloudFunction("login", "Active", "Nodejs16.13", **times)]
    first = [CloudFunction("login", "Active", "Nodejs16.13", times["add_time"], LOGIN.mod_time)]

    assert changes(first, redeployed, times=False) == []
    (difference,) = changes(first, redeployed)
    assert (difference.fields, difference.details[:19]) == (("mod_time",), "mod_time 2026-11-25")
    (_, _, difference) = changes(declared, redeployed)
    assert difference.fields == ("runtime",)


@pytest.mark.parametrize("field", ["status", "runtime", "mod_time"])
def test_none_differs_from_a_value(field):
    without = attrs.evolve(LOGIN, **{field: "" if field == "status" else None})
    for expected, found in ((LOGIN, without), (without, LOGIN)):
        (difference,) = changes([expected], [found])
        assert difference.fields == (field,)
    assert changes([without], [without]) == []


def test_no_runtime_equals_an_empty_one():
    assert (
        changes([CloudFunction("a", "Active", "")], [CloudFunction("a", "Active")], times=False)
        == []
    )


def test_a_name_that_appears_twice_is_refused():
    twice = [CloudFunction("login", "UpdateFailed"), CloudFunction("login", "Active")]
    advice = "has the function 'login' twice: remove one, or compare each environment separately"
    with pytest.raises(ConfigurationError, match=f"^after {advice}"):
        changes([LOGIN], twice, times=False)
    with pytest.raises(ConfigurationError, match=f"^before {advice}"):
        changes(twice, [LOGIN], times=False)


@pytest.mark.parametrize("wrong", [["login"], "login", None])
def test_other_values_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="must be a list of CloudFunctions"):
        changes([LOGIN], wrong, times=False)
    with pytest.raises(ConfigurationError, match=r"before.* must be a list of CloudFunctions"):
        changes(wrong, [LOGIN], times=False)


@pytest.mark.parametrize("runtime", [None, "", "Nodejs16.13"])
def test_a_declaration_may_be_either_list(runtime):
    declared = [DeclaredFunction("login", runtime=runtime)]
    assert changes([LOGIN], declared) == changes(declared, [LOGIN]) == []
    (change,) = changes([attrs.evolve(LOGIN, status="Updating", runtime="Go1")], declared)
    assert {*change.fields} == ({"status", "runtime"} if runtime else {"status"})


def test_every_field_of_a_subclass_is_compared():
    reasons = (StatusReason("ResourceNotFound.File", "no file"),)
    before = BatchFunction("login", "CreateFailed", status_reason=reasons)
    after = attrs.evolve(before, status_reason=())
    for times in (True, False):
        (change,) = changes([before], [after], times=times)
        assert change.fields == ("status_reason",)
    assert changes([before], [CloudFunction("login", "CreateFailed")]) == []
    assert changes([CloudFunction("login", "CreateFailed")], [before]) == []


def test_an_error_names_the_file(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text("name\nlogin\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"all\.csv: it is damaged, or is not JSON"):
        read_functions(path)
    with pytest.raises(FileNotFoundError):
        read_functions(tmp_path / "nowhere.json")
