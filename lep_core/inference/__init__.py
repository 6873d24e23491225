"""Let a model answer: prompts, sampling, streaming, and one child process per model for chat panes."""
