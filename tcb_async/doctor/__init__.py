"""Whether the commands of this library work on a server, and facts that developers need.

Rule: at most 30 requests, which only read. The client itself sends them, and reads the replies.
"""

from tcb_async.doctor.findings import Finding
from tcb_async.doctor.report import Report, diagnose

__all__ = ["Finding", "Report", "diagnose"]
