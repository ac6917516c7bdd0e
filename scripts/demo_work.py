"""The demo's work: parse, transform, unparse and compile the standard library's own modules, then drop all of it.

Run in a fresh process by scripts/demo.py. Prints one line of JSON: what was done, a digest of the result, and what is
resident once the work is dropped, and what it was at its peak. Every tree of a pass is alive until the pass ends, as in a compiler
that looks at a whole program.
"""

import ast
import gc
import glob
import hashlib
import json
import os
import resource
import sys
import sysconfig

PASSES = 2


class Minify(ast.NodeTransformer):
    """Drops docstrings and annotations, and folds arithmetic on numbers."""

    def _without_docstring(self, node):
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = _without_docstring

    def visit_FunctionDef(self, node):
        node.returns = None
        return self._without_docstring(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        operands = (node.left, node.right)
        if not all(isinstance(operand, ast.Constant) and type(operand.value) is int for operand in operands):
            return node
        left, right = (operand.value for operand in operands)
        if isinstance(node.op, ast.Add):
            return ast.copy_location(ast.Constant(left + right), node)
        if isinstance(node.op, ast.Mult):
            return ast.copy_location(ast.Constant(left * right), node)
        return node


def sources():
    """Every second top-level module of the standard library, as text."""
    paths = sorted(glob.glob(os.path.join(sysconfig.get_path("stdlib"), "*.py")))[::2]
    if len(paths) < 20:
        sys.exit("this Python comes without the source of its standard library")
    texts = []
    for path in paths:
        with open(path, encoding="utf-8") as source:
            texts.append(source.read())
    return texts


def one_pass(texts, digest):
    trees = [ast.parse(text) for text in texts]
    trees = [ast.fix_missing_locations(Minify().visit(tree)) for tree in trees]
    codes = [compile(tree, "module", "exec", dont_inherit=True) for tree in trees]
    for tree, code in zip(trees, codes):
        digest.update(ast.unparse(tree).encode())
        digest.update(len(code.co_code).to_bytes(8, "little"))


def resident():
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        for line in rollup:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    sys.exit("/proc/self/smaps_rollup does not tell what is resident")


def main():
    texts = sources()
    digest = hashlib.sha256()
    for _ in range(PASSES):
        one_pass(texts, digest)
    report = {"modules": len(texts), "bytes": sum(map(len, texts)), "passes": PASSES, "digest": digest.hexdigest()}
    del texts
    gc.collect()
    report["left"] = resident()
    report["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(report))


if __name__ == "__main__":
    main()
