"""Fields with every set of options, and texts that payloads might have for them, many of them odd."""

from collections.abc import Iterator
from itertools import product
from random import Random

from dualpath.field import Field
from dualpath.schema import boolean, decimal, double, identifier, integer, text, timestamp

SWITCH = (False, True)
FIELDS: tuple[Field, ...] = (
    *(
        made("f", required=required, lenient=lenient, empty_is_null=empty)
        for made, required, lenient, empty in product((integer, identifier, double, boolean), *[SWITCH] * 3)
    ),
    *(
        decimal("f", scale=scale, lenient=lenient, empty_is_null=empty, rounded=rounded)
        for scale, lenient, empty, rounded in product((0, 2, 9), *[SWITCH] * 3)
    ),
    *(
        text("f", required=required, choices=choices, empty_is_null=empty)
        for required, choices, empty in product(SWITCH, ((), ("1", "on")), SWITCH)
    ),
    *(timestamp("f", unit="s", empty_is_null=empty) for empty in SWITCH),
)
ODD = (
    *(
        "",
        " ",
        "\t\r\n ",
        "\u00a0",
        "\u2003",
        "null",
        "None",
        "NULL",
        "{}",
        "[1]",
        "-",
        "+",
        ".",
        "e",
        "1e",
        "--1",
        "+-1",
    ),
    *("0", "-0", "+0", "00", "-00.00", "0.", ".0", "0e0", "0e19", "0e37", "0e38", "0e999", "0e-999", "-0e-5", "000e37"),
    *("3\n", "\n3", "3\r\n", "3\u2028", "3\u0085", " 3", "3 ", "\u00a03", "3 4", "3.0\n", "true\n", " true"),
    *("1,000", "1.000,50", "1_000", "0x10", "1d", "1f", "1L", "٣", "\uff13", "Ⅷ", "½"),
    *("NaN", "nan", '"NaN"', "-Inf", "+infinity", "İnf", "\u0131nf", "INFİNİTY", "NAN\n"),
    *(
        "true",
        "True",
        "TRUE",
        "tRuE",
        "t",
        "T",
        "yes",
        "YES",
        "YE\u017f",
        "y",
        "on",
        "ON",
        "1.0",
        "1.00",
        "01",
        "faLse",
        "F",
    ),
    *("n", "no", "No", "off", "oFF", "0.0", "2", "tru\u0435", "oﬀ", "fal\u017fe"),
    *(str(10**15 + more) + point for more in (-1, 0, 1) for point in ("", ".0", ".4", ".5", ".00")),
    *(sign + str(2**power + more) for sign in ("", "-") for power in (53, 63, 64) for more in (-1, 0, 1)),
    *(f"{2**53 + more}{end}" for more in (-1, 0, 1) for end in (".0", "e0", ".5")),
    *(
        "9.007199254740991E15",
        "9.007199254740992E15",
        "1.0E7",
        "1e3",
        "1E+15",
        "1.5e1",
        "15e-1",
        "150e-1",
        "1e15",
        "1e16",
    ),
    *("0" * 30 + "7", "7." + "0" * 18, "7." + "0" * 19, "7." + "0" * 18 + "1", "9" * 19, "9" * 38, "9" * 39, "9" * 400),
    *(
        "1.005",
        "-1.005",
        "1.0049999999999999",
        "1.00500000000000000000000000000000000000001",
        "0.005",
        "-0.005",
        "0.5",
        "1.5",
    ),
    *(
        "2.5",
        "19.990000000000002",
        "0.30000000000000004",
        "9999999999999.995",
        "9999999999999.994",
        "10000000000000.004",
    ),
    *(
        "10000000000000.005",
        "999999999999999.5",
        "999999.9999999995",
        "1000000.0000000005",
        "0." + "0" * 400 + "1",
        "1e-999",
    ),
    *(
        "1000000000000000000000e-20",
        "1" + "0" * 30 + "e-30",
        "1e37",
        "1e38",
        "1.8e308",
        "1e309",
        "-1e400",
        "4.9e-324",
        "1e-400",
    ),
    *("1.0000000000000000001", "0.4e-18", "5e-19", "4e-19", "1e1000", "1e-1000", "1.7976931348623159e308"),
)


def texts(random: Random) -> Iterator[str]:
    """Numbers in many spellings, some damaged or with blanks around them."""
    for _ in range(3000):
        whole = str(random.randint(0, 10 ** random.choice((1, 2, 6, 13, 15, 16, 18, 19, 20, 24))))
        digits = "".join(random.choices("0000499995", k=random.choice((1, 2, 3, 9, 10, 17, 18, 19, 40))))
        number = whole + random.choice(("", "", f".{digits}", ".0", "."))
        exponent = random.choice("eE") + random.choice(("", "+", "-")) + str(random.choice((0, 1, 2, 7, 15, 20, 40)))
        number = random.choice(("", "", "-", "+")) + number + random.choice(("", "", exponent))
        if random.random() < 0.1:
            at = random.randrange(len(number))
            number = number[:at] + random.choice(("", *"09-+.e, _")) + number[at + 1 :]
        yield random.choice(("", "", "", " ", "\n", "\t")) + number + random.choice(("", "", "", " ", "\r\n", "\u00a0"))
