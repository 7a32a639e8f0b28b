"""An in-process WeChat emulator with fault injection.

Rule: it shares no code with the client, so that a misread field cannot be wrong on both sides.

The API is provisional: it may change in a minor release.
"""

from tcb_async.emulator.demo import DEMO_ENV
from tcb_async.emulator.emulator import Emulator
from tcb_async.emulator.faults import Fault
from tcb_async.emulator.requests import RecordedRequest
from tcb_async.emulator.state import DeployedEnvironment, DeployedFunction, EmulatorClock

__all__ = [
    "DEMO_ENV", "DeployedEnvironment", "DeployedFunction", "Emulator", "EmulatorClock", "Fault",
    "RecordedRequest",
]  # fmt: skip
