"""The three sizes at which everything runs."""

SIZES = ("quick", "teaching", "paper")


def three(kind: type, slug: str, **values: tuple) -> tuple:
    """Return the instances of the three sizes from one row (quick, teaching, paper) a field."""
    rows = {name: [v[i] for i in range(3)] for name, v in values.items()}
    return tuple(kind(slug=slug, size=size, **{n: v[i] for n, v in rows.items()}) for i, size in enumerate(SIZES))
