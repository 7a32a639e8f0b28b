"""Complete walks over lists with an offset and a limit, without HTTP."""

from tcb_async.pagination.page import Page
from tcb_async.pagination.pager import Pager

__all__ = ["Page", "Pager"]
