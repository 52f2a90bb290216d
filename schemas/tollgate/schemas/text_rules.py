"""How names, decimals and instants are written: patterns and limits shared by every schema.

The patterns have the same meaning in Python, in Rust (pydantic) and in ECMA 262 (JSON Schema), so that the generated
schemas say what the code does.
"""

import re
from typing import Final

# Names become Kafka keys, scope names and ClickHouse values; 256 characters is what the contract promises.
NAME_CHARS_MAX: Final = 256
NAME_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
USAGE_KEY_PATTERN: Final = r"^[a-z][a-z0-9_]*$"
# Of what comes in whole units: a fraction of a token, an image or a call is a mistake of the sender. Seconds, gigabytes
# and whatever else may be divided.
WHOLE_KEY_PATTERN: Final = (
    r"^([a-z][a-z0-9_]*_)?(tokens|token_count|images|requests|characters|messages|searches|pages|calls)$"
)

# Whole parts: what Decimal(38,12) and Decimal(38,9) hold. Only sums and corrections may be negative.
USD_PATTERN: Final = r"^-?(0|[1-9][0-9]{0,25})(\.[0-9]{0,11}[1-9])?$"
AMOUNT_PATTERN: Final = r"^-?(0|[1-9][0-9]{0,28})(\.[0-9]{0,8}[1-9])?$"
PERCENT_PATTERN: Final = r"^-?[0-9]+\.[0-9]{2}$"
INSTANT_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$"

CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
WHOLE_KEY: Final = re.compile(WHOLE_KEY_PATTERN)
USAGE_KEY: Final = re.compile(r"[a-z][a-z0-9_]*")
# Field names of this shape may be told in an error; others are part of the payload.
FIELD_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
