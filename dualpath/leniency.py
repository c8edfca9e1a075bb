"""What a field takes beside the plain form of its values: options of its declaration. By default it takes nothing more.

No engine; `dualpath.admission` has the rules in Python, and `dualpath.spark.fields` translates them.
"""

from dataclasses import dataclass, fields
from typing import Any

BLANKS = " \t\r\n"


@dataclass(frozen=True)
class Leniency:
    """What a field takes beside the plain form of its values.

    `lenient`: another spelling of the same value. It may have blanks around it. A whole number may be written as a
    number with a point or an exponent: `3.0`, `1.0E7`. A boolean may be any of `true`, `t`, `yes`, `y`, `on`, `1`,
    `1.0` and `false`, `f`, `no`, `n`, `off`, `0`, `0.0`, in small or capital letters.

    `empty_is_null`: a text that is empty, or nothing but blanks, is null.

    `rounded`: a decimal with more digits after the point than its scale is rounded to it, half away from zero, as
    `NUMERIC` of SQL is. The digits of the text count, so `1.005` is `1.01` with a scale of 2.

    >>> Leniency(lenient=True)
    Leniency(lenient=True)
    """

    lenient: bool = False
    empty_is_null: bool = False
    rounded: bool = False

    def __repr__(self) -> str:
        return f"Leniency({', '.join(f'{name}=True' for name in self.to_dict())})"

    def to_dict(self) -> dict[str, Any]:
        """The options that are on."""
        return {each.name: True for each in fields(self) if getattr(self, each.name)}


STRICT = Leniency()
