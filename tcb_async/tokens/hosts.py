"""The host that a token belongs to.

Rule: a token is sent to the host that it came from, and to no other; so the host is in its key.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urlsplit

__all__ = ["host_of"]

_HTTPS, _HTTP = 443, 80
_WECHAT = "api.weixin.qq.com"
# One service under several names, for other regions and for disaster recovery: a token of one works
# at all of them, and two tokens side by side would end each other.
_WECHAT_TOO = frozenset(f"{name}.weixin.qq.com" for name in ("api2", "sh.api", "sz.api", "hk.api"))


@lru_cache(maxsize=256)
def host_of(base_url: str) -> str:
    """Name the host of a base URL as it is in a key.

    It has its port unless that is 443, so that what came over TLS never goes in the clear, and its
    path, behind which a gateway may have another WeChat.

    Args:
        base_url: Where a client calls, as it was checked by the client.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or (_HTTPS if parts.scheme == "https" else _HTTP)
    if port == _HTTPS and host in _WECHAT_TOO:
        host = _WECHAT
    shown_port = "" if port == _HTTPS else f":{port}"
    return quote(f"{host}{shown_port}{parts.path}", safe="/:%")
