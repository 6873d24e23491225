"""Model folders that are damaged, do not belong together, or want to run something."""

from __future__ import annotations

import json
import struct

import torch

from tests.factories import edit_json
from tests.hostile.case import Place, case

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
LAYER = "model.layers.0.self_attn.q_proj.weight"


@case("model", "config.json")
def a_folder_without_config(place):
    (place.base / "config.json").unlink()
    return place.initialized_from(place.base)


@case("model", "config.json", "json")
def a_config_that_is_no_json(place):
    (place.base / "config.json").write_text("{broken")
    return place.initialized_from(place.base)


@case("model", "config.json", "object")
def a_config_that_is_a_list(place):
    (place.base / "config.json").write_text("[1, 2]")
    return place.initialized_from(place.base)


@case("model", "nest", "deep", "json")
def a_config_nested_a_hundred_thousand_deep(place):
    (place.base / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return place.initialized_from(place.base)


@case("model", "large", "mb", "bytes", "limit")
def a_config_of_three_hundred_megabytes(place):
    (place.base / "config.json").write_text('{"x": "' + "y" * 300_000_000 + '"}')
    return place.initialized_from(place.base)


@case("model", "code", "auto_map", "remote", "trust")
def a_model_that_brings_its_own_code(place):
    folder = place.broken(config={"auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}, "model_type": "evil"})
    (folder / "evil.py").write_text(f"open({str(place.canary)!r}, 'w').write('ran')\n")
    return place.initialized_from(folder)


@case("model", "safetensors", "pickle", ".bin")
def weights_as_a_pickle_only(place):
    class Evil:
        def __reduce__(self):
            return open, (str(place.canary), "w")

    (place.base / "model.safetensors").unlink()
    torch.save({"x": Evil()}, place.base / "pytorch_model.bin")
    return place.initialized_from(place.base)


@case("model", "safetensors", "weights")
def a_folder_without_weights(place):
    (place.base / "model.safetensors").unlink()
    return place.initialized_from(place.base)


@case("model", "model.safetensors")
def weights_that_are_empty(place):
    (place.base / "model.safetensors").write_bytes(b"")
    return place.initialized_from(place.base)


@case("model", "model.safetensors")
def weights_that_were_cut_off(place):
    path = place.base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    return place.initialized_from(place.base)


@case("model", "model.safetensors", "header")
def a_header_that_claims_exabytes(place):
    (place.base / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    return place.initialized_from(place.base)


@case("model", "model.safetensors", "header")
def a_header_that_is_no_json(place):
    (place.base / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"nonsense" + bytes(64))
    return place.initialized_from(place.base)


def with_header(place: Place, change) -> tuple[object, ...]:
    path = place.base / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    change(header)
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data[8 + size :])
    return place.initialized_from(place.base)


@case("model", "overlap", "offset", "model.safetensors", "bytes")
def two_tensors_in_the_same_bytes(place):
    return with_header(place, lambda header: header[HEAD].update(data_offsets=header[EMBEDDING]["data_offsets"]))


@case("model", "offset", "model.safetensors", "bytes")
def a_tensor_beyond_the_end_of_the_file(place):
    return with_header(place, lambda header: header[HEAD].update(data_offsets=[2**40, 2**40 + 51_200]))


@case("model", "offset", "model.safetensors", "bytes", "negative")
def a_tensor_at_a_negative_place(place):
    return with_header(place, lambda header: header[HEAD].update(data_offsets=[-51_200, 0]))


@case("model", "shape", "model.safetensors", "bytes")
def a_shape_that_does_not_fit_its_bytes(place):
    return with_header(place, lambda header: header[HEAD].update(shape=[10**9, 10**9]))


@case("model", "dtype", "type", "f8", "i64")
def weights_of_whole_numbers(place):
    def change(weights):
        for name in list(weights):
            weights[name] = weights[name].to(torch.int64)

    return place.initialized_from(place.broken(tensors=change))


@case("model", "nan", "finite", "embed_tokens")
def a_nan_in_the_embedding(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights[EMBEDDING].__setitem__((5, 3), float("nan"))))


@case("model", "inf", "finite", "nan", "lm_head")
def an_infinity_in_the_head(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights[HEAD].__setitem__((5, 3), float("inf"))))


@case("model", "nan", "finite", "q_proj", "computes")
def a_nan_in_the_body(place):
    folder = place.broken(tensors=lambda weights: weights[LAYER].__setitem__((0, 0), float("nan")))
    return "evaluate", "--model", folder, "--input", place.text, "--device", "cpu"


@case("model", "lm_head")
def an_untied_model_without_a_head(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.pop(HEAD)))


@case("model", "embed_tokens")
def a_model_without_an_embedding(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.pop(EMBEDDING)))


@case("model", "q_proj", "missing", "layer")
def a_model_without_one_layer_matrix(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.pop(LAYER)))


@case("model", "norm", "missing")
def a_model_without_its_last_norm(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.pop(NORM)))


@case("model", "extra", "unknown", "surprise", "not belong", "unexpected")
def a_tensor_that_belongs_to_nothing(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.update({"surprise.weight": torch.zeros(3)})))


@case("model", "shape", "q_proj", "32")
def a_layer_of_another_width(place):
    return place.initialized_from(place.broken(tensors=lambda weights: weights.update({LAYER: torch.zeros(31, 32)})))


@case("model", "vocab_size", "rows", "400")
def a_vocabulary_size_that_is_not_the_embeddings(place):
    return place.initialized_from(place.broken(config={"vocab_size": 77}))


@case("model", "hidden", "32", "64")
def a_hidden_size_that_is_not_the_embeddings(place):
    return place.initialized_from(place.broken(config={"hidden_size": 64}))


