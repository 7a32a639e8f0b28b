"""List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast."""
