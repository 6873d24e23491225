"""Self-calibration: the propagated model learns from the original instruct model's own answers."""
