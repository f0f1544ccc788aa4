"""Ctrl-C and SIGTERM end a command while the model runs, too."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from igrt.runtime.watch import Watch


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals end what happens inside, with KeyboardInterrupt or `Cancelled`.

    Python handles a signal in the main thread once onnxruntime returns to it. But the signal's
    number is at once in a socket, where another thread finds it and has the run of the model end.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield
        return
    cancel = threading.Event()
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        handler = signal.signal(signal.SIGTERM, _interrupt)
        stack.callback(signal.signal, signal.SIGTERM, handler)
        # not the last to let go of the socket: shutdown ends the thread
        stack.callback(_close, theirs)
        threading.Thread(target=_listen, args=(ours, cancel), daemon=True).start()
        stack.enter_context(Watch(cancel=cancel))
        yield


def _listen(ours: socket.socket, cancel: threading.Event) -> None:
    with suppress(OSError):
        while number := ours.recv(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM):
                cancel.set()


def _close(theirs: socket.socket) -> None:
    with suppress(OSError):
        theirs.shutdown(socket.SHUT_RDWR)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


__all__ = ["interruptible"]
