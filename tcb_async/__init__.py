"""List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast."""

__version__ = "0.1.0"
