"""Workspace, projects and run directories: plain files that hold everything a person may want to see again."""
