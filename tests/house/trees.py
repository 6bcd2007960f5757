"""Every node of a module, walked once for all the rules that look at the source."""

import ast
from functools import cache


@cache
def nodes(tree: ast.Module) -> list[ast.AST]:
    return list(ast.walk(tree))
