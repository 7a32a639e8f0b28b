"""Defaults of arguments, and the environment variables that are read in their place.

Rule: this module imports little, since the command line reads the defaults for its ``--help``.
"""

from __future__ import annotations

from datetime import timedelta, timezone

DEFAULT_BASE_URL = "https://api.weixin.qq.com"
DEFAULT_CONCURRENCY = 8
DEFAULT_TIMEOUT = 30.0  # seconds, as all times here
DEFAULT_FIRST_PAGE_SIZE = 100  # of a walk, which continues with as many rows as it gets
DEFAULT_PAGE_SIZE = 20  # of a single page, and after a larger page was refused
DEFAULT_BACKOFF = 1.0
DEFAULT_DEADLINE = 60.0
DEFAULT_WATCH_INTERVAL = 30.0
DEFAULT_WAIT_INTERVAL = 2.0
DEFAULT_WAIT_TIMEOUT = 300.0
CHINA_STANDARD_TIME = timezone(timedelta(hours=8))  # the zone in which WeChat's times are read

# The variables that `TcbClient.from_env` and the command line read.
BASE_URL_VARIABLE = "TCB_BASE_URL"
TOKEN_VARIABLE = "TCB_ACCESS_TOKEN"
APPID_VARIABLE = "TCB_APPID"
SECRET_VARIABLE = "TCB_SECRET"
