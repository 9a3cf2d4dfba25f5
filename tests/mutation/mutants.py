"""Small faults to put into a module, one at a time: what a hurried hand might have written instead.

Kinds, by what they ask of the tests:
- a condition (`if`, `while`, filter, `x if c else y`) that always holds, or never; a `not` less; a part less of `and`
  and `or`; `and` for `or`;
- a comparison off by its edge, turned round, or for identity instead of difference;
- a number one higher, True for False, another word where a program reads it, `+` for `-`, `min` for `max`, `any` for
  `all`, an order not reversed;
- a statement, `case`, entry, element or named argument left out; a return of nothing.

Not made, since no program reads it or nothing would show: docstrings, annotations and names of types, text for people (any string with a
space in it, f-strings and what is put together with them), and changes of a class body.
"""

import ast
import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

WORD = re.compile(r"[\w./:-]*")
"""A string that programs read: one word."""
EDGES = {ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt)}
TURNED = {
    **EDGES,
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
MODULE = "(module)"


@dataclass(eq=False, slots=True)
class Mutant:
    """One fault: a node of the parsed module, and what stands there instead."""

    path: str
    place: str
    """Qualified name of the outermost function or method, or `(module)`."""
    before: str
    after: str
    tree: ast.Module = dataclasses.field(repr=False)
    statement: ast.stmt | ast.Module = dataclasses.field(repr=False)
    """The innermost statement that it is in: a test that does not reach it cannot notice the fault."""
    parent: ast.AST = dataclasses.field(repr=False)
    field: str = ""
    index: int | None = None
    instead: ast.AST | None = None
    """None: what is there goes, and nothing takes its place."""
    number: int = 1
    """Tells apart faults that read the same in one place."""

    @property
    def name(self) -> str:
        """What it is called in reports and in `survivors.toml`: independent of line numbers."""
        again = f" #{self.number}" if self.number > 1 else ""
        return f"{self.place}: {self.before} => {self.after}{again}"

    def planted(self) -> ast.Module:
        """Return the module with this fault in it; the tree cannot be used for another one afterwards."""
        put(self, self.parent)
        return ast.fix_missing_locations(self.tree)


def put(mutant: Mutant, parent: ast.AST) -> None:
    """Put a fault into its parent, or into a copy of it."""
    if mutant.index is None:
        setattr(parent, mutant.field, mutant.instead)
        return
    held = getattr(parent, mutant.field)
    if mutant.instead is not None:
        held[mutant.index] = mutant.instead
        return
    del held[mutant.index]
    # A dictionary is two lists, and `**other` in it has no key.
    if isinstance(parent, ast.Dict):
        del parent.values[mutant.index]


def mutants(path: str, source: str) -> list[Mutant]:
    """Return every fault of a module, from top to bottom."""
    found = list(_Walk(path, ast.parse(source)).faults())
    seen: dict[str, int] = {}
    for mutant in found:
        seen[mutant.name] = mutant.number = seen.get(mutant.name, 0) + 1
    return found


class _Walk:
    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path, self.tree = path, tree
        self.place, self.statement = MODULE, tree

    def faults(self) -> Iterator[Mutant]:
        yield from self._body(self.tree, "body")

    def _body(self, parent: ast.AST, name: str) -> Iterator[Mutant]:
        for index, node in enumerate(getattr(parent, name)):
            outer = self.place, self.statement
            self.statement = node
            yield from self._statement(parent, name, index, node)
            self.place, self.statement = outer

    def _statement(self, parent: ast.AST, name: str, index: int, node: ast.stmt) -> Iterator[Mutant]:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(ast.Constant(str())):
                return
            case ast.ClassDef():
                self.place = node.name
                for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
                    yield from self._function(method, f"{node.name}.{method.name}")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from self._function(node, node.name if self.place == MODULE else self.place)
            case ast.Assign(_, ast.Subscript() | ast.BinOp(op=ast.BitOr())) if self.place == MODULE:
                return  # a type by another name
            case _:
                if _can_go(node):
                    yield self._made(parent, name, index, node, ast.Pass())
                if isinstance(node, ast.Return) and node.value and not _says_no(node.value):
                    yield self._made(parent, name, index, node, ast.Return(ast.Constant(None)))
                yield from self._fields(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: str) -> Iterator[Mutant]:
        self.place = place
        for i, default in enumerate(node.args.defaults):
            yield from self._expression(node.args, "defaults", i, default)
        for i, default in enumerate(node.args.kw_defaults):
            if default:
                yield from self._expression(node.args, "kw_defaults", i, default)
        yield from self._body(node, "body")

    def _fields(self, node: ast.AST) -> Iterator[Mutant]:
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "target", "targets"}:
                continue
            if name in {"body", "orelse", "finalbody"} and isinstance(value, list):
                yield from self._body(node, name)
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, ast.match_case):
                        if len(value) > 1:
                            yield self._made(node, name, index, item.pattern, None)
                        yield from self._fields(item)
                    elif isinstance(item, ast.AST):
                        yield from self._expression(node, name, index, item)
            elif isinstance(value, ast.AST):
                yield from self._expression(node, name, None, value)

    def _expression(self, parent: ast.AST, name: str, index: int | None, node: ast.AST) -> Iterator[Mutant]:
        if _spoken(node):
            return
        for instead in _conditions(parent, name, node):
            yield self._made(parent, name, index, node, instead)
        for instead in _instead(node):
            yield self._made(parent, name, index, node, instead)
        for field_name, i, gone in _without(node):
            yield self._made(node, field_name, i, gone, None, whole=node)
        if not isinstance(node, ast.pattern):
            yield from self._fields(node)

    def _made(
        self,
        parent: ast.AST,
        name: str,
        index: int | None,
        node: ast.AST,
        instead: ast.AST | None,
        whole: ast.AST | None = None,
    ) -> Mutant:
        before, after = _text(whole or node), _text(instead)
        if whole:
            after = f"without {_text(node)}"
        return Mutant(self.path, self.place, before, after, self.tree, self.statement, parent, name, index, instead)


