"""A window that shows RGB images, of Python's own tkinter."""

import os
from types import ModuleType
from typing import Any

import numpy as np

from gala_rl.envs.screens import Image
from gala_rl.errors import UserError

_HEIGHT = 600
"""Smaller images are enlarged by a whole number up to this height in pixels."""


class Window:
    """A window; `show` replaces its image.

    Args:
        title: of the window.
        remedy: what to do without a display, for the message.

    Attributes:
        is_open: whether the user has not closed it yet.

    Raises:
        UserError: when there is no display.
    """

    def __init__(self, title: str, remedy: str) -> None:
        tkinter = _toolkit(remedy)
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise UserError(f"no display to show games on ({error}): {remedy}") from error
        self._make_image: Any = tkinter.PhotoImage
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._label: Any = tkinter.Label(self._root)
        self._label.pack()
        self.is_open = True

    def show(self, image: Image, title: str) -> None:
        """Show an image until the next one, with another title."""
        height, width = image.shape[:2]
        header = f"P6 {width} {height} 255 ".encode()
        shown = self._make_image(data=header + np.ascontiguousarray(image).tobytes(), format="PPM")
        shown = shown.zoom(max(1, _HEIGHT // height))
        self._label.configure(image=shown)
        self._label.image = shown  # Tk keeps no reference of its own.
        self._root.title(title)
        self._root.update()

    def close(self) -> None:
        """Close the window; a second call does nothing."""
        if self.is_open:
            self.is_open = False
            self._root.destroy()


def _toolkit(remedy: str) -> ModuleType:
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        raise UserError(f"no display to show games on: {remedy}")
    try:
        import tkinter
    except ImportError as error:
        raise UserError(f"a window needs Python's tkinter, which is missing: {remedy}") from error
    return tkinter
