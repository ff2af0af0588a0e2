"""Measures the package's handwriting: few lambdas and `:=`; docstrings that begin with a verb and a noun."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "airflow_provider_roe"
#: At most so many in 1,000 lines
GOALS = {ast.Lambda: ("lambda", 1.5), ast.NamedExpr: (":=", 2.0)}
VERBS = """
    Add Answer Ask Attach Begin Bind Build Call Cancel Check Close Complete Connect Convert Count Cut Defer
    Download Drop End Escape Execute Fail Fetch Find Finish Forget Get Give Go Hold Keep Leave Let Log Look
    Make Map Mark Name Note Open Parse Pause Poll Push Put Quote Raise Read Record Refuse Remove Render
    Return Run Say Send Set Share Show Sleep Split Spool Start Stop Store Submit Suspend Take Tell Try Turn
    Use Wait Warn Write Yield
"""
#: After the verb, these begin a clause instead of naming a thing; "whether" alone is wanted, for yes or no
CLAUSES = ("as", "how", "that", "what", "when", "where", "which", "who", "why")


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether it is read like an attribute, which a noun describes."""
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def complaint(docstring: str) -> str | None:
    """Return the fault in the first words of a function's docstring."""
    first, second, *_ = [word.strip(".,;:") for word in docstring.split()] + [""]
    if first not in VERBS.split():
        return f'docstring begins with "{first}", which is none of the verbs in dev/handwriting.py'
    if second in CLAUSES:
        return f'docstring begins with "{first} {second}" instead of a verb and a noun'
    return None


def about_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield lines and complaints about the docstrings of functions whose names are public."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            docstring = ast.get_docstring(node)
            wrong = complaint(docstring) if docstring and not is_property(node) else None
            if wrong:
                yield node.lineno, f"{node.name}: {wrong}"


def main() -> None:
    """Print how much there is, and each place of what is too much or wrong; fail if there is one."""
    sources = {p: p.read_text() for p in PACKAGE.rglob("*.py") if PACKAGE / "testing" not in p.parents}
    trees = {path.relative_to(PACKAGE.parent): ast.parse(source) for path, source in sources.items()}
    lines = sum(len(source.splitlines()) for source in sources.values())
    found = [(path, *complained) for path, tree in trees.items() for complained in about_docstrings(tree)]
    for kind, (name, goal) in GOALS.items():
        places = [
            (p, n.lineno, name) for p, tree in trees.items() for n in ast.walk(tree) if isinstance(n, kind)
        ]
        rate = 1000 * len(places) / lines
        print(f"{name}: {len(places)} in {lines} lines, {rate:.1f} in 1,000, of at most {goal}")
        found += places if rate > goal else []
    sys.exit("\n".join(f"{path}:{line}: {what}" for path, line, what in sorted(found)) or None)


if __name__ == "__main__":
    main()
