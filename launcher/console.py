"""What the person at the terminal sees: one line per phase of the work, alive while it lasts."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

QUIET_SECONDS = 2.0  # where lines cannot be redrawn (a log file, CI), a phase prints at most this often


def say(text: str) -> None:
    """Print `text` as a line of its own, at once even into a pipe."""
    print(text, flush=True)


class Phase:
    """`Title   what is going on   12 s`, redrawn in place on a terminal and printed now and then elsewhere.

    Use it in a `with` block. `update` may be called as often as one likes; without a new text it only lets
    the seconds run. `close` ends the line, with the last text where none is given.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._text = ""
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._start = time.monotonic()
        self._printed = self._start
        self._printed_text = ""
        self._open = True

    @property
    def seconds(self) -> float:
        """Seconds since the phase began."""
        return time.monotonic() - self._start

    def update(self, text: str | None = None) -> None:
        """Show `text`, or the same text with the seconds of now."""
        if text is not None:
            self._text = text
        now = time.monotonic()
        if self._live:
            self._stream.write("\r" + self._line())
            self._stream.flush()
        elif self._text != self._printed_text and now - self._printed >= QUIET_SECONDS:
            self._printed, self._printed_text = now, self._text
            print(self._line().rstrip(), file=self._stream, flush=True)

    def close(self, text: str | None = None) -> None:
        """Print the line for good."""
        if not self._open:
            return
        self._open = False
        if text is not None:
            self._text = text
        print(("\r" if self._live else "") + self._line().rstrip(), file=self._stream, flush=True)

    def _line(self) -> str:
        line = f"{self._title:<24}" + "  ".join(filter(None, (self._text, f"{self.seconds:.1f} s")))
        if not self._live:
            return line
        width = shutil.get_terminal_size().columns - 1
        return line[:width].ljust(width)  # the padding wipes what a longer text left behind

    def __enter__(self) -> Phase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(None if kind is None else f"{self._text} (stopped)".strip())
