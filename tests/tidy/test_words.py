"""Words that the code and the documents do not use."""

import re

from tests.tidy import repository
from tests.tidy.repository import listing

SUFFIXES = {".md", ".py", ".pyi", ".rs", ".sql", ".toml", ".yaml", ".yml", ".xml"}

# People are they: "their budget", never with a pronoun for a man or a woman.
PRONOUN = re.compile(r"\b(?:he|him|his|himself|she|her|hers|herself)\b", re.IGNORECASE)


def test_people_are_they() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in repository.files()
        if path.suffix in SUFFIXES and path.name != "test_words.py"
        for number, line in enumerate(repository.text(path).splitlines(), 1)
        if PRONOUN.search(line)
    ]
    assert not found, listing(found)


def test_a_pronoun_is_found_and_a_part_of_a_word_is_not() -> None:
    assert PRONOUN.search("a user and His budget")
    assert not PRONOUN.search("this is where other users share their cache")
