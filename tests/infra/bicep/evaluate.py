"""What a Bicep file says with given parameters, in the part of the language that ours are written in.

Of the Bicep compiler there is no copy at hand; pycep, by which the files are parsed elsewhere, does not tell names from
strings. A module's outputs are given, since only Azure knows them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

TOKEN = re.compile(
    r"(?P<space>[ \t]+|//[^\n]*)|(?P<line>\n)|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)|(?P<text>')"
    r"|(?P<sign>==|!=|&&|\|\||[{}\[\]().,:?=!@])"
)
Scope = dict[str, Any]
Node = tuple[Any, ...]
PLACE: dict[str, Any] = {
    "environment()": {"suffixes": {"storage": "core.windows.net"}},
    "subscription()": {"subscriptionId": "SUBSCRIPTION", "tenantId": "TENANT"},
    "resourceGroup()": {"id": "/subscriptions/SUBSCRIPTION/resourceGroups/G", "name": "G", "location": "westeurope"},
}
"""Where a file is deployed, by the calls that tell."""


class Deployment:
    """A file that was evaluated: its resources, the modules that it calls, its outputs."""

    def __init__(
        self,
        file: Path,
        given: Mapping[str, Any],
        outputs: Mapping[str, Any] | None = None,
        place: Mapping[str, Any] = PLACE,
    ) -> None:
        self.file = file
        self.resources: list[tuple[str, Scope]] = []
        """Type with version, and body, of those that it makes."""
        self.modules: list[tuple[Path, Scope]] = []
        """File and parameters."""
        self._scope: Scope = {name: {"outputs": told} for name, told in (outputs or {}).items()} | dict(place)
        self._outputs: dict[str, Node] = {}
        self._given = dict(given)
        for statement in Parser(file.read_text("utf-8")).statements():
            self._take(statement)
        assert not self._given, f"{file.name} has no parameters {sorted(self._given)}"

    def output(self, name: str) -> Any:
        """The value of an output."""
        return value(self._outputs[name], self._scope)

    def inner(self) -> "list[Deployment]":
        """The modules' files, evaluated; none of them may have modules whose outputs it uses."""
        return [Deployment(file, given) for file, given in self.modules]

    def _take(self, statement: Node) -> None:
        match statement:
            case ("param", name, default):
                assert name in self._given or default is not None, f"{self.file.name} needs {name}"
                self._scope[name] = self._given.pop(name) if name in self._given else value(default, self._scope)
            case ("var", name, told):
                self._scope[name] = value(told, self._scope)
            case ("output", name, told):
                self._outputs[name] = told
            case ("resource", _, kind, body):
                self.resources += [(kind, each) for each in bodies(body, self._scope)]
            case ("module", _, path, body):
                for each in bodies(independent(body), self._scope):
                    self.modules.append(((self.file.parent / path).resolve(), each["params"]))


def bodies(node: Node, scope: Scope) -> list[Scope]:
    """The objects of a resource or module: one, several in a loop, none where its condition does not hold."""
    if node[0] == "if":
        return bodies(node[2], scope) if value(node[1], scope) else []
    found = value(node, scope)
    return found if isinstance(found, list) else [found]


def independent(node: Node) -> Node:
    """A module without what it is said to depend on."""
    if node[0] == "if":
        return (*node[:2], independent(node[2]))
    if node[0] == "for":
        return (*node[:4], independent(node[4]))
    return ("object", [each for each in node[1] if each[0] != ("literal", "dependsOn")])


def value(node: Node, scope: Scope) -> Any:
    """What an expression is."""
    match node:
        case ("literal", told):
            return told
        case ("text", parts):
            return "".join(part if isinstance(part, str) else shown(value(part, scope)) for part in parts)
        case ("name", name):
            return scope[name]
        case ("array", items):
            return [value(each, scope) for each in items]
        case ("object", items):
            return {shown(value(key, scope)): value(each, scope) for key, each in items}
        case ("for", item, index, over, body):
            entries = enumerate(value(over, scope))
            return [value(body, scope | {item: each} | ({index: number} if index else {})) for number, each in entries]
        case ("member", inner, name):
            return value(inner, scope)[name]
        case ("index", inner, at):
            return value(inner, scope)[value(at, scope)]
        case ("call", name, []) if f"{name}()" in scope:
            return scope[f"{name}()"]
        case ("call", name, arguments):
            return call(name, [value(each, scope) for each in arguments])
        case ("not", inner):
            return not value(inner, scope)
        case ("choice", condition, then, other):
            return value(then if value(condition, scope) else other, scope)
        case (("==" | "!=" | "&&" | "||") as sign, left, right):
            first, second = value(left, scope), value(right, scope)
            return {"==": first == second, "!=": first != second, "&&": first and second, "||": first or second}[sign]
    raise AssertionError(node)


def call(name: str, arguments: list[Any]) -> Any:
    """A function of Bicep; what is unique has a stand-in."""
    match name, arguments:
        case "uniqueString", [_]:
            return "abcdefghijklm"
        case "utcNow", []:
            return "20261128T120000Z"
        case "concat", lists:
            return [item for each in lists for item in each]
        case "take", [told, count]:
            return told[:count]
        case "json", [told]:
            return json.loads(told)
        case "uriComponent", [told]:
            return quote(told, safe="")
    raise AssertionError(f"{name}({arguments}) is not known here")


def shown(told: Any) -> str:
    """As a value stands in a string."""
    return told if isinstance(told, str) else json.dumps(told)


