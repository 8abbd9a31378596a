#!/usr/bin/env python3
"""Names people by the way they walk. `run_pipeline.py --help` lists the commands."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
