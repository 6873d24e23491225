"""Log-likelihoods of given continuations: one forward pass for each option, as evaluation scripts do, beside batches.

    python -m benchmarks.scoring                                   # minimal pairs
    python -m benchmarks.scoring --task choices --shots 5          # questions with listed options, after five examples
    python -m benchmarks.scoring --task cloze --items my-items.jsonl

All contenders score the same requests with the same random Llama; "largest difference" is that of a log-likelihood (nats) from the
anchor's, "other choices" counts items where another option comes out likeliest. lm-evaluation-harness takes part where it is installed.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import json
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import main, timed

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ITEMS = {"pairs": ("blimp",), "choices": ("mmlu/test",), "cloze": ("xcopa",)}
WORDS = [
    "house",
    "river",
    "child",
    "day",
    "letter",
    "brother",
    "town",
    "winter",
    "wind",
    "people",
    "home",
    "tea",
    "key",
    "table",
    "apple",
    "book",
    "year",
    "word",
    "friend",
    "road",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=list(ITEMS), default="pairs")
    parser.add_argument("--items", type=Path, nargs="*", help="files with items; by default public ones beside the checkout, else made up")
    parser.add_argument("--limit", type=int, default=200, help="items")
    parser.add_argument("--shots", type=int, default=0, help="examples before each question")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer; by default Mistral's beside the checkout, else a small one")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)


def prepare(arguments: argparse.Namespace) -> None:
    """Write the random model and the requests that all contenders read; they go when the benchmark ends."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = _folder(arguments)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    given = arguments.tokenizer or SHARED / "tokenizers" / "mistral-7b-v0.1"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(given) if given.is_dir() else _small_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.hidden,
        intermediate_size=11 * arguments.hidden // 4 // 64 * 64,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.hidden // 64,
        num_key_value_heads=arguments.hidden // 64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.05,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    requests = _requests(arguments)
    (folder / "requests.json").write_text(json.dumps(requests), encoding="utf-8")


def one_by_one(arguments: argparse.Namespace) -> Mapping[str, float]:
    """A forward pass for each request over all its tokens."""
    import torch

    generator, requests = _loaded(arguments)
    found, figures = [], {}
    with timed(figures), torch.no_grad():
        for context, continuation in requests:
            ids = torch.tensor([[*context, *continuation]])
            table_LV = torch.log_softmax(generator.model(input_ids=ids[:, :-1]).logits[0, len(context) - 1 :].float(), dim=-1)
            found.append(float(table_LV.gather(1, torch.tensor(continuation)[:, None]).sum()))
    (_folder(arguments) / "anchor.json").write_text(json.dumps(found), encoding="utf-8")
    return figures | _agreement(arguments, found)


def harness(arguments: argparse.Namespace) -> Mapping[str, float]:
    """lm-evaluation-harness with the same batch size."""
    from lm_eval.models.huggingface import HFLM

    generator, requests = _loaded(arguments)
    model = HFLM(pretrained=generator.model, tokenizer=generator.tokenizer, batch_size=arguments.batch_size, max_length=4096)
    asked = [(("", ""), list(context), list(continuation)) for context, continuation in requests]
    figures: dict[str, float] = {}
    with timed(figures):
        found = [value for value, _ in model._loglikelihood_tokens(asked, disable_tqdm=True)]
    return figures | _agreement(arguments, found)


def lep_studio(arguments: argparse.Namespace) -> Mapping[str, float]:
    """LEP Studio's scoring."""
    from lep_core.evaluation.log_likelihood import Request, score_requests

    generator, requests = _loaded(arguments)
    figures: dict[str, float] = {}
    with timed(figures):
        asked = [Request(tuple(context), tuple(continuation)) for context, continuation in requests]
        scores = score_requests(generator, asked, batch_size=arguments.batch_size)
    return figures | _agreement(arguments, [score.log_likelihood for score in scores or ()])


