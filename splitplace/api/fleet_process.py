"""The process of a fleet that `start_fleet` starts: told on standard input what to run, it logs to standard error."""

import logging
import sys

from splitplace.api.start_fleet import FleetRequest
from splitplace.children import tell_crashes
from splitplace.errors import SplitPlaceError, explained
from splitplace.records.base import MAX_DOCUMENT_BYTES


def main() -> None:
    """Run until told to stop; exit as the command line does."""
    tell_crashes()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        with explained():
            request = FleetRequest.parse(sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1), "standard input")
            with request.fleet() as fleet:
                logging.info("%d devices are up, in %s", len(fleet.devices), fleet.folder.path)
                fleet.serve()
                logging.info("ending")
    except SplitPlaceError as error:
        sys.stderr.write("splitplace: " + " ".join(str(error).split()) + "\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
