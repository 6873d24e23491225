"""LEP Studio: teach an open language model your own language, by point and click.

    python app.py [--host 127.0.0.1] [--port 7860] [--workspace workspace] [--language en|ru]

Builds and launches the user interface; everything else is in `ui` and `lep_core`.
"""

from __future__ import annotations

import sys

from ui.server import main

if __name__ == "__main__":
    sys.exit(main())
