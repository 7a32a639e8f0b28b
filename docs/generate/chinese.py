"""The meaning and remedy of each code in Chinese, for the generated tables."""

from __future__ import annotations

__all__ = ["HEADS", "WHEN_FETCHING", "WHEN_FETCHING_TOKENS", "WORDS"]

HEADS = ("错误码", "处理办法")
WHEN_FETCHING = "获取 access_token 时："

_BUSY = "稍后再试；如果一直这样，请在微信开放社区反馈，并附上 rid"
_SLOW_DOWN = "减小 concurrency，或者把调用分散开"
_CHECK_ENV = "检查环境 ID"
_CHECK_ARGUMENTS = "对照微信的接口文档检查参数；列表接口的参数是 env、limit 和 offset"
_OWN_REQUEST = "用 client.get_token() 返回的 access_token 自己发送请求"
_CHECK_PROXY = "检查 base URL 和中间的代理"
_FRESH = (
    "传入有效的 access_token，或者 AppID 和 AppSecret"
    "（StableToken，或 TCB_APPID 和 TCB_SECRET，不设 TCB_ACCESS_TOKEN）"
)
_FRESH_COMPONENT = (
    "传入第三方平台的 AppID 和 AppSecret"
    "（ComponentToken，或 TCB_COMPONENT_APPID 和 TCB_COMPONENT_SECRET）"
)
_DOCUMENTED_TOKEN = "云函数接口的微信文档只写了商家的 authorizer_access_token"
_APPSECRET = "在小程序管理后台核对 AppSecret，它可能已经重置过"
_TICKET = "传入微信最近一次推送的 ticket（每 10 分钟推送一次）"
_TOMORROW = "等到北京时间零点，或者用微信的 clear_quota 接口清零"
_SIGNING = "本库不对请求签名：检查账号的 API 安全设置"
_ENV_CAUSES = (
    "检查环境 ID：`tcb-async environments` 列出账号的环境；如果其中有它，"
    "再检查它是否已绑定该小程序，是否因欠费被隔离"
)
_OWNER = "检查 access_token 对应的账号是否拥有该环境，或者有权使用它"
_PERMISSIONS = "检查 access_token 对应账号的权限"
_THIS_ENV = "检查环境 ID，以及它是否属于 access_token 对应的账号"
_SUSPENDED = "在控制台查看环境是否已停用（例如欠费）"
_MORE_QUOTA = "在控制台提高配额"
_NOT_READY = ("环境尚未准备好", "等到环境状态变为 NORMAL")
_NO_CLOUD = ("该小程序没有开通云开发", "先为该小程序开通云开发")
_READ_LOG = "在控制台查看该云函数的日志"
_CONFIRM = ("需要管理员确认本次调用", "请管理员在微信中确认，然后重新调用")

