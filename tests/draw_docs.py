"""Draws what the documents show of the code: ``python -m tests.draw_docs``."""

from __future__ import annotations

from pathlib import Path

from agents.stages import EDGES

PROTOCOL = Path(__file__).resolve().parent.parent / "docs" / "protocol.rst"
_BEGIN, _END = ".. stages-begin\n", ".. stages-end\n"


def stages() -> str:
    """Return the transition table of a host's stages, as reStructuredText."""
    rows = [
        (start.value, end.value, when)
        for start, edges in EDGES.items()
        for end, when in sorted(edges.items(), key=lambda edge: edge[0].value)
    ]
    widths = [max(len(row[column]) for row in [*rows, ("from", "to", "when")]) for column in range(3)]
    rule = " ".join("=" * width for width in widths)
    lines = [" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    head = " ".join(cell.ljust(width) for cell, width in zip(("from", "to", "when"), widths, strict=True))
    return "\n".join(line.rstrip() for line in [rule, head, rule, *lines, rule])


def drawn(text: str) -> str:
    """Return the document with its drawn part as the code has it now."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{stages()}\n\n{_END}{after}"


if __name__ == "__main__":
    PROTOCOL.write_text(drawn(PROTOCOL.read_text(encoding="utf-8")), encoding="utf-8")
