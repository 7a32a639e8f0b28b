"""Outages of endpoints: when they begin, count and end."""

import pytest

from tcb_async._transport.outages import Outages

PATH = "/tcb/listfunctions"
LONGEST_CALL = 90.0


@pytest.fixture
def outages():
    """Calls to one endpoint have failed from 5 s to 100 s."""
    outages = Outages(LONGEST_CALL)
    outages.note_failure(PATH, 5.0, "first")
    outages.note_failure(PATH, 50.0, "second")
    outages.note_failure(PATH, 100.0, "third")
    return outages


def test_outage_is_of_one_endpoint_and_has_its_latest_error(outages):
    outages.note_reply("/tcb/getenvinfo")

    assert outages.find(PATH, 101.0).error == "third"
    assert outages.find("/tcb/getenvinfo", 101.0) is None


def test_reply_ends_an_outage(outages):
    outages.note_reply(PATH)

    assert outages.find(PATH, 101.0) is None


def test_outage_counts_when_it_is_longer_than_any_call(outages):
    assert outages.find(PATH, 95.0) is None
    assert outages.find(PATH, 95.1) is not None


def test_outage_that_no_call_confirms_is_forgotten(outages):
    assert outages.find(PATH, 190.0) is not None
    assert outages.find(PATH, 190.1) is None


def test_failure_after_a_long_pause_begins_a_new_outage(outages):
    outages.note_failure(PATH, 100_000.0, "of the next night")

    assert outages.find(PATH, 100_001.0) is None
