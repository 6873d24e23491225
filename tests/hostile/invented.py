"""What readers trust without noticing: numbers that are no numbers, names without end, pipes, links to secrets, tokenizers that grow."""

from __future__ import annotations

import json
import os
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from tests.factories import edit_json
from tests.hostile.case import Place, case
from tests.hostile.models import EMBEDDING, HEAD, LAYER, NORM, with_header

SECRET = "the-secret-of-somebody-else"
DIGITS = "7" * 6000


def header_text(place: Place, change) -> tuple[object, ...]:
    """The base with its safetensors header changed as text: what JSON writers would refuse to write."""
    path = place.base / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    text = change(data[8 : 8 + size].decode())
    path.write_bytes(struct.pack("<Q", len(text.encode())) + text.encode() + data[8 + size :])
    return place.initialized_from(place.base)


# --- headers of weights


@case("model", "model.safetensors", "header")
def a_shape_of_infinity(place):
    return header_text(place, lambda text: text.replace('"shape":[400,32]', '"shape":[Infinity,32]', 1))


@case("model", "model.safetensors", "header")
def an_offset_beyond_all_numbers(place):
    return header_text(place, lambda text: text.replace('"data_offsets":[0,', '"data_offsets":[1e999,', 1))


@case("model", "model.safetensors", "header")
def an_offset_that_is_a_text(place):
    return header_text(place, lambda text: text.replace('"data_offsets":[0,', '"data_offsets":["0",', 1))


@case("model", "model.safetensors", "header")
def an_offset_of_half_a_byte(place):
    return header_text(place, lambda text: text.replace('"data_offsets":[0,', '"data_offsets":[0.5,', 1))


@case("model", "model.safetensors", "header", "dimensions")
def a_shape_of_a_million_dimensions(place):
    return header_text(place, lambda text: text.replace('"shape":[400,32]', f'"shape":[{",".join(["9" * 18] * 1_000_000)}]', 1))


@case("model", "model.safetensors", "header")
def a_metadata_entry_that_is_a_number(place):
    return with_header(place, lambda header: header.update(__metadata__=5))


@case("model", "model.safetensors", "stored as", "type", "f4")
def a_number_format_from_the_future(place):
    def change(header):
        header[NORM]["dtype"] = "F4_E2M1_X"

    return with_header(place, change)


@case("model", "model.safetensors", "header", harmless=True)
def a_header_behind_a_thousand_spaces(place):
    return header_text(place, lambda text: " " * 1000 + text + " " * 1000)


@case("model", "belong", "architecture")
def a_tensor_with_a_name_of_a_million_letters(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.update({"x" * 1_000_000: torch.zeros(3)})))


@case("model", "belong", "architecture", "lack")
def a_tensor_whose_name_is_half_a_character(place):
    return header_text(place, lambda text: text.replace('"model.norm.weight"', r'"model.norm.\ud800weight"', 1))


@case("model", "safetensors", "weights")
def weights_that_are_a_folder(place):
    (place.base / "model.safetensors").unlink()
    (place.base / "model.safetensors").mkdir()
    return place.initialized_from(place.base)


@case("model", "weight_map", "weight file")
def an_index_that_points_at_its_own_folder(place):
    (place.base / "model.safetensors").unlink()
    (place.base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {EMBEDDING: "..", HEAD: "."}}))
    return place.initialized_from(place.base)


# --- configs


@case("model", "tie_word_embeddings")
def a_tie_that_is_a_text(place):
    return place.initialized_from(place.broken(config={"tie_word_embeddings": "false"}))


@case("model", "config.json", "num_key_value_heads", "heads")
def heads_that_do_not_divide(place):
    def change(weights):
        for layer in range(2):
            for part in "kv":
                weights[f"model.layers.{layer}.self_attn.{part}_proj.weight"] = torch.zeros(24, 32)

    folder = place.broken(config={"num_key_value_heads": 3}, tensors=change)
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "config.json", "architecture", "causallm")
def an_architecture_with_a_name_of_a_million_letters(place):
    return place.initialized_from(place.broken(config={"architectures": ["X" * 1_000_000]}))


