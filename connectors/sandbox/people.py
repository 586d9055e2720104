"""Invented customers of the generated web shop: they exist so that tests can see that nobody's data is kept."""

from __future__ import annotations

from typing import NamedTuple

FIRST = (
    "Ada", "Bruno", "Clara", "Dario", "Elif", "Felix", "Greta", "Hugo", "Inês", "Jun", "Kaya", "Lian", "Mei", "Nuno",
    "Olga", "Paulo", "Rosa", "Sven", "Tiago", "Wei",
)  # fmt: skip
LAST = (
    "Almeida", "Brandt", "Chen", "Dietrich", "Esteves", "Fischer", "Gomes", "Hartmann", "Issler", "Jansen", "Kowalski",
    "Liang", "Marquardt", "Nogueira", "Oliveira", "Petersen", "Quandt", "Ribeiro", "Schuster", "Zhang",
)  # fmt: skip
STREETS = ("Lindenallee", "Rua das Flores", "Hafenstraße", "Am Kanal", "Travessa do Sol", "Marktgasse")
CITIES = ("10115 Berlin", "22765 Hamburg", "60487 Frankfurt", "1200-109 Lisboa", "50667 Köln")


class Person(NamedTuple):
    id: str
    name: str
    email: str
    phone: str
    street: str
    city: str


def person(number: int) -> Person:
    """The customer with a number, always the same."""
    first, last = FIRST[number % len(FIRST)], LAST[number // len(FIRST) % len(LAST)]
    return Person(
        id=f"C{number:06d}",
        name=f"{first} {last}",
        email=f"{first}.{last}.{number}@example.org".lower(),
        phone=f"+49 30 555 {number:06d}",
        street=f"{STREETS[number % len(STREETS)]} {number % 90 + 1}",
        city=CITIES[number % len(CITIES)],
    )
