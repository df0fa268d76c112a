"""Comparisons of a query as SQL, one function for each kind, the counterparts of those in `audiences`.

A comparison that cannot hold for something unknown gives NULL or false there; a negative one is the positive one `IS NOT TRUE`.
"""

import json
from datetime import tzinfo
from typing import Any

import msgspec

from collector.storage.database import Engine
from collector.values.days import day_bounds
from collector.values.query_tree import NEGATIVE, Money, Test

EXACT = 2**53
"""Up to here a double holds every whole number."""
POSITIVE = {"!=": "=", "NIN": "IN", "!~": "~"}
"""What a negative operator negates."""


class Column(msgspec.Struct, frozen=True):
    """What is compared, as SQL expressions; None where it never has a value of that type.

    `json` is a scalar as JSON text, `text` plain text, `number` a number, `folded` its folded text, `time` an instant in ms, `count`
    the count of an event, NULL for never.
    """

    json: str | None = None
    text: str | None = None
    number: str | None = None
    folded: str | None = None
    time: str | None = None
    count: str | None = None

    @property
    def known(self) -> str:
        """The expression that is NULL where nothing is known."""
        return self.json or self.text or self.number or "NULL"


def compare_values(test: Test, column: Column, engine: Engine, parameters: list[Any]) -> str:
    """Compare a stored value of whatever type with a plain operand."""
    operator = test.operator
    if operator in NEGATIVE:
        positive = Test(test.kind, POSITIVE[operator], test.value, test.operand)
        return f"({compare_values(positive, column, engine, parameters)}) IS NOT TRUE"
    if operator == "is_unknown":
        return f"{column.known} IS NULL"
    if operator == "has_any_value":
        return f"{column.known} IS NOT NULL"
    if operator in {"=", "IN"}:
        operands = [test.operand] if operator == "=" else [item[0] if isinstance(item, tuple) else item for item in test.operand]
        return _among(column, operands, parameters)
    if operator in {"~", "^", "$"}:
        return _text(operator, column, test.operand, engine, parameters)
    if isinstance(test.operand, Money) or column.number is None:
        return _NEVER
    return _ordered(operator, column, test.operand, engine, parameters)


def compare_times(test: Test, column: Column, now_ms: int, zone: tzinfo, parameters: list[Any]) -> str:
    """Compare an instant (ms) with a plain operand."""
    time, operator, operand = column.time, test.operator, test.operand
    if time is None:
        return "TRUE" if operator in NEGATIVE or operator == "is_unknown" else _NEVER
    if operator in NEGATIVE:
        positive = Test(test.kind, POSITIVE[operator], test.value, test.operand)
        return f"({compare_times(positive, column, now_ms, zone, parameters)}) IS NOT TRUE"
    if operator == "is_unknown":
        return f"{time} IS NULL"
    if operator == "has_any_value":
        return f"{time} IS NOT NULL"
    if operator == "IN":
        parameters += sorted(operand)
        return f"{time} IN ({', '.join('?' * len(operand))})"
    lowest, highest = bounds(test, now_ms, zone)
    conditions = []
    for bound, sign in ((lowest, ">="), (highest, "<=")):
        if bound is not None:
            conditions.append(f"{time} {sign} ?")
            parameters.append(bound)
    return " AND ".join(conditions)


def compare_counts(test: Test, column: Column, parameters: list[Any]) -> str:
    """Compare the count of an event, 0 where it never happened, with a number."""
    operator, operand = test.operator, test.operand
    if operator in {"is_unknown", "has_any_value"}:
        return "TRUE" if operator == "has_any_value" else _NEVER
    # Where 0 does not meet it, the row itself is asked for: the database can then begin with those who have one.
    count = f"coalesce({column.count}, 0)" if _holds_for_none(operator, operand) else column.count
    if operator in {"IN", "NIN"}:
        wanted = [bindable(one) for one in sorted(operand)]
        parameters += wanted
        return f"{count} {'IN' if operator == 'IN' else 'NOT IN'} ({', '.join('?' * len(wanted))})"
    parameters.append(bindable(operand))
    return f"{count} {'<>' if operator == '!=' else operator} ?"


def compare_measures(test: Test, column: Column, other: Column) -> str:
    """Compare with another measure. One that never happened is older than everything that did."""
    if other.count is not None:
        actual: str | None = f"coalesce({column.count}, 0)" if column.count is not None else column.number
        against: str | None = f"coalesce({other.count}, 0)"
    else:
        actual, against = column.time, other.time
    operator = test.operator
    if actual is None or against is None:
        return "TRUE" if operator in NEGATIVE else _NEVER
    if operator == "!=":
        return f"({actual} = {against}) IS NOT TRUE"
    if operator in {">", ">="} and other.count is None:
        return f"{actual} IS NOT NULL AND ({against} IS NULL OR {actual} {operator} {against})"
    return f"{actual} {operator} {against}"


