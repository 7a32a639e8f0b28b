"""Access tokens: fetched when they are needed, refreshed before they expire, shared on request.

Pass an appid and a secret once:

    TcbClient(StableToken("wx0123456789abcdef", appsecret))

A provider of your own is two methods; see `TokenProvider`.

Rule: every source of tokens is a `TokenProvider`, and calls WeChat through the client's transport.
"""

from tcb_async._redact import Secret
from tcb_async.tokens.kinds import TokenKind
from tcb_async.tokens.merchants import AuthorizerToken
from tcb_async.tokens.protocols import StoredToken, TokenApi, TokenProvider, TokenStore
from tcb_async.tokens.providers import ClassicToken, ComponentToken, StableToken
from tcb_async.tokens.stores import MemoryStore, RedisStore

__all__ = [
    "AuthorizerToken", "ClassicToken", "ComponentToken", "MemoryStore", "RedisStore",
    "Secret", "StableToken", "StoredToken", "TokenApi", "TokenKind", "TokenProvider",
    "TokenStore",
]  # fmt: skip
