"""The parts of run.py: the cache, ComfyUI and its packages, the server, its progress. Standard library only."""


class LauncherError(Exception):
    """What went wrong and how to mend it, worded for the person at the terminal."""
