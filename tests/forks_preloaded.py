"""What the server of `tests.forks` imports before it forks."""

import accelerate
import torch
import transformers.models.llama.modeling_llama

import lep_core.cli
import lep_core.corpus.load
import lep_core.corpus.split
import lep_core.training.loop

torch.set_num_threads(1)
__all__ = ["accelerate", "lep_core", "transformers"]
