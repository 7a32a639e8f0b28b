"""Endpoints of WeChat, and the app, the platform and the merchant of the tests."""

LIST = "/tcb/listfunctions"
ENVIRONMENTS = "/tcb/getenvinfo"
STABLE = "/cgi-bin/stable_token"
CLASSIC = "/cgi-bin/token"
COMPONENT = "/cgi-bin/component/api_component_token"
AUTHORIZER = "/cgi-bin/component/api_authorizer_token"
MERCHANTS = "/cgi-bin/component/api_get_authorizer_list"
BATCH_ENVIRONMENTS = "/componenttcb/describeenvs"
BATCH_FUNCTIONS = "/componenttcb/getscflist"

ENV = "test-777bb9"
APPID, APPSECRET = "wx0123456789abcdef", "planted-appsecret-0123456789abcdef"
PLATFORM, MERCHANT = "wxplatform000000001", "wxmerchant000000001"
LIFE = 7200  # seconds: of a token
