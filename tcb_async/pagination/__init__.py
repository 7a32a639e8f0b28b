"""Walk an offset/limit list completely; knows no HTTP and no WeChat."""

from tcb_async.observer import WalkStats
from tcb_async.pagination.page import Page
from tcb_async.pagination.pager import Pager

__all__ = ["Page", "Pager", "WalkStats"]
