"""The errcode tables in Chinese: for each errcode, what it means and what to do."""

from __future__ import annotations

__all__ = ["AT_TOKEN_ENDPOINTS", "EVERYWHERE", "HANDLED", "HEAD", "WHOSE"]

HEAD = ("错误码与异常", "含义", "谁的问题", "怎么办", "本库的处理")
HANDLED = {
    "retries": "自动重试",
    "replays": "换新的 access_token 后重发一次",
    "raises": "直接抛出异常",
}
WHOSE = {"merchant": "商家", "platform": "调用方", "request": "请求本身", "service": "微信服务"}

_BUSY = "稍后再试；如果一直这样，带上 rid 联系微信客服"
_SLOW_DOWN = "减小 concurrency，或者把调用分散开"
_CHECK_ENV = "检查环境 ID"
_CHECK_ARGUMENTS = "检查 env、limit 和 offset"
_CHECK_PROXY = "检查 base_url 和中间的代理"
_FRESH = "传入有效的 access_token，或者能自动刷新的 token provider"
_APPSECRET = "在小程序管理后台核对 AppSecret，它可能被重置过"
_TICKET = "传入微信最近一次推送的 ticket（每 10 分钟推送一次）"
_TOMORROW = "等到北京时间零点，或者用微信的 clear_quota 接口清零"
_SIGNING = "本库不对调用签名：查看账号的 API 安全设置"
_CONFIRM = ("需要管理员确认这次调用", "在管理员的微信中确认，然后重新调用")

EVERYWHERE = {
    -1: ("系统繁忙", _BUSY),
    -1000: ("系统错误", _BUSY),
    -501001: ("云资源系统错误", _BUSY),
    -501002: ("云资源服务超时", _BUSY),
    -601001: ("云服务系统错误", _BUSY),
    -601003: ("云服务没有应答", _BUSY),
    45011: ("调用过于频繁（每分钟）", _SLOW_DOWN),
    40066: ("没有这个接口", "检查 base_url：只写主机，不带路径"),
    43002: ("必须使用 POST", _CHECK_PROXY),
    44002: ("请求体为空", _CHECK_PROXY),
    47001: ("无法解析请求体", "检查中间的代理"),
    40097: ("参数无效", _CHECK_ARGUMENTS),
    40101: ("缺少必填参数", _CHECK_ARGUMENTS),
    40170: ("一页的行数太多", "一次最多请求 500 行"),
    -501007: ("参数无效", _CHECK_ENV),
    -601002: ("参数无效", _CHECK_ENV),
    -501000: ("找不到该环境", "检查环境 ID，以及它是否属于 access_token 对应的账号"),
    48001: ("账号没有调用该接口的权限", "确认账号已开通云开发，并且可以调用该接口"),
    48004: ("该接口对此账号已被封禁", "在管理后台查看处罚通知"),
    50002: ("用户或账号受限", "在管理后台查看账号状态"),
    61003: ("商家没有授权给该第三方平台", "请商家授权"),
    61007: ("商家没有授予该权限集", "请商家重新授权，并勾选权限集 49（云开发）"),
    85088: ("该小程序没有开通云开发", "先为该小程序开通云开发"),
    -501005: ("环境状态异常", "在控制台查看环境是否被停用（例如欠费）"),
    -501019: ("账号无权访问该环境", "检查环境是否属于 access_token 对应的账号"),
    -604101: ("账号没有该权限", "检查 access_token 对应账号的权限"),
    -501003: ("环境的配额已用完", "在控制台提高配额"),
    -501004: ("对该环境的请求过多", _SLOW_DOWN),
    40001: ("access_token 无效，或已被新的取代", _FRESH),
    40014: ("access_token 不合法", _FRESH),
    41001: ("缺少 access_token", _FRESH),
    42001: ("access_token 已过期", _FRESH),
    45009: ("当天的调用次数已用完", _TOMORROW),
    40002: ("grant_type 错误", "这是本库的缺陷，请报告"),
    40013: ("AppID 不合法", "检查 AppID 有没有写错"),
    40125: ("AppSecret 不合法", _APPSECRET),
    40164: ("本机 IP 不在白名单中", "把微信给出的地址加入账号的 IP 白名单"),
    40234: ("调用的签名被拒绝", _SIGNING),
    40235: ("调用的签名被拒绝", _SIGNING),
    40243: ("AppSecret 已被冻结", "在管理后台解冻 AppSecret"),
    41002: ("缺少 AppID", "传入 AppID"),
    41004: ("缺少 AppSecret", "传入 AppSecret"),
    61004: ("本机 IP 没有在第三方平台登记", "把微信给出的地址加入第三方平台的 IP 白名单"),
    61005: ("component_verify_ticket 已过期", _TICKET),
    61006: ("component_verify_ticket 已失效", _TICKET),
    61023: ("authorizer_refresh_token 无效", "使用最新的 refresh token，或者请商家重新授权"),
    **dict.fromkeys(range(89501, 89508), _CONFIRM),
}
AT_TOKEN_ENDPOINTS = {
    40001: ("AppSecret 错误", _APPSECRET),
    40014: ("component_access_token 不合法", _FRESH),
    41001: ("缺少 component_access_token", _FRESH),
    42001: ("component_access_token 已过期", _FRESH),
    45009: ("当天的调用次数已用完", _TOMORROW),
}
