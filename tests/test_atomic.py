"""Files are whole or as they were."""

import pytest

from latentkit.atomic import replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with replacing(path) as part:
        part.write_text("first")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    with replacing(path) as part:
        part.write_text("third")
    assert path.read_text() == "third" and [f.name for f in path.parent.iterdir()] == [path.name]
