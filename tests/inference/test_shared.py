"""Several models over one body give the tokens that each gives alone, whatever joins and leaves."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from lep_core.errors import ConfigError, ModelError
from lep_core.inference.bodies import SHAREABLE
from lep_core.inference.engine import Answer, Delta, Engine, Request
from lep_core.inference.family import Family
from lep_core.inference.generator import Generator
from lep_core.inference.sampling import GenerationSettings
from lep_core.inference.shared import PlainBody, SharedBody, body_of
from lep_core.inference.variant import Variant
from tests.factories import SENTENCES, edit_json, tiny_model
from tests.inference.variants import family, rescaled, variant_of

COMMON = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ROPES = {
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 1e4,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e4},
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Llama", {}),
    ("Llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    *(("Llama", {"rope_parameters": rope}) for rope in ROPES.values()),
    ("Mistral", {"sliding_window": None}),
    ("Mistral", {"sliding_window": 6}),
    ("Qwen2", {}),
    ("Qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("Qwen3", {"head_dim": 16}),
    ("Olmo2", {}),
    ("Phi3", {"sliding_window": 7}),
    ("SmolLM3", {"no_rope_layers": [1, 0, 1]}),
    ("Starcoder2", {"sliding_window": 6}),
]


def random_model(name: str, **options: Any) -> Any:
    import transformers

    torch.manual_seed(7)
    config = getattr(transformers, f"{name}Config")(**COMMON, **options)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        # Layers as they come would hardly change what goes in.
        parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return model


class Bare(Variant):
    """An embedding pair without a tokenizer."""

    def __init__(self, model: Any) -> None:
        self.input_VD, self.head_VD = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        self.device = self.input_VD.device


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def test_every_shareable_architecture_is_tried():
    assert {f"{name}ForCausalLM" for name, _ in CASES} == SHAREABLE


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{'-'.join(options) or 'plain'}" for name, options in CASES])
@torch.inference_mode()
def test_the_shared_path_gives_the_logits_of_the_plain_model(name, options):
    model = random_model(name, **options)
    ids = torch.randint(0, 60, (2, 40), generator=torch.Generator().manual_seed(1))
    expected = model(input_ids=ids).logits
    body = body_of(model)
    assert isinstance(body, SharedBody)
    variant = Bare(model)
    # Two sequences of different length: one prompt in one piece, one in three.
    prompts = (9, 23)
    caches = [body.new_cache(10, 40), body.new_cache(23, 40)]
    found = [body.read(variant, ids[0, :9].tolist(), caches[0], last=True)]
    for begin, end in ((0, 4), (4, 17), (17, 23)):
        logits = body.read(variant, ids[1, begin:end].tolist(), caches[1], last=end == 23)
    found.append(logits)
    for row, length in enumerate(prompts):
        torch.testing.assert_close(found[row], expected[row, length - 1], rtol=1e-4, atol=1e-4)
    for step in range(40 - 23):
        tokens = [int(ids[row, length + step]) for row, length in enumerate(prompts)]
        [both] = body.step([variant, variant], tokens, caches)
        for row, length in enumerate(prompts):
            torch.testing.assert_close(both[row], expected[row, length + step], rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    # The model itself is as it was.
    assert torch.equal(model(input_ids=ids).logits, expected)


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_a_rotary_embedding_that_depends_on_the_company_is_not_shared(rope):
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 16}
    parameters = {"rope_type": rope, "factor": 2.0, "rope_theta": 1e4, **(factors if rope == "longrope" else {})}
    assert isinstance(body_of(random_model("Llama", rope_parameters=parameters)), PlainBody)


def test_a_model_of_another_kind_is_answered_by_its_own_forward_pass():
    assert isinstance(body_of(random_model("Gemma", head_dim=8)), PlainBody)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def together(folders) -> Family:
    loaded = Family(str(folders[0]), device="cpu", threads=1)
    for folder in folders[1:]:
        loaded.add(str(folder))
    return loaded


def run(engine: Engine) -> dict[Request, Answer]:
    found: dict[Request, Answer] = {}
    while engine.busy:
        for request, part in engine.step():
            assert not isinstance(part, BaseException), part
            if isinstance(part, Answer):
                found[request] = part
    return found


SETTINGS = [
    GenerationSettings(max_new_tokens=24),
    GenerationSettings(max_new_tokens=30, temperature=1.5, top_p=0.9, seed=3),
    GenerationSettings(max_new_tokens=17, temperature=40.0, top_k=40, seed=4),
    GenerationSettings(max_new_tokens=21, repetition_penalty=1.4),
]


def test_variants_in_company_give_the_tokens_that_each_gives_alone(folders, together):
    texts = itertools.cycle([*SENTENCES, " ".join(SENTENCES[:2]), "Где"])
    requests: dict[Request, tuple[str, str, GenerationSettings]] = {}
    for source, settings, _ in itertools.product(map(str, folders), SETTINGS, range(2)):
        variant, text = together.variants[source], next(texts)
        ids = variant.prompts.encode(prompt=text)
        requests[Request(variant, ids, settings, chat=False)] = (source, text, settings)
    engine = together.engine()
    for request in requests:
        engine.add(request)
    found = run(engine)
    alone = {str(folder): Generator.load(folder, device="cpu", threads=1) for folder in folders}
    answers = set()
    for request, (source, text, settings) in requests.items():
        expected = alone[source].answer(prompt=text, settings=settings)
        assert found[request].token_ids == expected.token_ids
        assert (found[request].text, found[request].stop_reason) == (expected.text, expected.stop_reason)
        answers.add(expected.token_ids)
    assert len(answers) > len(requests) - 4


def test_greedy_answers_in_company_are_those_of_transformers(folders, together):
    requests = {
        str(folder): Request(
            together.variants[str(folder)],
            together.variants[str(folder)].prompts.encode(prompt="Она читает"),
            SETTINGS[0],
            chat=False,
        )
        for folder in folders
    }
    engine = together.engine()
    for request in requests.values():
        engine.add(request)
    found = run(engine)
    for source, request in requests.items():
        plain = Generator.load(source, device="cpu", threads=1)
        with torch.no_grad():
            expected = plain.model.generate(torch.tensor([request.prompt_ids]), do_sample=False, max_new_tokens=24)
        cut = expected[0, len(request.prompt_ids) :].tolist()
        # The padded variant may choose a padding row in transformers, never here.
        if max(cut) < len(plain.tokenizer):
            assert list(found[request].token_ids) == cut


def test_a_request_that_joins_or_leaves_changes_nobody_elses_answer(together, folders):
    variants = [together.variants[str(folder)] for folder in folders]
    ids = [variant.prompts.encode(prompt=text) for variant, text in zip(variants, SENTENCES, strict=False)]
    undisturbed = [run_one(together, variant, one) for variant, one in zip(variants, ids, strict=True)]
    victim = max(range(4), key=lambda number: undisturbed[number].new_tokens)
    engine = together.engine()
    requests = [Request(variant, one, SETTINGS[0], chat=False) for variant, one in zip(variants, ids, strict=True)]
    found: dict[Request, Answer] = {}
    for number in range(200):
        if number % 3 == 0 and number // 3 < len(requests):
            engine.add(requests[number // 3])
        if number == 3 * victim + 6:
            requests[victim].stop()
        for request, part in engine.step():
            if isinstance(part, Answer):
                found[request] = part
    stopped = found[requests[victim]].token_ids
    assert found[requests[victim]].stop_reason == "stopped"
    assert 0 < len(stopped) < undisturbed[victim].new_tokens
    assert stopped == undisturbed[victim].token_ids[: len(stopped)]
    for number in {0, 1, 2, 3} - {victim}:
        assert found[requests[number]].token_ids == undisturbed[number].token_ids


def run_one(together: Family, variant: Variant, ids: list[int]) -> Answer:
    engine = together.engine()
    engine.add(Request(variant, ids, SETTINGS[0], chat=False))
    [answer] = run(engine).values()
    return answer


def test_a_long_prompt_is_read_in_pieces_and_does_not_hold_up_a_running_answer(tmp_path):
    generator = Generator.load(tiny_model(tmp_path, max_position_embeddings=5000), device="cpu", threads=1)
    engine = generator.engine()
    engine._piece = 64
    short = Request(generator, generator.prompts.encode(prompt="The"), GenerationSettings(max_new_tokens=200), chat=False)
    long = Request(generator, [5] * 1000, GenerationSettings(max_new_tokens=3), chat=False)
    engine.add(short)
    engine.step()
    engine.add(long)
    steps = 0
    while not long.token_ids:
        assert [part for request, part in engine.step() if request is short and isinstance(part, Delta)]
        steps += 1
    assert steps == 16  # 1000 tokens in pieces of 64
    third = Request(generator, [5] * 4000, GenerationSettings(max_new_tokens=3), chat=False)
    engine.add(third)
    engine.step()
    third.stop()
    [end] = [part for request, part in engine.step() if request is third]
    assert isinstance(end, Answer)
    assert (end.stop_reason, end.new_tokens) == ("stopped", 0)


def test_a_long_neighbour_costs_a_short_answer_no_memory(tmp_path):
    generator = Generator.load(tiny_model(tmp_path, max_position_embeddings=5000), device="cpu", threads=1)
    caches = [generator.body.new_cache(length, length + 100) for length in (3000, 10)]
    for cache, length in zip(caches, (3000, 10), strict=True):
        generator.body.read(generator, [5] * length, cache, last=True)
    generator.body.step([generator] * 2, [5, 5], caches)
    held = [sum(tensor.numel() for pair in cache._layers.values() for tensor in pair) for cache in caches]
    one = 2 * 2 * 2 * 8  # keys and values, layers, heads, width
    assert held[1] <= 110 * one < held[0] == 3100 * one


def test_fewer_sequences_go_at_a_time_when_memory_runs_out_and_only_who_does_not_fit_alone_fails(together, folders, monkeypatch):
    variants = [together.variants[str(folder)] for folder in folders]
    ids = [variant.prompts.encode(prompt=text) for variant, text in zip(variants, SENTENCES, strict=False)]
    undisturbed = [run_one(together, variant, one) for variant, one in zip(variants, ids, strict=True)]
    forward = SharedBody._forward

    def scarce(self, embedded_BLD, caches):
        if len(caches) > 2 or any(cache.length > 60 for cache in caches):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        return forward(self, embedded_BLD, caches)

    monkeypatch.setattr(SharedBody, "_forward", scarce)
    engine = together.engine()
    requests = [Request(variant, one, SETTINGS[0], chat=False) for variant, one in zip(variants, ids, strict=True)]
    greedy_one = Request(variants[0], ids[0], GenerationSettings(max_new_tokens=150, temperature=9.0, seed=1), chat=False)
    for request in [*requests, greedy_one]:
        engine.add(request)
    ends: dict[Request, Any] = {}
    while engine.busy:
        ends |= {request: part for request, part in engine.step() if not isinstance(part, Delta)}
    for request, expected in zip(requests, undisturbed, strict=True):
        assert ends[request].token_ids == expected.token_ids
    assert isinstance(ends[greedy_one], RuntimeError)


def test_a_model_that_computes_nan_ends_only_its_own_answers(tmp_path):
    original = tiny_model(tmp_path, name="original")
    sound = variant_of(original, name="sound", seed=5)
    both = Family(str(original), device="cpu", threads=1)
    both.add(str(sound))
    with torch.no_grad():
        both.variants[str(original)].head_VD[3, 3] = float("nan")
    engine = both.engine()
    requests = [
        Request(variant, [5, 6], settings, chat=False)
        for variant in both.variants.values()
        for settings in (GenerationSettings(max_new_tokens=4), GenerationSettings(max_new_tokens=4, temperature=1.0))
    ]
    for request in requests:
        engine.add(request)
    ends: dict[Request, Any] = {}
    while engine.busy:
        ends |= {request: part for request, part in engine.step() if not isinstance(part, Delta)}
    assert [type(ends[request]) for request in requests] == [ModelError, ModelError, Answer, Answer]
    assert "NaN" in str(ends[requests[0]])


def test_another_body_does_not_join_and_the_reason_names_both(folders, tmp_path):
    one = Family(str(folders[0]), device="cpu", threads=1)
    other = tiny_model(tmp_path, name="other", chat=True, seed=1)
    with pytest.raises(ModelError, match=r"other and .*original do not share one body"):
        one.add(str(other))
    near = variant_of(folders[0], name="near", seed=3)
    rescaled(near, name="model.norm.weight", by=1.000001)
    with pytest.raises(ModelError, match="do not share"):
        one.add(str(near))
    assert list(one.variants) == [str(folders[0])]


def test_end_tokens_are_each_models_own(tmp_path):
    original = tiny_model(tmp_path, name="original")
    variant = variant_of(original, name="variant", seed=2)
    free = Generator.load(variant, device="cpu", threads=1).answer(prompt="The", settings=GenerationSettings(max_new_tokens=8))
    edit_json(variant / "generation_config.json", eos_token_id=[1, free.token_ids[4]])
    both = Family(str(original), device="cpu", threads=1)
    found = run_one(both, both.add(str(variant)), both.variants[str(variant)].prompts.encode(prompt="The"))
    assert found.stop_reason == "eos"
    assert found.token_ids == free.token_ids[: free.token_ids.index(free.token_ids[4]) + 1]


def test_a_dropped_model_frees_its_pair_and_the_others_go_on(folders):
    one = Family(str(folders[0]), device="cpu", threads=1)
    second = one.add(str(folders[1]))
    before = run_one(one, second, [5, 6, 7])
    parameters = sum(parameter.numel() for parameter in one.body.model.parameters())
    one.drop(str(folders[0]))
    freed = parameters - sum(parameter.numel() for parameter in one.body.model.parameters())
    assert freed == 2 * 404 * 32
    assert run_one(one, second, [5, 6, 7]).token_ids == before.token_ids
    first_again = one.add(str(folders[0]))
    alone = Generator.load(folders[0], device="cpu", threads=1).answer(prompt="Где", settings=SETTINGS[0])
    assert run_one(one, first_again, first_again.prompts.encode(prompt="Где")).token_ids == alone.token_ids


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_computed(together, folders):
    with pytest.raises(ConfigError, match="the prompt has 300 tokens, the context of tied holds 256"):
        Request(together.variants[str(folders[2])], [5] * 300, SETTINGS[0], chat=False)
