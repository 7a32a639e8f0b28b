"""Whether WeChat behaves as this library assumes: probes, and checks of their replies.

Rule: at most 30 requests, which only read. The client itself decodes each reply and walks the list.
"""

from tcb_async.doctor.report import Finding, Report, diagnose

__all__ = ["Finding", "Report", "diagnose"]
