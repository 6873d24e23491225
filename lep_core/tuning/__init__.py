"""Instruction tuning on conversations: answer-only loss, LoRA or all weights, merged into a plain model folder (method section 5)."""
