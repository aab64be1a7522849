"""A board of buttons that stands for a plane: which of them are pressed is its value, as of any other control."""

from collections.abc import Iterable

import ipywidgets
import traitlets


class Board(ipywidgets.VBox):
    """Let a reader place things on a plane by hand; for `explore.explorer`.

    rows, columns: of the board, row 0 at the bottom, as the axis y points; pressed: (row, column) of the buttons that
    are pressed at first; description: stands above.

    value: tuple of the pressed (row, column), sorted; it may be set, too.

    Raises ValueError for a button that is not on the board.
    """

    value = traitlets.Tuple()

    def __init__(self, rows: int, columns: int, pressed: Iterable[tuple[int, int]] = (), description: str = ""):
        layout = ipywidgets.Layout(width="22px", height="20px", margin="1px", padding="0")
        names = [(row, column) for row in reversed(range(rows)) for column in range(columns)]
        self.buttons = {
            name: ipywidgets.ToggleButton(tooltip=f"row {name[0]}, column {name[1]}", layout=layout) for name in names
        }
        lines = [ipywidgets.HBox([self.buttons[row, c] for c in range(columns)]) for row in reversed(range(rows))]
        super().__init__([ipywidgets.Label(description), *lines])
        self.description, self._setting = description, False
        for button in self.buttons.values():
            button.observe(self._pressed, "value")
        self.value = tuple(pressed)

    @traitlets.validate("value")
    def _known(self, proposal) -> tuple:
        places = tuple(sorted({tuple(place) for place in proposal["value"]}))
        unknown = [place for place in places if place not in self.buttons]
        if unknown:
            row, column = max(self.buttons)
            raise ValueError(f"{unknown[0]} is not on the board; expected (0, 0) to ({row}, {column})")
        return places

    @traitlets.observe("value")
    def _shown(self, change) -> None:
        self._setting = True
        for place, button in self.buttons.items():
            button.value = place in change["new"]
            button.button_style = "primary" if button.value else ""
        self._setting = False

    def _pressed(self, _) -> None:
        if not self._setting:
            self.value = tuple(place for place, button in self.buttons.items() if button.value)
