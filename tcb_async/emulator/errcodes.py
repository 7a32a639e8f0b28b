"""WeChat's errcodes and the texts that it sends with them.

Rule: an endpoint raises ``Refused``; only the server turns one into bytes.
"""

from __future__ import annotations

BUSY = -1
BAD_CREDENTIAL = 40001
BAD_GRANT_TYPE = 40002
BAD_APPID = 40013
BAD_TOKEN = 40014
BAD_URL = 40066
BAD_ARGUMENT = 40097
MISSING_PARAMETER = 40101
BAD_SECRET = 40125
IP_NOT_LISTED = 40164
TOO_MANY_ROWS = 40170
SECRET_FROZEN = 40243
TOKEN_MISSING = 41001
APPID_MISSING = 41002
SECRET_MISSING = 41004
COMPONENT_APPID_MISSING = 41018
TOKEN_EXPIRED = 42001
NEEDS_GET = 43001
NEEDS_POST = 43002
EMPTY_BODY = 44002
DAILY_QUOTA = 45009
MINUTE_QUOTA = 45011
BROKEN_BODY = 47001
NOT_AUTHORIZED = 61003
COMPONENT_IP_NOT_LISTED = 61004
TICKET_EXPIRED = 61005
BAD_TICKET = 61006
NO_PERMISSION = 61007
BAD_REFRESH_TOKEN = 61023
NO_CLOUD_DEVELOPMENT = 85088
UNKNOWN_ENV = -501000
ABNORMAL_ENV = -501005

ERRMSG = {
    BUSY: "system error",
    -1000: "system error",
    BAD_CREDENTIAL: "invalid credential, access_token is invalid or not latest",
    BAD_GRANT_TYPE: "invalid grant_type",
    BAD_APPID: "invalid appid",
    BAD_TOKEN: "invalid access_token",
    BAD_URL: "invalid url",
    BAD_ARGUMENT: "invalid args",
    MISSING_PARAMETER: "missing parameter",
    BAD_SECRET: "invalid appsecret",
    IP_NOT_LISTED: "invalid ip, not in whitelist",
    TOO_MANY_ROWS: "args count exceed count limit",
    SECRET_FROZEN: "appsecret is frozen",
    TOKEN_MISSING: "access_token missing",
    APPID_MISSING: "appid missing",
    SECRET_MISSING: "appsecret missing",
    COMPONENT_APPID_MISSING: "missing component_appid",
    TOKEN_EXPIRED: "access_token expired",
    NEEDS_GET: "require GET method",
    NEEDS_POST: "require POST method",
    EMPTY_BODY: "empty post data",
    DAILY_QUOTA: "reach max api daily quota limit",
    MINUTE_QUOTA: "api minute-quota reach limit, must slower, retry next minute",
    BROKEN_BODY: "data format error",
    48001: "api unauthorized",
    48004: "api forbidden for irregularities, view detail on mp.weixin.qq.com",
    50002: "user limited",
    NOT_AUTHORIZED: "component is not authorized by this account",
    COMPONENT_IP_NOT_LISTED: "access clientip is not registered",
    TICKET_EXPIRED: "component ticket is expired",
    BAD_TICKET: "component ticket is invalid",
    NO_PERMISSION: "api is unauthorized to component",
    BAD_REFRESH_TOKEN: "refresh_token is invalid",
    NO_CLOUD_DEVELOPMENT: "no qbase privilege",
    UNKNOWN_ENV: "env not found",
    ABNORMAL_ENV: "env is abnormal",
    -501007: "invalid env",
}


class Refused(Exception):  # noqa: N818 - not an error of the emulator's
    """Raised by an endpoint to answer with an errcode.

    Args:
        errcode: WeChat's code.
        errmsg: Its text, without the request id; None for the default.
    """

    def __init__(self, errcode: int, errmsg: str | None = None) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.errmsg = ERRMSG.get(errcode, "error") if errmsg is None else errmsg
