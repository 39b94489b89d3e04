"""The command line: `main` finds the other commands in their modules."""
