"""Write ``golden/`` and ``layouts/`` anew with openai-whisper's writers: ``regenerate.py path/to/whisper/utils.py``.

That one file of openai-whisper needs nothing but the standard library, so neither the package nor torch is installed.
``regenerate.py own`` writes ``own/`` anew with asrd's.
"""

import importlib.util
import io
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
MEASURES = ["temperature", "avg_logprob", "compression_ratio", "no_speech_prob"]
SEGMENT = ["id", "seek", "start", "end", "text", "tokens", *MEASURES]
WORD = ["word", "start", "end", "probability"]


def load(path: str) -> ModuleType:
    """The writers' module, by its file."""
    spec = importlib.util.spec_from_file_location("whisper_writers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result_of(transcript: dict) -> dict:
    """A transcript of ours as the dictionary that whisper's ``transcribe`` returns, keys in its order."""
    segments = []
    for ours in transcript["segments"]:
        segment = {key: ours[key] for key in SEGMENT}
        if "words" in ours:
            segment["words"] = [{key: word[key] for key in WORD} for word in ours["words"]]
        segments.append(segment)
    return {"text": transcript["text"], "segments": segments, "language": transcript["language"]}


def srt_lines(whisper: ModuleType, result: dict, options: dict) -> list[str]:
    """What the srt writer makes of these options, split at line ends."""
    file = io.StringIO()
    whisper.get_writer("srt", "").write_result(result, file, **options)
    return file.getvalue().split("\n")


def main(path: str) -> None:
    """Every input in every format without options; the inputs with words in srt with every set of options."""
    whisper = load(path)
    layouts = json.loads((HERE / "layouts.json").read_text())
    for name in ("golden", "layouts"):
        (HERE / name).mkdir(exist_ok=True)
    for source in sorted((HERE / "inputs").glob("*.json")):
        result = result_of(json.loads(source.read_text(encoding="utf-8")))
        whisper.get_writer("all", str(HERE / "golden"))(result, source.name)
        if source.stem.endswith("_words"):
            by_layout = {name: srt_lines(whisper, result, options) for name, options in layouts.items()}
            text = json.dumps(by_layout, ensure_ascii=False, indent=1)
            (HERE / "layouts" / source.name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "own":
        runpy.run_path(str(HERE.parents[1] / "unit" / "test_subtitles_golden.py"), run_name="__main__")
    else:
        main(sys.argv[1])
