"""A Ray actor that is composed of several objects, each called through a handle of its own.

Ray calls methods of one class. An actor with many callers would be one class with all their
methods; a `ComposedActor` has the single method `call`, which passes each call on to the part that
it names. `PartHandle` makes that look as usual: ``handle.method.remote(...)``. A caller is given
the handle of the part that it needs and sees no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call of one method of one part; crosses processes."""

    part: str
    method: str
    arguments: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)


class ComposedActor:
    """Base class of an actor with parts: the attributes that `PARTS` names."""

    PARTS: tuple[str, ...] = ()

    def call(self, call: Call) -> Any:
        """Do `call` and return its result."""
        assert call.part in self.PARTS and not call.method.startswith("_"), call
        return getattr(getattr(self, call.part), call.method)(*call.arguments, **call.named)


@dataclass(frozen=True)
class RemoteMethod:
    """A method of a part in another process; Ray shows its calls as ``part.method``."""

    actor: Any
    part: str
    method: str

    def remote(self, *arguments: Any, **named: Any) -> Any:
        """Start the call; a Ray future of its result."""
        call = Call(self.part, self.method, arguments, named)
        return self.actor.call.options(name=f"{self.part}.{self.method}").remote(call)


@dataclass(frozen=True)
class PartHandle:
    """One part of the actor behind Ray's handle `actor`; ``handle.method.remote(...)`` calls it.

    Picklable, as Ray's handle is.
    """

    actor: Any
    part: str

    def __getattr__(self, method: str) -> RemoteMethod:
        if method.startswith("_"):  # pickle and copy look for methods that no part has
            raise AttributeError(method)
        return RemoteMethod(self.actor, self.part, method)