WORDS: dict[int | str, tuple[str, str]] = {
    -1: ("系统繁忙", _BUSY),
    -1000: ("系统错误", _BUSY),
    -501001: ("云资源系统错误", _BUSY),
    -501002: ("云资源服务超时", _BUSY),
    -601001: ("云服务系统错误", _BUSY),
    -601003: ("云服务没有响应", _BUSY),
    -601008: ("云服务内部请求超时", _BUSY),
    -604102: ("调用云服务超时", _BUSY),
    -604103: ("调用云服务出错", _BUSY),
    45011: ("调用过于频繁（每分钟）", _SLOW_DOWN),
    40066: ("没有这个接口", "检查 base URL（只写主机，不带路径）和接口的路径"),
    41005: ("缺少上传的文件", _OWN_REQUEST),
    45002: ("请求内容太大", "减少一次请求的内容"),
    43001: ("该接口要求 GET", _OWN_REQUEST),
    43002: ("必须使用 POST", _CHECK_PROXY),
    44002: ("请求体为空", _CHECK_PROXY),
    47001: ("无法解析请求体", "检查中间的代理"),
    40097: ("参数无效", _CHECK_ARGUMENTS),
    40101: ("缺少必填参数", _CHECK_ARGUMENTS),
    40170: ("每页数量太大", "每次最多请求 500 行"),
    -501006: ("公共参数无效", _CHECK_ENV),
    -501007: ("参数无效", _CHECK_ENV),
    -501020: ("未知参数", _CHECK_ARGUMENTS),
    -501021: ("不支持该操作", "检查 base URL 和接口"),
    -601002: ("参数无效", _CHECK_ENV),
    -604100: ("没有这个接口", "检查 base URL 和接口"),
    -501005: ("环境不存在或无法使用", _ENV_CAUSES),
    -501008: ("请求来源不合法", _OWNER),
    -501009: _NOT_READY,
    -601027: ("环境不存在或无法使用", _ENV_CAUSES),
    -501000: ("底层的云服务拒绝了请求", "根据微信返回的文字或其中的 TcbCode 查阅云开发的错误码"),
    -404011: ("SDK 调用云函数失败", _READ_LOG),
    -504002: ("云函数执行失败", _READ_LOG),
    48001: (
        "账号没有调用该接口的权限",
        f"检查账号是否是小程序；{_DOCUMENTED_TOKEN}",
    ),
    48006: ("本月的清零次数（10 次）已用完", "等到北京时间零点"),
    48004: ("该接口对此账号已被封禁", "在管理后台查看处罚通知"),
    50002: ("用户或账号受限", "在管理后台查看账号状态"),
    61003: ("商家没有授权给该第三方平台", "请商家授权"),
    61007: ("商家没有授予该权限集", "请商家重新授权，并勾选权限集 49（云开发）"),
    61016: ("第三方平台还没有确认该商家的权限集", "在微信开放平台确认该商家的权限集"),
    85088: _NO_CLOUD,
    -601034: _NO_CLOUD,
    -501018: ("环境的资源不可用", _SUSPENDED),
    -501019: ("账号无权访问该环境", _OWNER),
    -601004: ("账号没有调用该接口的权限", _PERMISSIONS),
    -601010: ("账号没有写权限", _PERMISSIONS),
    -601011: ("账号没有该权限", _PERMISSIONS),
    -601012: ("账号无权访问该环境", _OWNER),
    -601013: ("账号没有跨账号权限", _OWNER),
    **dict.fromkeys(
        (-601015, -601017),
        ("环境的 cloudbase_auth 云函数拒绝了访问", "在共享环境的账号中检查 cloudbase_auth 云函数"),
    ),
    -601016: ("环境没有对该账号的授权信息", _OWNER),
    -601018: ("账号没有调用该接口的权限", _PERMISSIONS),
    -604101: (
        "云函数没有调用该接口的权限",
        "在云函数的 config.json 中把该接口加入 permissions.openapi，然后重新部署",
    ),
    -604104: ("调用来源不合法", _PERMISSIONS),
    -501003: ("环境的配额已用完", _MORE_QUOTA),
    -501015: ("环境的读请求配额已用完", _MORE_QUOTA),
    -501016: ("环境的写请求配额已用完", _MORE_QUOTA),
    -501017: ("环境的磁盘已满", _MORE_QUOTA),
    -501004: ("对该环境的请求过多", _SLOW_DOWN),
    40001: ("access_token 无效，或已被新的取代", _FRESH),
    40014: (
        "access_token 不合法",
        f"{_FRESH}；仍被拒绝时：{_DOCUMENTED_TOKEN}",
    ),
    41001: ("缺少 access_token", _FRESH),
    42001: ("access_token 已过期", _FRESH),
    45009: ("当天的调用次数已用完", _TOMORROW),
    40002: ("grant_type 错误", "这是本库的缺陷，请报告"),
    40013: ("AppID 不合法", "检查 AppID 是否写错"),
    40125: ("AppSecret 不合法", _APPSECRET),
    40164: ("本机 IP 不在白名单中", "把报错中的 IP 地址加入账号的 IP 白名单"),
    40234: ("请求的签名无效", _SIGNING),
    40235: ("请求的签名无效", _SIGNING),
    40243: ("AppSecret 已被冻结", "在管理后台解冻 AppSecret"),
    41002: ("缺少 AppID", "传入 AppID"),
    41018: ("缺少 component_appid", "传入第三方平台的 AppID"),
    50004: ("账号不能获取 access_token", "在管理后台查看原因"),
    50007: ("账号已冻结", "在管理后台查看账号状态"),
    41004: ("缺少 AppSecret", "传入 AppSecret"),
    61004: ("本机 IP 不在第三方平台的白名单中", "把报错中的 IP 地址加入第三方平台的 IP 白名单"),
    61005: ("component_verify_ticket 已过期", _TICKET),
    61006: ("component_verify_ticket 已失效", _TICKET),
    61014: ("该接口只接受第三方平台的 component_access_token", "用 ComponentToken 创建客户端"),
    61023: ("authorizer_refresh_token 无效", "使用最新的 refresh token，或者请商家重新授权"),
    **dict.fromkeys(range(89501, 89508), _CONFIRM),
    **dict.fromkeys(
        (
            "RequestLimitExceeded",
            "LimitExceeded.Concurrent",
            "EXCEED_CONCURRENT_REQUEST_LIMIT",
            "EXCEED_RATELIMIT",
        ),
        ("对该环境的请求过多", _SLOW_DOWN),
    ),
    **dict.fromkeys(
        (
            "InternalError",
            "FailedOperation.NetworkError",
            "FailedOperation.OperationTimeout",
            "FailedOperation.PlatformError",
            "FailedOperation.Timeout",
            "SERVER_TIMEOUT",
            "SYS_ERR",
        ),
        ("底层的云服务出错", _BUSY),
    ),
    **dict.fromkeys(
        ("INVALID_ENV", "InvalidParameter.EnvId"), ("环境不存在或无法使用", _ENV_CAUSES)
    ),
    **dict.fromkeys(("ResourceNotFound", "RESOURCE_NOT_FOUND"), ("资源不存在", _THIS_ENV)),
    **dict.fromkeys(
        (
            "InvalidParameter",
            "MissingParameter",
            "UnknownParameter",
            "INVALID_COMMON_PARAM",
            "INVALID_PARAM",
        ),
        ("参数无效", _CHECK_ARGUMENTS),
    ),
    **dict.fromkeys(
        ("LimitExceeded", "EXCEED_MAX_RESPONSE_SIZE"),
        ("超过限制", "减小 page_size，或者在控制台提高限制"),
    ),
    **dict.fromkeys(
        ("LimitExceeded.Request", "LimitExceeded.OutOfReadRequestQuota", "EXCEED_REQUEST_LIMIT"),
        ("环境的配额已用完", _MORE_QUOTA),
    ),
    **dict.fromkeys(
        (
            "AuthFailure",
            "OperationDenied",
            "UnauthorizedOperation",
            "ACTION_FORBIDDEN",
            "EXCEED_AUTHORITY",
            "INVALID_ENV_SOURCE",
            "PERMISSION_DENIED",
            "REQUEST_FORBIDDEN",
        ),
        ("账号无权访问该环境", _OWNER),
    ),
    **dict.fromkeys(
        ("ResourceUnavailable", "ENV_ABNORMAL", "INVALID_ENV_STATUS"),
        ("环境不可用", _SUSPENDED),
    ),
    "INVALID_THIRDAPP_STATUS": (
        "环境绑定的小程序状态异常",
        "在云开发控制台检查该小程序及其绑定关系",
    ),
    **dict.fromkeys(
        ("ENV_NOT_READY", "RESOURCE_NOT_INITIAL"),
        _NOT_READY,
    ),
    **dict.fromkeys(
        (
            "FailedOperation.AccountInsufficient",
            "FailedOperation.InsufficientBalance",
            "ResourceUnavailable.BalanceNotEnough",
            "ResourceUnavailable.InsufficientBalance",
            "ResourceUnavailable.ResourceOverdue",
            "SERVICE_CHARGE_OVERDUE",
        ),
        ("欠费", "在腾讯云控制台缴费或充值"),
    ),
    "ResourcesSoldOut": ("套餐已售罄", "选择其他套餐"),
}
WHEN_FETCHING_TOKENS: dict[int | str, tuple[str, str]] = {
    40001: ("AppSecret 错误", _APPSECRET),
    40014: ("component_access_token 不合法", _FRESH_COMPONENT),
    41001: ("缺少 component_access_token", _FRESH_COMPONENT),
    42001: ("component_access_token 已过期", _FRESH_COMPONENT),
}
