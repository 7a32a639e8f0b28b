"""The emulator answers any fields with documented codes only.

Any bytes, and many clients at once, are sent to it in ``nightly/fuzz_emulator.py``.
"""

import json

from asking import APPID, CLASSIC, ENV, RIGHT, asking, populated
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.emulator.wire import ERRMSG

DOCUMENTED = {0, *ERRMSG}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", "\x00", ENV, APPID])
)
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@st.composite
def spoilt(draw, right):
    """A right set of fields, with none, some or all of them wrong or missing."""
    spoil = draw(st.sets(st.sampled_from(sorted(right)))) if right else set[str]()
    fields = {key: draw(anything) if key in spoil else value for key, value in right.items()}
    return {key: value for key, value in fields.items() if key not in spoil or draw(st.booleans())}


@st.composite
def calls(draw):
    """A method, a path, the kind of its token, and its fields, of which each may be right."""
    path = draw(st.sampled_from(sorted(RIGHT)))
    right_method = "GET" if path == CLASSIC else "POST"
    return (
        draw(st.sampled_from([right_method, right_method, right_method, "GET", "PUT"])),
        path,
        draw(st.sampled_from(["own", "platform"]) | st.text()),
        draw(spoilt(RIGHT[path])),
    )


@given(call=calls())
async def test_any_fields_at_any_endpoint_get_a_documented_answer(call):
    method, path, token, fields = call
    async with asking(populated()) as asker:
        if token == "own":
            token = asker.emulator.token
        elif token == "platform":
            token = await asker.platform_token()
        query = {"access_token": token} | (fields if path == CLASSIC else {})
        sent = {key: str(value).encode(errors="replace").decode() for key, value in query.items()}
        body = json.dumps(fields).encode()
        status, reply = await asker.send(method, path, data=body, **sent)
    assert status == 200
    assert json.loads(reply).get("errcode", 0) in DOCUMENTED
