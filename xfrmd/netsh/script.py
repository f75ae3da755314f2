# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a script to its statements: lines, comments, quotation marks, netsh's contexts.

Both kinds of scripts are read: those for `netsh -f`, with commands of netsh and its contexts, and batch files for cmd
that call netsh in each line. Nothing of cmd is carried out: what would change a command's meaning is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.model.source import Span
from xfrmd.netsh.lines import NETSH, Line, lines
from xfrmd.policy.problems import Problems, quoted

_WORD: Final = re.compile(r'([^\s"]*)(?:"([^"]*)")?(?=\s|$)')
_COMMENT: Final = re.compile(r"#|:|rem(?:\s|$)", re.IGNORECASE)
_CMD: Final = re.compile(r"[&|<>^%]")
_REDIRECTION: Final = re.compile(r'(?:(?<!\s)\s++[12]?>{1,2}\s*+(?:&[12]|[^\s"&|<>^%]++))+\s*$')
_ECHO: Final = re.compile(r'\s*+&{1,2}\s*+echo(?:[\s.][^"&|<>^%]*)?$', re.IGNORECASE)
_QUOTED: Final = re.compile(r'"[^"]*"')
STRANGE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""What no script may hold."""

HARMLESS: Final = frozenset({"echo", "title", "color", "cls", "pause", "timeout", "chcp", "cd", "setlocal", "endlocal"})
"""Commands of cmd that print or wait: they change no policy."""
_SERVICES: Final = frozenset({"net", "net.exe", "sc", "sc.exe"})
"""Programs that start and stop services: they change no policy either, but what is in force."""
_ENDS: Final = frozenset({"exit", "quit", "bye"})
VERBS: Final = ("add", "set", "delete", "show", "exportpolicy", "importpolicy", "restorepolicyexamples")
_MODES: Final = ("static", "dynamic")


class Word(NamedTuple):
    """A word without its quotation marks, and where it begins."""

    text: str
    line: int
    column: int


class _Piece(NamedTuple):
    """What stands between two spaces: `bare` up to a quotation mark, `inner` in quotation marks (None: no such)."""

    bare: str
    inner: str | None
    column: int


class Statement(NamedTuple):
    """One command in the context `ipsec static` or `ipsec dynamic` ("static", "dynamic")."""

    mode: str
    words: tuple[Word, ...]


def decode(source: str | bytes, problems: Problems) -> str | None:
    """The text of a script: UTF-8, UTF-16 with a byte order mark, else Windows-1252. None when refused (reported)."""
    start = Span(problems.file, 1, 1)
    if len(source) > limits.POLICY_FILE_SIZE:
        size = f"the script is larger than {limits.POLICY_FILE_SIZE // 1024 // 1024} MiB"
        problems.error(start, size, "split it, or write subnets instead of many single addresses")
        return None
    text = source if isinstance(source, str) else _decode(source, problems)
    if text is None:
        return None
    text = text.removeprefix("\ufeff")
    if text.count("\n") >= limits.NETSH_LINES:
        problems.error(start, f"the script has more than {limits.NETSH_LINES} lines", "split it")
        return None
    strange = STRANGE.search(text)
    if strange is not None:
        offset, code = strange.start(), ord(strange.group())
        at = Span(problems.file, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))
        problems.error(at, f"character U+{code:04X} has no place in a script", "remove it; is this a text file?")
        return None
    return text


def _decode(octets: bytes, problems: Problems) -> str | None:
    if octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return octets.decode("utf-16")
        except UnicodeDecodeError:
            problems.error(Span(problems.file, 1, 1), "this is no UTF-16", "save the script in UTF-8 encoding")
            return None
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        at = _place(problems.file, octets, error.start)
    try:
        text = octets.decode("cp1252")
    except UnicodeDecodeError as error:
        at, octet = _place(problems.file, octets, error.start), octets[error.start]
        remedy = "save the script in UTF-8 encoding: iconv -f CP850 -t UTF-8, say"
        problems.error(at, f"octet 0x{octet:02X} is neither UTF-8 nor Windows-1252", remedy)
        return None
    remedy = "look at its letters in what comes out; if they are wrong: iconv -f CP850 -t UTF-8, say"
    problems.warning(at, "this is not UTF-8: the script is read as Windows-1252", remedy)
    return text


def _place(file: str, octets: bytes, offset: int) -> Span:
    """The place of an octet; columns count octets, as what they stand for is not known."""
    return Span(file, octets.count(b"\n", 0, offset) + 1, offset - octets.rfind(b"\n", 0, offset))


def without_value(word: str) -> str:
    """A word as it may stand in a message: what follows `=` could be a secret."""
    return quoted(word.partition("=")[0])


class Reader:
    """Reads one script. The context moves as in netsh: `ipsec static`, `..`, `pushd`, `popd`."""

    def __init__(self, text: str, problems: Problems) -> None:
        self._text, self._problems = text, problems
        self._context: tuple[str, ...] = ()
        self._saved: list[tuple[str, ...]] = []
        self._line = Line("", ((0, 1),))

    def statements(self) -> Iterator[Statement]:
        """The statements in their order. What is wrong is reported and left out."""
        ended = 0
        for line in lines(self._text):
            self._line = line
            if self._problems.errors >= limits.NETSH_ERRORS:
                self._error(1, f"{self._problems.errors} errors: the script is not read on", "mend those first")
                return
            begin = line.begin
            if begin == len(line.text) or _COMMENT.match(line.text, begin):
                continue
            if ended:
                self._error(begin + 1, f"the script ends in line {ended}", "remove that line, or what stands behind it")
                return
            words = self._words(line.text, begin)
            if words is None:
                continue
            if words[0].text.casefold() in _ENDS:
                ended = line.number
                continue
            statement = self._statement(words)
            if statement is not None:
                yield statement

    def _error(self, column: int, message: str, remedy: str) -> None:
        self._problems.error(Span(self._problems.file, *self._line.place(column)), message, remedy)

    def _wrong(self, word: Word, message: str, remedy: str) -> None:
        self._problems.error(Span(self._problems.file, word.line, word.column), message, remedy)

    def _words(self, line: str, begin: int) -> tuple[Word, ...] | None:
        """The words of a line, None (reported) when it cannot be read."""
        if len(line) > limits.NETSH_LINE:
            self._error(limits.NETSH_LINE + 1, f"a line of {len(line)} characters is no command", "write shorter lines")
            return None
        if _CMD.search(line) and NETSH.match(line, begin):
            line = _REDIRECTION.sub("", _ECHO.sub("", line)) if line.count('"') % 2 == 0 else line
            if not self._plain(line):
                return None
        pieces = self._pieces(line, begin)
        return None if pieces is None else self._joined(pieces)

    def _pieces(self, line: str, begin: int) -> list[_Piece] | None:
        """What stands between spaces, None (reported) for quotation marks that cannot be read."""
        found = []
        place = begin
        while place < len(line):
            match = _WORD.match(line, place)
            if match is None:
                self._bad_quotes(line, place)
                return None
            if match.end() == place:
                place += 1
                continue
            bare, inner = match.groups()
            if inner is not None and inner.endswith("\\"):
                remedy = "leave the backslash out: Windows' programs read it in different ways"
                self._error(match.end(), "a backslash stands before the closing quotation mark", remedy)
                return None
            found.append(_Piece(bare, inner, place + 1))
            place = match.end() + 1
        return found

    def _joined(self, pieces: list[_Piece]) -> tuple[Word, ...] | None:
        """The words: `tag = value` is one, as netsh has it."""
        found: list[Word] = []
        waits = False  # for the value of the last word's tag
        for bare, inner, column in pieces:
            text = bare + (inner or "")
            if waits and "=" in bare:
                remedy = "write the value directly behind it, in quotation marks if there is a = in it"
                self._wrong(found[-1], f"nothing stands behind {without_value(found[-1].text)}", remedy)
                return None
            joins = waits or (bare[:1] == "=" and found and "=" not in found[-1].text)
            if joins:
                found[-1] = found[-1]._replace(text=found[-1].text + text)
            else:
                found.append(Word(text, *self._line.place(column)))
            waits = not waits and inner is None and text[-1:] == "="
        return tuple(found)

    def _plain(self, line: str) -> bool:
        """Is there nothing in this line that cmd would act on? Between quotation marks it acts on % alone."""
        bare = _QUOTED.sub(lambda match: match.group().translate(_BLANKED), line)
        sign = _CMD.search(bare)
        if sign is None:
            return True
        what = "a variable" if sign.group() == "%" else f"{sign.group()} of cmd"
        remedy = "write the value out" if sign.group() == "%" else "write one plain netsh command in a line"
        self._error(sign.start() + 1, f"{what} stands here, and scripts are read, not run", remedy)
        return False

    def _bad_quotes(self, line: str, place: int) -> None:
        mark = line.index('"', place)
        end = line.find('"', mark + 1)
        if end < 0:
            self._error(mark + 1, "this quotation mark is never closed", "close it in the same line")
        else:
            remedy = "put a space behind it; inside rootca, write \\' for a quotation mark"
            self._error(end + 2, "text stands directly behind a closing quotation mark", remedy)

    def _statement(self, words: tuple[Word, ...]) -> Statement | None:
        """Follow contexts to the command of a line. None for a line that only moves, prints, or is refused."""
        first = words[0].text.casefold()
        context = self._context
        if NETSH.fullmatch(words[0].text):
            rest = self._options(words[1:])
            if rest is None:
                return None
            return self._command((), rest, moves=False)
        if first in HARMLESS and not context:
            return None
        if first in _SERVICES and not context:
            remedy = "remove the line: here xfrmctl apply puts a policy in force"
            at = Span(self._problems.file, words[0].line, words[0].column)
            self._problems.warning(at, f"{first} starts and stops services, which is left out", remedy)
            return None
        if first == "pushd":
            self._saved.append(context)
            return self._command(context, words[1:], moves=True) if len(words) > 1 else None
        if first == "popd":
            if self._saved:
                self._context = self._saved.pop()
            else:
                self._wrong(words[0], "there is no pushd before this popd", "remove it")
            return None
        if first == "..":
            self._context = context[:-1]
            return None
        return self._command(context, words, moves=True)

    def _options(self, words: tuple[Word, ...]) -> tuple[Word, ...] | None:
        """What follows `netsh` without `-c CONTEXT`; other options are refused."""
        if words and words[0].text.casefold() == "-c" and len(words) > 1:
            return (*(words[1]._replace(text=part) for part in words[1].text.split()), *words[2:])
        if words and words[0].text[:1] in "-/":
            remedies = {"-f": "import that file by itself", "-r": "import a script for that computer by itself"}
            remedy = remedies.get(words[0].text.casefold(), "remove it")
            self._wrong(words[0], f"option {quoted(words[0].text)} of netsh is not followed here", remedy)
            return None
        if not words:
            self._error(1, "netsh alone opens its prompt", "write the whole command: netsh ipsec static add ...")
            return None
        return words

    def _command(self, context: tuple[str, ...], words: tuple[Word, ...], *, moves: bool) -> Statement | None:
        """A command seen from a context. Of contexts above, all commands are known too."""
        rest = words
        if len(rest[0].text) >= len("ips") and "ipsec".startswith(rest[0].text.casefold()):
            context, rest = ("ipsec",), rest[1:]
        mode = abbreviated(rest[0].text, _MODES) if rest and context else None
        if mode is not None:
            context, rest = ("ipsec", mode), rest[1:]
        if not rest:
            if moves:
                self._context = context
            return None
        if len(context) == 2 and abbreviated(rest[0].text, VERBS):
            return Statement(context[1], rest)
        self._unknown(context, rest[0])
        return None

    def _unknown(self, context: tuple[str, ...], word: Word) -> None:
        where = " ".join(context) or "netsh"
        remedy = "known are netsh ipsec static add, set and delete; write each command out, or remove this line"
        self._wrong(word, f"{without_value(word.text)} is no command known here in {where}", remedy)


_BLANKED: Final = {ord(sign): "." for sign in "&|<>^"}


def abbreviated(word: str, known: tuple[str, ...]) -> str | None:
    """The one known word that this one is or begins, without regard to case."""
    word = word.casefold()
    if word in known:
        return word
    found = [one for one in known if one.startswith(word)]
    return found[0] if len(found) == 1 else None
