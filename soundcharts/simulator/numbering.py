"""Turn small numbers into long ones that look random, and back: how uuids and identifiers hold their song."""

from __future__ import annotations

import string

SCRAMBLED_BITS = 48
BASE10 = string.digits
BASE36 = string.digits + string.ascii_uppercase
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_MODULUS = 1 << SCRAMBLED_BITS
_FACTOR = 0x9E3779B97F4B
# Without it the first song would have a uuid of zeros.
_SHIFT = 0x7D5342289C41
_INVERSE = pow(_FACTOR, -1, _MODULUS)
_WORD = (1 << 64) - 1


def scramble(number: int) -> int:
    """Return 48 bits from which `unscramble` finds the number (its last 48 bits) again."""
    return (number + _SHIFT) * _FACTOR % _MODULUS


def unscramble(scrambled: int) -> int:
    """Return the number that `scramble` was given; bits above the 48th are ignored."""
    return (scrambled * _INVERSE - _SHIFT) % _MODULUS


def mix(number: int, salt: int) -> int:
    """Return 64 bits that look random and follow from the arguments (the finaliser of SplitMix64)."""
    value = (number * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


def in_base(number: int, alphabet: str, width: int) -> str:
    """Return the last `width` digits of a number, written with the characters of an alphabet."""
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return "".join(reversed(digits))


def from_base(text: str, alphabet: str) -> int | None:
    """Return the number that a text spells, None when it holds a foreign character; undoes `in_base`."""
    number = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            return None
        number = number * len(alphabet) + digit
    return number