@case("model", "layers", "num_hidden_layers", "2")
def more_layers_than_there_are(place):
    return place.initialized_from(place.broken(config={"num_hidden_layers": 9}))


@case("model", "num_hidden_layers", "layers", "whole", "number")
def a_number_of_layers_in_words(place):
    return place.initialized_from(place.broken(config={"num_hidden_layers": "two"}))


@case("model", "hidden_size", "number", "-32", "whole")
def a_negative_hidden_size(place):
    return place.initialized_from(place.broken(config={"hidden_size": -32}))


@case("model", "tie", "head", "lm_head")
def a_tied_model_with_a_head_of_its_own(place):
    return place.initialized_from(place.broken(config={"tie_word_embeddings": True}))


@case("model", "architecture", "bert", "decoder", "causal")
def an_encoder(place):
    return place.initialized_from(place.broken(config={"architectures": ["BertForMaskedLM"], "model_type": "bert"}))


@case("model", "architecture")
def a_config_without_an_architecture(place):
    return place.initialized_from(place.broken(config={"architectures": None}))


@case("model", "quant")
def a_quantised_model(place):
    return place.initialized_from(place.broken(config={"quantization_config": {"quant_method": "gptq", "bits": 4}}))


@case("model", "index", "weight_map", "missing", "shard")
def an_index_that_names_missing_shards(place):
    (place.base / "model.safetensors").unlink()
    (place.base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {EMBEDDING: "model-00001-of-00002.safetensors"}}))
    return place.initialized_from(place.base)


@case("model", "weight_map")
def an_index_that_points_outside(place):
    secret = place.write("elsewhere.safetensors", (place.base / "model.safetensors").read_bytes())
    (place.base / "model.safetensors").unlink()
    names = ("model.embed_tokens.weight", "lm_head.weight")
    (place.base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, f"../{secret.name}")}))
    return place.initialized_from(place.base)


@case("model", "index", "weight_map", "object")
def an_index_that_is_a_list(place):
    (place.base / "model.safetensors").unlink()
    (place.base / "model.safetensors.index.json").write_text("[]")
    return place.initialized_from(place.base)


@case("model", "folder", "file", "not a")
def a_file_in_place_of_a_folder(place):
    return place.initialized_from(place.write("model", b"weights"))


@case("model", "offline", "hub", "folder", "not found", "there is no")
def a_hub_id_without_a_network(place):
    return "initialize", "--base", "nobody/nothing", "--tokenizer", place.source_base, "--output", place.out


@case("model", "hub", "folder", "name", "there is no", "not")
def a_name_full_of_shell(place):
    return "initialize", "--base", f"$(touch {place.canary}); `id`", "--tokenizer", place.source_base, "--output", place.out


@case("siblings", "hidden", "32", "48", "shape", "size")
def siblings_of_different_width(place):
    from tests.factories import tiny_model

    other = tiny_model(place.inputs, name="wide", hidden=48, chat=True)
    return "propagate", "--base", place.base, "--adapted", place.base, "--instruct", other, "--method", "swap", "--output", place.out


@case("siblings", "layers", "2", "3", "shape", "same")
def siblings_of_different_depth(place):
    from tests.factories import tiny_model

    other = tiny_model(place.inputs, name="deep", layers=3, chat=True)
    return "propagate", "--base", place.base, "--adapted", place.base, "--instruct", other, "--method", "swap", "--output", place.out


@case("siblings", "tie", "tied")
def a_tied_base_and_an_untied_instruct_model(place):
    from tests.factories import tiny_model

    tied = tiny_model(place.inputs, name="tied", tied=True)
    return "propagate", "--base", tied, "--adapted", tied, "--instruct", place.instruct, "--method", "swap", "--output", place.out


@case("siblings", "token", "vocabular")
def siblings_with_different_vocabularies(place):
    from tests.factories import tiny_model

    other = tiny_model(place.inputs, name="other", vocab_size=350, chat=True)
    return "propagate", "--base", place.base, "--adapted", place.base, "--instruct", other, "--method", "conversion", "--output", place.out


@case("siblings", "inside", "input", "same", "apart")
def a_result_inside_its_instruct_model(place):
    result = place.instruct / "result"
    return "propagate", "--base", place.base, "--adapted", place.base, "--instruct", place.instruct, "--method", "swap", "--output", result


@case("siblings", "inside", "input", "same", "apart", "not empty")
def a_result_over_its_own_base(place):
    command = ("propagate", "--base", place.base, "--adapted", place.base, "--instruct", place.instruct, "--method", "swap")
    return *command, "--output", place.base, "--overwrite"


@case("siblings", "adapter")
def an_adapter_that_is_no_adapter(place):
    place.write("adapter/adapter_config.json", b"{}")
    command = ("propagate", "--base", place.base, "--adapted", place.base, "--instruct", place.instruct, "--method", "swap")
    return *command, "--adapter", place.inputs / "adapter", "--output", place.out


@case("model", "eos", "generation", harmless=True)
def a_generation_config_of_nonsense(place):
    edit_json(place.instruct / "generation_config.json", eos_token_id="never", temperature=float("nan"))
    return place.asked(place.instruct)


@case("model", "position", "context", "room", "number", "tokens")
def a_context_of_three_tokens(place):
    edit_json(place.instruct / "config.json", max_position_embeddings=3)
    return place.asked(place.instruct, "A question that is longer than the context of this model")


@case("model", "context", "tokens", "longer", "shorten", "holds")
def a_prompt_of_a_million_letters(place):
    return place.asked(place.instruct, "word " * 20_000)
