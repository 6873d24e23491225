"""Ask a running app for a sign of life: one event through its queue, as a browser would. `python -m ui.health`; exit code 0 = well.

For the health check of a container: a server whose event loop hangs or whose queue is stuck still accepts connections. Address and login
come from the environment that the app was started with (PORT, LEP_USER, LEP_PASSWORD).
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.request
from collections.abc import Mapping

SECONDS = 8.0
EVENT = "list_verbs"


def is_well(address: str, environment: Mapping[str, str], *, seconds: float = SECONDS) -> bool:
    """Whether an event comes back from the queue in time."""
    headers = {"content-type": "application/json"}
    if environment.get("LEP_USER") and environment.get("LEP_PASSWORD"):
        login = f"{environment['LEP_USER']}:{environment['LEP_PASSWORD']}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(login).decode()}"
    call = f"{address}/gradio_api/call/{EVENT}"
    # Nobody's proxy settings may send this elsewhere.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        asked = urllib.request.Request(call, data=b'{"data": []}', headers=headers)  # noqa: S310 - the address is this machine's
        with opener.open(asked, timeout=seconds) as answer:
            event = json.load(answer)["event_id"]
        with opener.open(urllib.request.Request(f"{call}/{event}", headers=headers), timeout=seconds) as events:  # noqa: S310
            return any(line.startswith(b"event: complete") for line in events)
    except (OSError, ValueError, KeyError):
        return False


if __name__ == "__main__":
    sys.exit(0 if is_well(f"http://127.0.0.1:{os.environ.get('PORT') or 7860}", os.environ) else 1)