def _loaded(arguments: argparse.Namespace) -> tuple[Any, list[tuple[list[int], list[int]]]]:
    from lep_core.inference.generator import Generator

    generator = Generator.load(_folder(arguments), device="cpu", precision="float32", threads=arguments.threads)
    requests = json.loads((_folder(arguments) / "requests.json").read_text(encoding="utf-8"))
    # What is computed for the first time costs more; that belongs to nobody.
    import torch

    with torch.no_grad():
        generator.model(input_ids=torch.tensor([[1, 2, 3]]))
    return generator, [request for item in requests for request in item]


def _agreement(arguments: argparse.Namespace, found: Sequence[float]) -> dict[str, float]:
    folder = _folder(arguments)
    anchor_file = folder / "anchor.json"
    if not anchor_file.is_file():
        return {}
    anchor = json.loads(anchor_file.read_text(encoding="utf-8"))
    items = json.loads((folder / "requests.json").read_text(encoding="utf-8"))
    others, start = 0, 0
    for item in items:
        part = slice(start, start + len(item))
        others += _likeliest(anchor[part]) != _likeliest(found[part])
        start += len(item)
    return {"largest difference": max(abs(a - b) for a, b in zip(anchor, found, strict=True)), "other choices": others}


def _likeliest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _requests(arguments: argparse.Namespace) -> list[Any]:
    """For each item (in one order of its options) its requests."""
    from lep_core.evaluation.items import Choice, MinimalPair, limited
    from lep_core.evaluation.log_likelihood import encode_request
    from lep_core.evaluation.multiple_choice import _questions
    from lep_core.evaluation.reading import read_items
    from lep_core.evaluation.shots import Shots
    from lep_core.inference.generator import Generator

    generator = Generator.load(_folder(arguments), device="cpu", threads=arguments.threads)
    paths = arguments.items or [SHARED / "benchmarks" / name for name in ITEMS[arguments.task]]
    items = read_items(paths) if all(path.exists() for path in paths) else _made_up(arguments)
    kind = MinimalPair if arguments.task == "pairs" else Choice
    own: Any = [item for item in items if isinstance(item, kind)]
    chosen: Any = limited(own, arguments.limit + arguments.shots)
    if kind is MinimalPair:
        return [[encode_request(generator, "", text) for text in (pair.good, pair.bad)] for pair in chosen]
    shots = Shots(chosen[: arguments.shots], arguments.shots)
    asked = [question for item in chosen[arguments.shots :] for question in _questions(generator, item, shots.of(item))]
    return [question.requests for question in asked]


def _made_up(arguments: argparse.Namespace) -> list[Any]:
    from lep_core.evaluation.items import Choice, MinimalPair

    chance = random.Random(0)

    def sentence() -> str:
        return f"The {' '.join(chance.choices(WORDS, k=chance.randint(6, 14)))}."

    if arguments.task == "pairs":
        return [MinimalPair(good=one, bad=" ".join(sorted(one.split()))) for one in (sentence() for _ in range(arguments.limit))]
    count, cloze = arguments.limit + arguments.shots, arguments.task == "cloze"
    return [Choice(question=sentence(), options=tuple(sentence() for _ in range(4)), answer=0, cloze=cloze) for _ in range(count)]


def _small_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Rows beyond the words stand for those of a large vocabulary.
    names = ["<s>", "</s>", *(f"<row {number}>" for number in range(31_000))]
    trainer = trainers.BpeTrainer(vocab_size=32_000, special_tokens=names, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    begin, end = names[:2]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end)


def _folder(arguments: argparse.Namespace) -> Path:
    return Path(tempfile.gettempdir()) / f"lep-benchmark-scoring-{arguments.hidden}-{arguments.layers}-{arguments.task}"


def work(arguments: argparse.Namespace) -> tuple[float, str]:
    return arguments.limit, "items"


CONTENDERS = {
    "one forward an option": one_by_one,
    **({"lm-evaluation-harness": harness} if importlib.util.find_spec("lm_eval") else {}),
    "LEP Studio": lep_studio,
}

if __name__ == "__main__":
    main("Log-likelihoods of continuations", CONTENDERS, add_arguments, work=work, prepare=prepare)
