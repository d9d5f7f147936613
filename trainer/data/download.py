"""Downloads: up to three attempts, and an end within seconds where there is no network."""

import socket
from collections.abc import Callable

ATTEMPTS = 3
FIRST_WAIT = 0.5  # seconds between the first two attempts, four times as many between the next two
TIMEOUT = 5.0  # seconds without an answer from the server
TIME_LIMIT = 20.0  # seconds after which no further attempt is made


def fetch(download: Callable[[], object]) -> object:
    """Return `download()`, called up to ATTEMPTS times; raise its last error where all attempts fail.

    `download` verifies the files that it fetches, and keeps the ones that are complete. A PermissionError is final.
    """
    import tenacity  # only where something is downloaded

    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(TIME_LIMIT),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT, exp_base=4),
        retry=tenacity.retry_if_exception(is_transient),
        reraise=True,
    )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision's downloads have no timeout of their own
    try:
        return attempts(download)
    finally:
        socket.setdefaulttimeout(before)


def is_transient(error: BaseException) -> bool:
    """Return False for a signal and a PermissionError; the network and the readers raise many kinds of errors."""
    return isinstance(error, Exception) and not isinstance(error, PermissionError)
