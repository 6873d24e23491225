"""How to use what was exported: a few lines each for transformers, vLLM, llama.cpp and Ollama."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from lep_core.models.folder import ModelFolder, read_vocabulary

MODELFILE = "Modelfile"
SAMPLING = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "repeat_penalty"}


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """Code for one program; `language` is how Markdown calls it."""

    program: str
    language: str
    code: str


def folder_snippets(place: str, *, chat: bool) -> list[Snippet]:
    """For a Hugging Face folder at `place`, or a repository of that name."""
    name = json.dumps(place, ensure_ascii=False)
    prompt = (
        'messages = [{"role": "user", "content": "Hello!"}]\n'
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)'
        if chat
        else 'inputs = tokenizer("Once upon a time", return_tensors="pt")'
    )
    transformers = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({name})\n"
        f'model = AutoModelForCausalLM.from_pretrained({name}, dtype="auto")\n'
        f"{prompt}\n"
        "output = model.generate(**inputs, max_new_tokens=64)\n"
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))'
    )
    quoted = shlex.quote(place)
    route, body = (
        ("chat/completions", {"model": place, "messages": [{"role": "user", "content": "Hello!"}]})
        if chat
        else ("completions", {"model": place, "prompt": "Once upon a time", "max_tokens": 64})
    )
    vllm = (
        f"vllm serve {quoted}\n"
        f"curl http://127.0.0.1:8000/v1/{route} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )
    return [Snippet(program="transformers", language="python", code=transformers), Snippet(program="vLLM", language="sh", code=vllm)]


def gguf_snippets(file: str, *, name: str, chat: bool) -> list[Snippet]:
    """For a GGUF file; `name` is what Ollama shall call the model."""
    quoted = shlex.quote(file)
    command = f"llama-cli -m {quoted} --jinja -cnv" if chat else f"llama-cli -m {quoted} -no-cnv -n 64 -p 'Once upon a time'"
    served = f"llama-server -m {quoted}{' --jinja' if chat else ''} --port 8080"
    ask = "curl http://127.0.0.1:8080/v1/chat/completions -d " + shlex.quote('{"messages": [{"role": "user", "content": "Hello!"}]}')
    complete = "curl http://127.0.0.1:8080/completion -d " + shlex.quote('{"prompt": "Once upon a time", "n_predict": 64}')
    llama_cpp = f"{command}\n\n{served}\n{ask if chat else complete}"
    ollama = f"ollama create {shlex.quote(name)} -f {MODELFILE}   # in the folder of the file\nollama run {shlex.quote(name)}"
    return [Snippet(program="llama.cpp", language="sh", code=llama_cpp), Snippet(program="Ollama", language="sh", code=ollama)]


def modelfile(file: str, folder: ModelFolder) -> str:
    """What `ollama create` reads: the file, where answers end, and the model's own sampling settings.

    The chat template lies in the GGUF file; Ollama knows the usual ones and needs a TEMPLATE line for others.
    """
    lines = [f"FROM ./{file}"]
    settings: dict[str, Any] = folder.generation_config or {}
    if settings.get("do_sample"):
        lines += [f"PARAMETER {other} {settings[own]:g}" for own, other in SAMPLING.items() if isinstance(settings.get(own), (int, float))]
    ends = folder.eos_token_id if isinstance(folder.eos_token_id, list) else [folder.eos_token_id]
    texts = {number: token for token, number in read_vocabulary(folder.path)[0].items()}
    lines += [f"PARAMETER stop {json.dumps(texts[number], ensure_ascii=False)}" for number in ends if number in texts]
    return "\n".join(lines) + "\n"


def as_markdown(snippets: list[Snippet]) -> str:
    """A section for the model card."""
    return "\n\n".join(f"{snippet.program}:\n\n```{snippet.language}\n{snippet.code}\n```" for snippet in snippets)
