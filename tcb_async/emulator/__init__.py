"""An in-process WeChat emulator with fault injection.

Rule: it shares no code with the client, so that a misread field cannot be wrong on both sides.

The API is provisional: it may change in a minor release.
"""

from tcb_async.emulator.emulator import Emulator
from tcb_async.emulator.faults import FAULTS, Exchange, Fault
from tcb_async.emulator.generated import DEMO_ENV
from tcb_async.emulator.journal import RecordedRequest
from tcb_async.emulator.state import DeployedFunction, EnvironmentInfo
from tcb_async.emulator.wire import EmulatorClock, token_id

__all__ = [
    "DEMO_ENV", "FAULTS", "DeployedFunction", "Emulator", "EmulatorClock", "EnvironmentInfo",
    "Exchange", "Fault", "RecordedRequest", "token_id",
]  # fmt: skip
