"""Proof that an exported folder computes the same as its source: see `lep_core.proof`, which propagation uses too."""

from lep_core.proof import LogitsProof, ids_equal, logits_sha256, prove_copy, prove_written

__all__ = ["LogitsProof", "ids_equal", "logits_sha256", "prove_copy", "prove_written"]
