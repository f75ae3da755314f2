# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands as rows, and how the words behind a command find their tags: by name, by a beginning of it, by place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from xfrmd.model.source import Span
from xfrmd.netsh.script import Word, without_value
from xfrmd.netsh.values import Authentication, BadValue, Reader, string
from xfrmd.policy.problems import Problems, did_you_mean

AUTHENTICATION: Final = frozenset({"kerberos", "psk", "rootca"})
"""Tags that are methods of authentication: they may stand more than once, and their order is their preference."""
ALL: Final = "all"


class Tag(NamedTuple):
    """One tag of a command. `refused` is the remedy for a tag of Windows' that means nothing here."""

    name: str
    read: Reader
    required: bool = False
    refused: str = ""


class Arguments:
    """What one command says: values by tag, and the place of each."""

    __slots__ = ("_places", "at", "auth", "every", "values")

    def __init__(self, at: Span) -> None:
        self.at = at
        self.values: dict[str, Any] = {}
        self.auth: list[Authentication] = []
        self.every = False
        """The word `all` stands in place of a name."""
        self._places: dict[str, Span] = {}

    def put(self, tag: str, value: Any, at: Span) -> None:
        """Keep the value of a tag."""
        self._places[tag] = at
        if tag not in AUTHENTICATION:
            self.values[tag] = value
        elif value is not None:
            self.auth.append(value)

    def __getitem__(self, tag: str) -> Any:
        return self.values[tag]

    def get(self, tag: str, otherwise: Any = None) -> Any:
        """The value of a tag, `otherwise` when it was not given."""
        return self.values.get(tag, otherwise)

    def given(self, tag: str) -> bool:
        """Does the tag stand in the command?"""
        return tag in self._places

    @property
    def states_auth(self) -> bool:
        """Is there a method of authentication, be it `kerberos=no`?"""
        return any(tag in self._places for tag in AUTHENTICATION)

    def place(self, tag: str) -> Span:
        """Where a tag stands; the command's place when it does not."""
        return self._places.get(tag, self.at)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its two words, its tags in the order that words without a tag take, and what it does."""

    words: tuple[str, ...]
    tags: tuple[Tag, ...]
    run: Callable[[Any, Arguments], None]
    takes_all: bool = False
    """`all` may stand in place of the name."""
    by_name: dict[str, Tag] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {tag.name: tag for tag in self.tags})

    def tag(self, word: str) -> Tag | tuple[str, ...]:
        """The tag that a word is or begins, else the names of those that it might be."""
        found = self.by_name.get(word) or self.by_name.get(word.casefold())
        if found is not None:
            return found
        near = [tag for tag in self.tags if tag.name.startswith(word.casefold())] if word else []
        return near[0] if len(near) == 1 else tuple(tag.name for tag in near)

    def match(self, words: Sequence[Word], at: Span, problems: Problems) -> Arguments | None:
        """The arguments of a command. None when something is wrong with them (reported)."""
        errors = problems.errors
        found = Arguments(at)
        tagged, in_order = False, True  # so far, words with a tag stand where they would stand without
        for place, word in enumerate(words):
            name, equals, text = word.text.partition("=")
            if equals:
                tagged = True
                in_order = in_order and place < len(self.tags) and self.tag(name) is self.tags[place]
                self._tagged(name, text, at._replace(line=word.line, column=word.column), found, problems)
            elif place == 0 and self.takes_all and word.text.casefold() == ALL:
                found.every = True
            else:
                self._untagged(place, word, found, problems, in_order=in_order, told=tagged)
        for tag in self.tags:
            if tag.required and not found.given(tag.name) and not (found.every and tag.name == "name"):
                if problems.errors != errors:
                    break  # it may be what could not be read
                problems.error(at, f"{' '.join(self.words)} needs {tag.name}", f"add {tag.name}=")
        return found if problems.errors == errors else None

    def _tagged(self, name: str, text: str, at: Span, found: Arguments, problems: Problems) -> None:
        tag = self.tag(name)
        if not isinstance(tag, Tag):
            if tag:
                problems.error(at, f"{without_value(name)} may be {' or '.join(tag)}", "write the whole tag")
                return
            known = [one.name for one in self.tags]
            remedy = did_you_mean(name, known, f"known here are {', '.join(known)}")
            problems.error(at, f"{' '.join(self.words)} has no tag {without_value(name)}", remedy)
            return
        if not text and tag.read is not string:
            problems.error(at, f"nothing stands behind {tag.name}=", "write the value directly behind it")
            return
        self._read(tag, text, at, found, problems, shown=True)

    def _untagged(
        self, place: int, word: Word, found: Arguments, problems: Problems, *, in_order: bool, told: bool
    ) -> None:
        """A word without a tag; it is not shown in messages, as a secret may have come here by mistake."""
        at = found.at._replace(line=word.line, column=word.column)
        if not in_order:
            remedy = "write its tag before it; put text with spaces in quotation marks"
            problems.error(at, "a word without a tag stands behind one with a tag", remedy)
        elif place >= len(self.tags):
            known = ", ".join(tag.name for tag in self.tags)
            problems.error(at, f"{' '.join(self.words)} takes {len(self.tags)} words", f"write tags: {known or 'none'}")
        else:
            tag = self.tags[place]
            if told:
                problems.warning(at, f"a word without a tag is taken as {tag.name}, by its place", f"write {tag.name}=")
            self._read(tag, word.text, at, found, problems, shown=False)

    def _read(self, tag: Tag, text: str, at: Span, found: Arguments, problems: Problems, *, shown: bool) -> None:
        if tag.refused:
            problems.error(at, f"{tag.name} is not known here", tag.refused)
            return
        if found.given(tag.name) and tag.name not in AUTHENTICATION:
            problems.error(at, f"{tag.name} stands twice in this command", "remove one of the two")
            return
        try:
            found.put(tag.name, tag.read(text), at)
        except BadValue as error:
            message = error.message if shown else f"this word is no {tag.name}"
            problems.error(at, message, error.remedy if shown else f"write {tag.name}= before it; {error.remedy}")
