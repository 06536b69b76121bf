"""Parts of pages that are made from committed results: what stands between two marks."""


class PageError(ValueError):
    """A page that cannot be rewritten; one line."""


def marks(name: str) -> tuple[str, str]:
    """Where the block of that name begins, and where it ends."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def rewrite(text: str, name: str, block: str, *, where: str) -> str:
    """A page with another block between the marks of that name. Raises PageError without marks."""
    begin, end = marks(name)
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise PageError(f"{where} has no block from {begin} to {end}")
    return f"{before}{begin}\n\n{block.strip()}\n\n{end}{after}"
