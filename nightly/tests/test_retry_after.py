"""Any text of a Retry-After header is a finite number of seconds, or unreadable."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tcb_async._transport.translation import read_retry_after

dates = st.builds(
    "{}, {} {} {} {} {}".format,
    st.sampled_from(["Mon", "Xyz", ""]),
    st.integers(-5, 10**6),
    st.sampled_from(["Jan", "Dec", "Foo", "99"]),
    st.integers(-5, 10**12),
    st.sampled_from(["00:00:00", "99:99:99", "24:00", ""]),
    st.sampled_from(["GMT", "", "-0000", "+2500", "+9999999999999999999", "EST"]),
)


@given(st.text() | dates | st.floats().map(str) | st.integers().map(str))
@example("9" * 4000)
@example("Thu, 01 Jan 1970 00:00:00 -9999")
def test_retry_after_is_finite_or_none(value):
    seconds = read_retry_after(value)

    assert seconds is None or 0 <= seconds < float("inf")
