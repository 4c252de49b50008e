"""Full-width letters, digits and signs to half width; half-width kana to full width.

The marks of Chinese and Japanese sentences stay: they are the business of the step ``punctuation``.
"""

import re
import unicodedata

from asrd_worker.text.edits import Edit

_KEPT = "！，：；？（）～"
_WIDE = re.compile(rf"(?![{_KEPT}])[\uff01-\uff5e\u3000￠￡￥￦]")
_NARROW_KANA = re.compile("[\uff61-\uff9d][\uff9e\uff9f]?")


def width(text: str) -> list[Edit]:
    """Each character in the width in which it is mostly written."""
    wide = [Edit(found.start(), found.end(), unicodedata.normalize("NFKC", found[0])) for found in _WIDE.finditer(text)]
    return sorted(wide + [_kana(found) for found in _NARROW_KANA.finditer(text)])


def _kana(found: re.Match[str]) -> Edit:
    """A letter with its voicing mark is one letter, if there is such a letter."""
    wide = unicodedata.normalize("NFKC", found[0])
    if len(wide) == 1:
        return Edit(found.start(), found.end(), wide)
    return Edit(found.start(), found.start() + 1, unicodedata.normalize("NFKC", found[0][0]))