# --- what may stand there instead -------------------------------------------------------------------------------------


def _conditions(parent: ast.AST, name: str, node: ast.AST) -> Iterator[ast.expr]:
    """Yield conditions that always or never hold; what they name (`x := ...`) is named all the same."""
    asked = name == "test" and isinstance(parent, ast.If | ast.While | ast.IfExp)
    asked = asked or (name == "ifs" and isinstance(parent, ast.comprehension))
    if asked and isinstance(node, ast.expr):
        yield ast.BoolOp(ast.Or(), [node, ast.Constant(True)])
        yield ast.BoolOp(ast.And(), [node, ast.Constant(False)])


def _instead(node: ast.AST) -> Iterator[ast.AST]:  # noqa: C901 - one case a kind
    match node:
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
            for i in range(len(values)):
                rest = values[:i] + values[i + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Compare(left, ops, comparators):
            for i, op in enumerate(ops):
                for other in TURNED.get(type(op), ()):
                    yield ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], comparators)
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            yield ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(str() as value):
            yield ast.Constant(f"{value}!")
        case ast.Call(ast.Name(name), args, keywords) if name in TWINS:
            yield ast.Call(ast.Name(TWINS[name], ast.Load()), args, keywords)
        case ast.Subscript(value, ast.Slice(None, None, ast.UnaryOp(ast.USub(), ast.Constant(1)))):
            yield value


def _without(node: ast.AST) -> Iterator[tuple[str, int, ast.AST]]:
    """Yield what can be left out of an expression: the field, where in it, and what that is."""
    match node:
        case ast.Call(_, _, keywords):
            # A named argument that nothing but people read is text.
            yield from (("keywords", i, k) for i, k in enumerate(keywords) if k.arg and not _spoken(k.value))
        case ast.Dict(keys, values):
            yield from (("keys", i, k or v) for i, (k, v) in enumerate(zip(keys, values, strict=True)))
        case ast.Set(elements) | ast.List(elements) if len(elements) > 1:
            yield from (("elts", i, e) for i, e in enumerate(elements))
        case ast.Tuple(elements) if len(elements) > 1 and _is_a_sequence(elements):
            yield from (("elts", i, e) for i, e in enumerate(elements))


def _is_a_sequence(elements: list[ast.expr]) -> bool:
    """Tell a tuple of any length from one whose places mean something."""
    return len(elements) > 4 or any(isinstance(e, ast.Starred) for e in elements)


def _can_go(node: ast.stmt) -> bool:
    """Tell whether a module still makes sense without a statement: else every test would notice at once."""
    match node:
        case ast.Expr() | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Raise():
            return True
        case ast.Assign([ast.Subscript() | ast.Attribute()], _):
            return True
        case ast.Assign([target], value) if not _spoken(value):
            names = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(value))
        case _:
            return False


def _spoken(node: ast.AST) -> bool:
    """Tell whether a node is text for people."""
    match node:
        case ast.JoinedStr():
            return True
        case ast.Constant(str() as value):
            return WORD.fullmatch(value) is None
        case ast.BinOp(left, ast.Add(), right) | ast.IfExp(_, left, right):
            return _spoken(left) or _spoken(right)
        case ast.BoolOp(_, values):
            return any(_spoken(value) for value in values)
        case ast.Call(ast.Attribute(value, "join")):
            return _spoken(value)
        case _:
            return False


def _says_no(node: ast.AST) -> bool:
    """Tell whether a return is one of nothing already: None, False or an empty text."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False or node.value == "")


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.keyword):
        return f"{node.arg}={_text(node.value)}"
    text = ast.unparse(node) if node else "nothing"
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:80]} ... {text[-35:]}"
