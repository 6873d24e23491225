"""Executes a run with little memory: `python -m tests.faults.limited RUN MIB` leaves this process MIB of address space beyond its imports."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch
import transformers.models.llama.modeling_llama  # noqa: F401 - what a training imports, so that the limit counts for its data

from lep_core.execute import execute

if __name__ == "__main__":
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + int(sys.argv[2]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.exit(execute(sys.argv[1]))
