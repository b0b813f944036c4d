"""Import contracts of the house, beside import-linter's own."""

from __future__ import annotations

from fnmatch import fnmatchcase

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_EdgesT = list[tuple[str, str, str]]


def _offending_edges(graph: ImportGraph, sources: list[str], forbidden: set[str]) -> _EdgesT:
    """Return (importer, imported, where) for direct imports of `forbidden`, in a stable order."""
    found: _EdgesT = []
    for importer in sources:
        for imported in sorted(graph.find_modules_directly_imported_by(importer) & forbidden):
            details = graph.get_import_details(importer=importer, imported=imported)
            where = f"line {details[0]['line_number']}" if details else "?"
            found.append((importer, imported, where))
    return found


def _render(edges: _EdgesT) -> None:
    for importer, imported, where in edges:
        output.print_error(f"{importer} imports {imported} ({where})", bold=False)


class PureContract(Contract):
    """Modules of `folders`, the `shell` apart, import nothing `forbidden` and nothing of the shell.

    By induction that holds for what they import too.
    """

    folders = fields.SetField(subfield=fields.StringField())
    shell = fields.SetField(subfield=fields.StringField())
    forbidden = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        folders: set[str] = self.folders  # type: ignore[assignment]
        shell: set[str] = self.shell  # type: ignore[assignment]
        forbidden: set[str] = self.forbidden  # type: ignore[assignment]
        pure = sorted(
            module for module in graph.modules if module.partition(".")[0] in folders and module not in shell
        )
        edges = _offending_edges(graph, pure, forbidden | shell)
        return ContractCheck(kept=not edges, metadata={"edges": edges})

    def render_broken_contract(self, check: ContractCheck) -> None:
        _render(check.metadata["edges"])


class DoorContract(Contract):
    """Only the modules that match `doors` (shell patterns) import `package`."""

    package = fields.StringField()
    doors = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        package: str = self.package  # type: ignore[assignment]
        doors: set[str] = self.doors  # type: ignore[assignment]
        outside = sorted(
            module
            for module in graph.modules
            if not graph.is_module_squashed(module) and not any(fnmatchcase(module, door) for door in doors)
        )
        edges = _offending_edges(graph, outside, {package})
        return ContractCheck(kept=not edges, metadata={"edges": edges})

    def render_broken_contract(self, check: ContractCheck) -> None:
        _render(check.metadata["edges"])
