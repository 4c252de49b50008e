"""Chinese number words to digits: 一百二十三 is 123, 三点一四 is 3.14, 百分之五十 is 50%, 二零二四年 is 2024年.

A run of number characters is taken as a whole or not at all. What reads as a word stays: a single digit (一起, 统一)
unless a measure follows, a bare unit (千万, 十分), two digits side by side (七八个 is seven or eight), 几 beside it.
"""

import re
from collections.abc import Sequence

from asrd_worker.text.edits import Edit

_DIGITS = {digit: value for value, digits in enumerate("零一二三四五六七八九") for digit in digits}
_DIGITS |= {"〇": 0, "○": 0, "两": 2, "兩": 2, "幺": 1}
_UNITS = {"十": 10, "百": 100, "千": 1_000}
_MYRIADS = (("亿億", 100_000_000), ("万萬", 10_000))

_PLAIN = "零〇○一二三四五六七八九"
_ALL = "".join([*_DIGITS, *_UNITS]) + "万萬亿億"
_SPOKEN = (
    rf"[负負]?[{_ALL}]+"
    rf"(?:[点點][{_PLAIN}]+(?![{_ALL}点點分刻]))?"  # 三点一四; but 三点二十分 is a time of day
)
_NUMBER = re.compile(rf"(?P<of>[{_ALL}]+)分之(?P<share>{_SPOKEN})|(?P<number>{_SPOKEN})")
_MEASURES = ("公里", "公斤", "厘米", "毫米", "分钟", "分鐘", "小时", "小時", "秒", "岁", "歲", "月", "号", "號")
_CLOCK = re.compile(rf"[点點](?:[半钟鐘整]|[{_ALL}])")
_VAGUE = frozenset("几幾")


def hanzi_numbers(text: str) -> list[Edit]:
    """Each number that is one without doubt."""
    edits = []
    for found in _NUMBER.finditer(text):
        before, after = text[: found.start()][-1:], text[found.end() :]
        if _VAGUE & {before, after[:1]}:
            continue
        digits = _share(found["of"], found["share"]) if found["of"] else _digits(found["number"], before, after)
        if digits:
            edits.append(Edit(found.start(), found.end(), digits))
    return edits


def _share(of: str, share: str) -> str:
    """Per cent and fractions; nothing when it is neither."""
    if of == "百":
        return "100%" if share == "百" else f"{value}%" if (value := _spoken(share)) else ""
    parts, whole = _spoken(share), _spoken(of)
    return f"{parts}/{whole}" if parts and whole and "." not in parts else ""


def _digits(number: str, before: str, after: str) -> str:
    """The number in digits; nothing when it may be a word."""
    bare = number.lstrip("负負")
    if len(bare) == 1:
        return _spoken(number) if _is_counted(bare, before, after) else ""
    if bare[:2] in ("一点", "一點") and bare[2:] == "一":  # a bit of
        return ""
    whole = re.split("[点點]", bare)[0]
    if len(whole) == 2 and whole == bare and all(char in _DIGITS for char in whole) and after[:1] != "年":
        return ""
    return _spoken(number)


def _is_counted(digit: str, before: str, after: str) -> bool:
    """Whether a single character is a number by what follows: 三公里, 十月, 三点半."""
    if digit not in _DIGITS and digit != "十":
        return False
    if before == "月" and after[:1] in ("日", "号", "號"):
        return True
    return after.startswith(_MEASURES) or bool(_CLOCK.match(after) and (digit != "一" or after[1:2] not in _ALL))


def _spoken(number: str) -> str:
    """Any number as digits; nothing when it is ill-formed."""
    whole, *part = re.split("[点點]", number.lstrip("负負"))
    value = _whole(whole)
    if value and part:
        value += "." + "".join(str(_DIGITS[char]) for char in part[0])
    return ("-" if number[0] in "负負" else "") + value if value else ""


def _whole(run: str) -> str:
    if all(char in _DIGITS for char in run):
        spelled = len(run) > 1 and ("两" in run or "兩" in run)
        return "" if spelled else "".join(str(_DIGITS[char]) for char in run)
    value = _value(run)
    return "" if value is None else str(value)


def _value(run: str, myriads: Sequence[tuple[str, int]] = _MYRIADS) -> int | None:
    """The value of a number with units, the largest of them first; None when it is none."""
    if not myriads:
        return _section(run)
    (names, myriad), *smaller = myriads
    at = next((index for index, char in enumerate(run) if char in names), -1)
    if at < 0:
        return _value(run, smaller)
    rest = run[at + 1 :]
    high, low = _value(run[:at], smaller), _value(rest, smaller) if rest else 0
    if not high or low is None:
        return None
    colloquial = len(rest) == 1 and rest in _DIGITS  # 一万二 is 12000
    return high * myriad + low * (myriad // 10 if colloquial else 1)


def _section(run: str) -> int | None:
    """A value below ten thousand: digits and units in turn, from large to small."""
    total, digit, last, zero = 0, None, 10_000, False
    for char in run:
        if unit := _UNITS.get(char):
            if unit >= last or (digit is None and unit != 10):
                return None
            total, digit, last, zero = total + (1 if digit is None else digit) * unit, None, unit, False
        elif digit is not None or char not in _DIGITS or (zero and _DIGITS[char] == 0):
            return None
        elif _DIGITS[char] == 0:
            zero = True
        else:
            digit = _DIGITS[char]
    if digit is None:
        return None if zero or not run else total
    return total + digit * (last // 10 if 10 < last < 10_000 and not zero else 1)  # 一百五 is 150
