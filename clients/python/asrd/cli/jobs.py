"""Jobs that outlive the command: ``submit, wait, result, cancel, retry``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli import options as opt
from asrd.cli.app import command

if TYPE_CHECKING:
    from asrd import Receipt

Id = Annotated[str, typer.Argument(metavar="ID", help="The id that submit has printed.")]
Format = Annotated[
    str, typer.Option("-f", "--format", metavar="FORMAT", help="txt, srt, vtt, tsv, json, lrc, ass, rttm or aud.")
]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait no longer than this.")]


@command("submit")
def submit(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="An audio or video file; - is standard input.")],
    pool: opt.Pool = None,
    job: Annotated[str | None, typer.Option("--job", metavar="ID", help="An id of your own for the job.")] = None,
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
    runtime_dir: opt.RuntimeDir = None,
) -> None:
    """Submit one file and print the id of its job; see wait and result. What is known of its end goes to stderr."""
    from asrd import Client
    from asrd.cli.output import to_stdout, words_for_speakers
    from asrd.cli.source import sources
    from asrd.errors import AsrdError

    engine = opt.engine_options(settings, **{name: context.params[name] for name in opt.ENGINE})
    wanted = opt.wishes(context.params)
    (source,) = sources([file])
    if isinstance(source.audio, AsrdError):
        raise source.audio
    with Client(runtime_dir) as daemon:
        if diarize and "word_timestamps" not in engine:
            engine |= words_for_speakers(daemon.pools(), pool)
        receipt = daemon.deposit(source.audio, **wanted, **engine)
    to_stdout(receipt.job)
    _say_when(receipt)


def _say_when(receipt: "Receipt") -> None:
    if receipt.eta_s:
        from asrd.cli.screen import age

        ahead = f"{receipt.ahead} ahead of it, " if receipt.ahead else ""
        sys.stderr.write(f"{ahead}result expected in about {age(max(1.0, receipt.eta_s))}\n")


@command("wait")
def wait(job: Id, timeout: Timeout = None, patience: opt.Patience = None, runtime_dir: opt.RuntimeDir = None) -> int:
    """Wait until a job has ended; the exit code is 1 when it failed, or still runs after the timeout.

    A daemon that is restarted meanwhile is waited for.
    """
    from asrd import Client, Finished
    from asrd.cli.output import to_stdout
    from asrd_protocol.exits import Exit

    with Client(**opt.connection(runtime_dir, patience)) as client:
        state = client.wait(job, timeout)
    if isinstance(state, Finished):
        to_stdout(f"{job} completed")
        return Exit.OK
    to_stdout(f"{job} {state.state}")
    return Exit.FAILED


@command("retry")
def retry(
    jobs: Annotated[list[str], typer.Argument(metavar="ID...", help="Jobs that have failed or are in quarantine.")],
    runtime_dir: opt.RuntimeDir = None,
) -> int:
    """Try failed jobs again, with all their attempts; the exit code is 1 when one of them cannot be."""
    from asrd import Client
    from asrd.cli.output import to_stdout
    from asrd.cli.verdict import complain
    from asrd.errors import Refused
    from asrd_protocol.exits import Exit

    code = Exit.OK
    with Client(runtime_dir) as client:
        for job in jobs:
            try:
                to_stdout(f"{job} is tried again" if client.retry(job) else f"{job} has not ended")
            except Refused as error:
                complain(str(error))
                code = Exit.FAILED
    return code


@command("result")
def result(
    job: Id,
    fmt: Format = "txt",
    release: Annotated[bool, typer.Option("--release", help="Let the daemon forget the result then.")] = False,
    runtime_dir: opt.RuntimeDir = None,
) -> int:
    """Print the transcript of a job that has ended."""
    from asrd import Client, Finished
    from asrd.cli.output import Rendering, caveats, to_stdout
    from asrd.cli.verdict import UsageError, complain
    from asrd_protocol.exits import Exit

    formats = opt.formats_of([fmt])
    if len(formats) > 1:
        raise UsageError("a result is printed in one format; name one")
    rendering = Rendering(formats)
    with Client(runtime_dir) as client:
        state = client.fetch(job)
        if not isinstance(state, Finished):
            complain(f"the job {job} is still {state.state}; `asrd wait {job}` waits for it")
            return Exit.FAILED
        told = bool(state.transcript.diarization)
        for warning in (*rendering.doubts(diarizes=told), *caveats(state.transcript)):
            complain(f"{job}: warning: {warning}")
        to_stdout(rendering.text(state, rendering.formats[0]))
        if release:
            client.release(job)
    return Exit.OK


@command("cancel")
def cancel(job: Id, runtime_dir: opt.RuntimeDir = None) -> int:
    """Stop a job: a queued one at once, a running one at its next segment."""
    from asrd import Client
    from asrd.cli.output import to_stdout
    from asrd.cli.verdict import complain
    from asrd_protocol.exits import Exit

    with Client(runtime_dir) as client:
        cancelled = client.cancel(job)
    if not cancelled:
        complain(f"the job {job} had ended before")
        return Exit.FAILED
    to_stdout(f"{job} cancelled")
    return Exit.OK
