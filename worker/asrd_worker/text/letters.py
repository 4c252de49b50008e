"""Which writing a character belongs to, as far as spaces and marks depend on it. Korean puts spaces as Latin does."""

import re

HAN = "々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9f"
UNSPACED = HAN + KANA + "\u3105-\u312f"
"""Chinese and Japanese letters, as the inside of a character class."""

_UNSPACED = re.compile(f"[{UNSPACED}]")
_KANA = re.compile(f"[{KANA}]")


def unspaced(text: str) -> bool:
    """Whether there is a Chinese or Japanese letter in it."""
    return bool(_UNSPACED.search(text))


def japanese(text: str) -> bool:
    """Whether there is kana in it."""
    return bool(_KANA.search(text))


def primary(language: str) -> str:
    """The language of a code: ``zh`` of ``zh-TW``. Cantonese is written as Chinese is."""
    code = language.replace("_", "-").split("-")[0].lower()
    return "zh" if code == "yue" else code
