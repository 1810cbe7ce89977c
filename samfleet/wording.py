"""Words that several messages use; standard library only."""


def counted(number: int, noun: str) -> str:
    """A number with its noun in the plural unless it is one: "1 shard", "2 shards"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
