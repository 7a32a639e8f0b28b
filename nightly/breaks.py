"""The rules of the walk, each broken on purpose, and the laws that must notice.

Rule: a break is the smallest change that a hurried hand might make.
"""

from __future__ import annotations

from typing import Any

from test_plan import TestLaws

from tcb_async.cursor import digest
from tcb_async.pagination.memory import Record
from tcb_async.pagination.plan import Mode, Plan

__all__ = ["BREAKS", "LAWS", "TestLaws"]

_PLAN = "tcb_async.pagination.plan.Plan"
_RECORD = "tcb_async.pagination.memory.Record"
_IDENTITY = "tcb_async.pagination.memory.Identity"


def _names_of(_self, items):
    return [item.name for item in items]


def _is_same_by_name(_self, kept, item):
    if isinstance(kept, bytes):
        return kept == digest(item.name)
    return item.name == (kept if isinstance(kept, str) else kept.name)


_knows, _digests = Record.knows, Record.digests


def _knows_512(self, name):
    return name in self._order[:512] or (bool(self.earlier) and _knows(self, name))


def _never_all_new(_self, _names):
    return False


def _forgetful_cursor(self, unread):
    return _digests(self, unread)[-24:]


def _no_check(self):
    self._enter(Mode.ENDED)


_begin = Plan._begin  # a break replaces a private step on purpose


def _no_second_pass(self, mode):
    if mode is Mode.READING:
        self._enter(Mode.ENDED)
    else:
        _begin(self, mode)


def _nothing_passed_over(_self):
    return False


def _never_twice(_self, _names, _record):
    return False


_join = Plan._join  # likewise


def _no_progress(self, *arguments, **named):
    before = self._idle_repairs
    rows = _join(self, *arguments, **named)
    self._idle_repairs = max(self._idle_repairs, before)
    return rows


BREAKS: dict[str, dict[str, object]] = {
    "join by name": {
        f"{_IDENTITY}.is_same": _is_same_by_name,
        f"{_IDENTITY}.texts": _names_of,
    },
    "landmark by name": {f"{_IDENTITY}.texts": _names_of},
    "memory of 512": {
        f"{_RECORD}.knows": _knows_512,
        f"{_RECORD}.add_if_new": _never_all_new,
    },
    "cursor forgets names": {f"{_RECORD}.digests": _forgetful_cursor},
    "no head check": {f"{_PLAN}._end_pass": _no_check},
    "no second pass": {f"{_PLAN}._begin": _no_second_pass},
    "a name may come twice": {"tcb_async.pagination.plan.Pass.comes_twice": _never_twice},
    "no count": {f"{_PLAN}._passed_over_rows": _nothing_passed_over},
    "budget without progress": {f"{_PLAN}._join": _no_progress},
}

LAWS: tuple[Any, ...] = (
    TestLaws.test_rows_that_stay_are_yielded_once_through_all_changes_or_the_walk_fails,
    TestLaws.test_a_walk_in_several_runs_keeps_the_promise_of_an_unbroken_walk,
    TestLaws.test_rows_that_only_change_places_are_never_lost_or_the_walk_says_so,
    TestLaws.test_rows_that_only_change_places_are_not_lost_between_runs_either,
    TestLaws.test_a_consumer_that_changes_each_item_that_it_gets_comes_to_the_end,
)
