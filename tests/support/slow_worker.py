"""`lumbar-node worker` whose segmentations take a while: `python -m tests.support.slow_worker FILE ARGUMENTS`.

FILE holds how many seconds each takes more; it is read before each.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from cluster import server
from node.cli.app import run
from node.cluster import remote
from node.work import warm

if __name__ == "__main__":
    file, segment = Path(sys.argv[1]), remote.segment

    def slowly(*arguments: Any) -> Any:
        sys.stderr.write("begun\n")
        sys.stderr.flush()
        time.sleep(float(file.read_text()))
        return segment(*arguments)

    remote.segment = slowly
    server.STOP_S = 1.0
    warm.warm_networks = lambda _: (
        None
    )  # noise of the usual size takes longer than the studies of the tests
    sys.exit(run(["worker", *sys.argv[2:]]))
