"""Write the README's claims from the json beside each figure: `python -m latentkit.readme`."""

from html import escape
from pathlib import Path

from latentkit import catalog, provenance
from latentkit.atomic import replacing
from latentkit.record import VERDICTS, ours

BEGIN, END = "<!-- claims -->", "<!-- /claims -->"
HEAD = ["| claim | rule | ours | paper | verdict |", "|---|---|---|---|---|"]


def claims_text(size: str = "teaching", root: Path | None = None) -> str:
    """Return all claims recorded at a size in markdown: a table of how many held, then each notebook's in a fold."""
    counts, folds, total = [], [], [0] * len(VERDICTS)
    for notebook in catalog.notebooks():
        records = catalog.records(notebook, size, root).values()
        found = [claim for record in records for claim in (record or {}).get("claims", ())]
        if not found:
            continue
        numbers = [sum(claim["verdict"] == verdict for claim in found) for verdict in VERDICTS]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        link = f"[{notebook.number}](notebooks/{notebook.path.name})"
        counts.append(f"| {link} | {_safe(notebook.title)} | {' | '.join(map(str, numbers))} |")
        told = ", ".join(f"{n} {verdict}" for n, verdict in zip(numbers, VERDICTS, strict=True) if n)
        folds += ["", "<details>", f"<summary>{notebook.number} · {escape(notebook.title)}: {told}</summary>", ""]
        folds += [*HEAD, *map(_row, found), "", "</details>"]
    head = [f"| notebook | | {' | '.join(VERDICTS)} |", "|---|---|---|---|---|"]
    return "\n".join([*head, *counts, f"| | all | {' | '.join(map(str, total))} |", *folds])


def update(path: Path, claims: str) -> bool:
    """Put the claims between the marks of a README; return whether that changed it.

    Raises ValueError where the marks are not there once each, in order.
    """
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{path.name} has no place for the claims; put the lines {BEGIN} and {END} where they belong")
    new = f"{before}{BEGIN}\n{claims}\n{END}{after}"
    if new == text:
        return False
    with replacing(path) as part:
        part.write_text(new, encoding="utf-8")
    return True


def _row(claim: dict) -> str:
    paper = "" if claim["paper"] is None else str(claim["paper"])
    cells = [claim["sentence"], claim["rule"], ours(claim), paper, f"**{claim['verdict']}**"]
    return f"| {' | '.join(map(_safe, cells))} |"


def _safe(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    changed = update(provenance.project_root() / "README.md", claims_text())
    print(f"README.md: claims {'written' if changed else 'unchanged'}")
