"""The user interface: a Gradio app that shows run directories and starts runs. No work happens in it."""
