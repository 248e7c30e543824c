"""A process of a server ends with the one that started it, however that one ended.

A main process that is killed can end nobody. Left alone, its processes would serve on beside those of the server that
is started in its place, since several may listen on one port: with the program and the settings of before.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.process import BaseProcess

from tanzhang.api.logs import logger

_PATIENCE_S = 10.0
"""How long what is at hand may take until it is answered."""
_log = logger("tanzhang.server")


def end_with_server() -> None:
    """From now on this process ends when the main process of its server is gone; nothing where it is none of one."""
    server = multiprocessing.parent_process()
    if server is not None:
        threading.Thread(target=_end_after, args=(server,), name="end-with-server", daemon=True).start()


def _end_after(server: BaseProcess) -> None:
    server.join()  # a pipe that the system closes with the process
    _log.warning("server-gone: the main process has ended, and this one ends with it")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(1)
