"""Message bodies: Markdown with variables, parsed once to a tree, filled in for each recipient.

Variables (`{{first_name | fallback: "there"}}`) are filled in after Markdown was parsed, so a value is text whatever it holds. A
backslash before the braces keeps them as they are. HTML is text. A rendered tree has the nodes of `static/WIRE.md`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from markdown_it import MarkdownIt
from markdown_it.token import Token

from collector.values.errors import Reason, Refusal
from collector.values.fields import MAX_LINK, is_link, shown
from collector.values.text import is_blank, replace_unstorable

MAX_BODY = 20_000
MAX_VARIABLES = 100
_MAX_NESTING = 40

_OPENING = re.compile(r"(?P<escaped>\\)?\{\{")
_VARIABLE = re.compile(
    r"""\{\{\s*(?!\s)(?P<path>[^{}|"'\n\u201c\u201d\u2018\u2019]{1,200}?)\s*
    (?:\|\s*fallback\s*:\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|[\u201c\u201d](?P<curly>[^\u201c\u201d]*)[\u201c\u201d]
    |[\u2018\u2019](?P<curly_single>[^\u2018\u2019]*)[\u2018\u2019])\s*)?\}\}""",
    re.VERBOSE,
)
# What has to stand before the first variable of an address: the part that says where it leads.
_FIXED_START = re.compile(r"(?:(?ai:https?)://[^\s/?#\\]+[/?][^#]*|(?ai:mailto|tel):[^#]*)")
_TAGS = frozenset({"p", "strong", "em", "a", "ul", "ol", "li", "br", "h1", "h2", "h3", "code", "pre", "blockquote", "img", "hr"})
_SMALLER = {"h4": "h3", "h5": "h3", "h6": "h3"}


class NotShowable(Exception):
    """The content cannot be shown to this person, so the message does not send."""


class MissingVariable(NotShowable):
    """A variable has no value for this person and no fallback, or (`unfit`) one that its address cannot take."""

    def __init__(self, name: str, *, unfit: bool = False) -> None:
        super().__init__(name)
        self.name = name
        self.unfit = unfit


class Variable(msgspec.Struct, frozen=True):
    """A place for a value; `path` is the name that is looked up, such as `first_name` or `event.metadata.item`."""

    path: str
    fallback: str | None = None


Template = tuple[str | Variable, ...]
"""Text with variables."""


class Element(msgspec.Struct, frozen=True):
    """An element of a body. `address` is the href of `a` and the src of `img`, `alt` the text of `img`."""

    tag: str
    children: "tuple[str | Variable | Element, ...]" = ()
    address: Template | None = None
    alt: Template = ()


Body = tuple[str | Variable | Element, ...]
NodeJson = str | dict[str, Any]


def parse_body(markdown: str, *, field: str = "body") -> Body:
    """Return the tree of a body.

    Raises Refusal (FIELD_INVALID) for one that is too long or nested too deeply, for braces that are no variable, and for an
    address that is none of http, https, mailto and tel or has a variable outside path and query.
    """
    if len(markdown) > MAX_BODY:
        raise Refusal(Reason.FIELD_INVALID, field, f"A body has at most {MAX_BODY} code points.")
    source = replace_unstorable(markdown)
    marker = _unused_marker(source)
    pieces = _split(source, field, keep_escapes=True)
    variables = [piece for piece in pieces if isinstance(piece, Variable)]
    # Markdown sees a plain word in each variable's place. Anything else would be read as Markdown, or end a link's address.
    places = iter(range(len(variables)))
    text = "".join(piece if isinstance(piece, str) else f"{marker}{next(places)}z" for piece in pieces)
    reader = _Reader(re.compile(f"{marker}([0-9]+)z"), variables, field)
    tokens = _MARKDOWN.parse(text)
    if any(token.level >= _MAX_NESTING - 1 for token in tokens):  # what lies deeper was left out
        raise Refusal(Reason.FIELD_INVALID, field, "The body is nested too deeply.")
    return reader.children(iter(tokens), None)


def parse_text(text: str, *, field: str) -> Template:
    """Return a title or label with its variables. Raises Refusal (FIELD_INVALID) for braces that are no variable."""
    return _split(replace_unstorable(text), field, keep_escapes=False)


def parse_url(text: str, *, field: str, web_only: bool = False) -> Template:
    """Return an address with its variables.

    Raises Refusal (FIELD_INVALID) where it is no http, https, mailto or tel address (`web_only`: the first two), is longer than
    2,048 code points, or has a variable outside path and query.
    """
    return _checked_address(parse_text(text, field=field), field, web_only=web_only)


def render(body: Body, values: Mapping[str, str]) -> list[NodeJson]:
    """Return the body as nodes of the wire for one person. Raises MissingVariable; an empty value counts as missing."""
    nodes: list[NodeJson] = []
    for part in body:
        if isinstance(part, Element):
            nodes.append(_render_element(part, values))
            continue
        text = part if isinstance(part, str) else _value(part, values)
        if nodes and isinstance(nodes[-1], str):
            nodes[-1] += text
        else:
            nodes.append(text)
    return nodes


def render_text(text: Template, values: Mapping[str, str]) -> str:
    """Return a title or label for one person. Raises MissingVariable."""
    return "".join(part if isinstance(part, str) else _value(part, values) for part in text)


def render_url(address: Template, values: Mapping[str, str]) -> str:
    """Return an address for one person, every value percent-encoded.

    Raises MissingVariable, also where a value would change where the address leads or make it longer than 2,048 code points.
    """
    if len(address) == 1 and isinstance(address[0], str):
        return address[0]
    # In the path of these, @ and + are part of what is dialled or written to; they cannot name anything else.
    safe = "" if str(address[0])[:4].lower() == "http" else "@+"
    url = ""
    for part in address:
        if isinstance(part, str):
            url += part
            continue
        value = _value(part, values)
        if not value.strip("."):  # a segment of dots leads out of its folder, encoded or not
            raise MissingVariable(part.path, unfit=True)
        url += quote(value, safe="" if "?" in url else safe)
    if len(url) > MAX_LINK or not is_link(url):
        raise MissingVariable(next(part.path for part in address if isinstance(part, Variable)), unfit=True)
    return url


def shows(part: Body | Template | None, values: Mapping[str, str] | None = None) -> bool:
    """Say whether a body, title or label has something to see: text that is not blank, an image, a variable; of that, with `values`, what
    it comes to for one person. Raises MissingVariable.
    """
    return any(_shows(piece, values) for piece in part or ())


def variables(*parts: Body | Template | None) -> frozenset[str]:
    """Return the names of all variables, with and without a fallback."""
    return frozenset(variable.path for part in parts if part is not None for variable in _variables(part))


def required(*parts: Body | Template | None) -> frozenset[str]:
    """Return the names of the variables that have to have a value: somewhere they stand without a fallback."""
    return frozenset(one.path for part in parts if part is not None for one in _variables(part) if one.fallback is None)


def _variables(parts: Iterable[str | Variable | Element]) -> Iterator[Variable]:
    for part in parts:
        if isinstance(part, Variable):
            yield part
        elif isinstance(part, Element):
            yield from _variables((*part.children, *(part.address or ()), *part.alt))


def _shows(piece: str | Variable | Element, values: Mapping[str, str] | None) -> bool:
    if isinstance(piece, Element):
        return piece.tag == "img" or shows(piece.children, values)
    if isinstance(piece, Variable):
        return values is None or not is_blank(_value(piece, values))
    return not is_blank(piece)


def _value(variable: Variable, values: Mapping[str, str]) -> str:
    value = replace_unstorable(values.get(variable.path, ""))
    if value.strip():
        return value
    if variable.fallback is None:
        raise MissingVariable(variable.path)
    return variable.fallback


def _render_element(element: Element, values: Mapping[str, str]) -> dict[str, Any]:
    node: dict[str, Any] = {"tag": element.tag, "children": render(element.children, values)}
    if element.address is not None:
        node["src" if element.tag == "img" else "href"] = render_url(element.address, values)
    if element.tag == "img":
        node["alt"] = render_text(element.alt, values)
    return node


def _split(text: str, field: str, *, keep_escapes: bool) -> Template:
    """Return text cut at its variables. Escaped braces stay for Markdown to read (`keep_escapes`) or lose their backslash."""
    pieces: list[str | Variable] = []
    start = 0
    while opening := _OPENING.search(text, start):
        if opening["escaped"]:
            pieces.append(text[start : opening.end()] if keep_escapes else text[start : opening.start()] + "{{")
            start = opening.end()
            continue
        found = _VARIABLE.match(text, opening.start())
        if found is None:
            stood = shown(text[opening.start() :])
            expected = '{{name}} or {{name | fallback: "text"}}; \\{{ stands for the braces themselves'
            raise Refusal(Reason.FIELD_INVALID, field, f"There is {stood}; expected {expected}.")
        fallback = next((found[kind] for kind in ("double", "single", "curly", "curly_single") if found[kind] is not None), None)
        pieces += [text[start : found.start()], Variable(found["path"], fallback)]
        start = found.end()
    pieces.append(text[start:])
    if sum(isinstance(piece, Variable) for piece in pieces) > MAX_VARIABLES:
        raise Refusal(Reason.FIELD_INVALID, field, f"At most {MAX_VARIABLES} variables are allowed.")
    return _merged(pieces)


def _merged(pieces: Iterable[str | Variable]) -> Template:
    merged: list[str | Variable] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, str) and isinstance(last, str):
            merged[-1] = last + piece
        elif piece != "":
            merged.append(piece)
    return tuple(merged)


def _checked_address(address: Template, field: str, *, web_only: bool) -> Template:
    # A letter in every variable's place shows whether the rest is a whole address.
    sample = "".join(part if isinstance(part, str) else "x" for part in address)
    if not is_link(sample, web_only=web_only) or len(sample) > MAX_LINK:
        kinds = "http or https" if web_only else "http, https, mailto or tel"
        raise Refusal(Reason.FIELD_INVALID, field, f"There is {shown(sample)}; expected a whole {kinds} address.")
    before = ""
    for part in address:
        if isinstance(part, Variable):
            if not _FIXED_START.fullmatch(before):
                raise Refusal(Reason.FIELD_INVALID, field, f"{{{{{part.path}}}}} may stand in the path or query of an address only.")
            before += "x"
        else:
            before += part
    return address


def _unused_marker(source: str) -> str:
    """Return letters that the source does not hold, and that mean nothing to Markdown or in an address."""
    number = 0
    while f"qv{number}q" in source.lower():
        number += 1
    return f"qv{number}q"


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    # Bad addresses are refused with a message instead of silently becoming text.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # noqa: ARG005
    return parser


_MARKDOWN = _parser()


class _Reader:
    """Builds the tree from Markdown's tokens."""

    def __init__(self, marker: re.Pattern[str], variables: list[Variable], field: str) -> None:
        self.marker = marker
        self.variables = variables
        self.field = field

    def children(self, tokens: Iterator[Token], end: str | None) -> Body:
        parts: list[str | Variable | Element] = []
        for token in tokens:
            if token.type == end:
                break
            if token.type == "inline":
                parts += self.children(iter(token.children or ()), None)
            elif token.nesting == 1:
                inner = self.children(tokens, token.type.removesuffix("_open") + "_close")
                tag = _SMALLER.get(token.tag, token.tag)
                if token.hidden or tag not in _TAGS:  # the paragraphs of a tight list
                    parts += inner
                else:
                    parts.append(Element(tag, inner, self.address(token, "href") if tag == "a" else None))
            else:
                parts += self.leaf(token)
        return _joined(parts)

    def leaf(self, token: Token) -> list[str | Variable | Element]:
        if token.type in {"fence", "code_block"}:
            return [Element("pre", (Element("code", self.filled(token.content)),))]
        if token.type == "code_inline":
            return [Element("code", self.filled(token.content))]
        if token.type == "image":
            return [Element("img", (), self.address(token, "src"), self.filled(_plain(token.children or [])))]
        if token.type == "softbreak":
            return ["\n"]
        if token.type in {"hardbreak", "hr"}:
            return [Element(token.tag)]
        return list(self.filled(token.content))

    def address(self, token: Token, name: str) -> Template:
        return _checked_address(self.filled(str(token.attrGet(name) or "")), self.field, web_only=name == "src")

    def filled(self, text: str) -> Template:
        pieces: list[str | Variable] = list(self.marker.split(text))
        pieces[1::2] = [self.variables[int(str(place))] for place in pieces[1::2]]
        return _merged(pieces)


def _joined(parts: list[str | Variable | Element]) -> Body:
    joined: list[str | Variable | Element] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, str) and isinstance(last, str):
            joined[-1] = last + part
        elif part != "":
            joined.append(part)
    return tuple(joined)


def _plain(tokens: list[Token]) -> str:
    return "".join(token.content if not token.children else _plain(token.children) for token in tokens)
