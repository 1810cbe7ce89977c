"""How many examples Hypothesis makes up for a property, by the profile in force."""

from hypothesis import settings


def examples(count: int, **options) -> settings:
    """Up to `count` examples, and in the profile `fast` as small a part as of all properties."""
    return settings(max_examples=max(1, count * settings.default.max_examples // 100), **options)
