"""The kinds of tokens: each endpoint accepts some, and a provider may state its own."""

import pytest
from constants import ENV

from tcb_async import ConfigurationError, TcbClient
from tcb_async.tokens import (
    AuthorizerToken,
    ClassicToken,
    ComponentToken,
    StableToken,
)
from tcb_async.tokens.providers import GivenToken


class TestKinds:
    async def test_custom_provider_may_state_its_kind(self, emulator):
        class Ours(GivenToken):
            def __init__(self, kind):
                super().__init__(self.ask)
                self.kind = kind

            async def ask(self):
                return emulator.token

        for kind in ("access", "authorizer", "unheard of", None, []):
            async with TcbClient(Ours(kind), base_url=emulator.url) as client:
                assert (await client.function_page(ENV)).total == 57
        async with TcbClient(Ours("component"), base_url=emulator.url) as client:
            with pytest.raises(ConfigurationError, match="Ours provides a platform's"):
                await client.function_page(ENV)

    def test_each_provider_has_a_kind(self):
        assert StableToken.kind == ClassicToken.kind == "access"
        assert (ComponentToken.kind, AuthorizerToken.kind) == ("component", "authorizer")