@case("model", "config.json", "rms_norm_eps", "nan", "computes", "load")
def a_norm_that_divides_by_nan(place):
    folder = place.broken(config={"rms_norm_eps": float("nan")})
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "load", "config.json", "activation", "hidden_act")
def an_activation_that_does_not_exist(place):
    folder = place.broken(config={"hidden_act": "os.system"})
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "load", "config.json", "rope")
def a_rotation_of_garbage(place):
    folder = place.broken(config={"rope_scaling": {"rope_type": "evil", "factor": "x"}, "rope_theta": "fast"})
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "id", "rows", "token", "tokens", harmless=True)
def a_first_token_beyond_the_vocabulary(place):
    folder = place.broken(config={"bos_token_id": 10**9, "eos_token_id": 10**9})
    edit_json(folder / "generation_config.json", bos_token_id=10**9, eos_token_id=[10**9, -7])
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "id", "rows", "token", harmless=True)
def generation_settings_out_of_all_bounds(place):
    edit_json(
        place.instruct / "generation_config.json",
        top_k=-5, top_p=99, temperature=-1, repetition_penalty=0, max_length=-3, num_beams=10**6, do_sample="perhaps", cache_implementation="x",
    )  # fmt: skip
    return place.asked(place.instruct)


@case("model", "number", "json", "digits", "config.json")
def a_config_with_a_number_of_thousands_of_digits(place):
    path = place.base / "config.json"
    path.write_text(path.read_text().replace('"hidden_size": 32', f'"hidden_size": {DIGITS}'))
    return place.initialized_from(place.base)


@case("model", "link", "outside")
def a_licence_that_is_a_link_to_a_secret(place):
    (place.base / "LICENSE").symlink_to(place.write("id_rsa", SECRET))
    return "export", "--model", place.base, "--output", place.out


@case("model", "link", "outside")
def a_chat_template_that_is_a_link_to_a_secret(place):
    edit_json(place.instruct / "tokenizer_config.json", chat_template=None)
    (place.instruct / "chat_template.jinja").symlink_to(place.write("id_rsa", SECRET))
    return "export", "--model", place.instruct, "--output", place.out


@case("model", "link", "outside")
def a_folder_of_templates_with_a_link_to_a_secret(place):
    (place.instruct / "additional_chat_templates").mkdir()
    (place.instruct / "additional_chat_templates" / "tools.jinja").symlink_to(place.write("id_rsa", SECRET))
    command = ("propagate", "--base", place.base, "--adapted", place.base, "--instruct", place.instruct, "--method", "conversion")
    return *command, "--output", place.out


# --- adapters


def with_adapter(place: Place, *, rank: int = 2, **config: object) -> tuple[object, ...]:
    folder = place.inputs / "adapter"
    folder.mkdir(parents=True)
    values = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    prefix = f"base_model.model.{LAYER.removesuffix('.weight')}"
    factors = {f"{prefix}.lora_A.weight": torch.ones(rank, 32), f"{prefix}.lora_B.weight": torch.ones(32, rank)}
    save_file(factors, folder / "adapter_model.safetensors")
    command = ("propagate", "--base", place.base, "--adapted", place.base, "--instruct", place.instruct, "--method", "conversion")
    return *command, "--adapter", folder, "--output", place.out


@case("adapter", "adapter", "rank", "empty", "factor")
def an_adapter_of_rank_zero(place):
    return with_adapter(place, rank=0)


@case("adapter", "alpha_pattern")
def an_adapter_whose_patterns_are_a_text(place):
    return with_adapter(place, alpha_pattern="q_proj")


@case("adapter", "alpha_pattern")
def an_adapter_with_a_broken_pattern(place):
    return with_adapter(place, alpha_pattern={"((((": 3})


