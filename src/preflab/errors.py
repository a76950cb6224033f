"""Errors that name the argument, the rule it broke, the value it had and what would be valid."""

import difflib
from collections.abc import Iterable


class PreflabError(Exception):
    """Base of every error that preflab raises on purpose."""


class InvalidArgument(PreflabError, ValueError):
    """An argument broke a stated rule."""

    def __init__(self, argument: str, rule: str, value: object, valid: str = "") -> None:
        """Says which `argument` broke which `rule` with what `value`, and what would be `valid`."""
        self.argument = argument
        ending = f"; valid: {valid}" if valid else ""
        super().__init__(f"{argument} {rule}, got {value!r}{ending}")


class UnknownName(InvalidArgument):
    """A name that is not in a registry; the message lists the nearest names and then all of them."""

    def __init__(self, argument: str, value: str, known: Iterable[str]) -> None:
        """Lists the nearest of the `known` names first, then the whole list."""
        names = sorted(known)
        near = difflib.get_close_matches(str(value), names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        super().__init__(argument, "is not a known name", value, f"{hint}all of them: {', '.join(names)}")


class Refused(PreflabError):
    """A combination that would be meaningless or misleading; the message says why and what to do instead."""


class DamagedFile(PreflabError):
    """A stored file cannot be read back; the message names the file, and nothing else was touched."""

    def __init__(self, path: object, reason: object) -> None:
        """Names the damaged file at `path` and the `reason`."""
        super().__init__(f"{path} is damaged or incomplete ({reason}); nothing was changed")


class NotFitted(PreflabError):
    """A learner was asked for its model before `fit`."""
