"""A real uvicorn around an application, on a real port.

Rule: its buffers are small, so that a slow reader is felt at once.
"""

import asyncio
import socket
from contextlib import asynccontextmanager

import uvicorn
from asking import until

SMALL = 8 * 1024


@asynccontextmanager
async def serving(app):
    """Run an application, its lifespan included; yields where it is."""
    config = uvicorn.Config(app, lifespan="on", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await until(lambda: server.started or running.done())
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
