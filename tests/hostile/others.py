"""Items, settings files and run directories that are not what they should be; and secrets that must not be written down."""

from __future__ import annotations

import json

from tests.hostile.case import Place, case


def asked(place: Place, name: str, data: bytes | str, task: str = "instruct") -> tuple[object, ...]:
    return (
        "evaluate",
        "--model",
        place.instruct,
        "--task",
        task,
        "--items",
        place.write(name, data),
        "--device",
        "cpu",
        "--max-new-tokens",
        4,
    )


@case("items", "line 2", "answer")
def an_item_without_an_answer(place):
    return asked(place, "items.jsonl", b'{"prompt": "a", "answer": "b"}\n{"prompt": "c"}\n')


@case("items", "line 1", "prompt", "text")
def an_item_whose_prompt_is_a_list(place):
    return asked(place, "items.jsonl", b'{"prompt": ["a"], "answer": "b"}\n')


@case("items", "no item", "empty", "there is no", "no ")
def a_file_without_items(place):
    return asked(place, "items.jsonl", b"\n")


@case("items", "choice", "answer", "line 1")
def a_choice_whose_answer_is_out_of_range(place):
    return asked(place, "items.jsonl", b'{"question": "q", "choices": ["a", "b"], "answer": 7}\n', "multiple-choice")


@case("items", "choice", "two", "line 1", "option")
def a_choice_of_one(place):
    return asked(place, "items.jsonl", b'{"question": "q", "choices": ["a"], "answer": 0}\n', "multiple-choice")


@case("items", "minimal-pairs", "good", "no item")
def items_of_another_task(place):
    return asked(place, "items.jsonl", b'{"prompt": "a", "answer": "b"}\n', "minimal-pairs")


@case("items", "line 1", "json")
def items_that_are_no_json(place):
    return asked(place, "items.jsonl", b"prompt,answer\n")


@case("items", "jsonl", "csv", "suffix", "kind", "format", "json")
def items_in_a_spreadsheet(place):
    return asked(place, "items.xlsx", b"PK\x03\x04" + bytes(200))


@case("settings", "config", "json")
def a_settings_file_that_is_no_json(place):
    return "train", "--config", place.write("settings.json", b"steps: 5")


@case("settings", "config", "object")
def a_settings_file_that_is_a_list(place):
    return "train", "--config", place.write("settings.json", b"[]")


@case("settings", "stepz", "steps", "unknown")
def a_setting_that_does_not_exist(place):
    return (
        "train",
        "--config",
        place.write("settings.json", json.dumps({"stepz": 5, "model": str(place.base), "input": ["x"], "output": "y"})),
    )


@case("settings", "steps")
def a_setting_of_the_wrong_type(place):
    values = {"steps": {"a": 1}, "model": str(place.base), "input": [str(place.text)], "output": str(place.out)}
    return "train", "--config", place.write("settings.json", json.dumps(values))


@case("settings", "config", "deep", "nest", "json")
def a_settings_file_of_brackets(place):
    return "train", "--config", place.write("settings.json", b"[" * 200_000)


@case("settings", "not a verb", "there is no", "verb")
def a_verb_that_does_not_exist(place):
    return ("destroy", "--everything")


@case("settings", "unrecognized", "option", "flag", "arguments")
def a_flag_that_does_not_exist(place):
    return "train", "--model", place.base, "--rm", "-rf"


@case("settings", "device", "cuda", "one of", "choose")
def a_device_that_does_not_exist(place):
    return "train", "--model", place.base, "--input", place.text, "--output", place.out, "--device", "toaster"


@case("runs", "run", "no ")
def a_run_that_does_not_exist(place):
    return "execute", place.inputs / "nothing"


@case("runs", "run", "run.json")
def a_run_directory_that_is_empty(place):
    (place.inputs / "empty").mkdir(parents=True)
    return "execute", place.inputs / "empty"


@case("runs", "run.json", "run")
def a_run_of_a_verb_that_does_not_exist(place):
    place.write("run/run.json", json.dumps({"verb": "destroy", "config": {}, "id": "run"}))
    return "execute", place.inputs / "run"


@case("runs", "run.json", "json", "run")
def a_run_that_is_no_json(place):
    place.write("run/run.json", b"{")
    return "execute", place.inputs / "run"


@case("secrets", "offline", "hub", "folder", "there is no", "not")
def a_token_in_a_model_name(place):
    return "initialize", "--base", "hf_abcdefghijklmnopqrstuvwxyz012345", "--tokenizer", place.source_base, "--output", place.out
