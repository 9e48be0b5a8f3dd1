"""Damage valid files as disks, transfers, tools and people do."""

import re

_EXTREMES = [b'0', b'-1', b'1e999', b'NaN', b'9' * 20, b'"x"', b'null', b'[]', b'{}', b'', b'3.5', b'\xff']
_NUMBER = re.compile(rb'-?\d+(\.\d+)?')


def mutated(content, generator):
    """Return bytes with one to three damages; the same for the same state of the generator."""
    for _ in range(generator.randint(1, 3)):
        content = generator.choice(_MUTATIONS)(content, generator)
    return content


def _cut(content, generator):
    return content[: _place(content, generator)]


def _flip(content, generator):
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 1, 10))):
        if damaged:
            damaged[_place(damaged, generator)] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def _zero(content, generator):
    start, stop = sorted((_place(content, generator), _place(content, generator)))
    return content[:start] + bytes(stop - start) + content[stop:]


def _insert(content, generator):
    start = _place(content, generator)
    return content[:start] + generator.randbytes(generator.choice((1, 4, 300))) + content[start:]


def _move(content, generator):
    first, second, third = sorted(_place(content, generator) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def _repeat(content, generator):
    start, stop = sorted((_place(content, generator), _place(content, generator)))
    return content[:stop] + content[start:]


def _number(content, generator):
    """In a text, put something else in the place of a number."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return content
    number = generator.choice(found)
    return content[: number.start()] + generator.choice(_EXTREMES) + content[number.end() :]


def _empty(content, generator):
    return b''


def _place(content, generator):
    return generator.randrange(len(content)) if content else 0


_MUTATIONS = (_cut, _flip, _flip, _zero, _insert, _move, _repeat, _number, _number, _number, _empty)
