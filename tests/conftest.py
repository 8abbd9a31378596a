"""What holds for every test."""

import os

# As the program itself does, before anything loads torch: see `pipeline.cli.main`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
