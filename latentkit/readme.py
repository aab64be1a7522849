"""Write the README's table of claims from the json beside each figure: `python -m latentkit.readme`."""

from pathlib import Path

from latentkit import catalog, provenance
from latentkit.atomic import replacing
from latentkit.record import ours

BEGIN, END = "<!-- claims -->", "<!-- /claims -->"
HEAD = ["| notebook | claim | rule | ours | paper | verdict |", "|---|---|---|---|---|---|"]


def claims_table(size: str = "teaching", root: Path | None = None) -> str:
    """Return a markdown table of all claims recorded at a size, a row each, in the order of the notebooks."""
    rows = []
    for notebook in catalog.notebooks():
        for record in catalog.records(notebook, size, root).values():
            rows += [_row(notebook.number, claim) for claim in (record or {}).get("claims", ())]
    return "\n".join([*HEAD, *rows])


def update(path: Path, table: str) -> bool:
    """Put a table between the marks of a README; return whether that changed it.

    Raises ValueError where the marks are not there once each, in order.
    """
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{path.name} has no place for the claims; put the lines {BEGIN} and {END} where they belong")
    new = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if new == text:
        return False
    with replacing(path) as part:
        part.write_text(new, encoding="utf-8")
    return True


def _row(number: str, claim: dict) -> str:
    paper = "" if claim["paper"] is None else str(claim["paper"])
    cells = [number, claim["sentence"], claim["rule"], ours(claim), paper, f"**{claim['verdict']}**"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    changed = update(provenance.project_root() / "README.md", claims_table())
    print(f"README.md: table of claims {'written' if changed else 'unchanged'}")
