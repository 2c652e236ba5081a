"""How many files a process may have open: as many as are needed are asked for, and a lack is told before the work."""

import resource
import sys
from contextlib import suppress

from splitplace.errors import MORE_FILES, OverloadedError


def allow_open_files(wanted: int) -> int:
    """Ask the system for so many; answers how many this process may have open now.

    Most systems allow 1,024, or 256, to who does not ask for more, up to a bound that only an administrator raises.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return sys.maxsize
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if wanted > allowed:
        with suppress(OSError, ValueError):  # a sandbox's own rule
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            allowed = wanted
    return allowed


def check_open_files(needed: int, what: str) -> None:
    """Refuse to begin what takes more: short of them ZeroMQ ends the whole process.

    Raises:
        OverloadedError: This process may not have so many.
    """
    if (allowed := allow_open_files(needed)) < needed:
        raise OverloadedError(f"{what} takes up to {needed} open files, this process may have {allowed}: {MORE_FILES}")
