"""What a job asks that its pool cannot do is said before the job waits for its turn."""

from typing import Any

import pytest

from asrd_protocol import link
from asrd_protocol import messages as msg
from asrd_protocol.faults import Code
from asrd_supervisor.offered import objection

OPTIONS = ["align", "beam_size", "language", "vad_parameters", "vad_parameters.threshold"]
OFFERS = link.Offers(OPTIONS, ["de", "en", "fr"], ["de", "en"])
UNKNOWN = link.Offers()
NO_MODEL = link.Offers(OPTIONS, ["de"], [])


def said(options: dict[str, Any], offers: link.Offers = OFFERS, **more: Any) -> str | None:
    """What is told, if the job is refused."""
    fault = objection(msg.Submit(options=options, **more), offers)
    assert fault is None or fault.code is Code.BAD_OPTION
    return fault and fault.message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beam_sise": 5}, "unknown option 'beam_sise'; did you mean 'beam_size'?"),
        ({"vad_parameters": {"treshold": 1}}, "unknown option 'treshold' in vad_parameters; did you mean 'threshold'?"),
        ({"language": "english"}, "option language: 'english' is no language code of the model"),
        (
            {"align": True, "language": "fr"},
            "option align: the pool has no alignment model for 'fr' (it has some for de, en)",
        ),
    ],
)
def test_with_the_way_out(options: dict[str, Any], told: str) -> None:
    assert str(said(options)).startswith(told)


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": "many"},
        {"vad_parameters": {"threshold": -1}},
        {"vad_parameters": True},
        {"language": None},
        {"language": 3},
        {"align": True, "language": "de"},
        {"align": True},
        {"align": False, "language": "fr"},
        {"align": 1, "language": "fr"},
    ],
)
def test_values_are_left_to_the_engine_and_what_may_turn_out_well_to_the_worker(options: dict[str, Any]) -> None:
    assert said(options) is None


@pytest.mark.parametrize("options", [{"align": True}, {"align": True, "language": "de"}])
def test_alignment_in_a_pool_without_a_model(options: dict[str, Any]) -> None:
    assert said(options, NO_MODEL) == (
        "option align: the pool has no alignment model; set options.align_models there, or leave align out"
    )


def test_nothing_is_refused_as_long_as_no_worker_was_warm() -> None:
    assert said({"beam_sise": 5, "language": "english", "align": True}, UNKNOWN) is None


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers is 3 and max_speakers is 2"),
        ({"num_speakers": 1, "min_speakers": 2}, "num_speakers is 1, which"),
        ({"num_speakers": 3, "max_speakers": 2}, "num_speakers is 3, which"),
        ({"min_speakers": 2, "max_speakers": 2}, None),
        ({"num_speakers": 2, "min_speakers": 1, "max_speakers": 2}, None),
        ({"num_speakers": 64}, None),
        ({}, None),
    ],
)
def test_numbers_of_speakers_must_go_together(wanted: dict[str, int], told: str | None) -> None:
    found = said({}, diarize=msg.Speakers(**wanted))
    assert found is None if told is None else told in str(found)