@case("adapter", "alpha_pattern")
def an_adapter_with_an_endless_pattern(place):
    return with_adapter(place, alpha_pattern={"(.*)*(.*)*(.*)*(.*)*(.*)*x": 3})


@case("adapter", "finite", "infinite", "nan", "alpha")
def an_adapter_that_blows_up(place):
    return with_adapter(place, lora_alpha=1e308)


# --- tokenizers


def measured(place: Place, change) -> tuple[object, ...]:
    return "measure-fertility", "--tokenizer", place.tokenizer(change), "--input", place.text


def steps(kind: str, name: str, one: dict, count: int):
    return lambda value: value.update({kind: {"type": "Sequence", name: [one] * count}})


DOUBLE = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@case("tokenizer", "grow", "times")
def a_normaliser_that_doubles_the_text_forty_times(place):
    return measured(place, steps("normalizer", "normalizers", DOUBLE, 40))


@case("tokenizer", "grow", "times")
def a_pre_tokenizer_that_spells_bytes_as_bytes_thirty_times(place):
    return measured(place, steps("pre_tokenizer", "pretokenizers", BYTES, 30))


@case("tokenizer", "grow", "times")
def a_decoder_that_doubles_the_answer_forty_times(place):
    folder = place.instruct
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    value["decoder"] = {"type": "Sequence", "decoders": [value["decoder"], *[DOUBLE | {"pattern": {"Regex": "."}}] * 40]}
    path.write_text(json.dumps(value))
    return place.asked(folder)


@case("tokenizer", "steps", "nested", "deep", "recursion")
def a_normaliser_nested_nine_hundred_deep(place):
    path = place.base / "tokenizer.json"
    nested = '{"type": "Sequence", "normalizers": [' * 900 + '{"type": "NFC"}' + "]}" * 900
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"normalizer": "NESTED"}).replace('"NESTED"', nested))
    folder = place.base
    return "export", "--model", folder, "--output", place.out


@case("tokenizer", "random", "dropout")
def a_tokenizer_that_cuts_at_random(place):
    return measured(place, lambda value: value["model"].update(dropout=0.5))


@case("tokenizer", harmless=True)
def a_tokenizer_that_pads_to_a_billion(place):
    padding = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    folder = place.tokenizer(lambda value: value.update(padding=padding))
    return place.initialized_from(folder)


