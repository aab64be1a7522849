"""The line on a terminal that says where a running notebook stands."""

import sys
import threading
import time


class Progress:
    """Show on a terminal where a run stands, one line that is written over; show nothing in a log."""

    def __init__(self, head: str, about: float | None):
        self.head, self.about, self.cell = head, about, (0, 0)
        self.began, self.done = time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self):
        if sys.stderr.isatty():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        if self.thread.ident:
            self.thread.join()

    def at_cell(self, index: int, count: int) -> None:
        """Note which cell is about to run."""
        self.cell = (index + 1, count)

    def _tick(self) -> None:
        about = f" of about {self.about:.0f} s" if self.about else " s"
        while not self.done.wait(1):
            spent = time.monotonic() - self.began
            sys.stderr.write(f"\r{self.head}: cell {self.cell[0]} of {self.cell[1]}, {spent:.0f}{about}\x1b[K")
            sys.stderr.flush()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
