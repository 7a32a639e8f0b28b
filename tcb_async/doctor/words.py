"""What a report shows of WeChat's texts: documented words.

Rule: any other word may be the user's, and is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tcb_async.errcodes import look_up, look_up_tcb_code
from tcb_async.exceptions import ApiError, TcbError, TransportError

ENVIRONMENT_STATUSES = ("NORMAL", "HALTED", "UNAVAILABLE")
RUNTIME = re.compile(
    r"(Nodejs|Python|Php|Java|Go|Golang)\d{1,2}(\.\d{1,2})?|CustomRuntime|CustomImage"
)
TIME = "0000-00-00 00:00:00"
_DIGIT = re.compile(r"[0-9]")
_SHAPE = re.compile(r"[0T:Z .+/-]{1,30}")  # of a time
_QUOTATION_OR_ADVICE = re.compile(r"""['"]|; """)
# Other words of Tencent Cloud's documentation of functions and environments: a server may send
# them here one day, and none of them is a user's.
_DOCUMENTED_WORDS = frozenset(
    """
    AddTime AsyncRunEnable AvailableStatus CodeSize Description EipConfig FunctionId FunctionName
    FunctionVersion Functions Handler ImageConfig L5Enable MemorySize ModTime Namespace Qualifier
    Region RequestId Role Runtime Status StatusDesc StatusReasons Tags Timeout Total TotalCount
    TraceEnable Triggers Type VpcConfig VpcInfo requestId request_id rid resp_data hint pager
    total limit offset status_reason status_desc function_id memory_size namespace description
    tags type handler timeout region EnvId Source Alias CreateTime UpdateTime PackageId
    PackageName Databases Storages LogServices StaticStorages IsAutoDegrade EnvChannel PayMode
    IsDefault EnvType PackageType dbinstance_id bucket_id update_ime Inactive Deleted Event HTTP
    ISOLATED ABNORMAL errcode errmsg data list count
    """.split()  # noqa: SIM905 - words
)


def show(words: Iterable[str]) -> list[str]:
    """Return the documented words, sorted; `[hidden]` stands for all others."""
    return sorted({f"`{word}`" if word in _DOCUMENTED_WORDS else "[hidden]" for word in words})


def describe_publicly(error: TcbError) -> str:
    """Describe an error without text of WeChat's, and without names of functions.

    Our texts quote whatever is not ours, so a text is shown up to its first quotation mark, or to
    its advice.
    """
    if isinstance(error, ApiError) and error.errcode is not None:
        row = look_up_tcb_code(error.tcb_code or "")
        code = f", TcbCode {row.prefix}" if row is not None else ""
        return f"errcode {error.errcode}{code}: {look_up(error.errcode, error.endpoint).meaning}"
    if isinstance(error, TransportError | ApiError):
        status = getattr(error, "status", None)
        return f"HTTP {status}" if status else "no reply"
    own_text = _QUOTATION_OR_ADVICE.split(error.message)[0].rstrip(" :(")
    _, _, reason = own_text.partition(" (")
    return reason.removesuffix(")") or own_text or type(error).__name__


def show_shape(value: object) -> str:
    """Return the format of a time, with 0 for each digit; hide any other text."""
    if not isinstance(value, str):
        return "a number" if isinstance(value, int | float) else "no text"
    shape = _DIGIT.sub("0", value)
    return shape if _SHAPE.fullmatch(shape) else "[hidden]"
