"""How the channels of an image are called; standard library only."""

from dataclasses import dataclass

from samfleet.files import escape_name

COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class Channels:
    """What the names of an image's channels follow from.

    Attributes:
        metadata: their names in the image's metadata, "" for a channel without one; may be empty.
        count: how many there are.
        is_color: whether they are red, green and blue.
    """

    metadata: tuple[str, ...]
    count: int
    is_color: bool

    @property
    def names(self) -> tuple[str, ...]:
        """By their names, or by their numbers, each different; of colour `red`, `green` and `blue`.

        The one channel of an image has none if the metadata name none.
        """
        if self.is_color and self.count == len(COLORS):
            return COLORS
        given = [escape_name(name).strip() for name in self.metadata] or [""] * self.count
        given += [""] * (self.count - len(given))
        if self.count == 1:
            return (given[0],) if given[0] else ()
        names = [name or str(n) for n, name in enumerate(given[: self.count])]
        # once more where a number makes it another channel's name: "1" and none, or GFP_1, GFP and GFP
        while len(set(names)) < len(names):
            names = [
                f"{name}_{n}" if names.count(name) > 1 else name for n, name in enumerate(names)
            ]
        return tuple(names)

    def number(self, name: str) -> int | None:
        """Of the channel that has this name in the metadata or in `names`; None if not exactly one has.

        Digits that are no name are a number: on a command line all is text.
        """
        if not self.is_color and self.metadata[: self.count].count(name) == 1:
            return self.metadata.index(name)
        if name in self.names:
            return self.names.index(name)
        return int(name) if name.isdecimal() and int(name) < self.count else None

    def __str__(self) -> str:
        """In words: "the channels are called DAPI, GFP"."""
        if not (self.is_color or any(self.metadata)):
            return "the channels have no names" if self.count > 1 else "the channel has no name"
        what = "channels are" if self.count > 1 else "channel is"
        return f"the {what} called {', '.join(self.names)}"
