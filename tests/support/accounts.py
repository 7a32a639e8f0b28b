"""The accounts of the token tests, and the endpoints that they ask."""

from __future__ import annotations

ENV = "test-777bb9"
APPID, APPSECRET = "wx0123456789abcdef", "planted-appsecret-0123456789abcdef"
PLATFORM, MERCHANT = "wxplatform000000001", "wxmerchant000000001"
LIST = "/tcb/listfunctions"
STABLE = "/cgi-bin/stable_token"
CLASSIC = "/cgi-bin/token"
COMPONENT = "/cgi-bin/component/api_component_token"
AUTHORIZER = "/cgi-bin/component/api_authorizer_token"
LIFE = 7200
KEY = f"stable:api.weixin.qq.com:{APPID}"
