"""A board's value is what is pressed, whoever presses; an explorer draws again with it."""

import pytest

from latentkit import explore
from latentkit.board import Board


def test_pressing_a_button_changes_the_value_and_the_other_way_round():
    board = Board(3, 4, [(2, 1)], "sensors")
    assert board.value == ((2, 1),) and board.buttons[2, 1].value
    board.buttons[0, 3].value = True
    assert board.value == ((0, 3), (2, 1))
    board.buttons[2, 1].value = False
    assert board.value == ((0, 3),)
    board.value = ((1, 1), [0, 0], (1, 1))
    assert board.value == ((0, 0), (1, 1))
    assert [place for place, button in board.buttons.items() if button.value] == [(1, 1), (0, 0)]


def test_row_0_is_at_the_bottom():
    board = Board(2, 2)
    assert board.children[-1].children[0] is board.buttons[0, 0]


def test_a_button_that_is_not_there():
    with pytest.raises(ValueError, match=r"\(3, 0\) is not on the board; expected \(0, 0\) to \(2, 3\)"):
        Board(3, 4, [(3, 0)])


def test_an_explorer_draws_once_for_each_change():
    seen = []
    board = Board(2, 2)
    explore.explorer(lambda fig, board: seen.append(board), board=board)
    board.buttons[1, 1].value = True
    board.value = ((0, 0), (0, 1))
    assert seen == [(), ((1, 1),), ((0, 0), (0, 1))]