class Parser:
    """Reads statements; a newline ends one, and separates what brackets hold."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._kind, self._token = "", ""
        self._next()

    def statements(self) -> Iterator[Node]:
        while True:
            self._skip_lines()
            if not self._kind:
                return
            if self._take("@"):
                self._name()
                self._arguments()
                continue
            match self._name():
                case "targetScope":
                    self._need("=")
                    self.expression()
                case "param":
                    name = self._name()
                    self._name()
                    yield ("param", name, self.expression() if self._take("=") else None)
                case "var":
                    name = self._name()
                    self._need("=")
                    yield ("var", name, self.expression())
                case "output":
                    name = self._name()
                    self._name()
                    self._need("=")
                    yield ("output", name, self.expression())
                case ("resource" | "module") as kind:
                    name, told = self._name(), self._string()
                    existing = self._token == "existing"
                    if existing:
                        self._next()
                    self._need("=")
                    body = self._body()
                    if not existing:
                        yield (kind, name, value(told, {}), body)
                case other:
                    raise AssertionError(f"{other!r} is no statement that is known here")

    def expression(self) -> Node:
        condition = self._binary(["||"], ["&&"], ["==", "!="])
        if not self._take("?"):
            return condition
        then = self.expression()
        self._need(":")
        return ("choice", condition, then, self.expression())

    def _binary(self, *levels: list[str]) -> Node:
        if not levels:
            return self._unary()
        left = self._binary(*levels[1:])
        while self._kind == "sign" and self._token in levels[0]:
            sign = self._token
            self._next()
            left = (sign, left, self._binary(*levels[1:]))
        return left

    def _unary(self) -> Node:
        if self._take("!"):
            return ("not", self._unary())
        node = self._primary()
        while True:
            if self._take("."):
                name = self._name()
                node = ("ask", node, name, self._arguments()) if self._token == "(" else ("member", node, name)
            elif self._take("["):
                node = ("index", node, self.expression())
                self._need("]")
            else:
                return node

    def _primary(self) -> Node:
        if self._kind == "text":
            return self._string()
        if self._kind == "number":
            told = int(self._token)
            self._next()
            return ("literal", told)
        if self._take("("):
            inner = self.expression()
            self._need(")")
            return inner
        if self._take("["):
            return self._array()
        if self._take("{"):
            return self._object()
        name = self._name()
        if self._token == "(":
            return ("call", name, self._arguments())
        words = {"true": True, "false": False, "null": None}
        return ("literal", words[name]) if name in words else ("name", name)

    def _body(self) -> Node:
        if self._token == "if":
            self._next()
            self._need("(")
            condition = self.expression()
            self._need(")")
            return ("if", condition, self._body())
        return self.expression()

    def _array(self) -> Node:
        self._skip_lines()
        if self._token == "for":
            self._next()
            index = ""
            if self._take("("):
                item = self._name()
                self._need(",")
                index = self._name()
                self._need(")")
            else:
                item = self._name()
            assert self._name() == "in"
            over = self.expression()
            self._need(":")
            body = self._body()
            self._skip_lines()
            self._need("]")
            return ("for", item, index, over, body)
        items = []
        while not self._take("]"):
            items.append(self.expression())
            self._separators()
        return ("array", items)

    def _object(self) -> Node:
        items = []
        self._skip_lines()
        while not self._take("}"):
            key = self._string() if self._kind == "text" else ("literal", self._name())
            self._need(":")
            items.append((key, self.expression()))
            self._separators()
        return ("object", items)

    def _arguments(self) -> list[Node]:
        self._need("(")
        self._skip_lines()
        found = []
        while not self._take(")"):
            found.append(self.expression())
            self._separators()
        return found

    def _string(self) -> Node:
        """A string; the token is its first quote, and what follows is read here."""
        assert self._kind == "text", f"no string at {self._text[self._at - 20 : self._at + 20]!r}"
        parts: list[str | Node] = []
        while (sign := self._text[self._at]) != "'":
            if sign == "\\":
                parts.append(self._text[self._at + 1])
                self._at += 2
            elif self._text.startswith("${", self._at):
                self._at += 2
                self._next()
                parts.append(self.expression())
                assert self._token == "}", self._token  # The string goes on behind it, so no token is read.
            else:
                parts.append(sign)
                self._at += 1
        self._at += 1
        self._next()
        return ("text", parts)

    def _separators(self) -> None:
        while self._kind == "line" or self._token == ",":
            self._next()

    def _skip_lines(self) -> None:
        while self._kind == "line":
            self._next()

    def _name(self) -> str:
        assert self._kind == "name", f"no name at {self._text[self._at - 20 : self._at + 20]!r}"
        name = self._token
        self._next()
        return name

    def _take(self, sign: str) -> bool:
        if self._kind != "sign" or self._token != sign:
            return False
        self._next()
        return True

    def _need(self, sign: str) -> None:
        assert self._take(sign), f"no {sign!r} but {self._token!r} before {self._text[self._at : self._at + 30]!r}"

    def _next(self) -> None:
        while True:
            if self._at >= len(self._text):
                self._kind, self._token = "", ""
                return
            found = TOKEN.match(self._text, self._at)
            assert found, f"not known here: {self._text[self._at : self._at + 30]!r}"
            self._at = found.end()
            if found.lastgroup != "space":
                self._kind, self._token = str(found.lastgroup), found[0]
                return