@case("tokenizer", "stride", "tokenizer.json", harmless=True)
def a_tokenizer_that_cuts_off_after_three_tokens(place):
    folder = place.tokenizer(
        lambda value: value.update(truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 5})
    )
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("tokenizer", "template", "post-processor", "id", "rows")
def a_template_that_adds_a_token_beyond_the_rows(place):
    processor = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [999_999], "tokens": ["<s>"]}},
    }
    folder = place.tokenizer(lambda value: value.update(post_processor=processor))
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("tokenizer", "rows", "tokens", "tokenizer_config.json", "beyond")
def a_tokenizer_config_that_adds_a_token_beyond_the_rows(place):
    token = {"content": "house", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    edit_json(place.base / "tokenizer_config.json", added_tokens_decoder={"400": token})
    return "train", "--model", place.base, "--input", place.text, "--output", place.out, "--steps", 1, "--block-size", 16, "--device", "cpu"


@case("tokenizer", "rows", "tokens", "tokenizer_config.json", "beyond")
def a_special_tokens_map_that_adds_a_token_beyond_the_rows(place):
    edit_json(place.base / "tokenizer_config.json", pad_token="<never seen>")
    return "train", "--model", place.base, "--input", place.text, "--output", place.out, "--steps", 1, "--block-size", 16, "--device", "cpu"


@case("tokenizer", "tokenizer.json", "id")
def an_added_token_with_an_infinite_id(place):
    def change(value):
        value["added_tokens"][0]["id"] = float("inf")

    return place.initialized_from(place.tokenizer(change))


@case("tokenizer", "tokenizer.json", "digits", "json")
def a_tokenizer_with_a_number_of_thousands_of_digits(place):
    path = place.base / "tokenizer.json"
    path.write_text(path.read_text().replace('"version"', f'"number": {DIGITS}, "version"', 1))
    return "build-tokenizer", "--base", place.base, "--input", place.text, "--new-tokens", 5, "--output", place.out


@case("tokenizer", "tokenizer_config.json")
def a_tokenizer_config_with_a_number_of_thousands_of_digits(place):
    (place.base / "tokenizer_config.json").write_text(f'{{"model_max_length": {DIGITS}}}')
    return "build-tokenizer", "--base", place.base, "--input", place.text, "--new-tokens", 5, "--output", place.out


@case("tokenizer", "tokenizer", "token", harmless=True)
def a_token_of_a_million_letters(place):
    def change(value):
        last = list(value["model"]["vocab"])[-1]
        value["model"]["vocab"]["x" * 1_000_000] = value["model"]["vocab"].pop(last)
        value["model"]["merges"] = [pair for pair in value["model"]["merges"] if "".join(pair) != last and last not in pair]

    return "export", "--model", place.tokenizer(change), "--format", "gguf", "--output", place.out


@case("tokenizer", "sentencepiece", "piece", "letters", "long", harmless=True)
def a_sentencepiece_piece_of_a_million_letters(place):
    def field(number: int, data: bytes) -> bytes:
        size, encoded = len(data), b""
        while size > 127:
            encoded, size = encoded + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + encoded + bytes([size]) + data

    pieces = [b"<unk>", b"a", b"ab", b"ab" * 500_000]
    data = b"".join(field(1, field(1, piece)) for piece in pieces) + field(2, b"\x18\x02")
    source = place.write("long.model", data)
    command = ("build-tokenizer", "--base", place.base, "--input", place.text, "--variant", "import", "--source", source)
    return *command, "--output", place.out


@case("template", "template")
def templates_by_name_that_are_numbers(place):
    return place.asked(place.template([{"name": 5, "template": 7}, "x", None]))


@case("template", "template", "large", "mb", "bytes", "characters")
def a_template_of_twenty_megabytes(place):
    edit_json(place.instruct / "tokenizer_config.json", chat_template=None)
    (place.instruct / "chat_template.jinja").write_text("{# " + "x" * 20_000_000 + " #}")
    return place.asked(place.instruct)


# --- texts, tables, items


@case("corpus", ".jsonl:1", "line 1", "digits")
def a_jsonl_number_of_thousands_of_digits(place):
    return "add-corpus", "--input", place.write("digits.jsonl", f'{{"text": "a b", "n": {DIGITS}}}\n'), "--output", place.out


@case("corpus", "json", "digits", "nest", "line", "record")
def a_json_array_of_a_hundred_thousand_brackets(place):
    return "add-corpus", "--input", place.write("deep.json", "[" * 100_000), "--output", place.out


@case("corpus", "name", "file", "character", harmless=True)
def a_file_name_that_is_no_text(place):
    folder = place.inputs / "strange"
    folder.mkdir(parents=True)
    with open(os.path.join(os.fsencode(folder), b"\xff\xfe.txt"), "wb") as stream:
        stream.write(place.text.read_bytes())
    return "add-corpus", "--input", folder, "--output", place.out


@case("corpus", "large", "times", "limit", "parquet", "expand", harmless=True)
def a_parquet_of_a_billion_letters_in_a_few_bytes(place):
    table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["word " * 10_000]))})
    place.inputs.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, place.inputs / "bomb.parquet", compression="zstd")
    return "add-corpus", "--input", place.inputs / "bomb.parquet", "--output", place.out


@case("items", "pipe", "regular", "file")
def items_in_a_pipe_that_nobody_writes_to(place):
    place.inputs.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place.inputs / "items.jsonl")
    return "evaluate", "--model", place.instruct, "--task", "instruct", "--items", place.inputs / "items.jsonl", "--device", "cpu"


