"""``transcribe``: files in, transcripts out."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

if TYPE_CHECKING:
    from asrd.cli.batch import Order
    from asrd.cli.output import Rendering
    from asrd.cli.source import Source

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio or video files; - is standard input.")]
OutputDir = Annotated[
    Path | None, typer.Option("-o", "--output-dir", metavar="DIR", help="Write DIR/NAME.FORMAT instead of printing.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="Give a file up after this time, waiting included."),
]


@command("transcribe")
def transcribe(
    context: typer.Context,
    files: Files,
    formats: opt.Formats = None,
    output_dir: OutputDir = None,
    pool: opt.Pool = None,
    priority: opt.Priority = opt.Lane.NORMAL,
    client: opt.ClientName = "",
    deadline: opt.Deadline = None,
    attempts: opt.Attempts = None,
    by_path: opt.ByPath = False,
    diarize: opt.Diarize = False,
    speakers_pool: opt.SpeakersPool = None,
    num_speakers: opt.NumSpeakers = None,
    min_speakers: opt.MinSpeakers = None,
    max_speakers: opt.MaxSpeakers = None,
    speaker_embeddings: opt.SpeakerEmbeddings = False,
    no_split: opt.NoSplit = False,
    on_chunk_error: opt.ChunkError = opt.OnChunkError.FAIL,
    language: opt.Language = None,
    task: opt.Task = None,
    beam_size: opt.BeamSize = None,
    temperature: opt.Temperature = None,
    word_timestamps: opt.WordTimestamps = None,
    vad_filter: opt.VadFilter = None,
    initial_prompt: opt.InitialPrompt = None,
    hotwords: opt.Hotwords = None,
    condition_on_previous_text: opt.ConditionOnPreviousText = None,
    settings: opt.Settings = None,
    layout: opt.SubtitleLayout = None,
    max_line_width: opt.MaxLineWidth = None,
    max_line_count: opt.MaxLineCount = None,
    highlight_words: opt.HighlightWords = False,
    max_words_per_line: opt.MaxWordsPerLine = None,
    min_subtitle_duration: opt.MinSubtitleDuration = None,
    max_subtitle_duration: opt.MaxSubtitleDuration = None,
    speaker_labels: opt.SpeakerLabels = opt.LabelledCues.ALL,
    timeout: Timeout = None,
    patience: opt.Patience = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")] = False,
    runtime_dir: opt.RuntimeDir = None,
) -> int:
    """Transcribe files; print the text as it is decoded, or write subtitles and other formats.

    One failing file does not stop the others; the exit code is 1 then. Ctrl-C and SIGTERM cancel the jobs. With
    --diarize the text comes at the end; when speakers cannot be told apart, it comes without them and a warning.
    """
    from asrd.cli.source import check_stems, sources
    from asrd.cli.verdict import complain

    order, rendering = _asked(context.params)
    given = sources(files)
    if output_dir:
        check_stems(given, output_dir)
        rendering.make_directory()
    for doubt in rendering.doubts(diarizes=diarize):
        complain(f"warning: {doubt}")
    return asyncio.run(_all(given, order, rendering, quiet, opt.connection(runtime_dir, patience)))


def _asked(given: Mapping[str, Any]) -> "tuple[Order, Rendering]":
    """What shall be done with each file, and what shall be made of the transcripts.

    Raises:
        UsageError, OptionError: when the wishes do not fit together.
    """
    from asrd.cli.batch import Order
    from asrd.cli.output import Rendering

    engine = opt.engine_options(given["settings"], **{name: given[name] for name in opt.ENGINE})
    rendering = Rendering(opt.formats_of(given["formats"]), opt.layout_of(given), given["output_dir"])
    if rendering.wants_words:
        engine.setdefault("word_timestamps", True)
    rendering.check(words=bool(engine.get("word_timestamps", given["diarize"])))
    return Order(engine, opt.wishes(given), given["timeout"]), rendering


async def _all(
    given: "list[Source]", order: "Order", rendering: "Rendering", quiet: bool, connection: dict[str, Any]
) -> int:
    import msgspec

    from asrd.aio import AsyncClient
    from asrd.cli.batch import Batch
    from asrd.cli.leaving import cancelled_by_signals
    from asrd.cli.output import words_for_speakers
    from asrd.cli.progress import display

    with cancelled_by_signals():
        async with AsyncClient(**connection) as client:
            if order.diarizes and "word_timestamps" not in order.options:
                wanted = words_for_speakers(await client.pools(), order.wishes.get("pool"))
                order = msgspec.structs.replace(order, options=order.options | wanted)
            with display(files=len(given), quiet=quiet) as shown:
                return await Batch(client, order, rendering, shown).run(given)
