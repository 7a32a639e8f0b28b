# The public names, for type checkers: `tcb_async` loads each at its first use.

from tcb_async.client import ClientOptions as ClientOptions
from tcb_async.client import FunctionPager as FunctionPager
from tcb_async.client import TcbClient as TcbClient
from tcb_async.client import WalkOptions as WalkOptions
from tcb_async.cursor import Cursor as Cursor
from tcb_async.emulator import Emulator as Emulator
from tcb_async.exceptions import ApiError as ApiError
from tcb_async.exceptions import ClientClosedError as ClientClosedError
from tcb_async.exceptions import ConfigurationError as ConfigurationError
from tcb_async.exceptions import DailyQuotaError as DailyQuotaError
from tcb_async.exceptions import DriftError as DriftError
from tcb_async.exceptions import FunctionFailedError as FunctionFailedError
from tcb_async.exceptions import ParameterError as ParameterError
from tcb_async.exceptions import PermissionDeniedError as PermissionDeniedError
from tcb_async.exceptions import QuotaError as QuotaError
from tcb_async.exceptions import RateLimitError as RateLimitError
from tcb_async.exceptions import ResponseError as ResponseError
from tcb_async.exceptions import SystemBusyError as SystemBusyError
from tcb_async.exceptions import TcbError as TcbError
from tcb_async.exceptions import TokenError as TokenError
from tcb_async.exceptions import TransportError as TransportError
from tcb_async.exceptions import WaitTimeoutError as WaitTimeoutError
from tcb_async.inventory.accounts import Account as Account
from tcb_async.inventory.accounts import AccountListing as AccountListing
from tcb_async.inventory.accounts import platform_accounts as platform_accounts
from tcb_async.inventory.inventory import Inventory as Inventory
from tcb_async.inventory.inventory import list_account as list_account
from tcb_async.models import Authorizer as Authorizer
from tcb_async.models import BatchEnvironment as BatchEnvironment
from tcb_async.models import BatchFunction as BatchFunction
from tcb_async.models import CloudFunction as CloudFunction
from tcb_async.models import Environment as Environment
from tcb_async.models import FunctionPage as FunctionPage
from tcb_async.models import StatusReason as StatusReason
from tcb_async.observer import WalkStats as WalkStats
from tcb_async.retry import RetryPolicy as RetryPolicy
from tcb_async.tokens import StableToken as StableToken
from tcb_async.watch import FunctionChange as FunctionChange
from tcb_async.watch import changes as changes

__version__: str
