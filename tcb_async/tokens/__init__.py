"""Who may call: access tokens that look after themselves."""

from tcb_async.tokens.given import CallableToken, StaticToken, as_provider
from tcb_async.tokens.protocols import TokenApi, TokenProvider

__all__ = ["CallableToken", "StaticToken", "TokenApi", "TokenProvider", "as_provider"]
