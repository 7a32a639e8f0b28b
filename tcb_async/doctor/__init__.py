"""Whether WeChat behaves as this library assumes: probes, and checks of their replies.

Rule: at most 30 requests, which only read. The client itself decodes each reply and walks the list.
"""

from tcb_async.doctor.probes import examine
from tcb_async.doctor.record import MAX_REQUESTS, Record
from tcb_async.doctor.report import CHECKS, Finding, Report, diagnose, judge

__all__ = ["CHECKS", "MAX_REQUESTS", "Finding", "Record", "Report", "diagnose", "examine", "judge"]
