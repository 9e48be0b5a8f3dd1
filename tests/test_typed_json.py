"""Dataclasses as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from xlearner_mm.typed_json import from_json, to_json


@dataclass
class Wheel:
    size: float
    spokes: int | None = None


@dataclass
class Car:
    name: str
    wheels: dict[str, Wheel]
    tags: list[str] = field(default_factory=list)
    sold: bool = False


CAR = Car('a', {'left': Wheel(1.5), 'right': Wheel(2, 30)}, sold=True)
PLAIN = {'name': 'a', 'wheels': {'left': {'size': 1.5}, 'right': {'size': 2, 'spokes': 30}}, 'sold': True}


def test_fields_at_their_defaults_are_omitted_and_everything_is_read_back():
    assert to_json({'cars': [CAR]}) == {'cars': [PLAIN]}
    assert from_json(list[Car], [PLAIN]) == [CAR]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], r'content is \[\], expected an object'),
        ({'name': 'a'}, "content has no 'wheels'"),
        ({**PLAIN, 'doors': 4}, "content has an unknown 'doors'"),
        ({**PLAIN, 'name': None}, 'content.name is None, expected str'),
        ({**PLAIN, 'wheels': {'left': {'size': '2'}}}, "content.wheels.left.size is '2', expected float"),
        ({**PLAIN, 'wheels': {'left': {'size': 2, 'spokes': 1.5}}}, r'spokes is 1.5, expected int \| None'),
        ({**PLAIN, 'tags': ['x', 1]}, r'content.tags\[1\] is 1, expected str'),
        ({**PLAIN, 'sold': 1}, 'content.sold is 1, expected bool'),
        ({**PLAIN, 'wheels': {'left': {'size': True}}}, 'size is True, expected float'),
    ],
)
def test_content_of_another_type_is_an_error_that_names_the_field(content, message):
    with pytest.raises(ValueError, match=message):
        from_json(Car, content)