_NEVER = "FALSE"


def bounds(test: Test, now_ms: int, zone: tzinfo) -> tuple[int | None, int | None]:
    """Return the first and the last ms that a test about an instant admits; None where there is no bound."""
    operator, operand = test.operator, test.operand
    if operator in {"=", ">", ">=", "<", "<="}:
        return {
            "=": (operand, operand),
            ">": (operand + 1, None),
            ">=": (operand, None),
            "<": (None, operand - 1),
            "<=": (None, operand),
        }[operator]
    if operator in {"before", "after", "on"}:
        begin, end = day_bounds(operand, zone)
        return {"before": (None, begin - 1), "after": (end, None), "on": (begin, end - 1)}[operator]
    if operator.startswith("more_than"):
        return None, now_ms - operand - 1
    if operator.startswith("less_than"):
        return now_ms - operand + 1, now_ms
    if operator.startswith("exactly"):
        return now_ms - operand - test.unit_ms + 1, now_ms - operand
    if operator.startswith("in_less_than"):
        return now_ms, now_ms + operand - 1
    return now_ms + operand + 1, None


def _among(column: Column, operands: list[Any], parameters: list[Any]) -> str:
    """Say that a value is one of these: texts and booleans as they are, numbers by their amount."""
    if column.json is not None:
        forms = sorted({form for operand in operands for form in _json_forms(operand)})
        return _in(column.json, forms, parameters)
    if column.text is not None:
        return _in(column.text, [one for one in operands if isinstance(one, str)], parameters)
    if column.number is not None:
        numbers = [bindable(one) for one in operands if isinstance(one, int | float) and not isinstance(one, bool)]
        return _in(column.number, numbers, parameters)
    return _NEVER


def _in(expression: str, values: list[Any], parameters: list[Any]) -> str:
    if not values:
        return _NEVER
    parameters += values
    return f"{expression} = ?" if len(values) == 1 else f"{expression} IN ({', '.join('?' * len(values))})"


def _json_forms(operand: Any) -> set[str]:
    """Return the JSON texts of all values equal to an operand: 1 is 1.0, but neither `true` nor "1"."""
    if isinstance(operand, Money):
        return set()
    if isinstance(operand, str | bool):
        return {json.dumps(operand, ensure_ascii=False)}
    forms = {json.dumps(operand)}
    if operand == 0:
        return {"0", "0.0", "-0.0"}
    if isinstance(operand, float) and operand.is_integer():
        forms.add(str(int(operand)))
    elif isinstance(operand, int):
        double = as_double(operand)
        if abs(double) != float("inf") and int(double) == operand:
            forms.add(json.dumps(double))
    return forms


def _text(operator: str, column: Column, folded: str, engine: Engine, parameters: list[Any]) -> str:
    text = column.folded
    if text is None:
        return _NEVER
    if not folded:
        return f"{text} IS NOT NULL"
    parameters.append(folded)
    if operator == "~":
        return f"{'instr' if engine == 'sqlite' else 'strpos'}({text}, ?) > 0"
    if operator == "^":
        return f"substr({text}, 1, {len(folded)}) = ?"
    return f"length({text}) >= {len(folded)} AND substr({text}, length({text}) - {len(folded) - 1}) = ?"


def _ordered(operator: str, column: Column, operand: int | float, engine: Engine, parameters: list[Any]) -> str:
    double = as_double(operand)
    if abs(double) < EXACT or column.json is None:
        parameters.append(double)
        return f"{column.number} {operator} ?"
    # Beyond that a double stands for several whole numbers: where the doubles are equal, the numbers as written decide.
    exact = f"compare_numbers({column.json}, ?) {operator} 0" if engine == "sqlite" else f"{column.json}::numeric {operator} ?::numeric"
    parameters += [double, str(operand) if isinstance(operand, int) else repr(operand), double]
    return f"CASE WHEN {column.number} = ? THEN {exact} ELSE {column.number} {operator} ? END"


def as_double(number: int | float) -> float:
    """Return the nearest double, infinite where there is none."""
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def bindable(number: int | float) -> int | float:
    """Return a number that both drivers can bind; counts never come near those that change."""
    return number if abs(number) < EXACT else as_double(number)


def _holds_for_none(operator: str, operand: Any) -> bool:
    if operator in {"IN", "NIN"}:
        return (0 in operand) is (operator == "IN")
    checks: dict[str, bool] = {
        "=": operand == 0,
        "!=": operand != 0,
        ">": operand < 0,
        ">=": operand <= 0,
        "<": operand > 0,
        "<=": operand >= 0,
    }
    return checks[operator]
