"""What the commands of this package share: a mistake of the user's is one line, and no traceback."""

import sys
from collections.abc import Callable


def exit_code_of(work: Callable[[], None]) -> int:
    """Do a command's work; returns its exit code: 0 done, 2 a mistake of the user's (ValueError, OSError), printed."""
    try:
        work()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
