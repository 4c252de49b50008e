"""The formats that are written from cues: srt, vtt, lrc and ass."""

from collections.abc import Iterable

from asrd.subtitles.cue import Cue, bracketed
from asrd.subtitles.script import joined_by_space

_ASS_HEADER = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Sans,60,&H00FFFFFF,&H0000FFFF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,60,60,50,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def srt(cues: Iterable[Cue]) -> str:
    """SubRip: numbered from 1, hours always."""
    return "".join(
        f"{n}\n{_srt_time(cue.start)} --> {_srt_time(cue.end)}\n{_marked(cue)}\n\n"
        for n, cue in enumerate(cues, start=1)
    )


def vtt(cues: Iterable[Cue]) -> str:
    """WebVTT: hours only where there are some."""
    return "WEBVTT\n\n" + "".join(
        f"{_vtt_time(cue.start)} --> {_vtt_time(cue.end)}\n{_marked(cue)}\n\n" for cue in cues
    )


def lrc(cues: Iterable[Cue]) -> str:
    """Lyrics: a line for each cue, with its start only; minutes are not divided into hours.

    Speakers have no brackets: players would take these for another time.
    """
    return "[by:asrd]\n" + "".join(f"[{_lrc_time(cue.start)}]{_sung(cue)}\n" for cue in cues)


def ass(cues: Iterable[Cue]) -> str:
    """Advanced SubStation Alpha, for a screen of 1920 x 1080; the speaker is the name of the actor, too."""
    return _ASS_HEADER + "".join(
        f"Dialogue: 0,{_ass_time(cue.start)},{_ass_time(cue.end)},Default,{_actor(cue)},0,0,0,,{_ass_text(cue)}\n"
        for cue in cues
    )


def _marked(cue: Cue) -> str:
    """The text with the lit word underlined."""
    before, lit, after = _divided(cue)
    return cue.text if cue.lit is None else f"{before}<u>{lit}</u>{after}"


def _ass_text(cue: Cue) -> str:
    before, lit, after = map(_escaped, _divided(cue))
    return before if cue.lit is None else f"{before}{{\\u1}}{lit}{{\\u0}}{after}"


def _divided(cue: Cue) -> tuple[str, str, str]:
    """The text before the lit word, that word, and the text behind it."""
    begin, end = cue.lit or (len(cue.text), len(cue.text))
    return cue.text[:begin], cue.text[begin:end], cue.text[end:]


def _escaped(text: str) -> str:
    """Text that ass would take for commands, made harmless: a backslash has no escape but something behind it."""
    harmless = text.replace("\\", "\\\u2060").replace("{", "\\{").replace("}", "\\}")
    return "\\N".join(harmless.replace("\r", "").split("\n"))


def _actor(cue: Cue) -> str:
    """The speaker for a field that ends at a comma."""
    return " ".join((cue.speaker or "").replace(",", ";").split())


def _sung(cue: Cue) -> str:
    """The text in one line."""
    first, *rest = [" ".join(line.split()) for line in cue.text.splitlines()] or [""]
    text = first
    for line in rest:
        text += f" {line}" if text and line and joined_by_space(text, line) else line
    label = bracketed(cue.speaker) if cue.speaker is not None else ""
    return label[1:-1] + text.removeprefix(label) if label and text.startswith(f"{label}:") else text


def _srt_time(ms: int) -> str:
    hours, minutes, seconds, rest = _split(ms)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{rest:03d}"


def _vtt_time(ms: int) -> str:
    hours, minutes, seconds, rest = _split(ms)
    shown_hours = f"{hours:02d}:" if hours else ""
    return f"{shown_hours}{minutes:02d}:{seconds:02d}.{rest:03d}"


def _lrc_time(ms: int) -> str:
    hours, minutes, seconds, rest = _split(_hundredths(ms))
    return f"{hours * 60 + minutes:02d}:{seconds:02d}.{rest // 10:02d}"


def _ass_time(ms: int) -> str:
    hours, minutes, seconds, rest = _split(_hundredths(ms))
    return f"{hours}:{minutes:02d}:{seconds:02d}.{rest // 10:02d}"


def _hundredths(ms: int) -> int:
    """The nearest whole hundredth of a second, in milliseconds."""
    return (ms + 5) // 10 * 10


def _split(ms: int) -> tuple[int, int, int, int]:
    """Hours, minutes, seconds and milliseconds. Subtitles know no time before 0: it becomes 0."""
    seconds, rest = divmod(max(ms, 0), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return hours, minutes, seconds, rest