def items(place: Place, data: str, task: str = "instruct") -> tuple[object, ...]:
    path = place.write("items.jsonl", data)
    return "evaluate", "--model", place.instruct, "--task", task, "--items", path, "--device", "cpu", "--max-new-tokens", 4


@case("items", "surrogate", "character", "items.jsonl:1")
def an_item_with_half_a_character(place):
    return items(place, '{"prompt": "x \\ud83d y", "answer": "b"}\n')


@case("items", "items.jsonl:1", "digits")
def an_item_with_a_number_of_thousands_of_digits(place):
    return items(place, f'{{"prompt": "a", "answer": {DIGITS}}}\n')


@case("items", "items.jsonl:1", "choices", "option")
def a_question_with_a_million_choices(place):
    choices = ["c"] * 1_000_000
    return items(place, json.dumps({"question": "q", "choices": choices, "answer": 0}) + "\n", "multiple-choice")


@case("settings", "pipe", "regular", "file", "config")
def settings_in_a_pipe_that_nobody_writes_to(place):
    place.inputs.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place.inputs / "settings.json")
    return "train", "--config", place.inputs / "settings.json"


@case("settings", "device", "regular", "file", "large", "config")
def settings_from_an_endless_device(place):
    return "train", "--config", "/dev/zero"


@case("settings", "prompt", "surrogate", "character")
def a_prompt_with_half_a_character(place):
    return place.asked(place.instruct, "Hello \udcff there")


# --- calibration


@case("prompts", "pipe", "regular", "file")
def prompts_in_a_pipe_that_nobody_writes_to(place):
    place.inputs.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place.inputs / "prompts.txt")
    return "calibrate", "--model", place.instruct, "--prompt-file", place.inputs / "prompts.txt", "--pairs-only", "--output", place.out


# --- run directories of strangers


def run_of(place: Place, **changes: object) -> tuple[object, ...]:
    record = {"id": "run", "verb": "add-corpus", "config": {"input": [str(place.text)], "output": str(place.out)}, "inputs": {}, "after": [], "created": 1.0}  # fmt: skip
    place.write("run/run.json", json.dumps({**record, **changes}))
    return "execute", place.inputs / "run"


@case("runs", "run.json", "run", "verb")
def a_run_whose_verb_is_a_list(place):
    return run_of(place, verb=["add-corpus"])


@case("runs", "run.json", "run", "config")
def a_run_whose_settings_are_a_list(place):
    return run_of(place, config=[1, 2])


@case("runs", "run.json", "run", "created", harmless=True)
def a_run_made_at_no_time(place):
    return run_of(place, created="yesterday", after="nobody", inputs=[5])


@case("runs", "run.json", "text", "character", "output", "path", harmless=True)
def a_run_whose_output_is_half_a_character(place):
    return run_of(place, config={"input": [str(place.text)], "output": "\ud800"})


def tied_copy(place: Place):
    """The base as a tied model whose file holds a head as well."""
    folder = place.base
    weights = load_file(folder / "model.safetensors")
    weights[HEAD] = weights[EMBEDDING].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_json(folder / "config.json", tie_word_embeddings=True)
    return folder


@case("model", "lm_head", "differs")
def a_tied_model_whose_head_differs_in_one_bit(place):
    folder = tied_copy(place)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    size = struct.unpack("<Q", data[:8])[0]
    begin = json.loads(data[8 : 8 + size])[HEAD]["data_offsets"][0]
    data[8 + size + begin + 1000] ^= 1
    path.write_bytes(data)
    return place.initialized_from(folder)


@case("model", "layer", "missing", "lack", "bias", "unexpected", "belong", "hold")
def a_bias_that_the_config_denies(place):
    name = LAYER.replace("weight", "bias")
    folder = place.broken(tensors=lambda weights: weights.update({name: torch.full((32,), 1e3)}))
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "bias", "missing", "lack", "load")
def a_config_that_promises_biases_nobody_wrote(place):
    folder = place.broken(config={"attention_bias": True, "mlp_bias": True})
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"
