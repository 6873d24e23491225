"""Let models answer: prompts, sampling, streaming, several models over one body, and a child process for each body."""
