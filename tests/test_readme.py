"""The README says what the figures' json say."""

import pytest
from conftest import ROOT

from latentkit import readme


def test_claims_are_those_of_the_stored_figures():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    stored = text.partition(readme.BEGIN)[2].partition(readme.END)[0].strip()
    assert stored == readme.claims_text(root=ROOT / "figures"), "run `python -m latentkit.readme`"


def test_pictures_of_the_readme_exist():
    import re

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all((ROOT / name).is_file() for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text))


def test_update_changes_what_is_between_the_marks_alone(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    assert readme.update(file, "new") and not readme.update(file, "new")
    assert file.read_text() == f"before\n{readme.BEGIN}\nnew\n{readme.END}\nafter\n"
    file.write_text("no marks")
    with pytest.raises(ValueError, match="no place for the claims"):
        readme.update(file, "new")
