"""A tokenizer as llama.cpp has to be told it; or the reason why llama.cpp cannot have it. Read from tokenizer.json alone, before any work.

llama.cpp has no tokenizer.json: it knows a few algorithms and a fixed list of pre-tokenizers (see `llama_cpp_rules`). What does not fit
these would be cut differently there, and a model would get ids that it has never seen together. So nothing is approximated in silence:
the result is exact, or it comes with remarks that say what may differ, or it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from lep_core.errors import TokenizerError
from lep_core.export.llama_cpp_rules import GPT2_WORDS, PRE_TOKENIZERS, RewrittenTokenizer
from lep_core.export.remarks import Remark
from lep_core.export.samples import sample_lines
from lep_core.models.folder import ModelFolder, read_json_object
from lep_core.models.metadata import effective_tokenizer, named_ids
from lep_core.tokenizer.bytes import SPACE_MARK, byte_token, components, is_byte_token
from lep_core.tokenizer.definition import Definition

# Token types of the GGUF format.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
LOWEST_SCORE = -1e9
# More than this share of tokens cut differently is another tokenizer.
TOLERATED_SHARE = 0.01
HF_INSTEAD = "Export with --format hf: transformers and vLLM read every tokenizer"
_CASED_CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"


@dataclass(frozen=True, kw_only=True)
class GgufVocabulary:
    """Fields of a GGUF file that describe a tokenizer. `tokens` has one entry for every row of the embedding."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    add_space_prefix: bool = False
    add_bos: bool = False
    add_eos: bool = False
    special: dict[str, int] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    def rewritten(self) -> RewrittenTokenizer:
        """A tokenizer that follows llama.cpp's rules with these fields."""
        return RewrittenTokenizer(
            model=self.model,
            pre=self.pre,
            tokens=self.tokens,
            scores=self.scores,
            merges=self.merges,
            add_space_prefix=self.add_space_prefix,
        )


def gguf_vocabulary(folder: ModelFolder, texts: Iterable[str] = ()) -> GgufVocabulary:
    """Describe the tokenizer of a model folder for llama.cpp; on `texts` ids are compared as well.

    Raises:
        TokenizerError: llama.cpp has nothing that cuts text as this tokenizer does; the reason is in the message.
    """
    definition = Definition.parse(effective_tokenizer(folder.path), str(folder.path))
    if definition.is_unigram:
        _refuse(
            folder.path, "a Unigram tokenizer: llama.cpp's has no bytes to fall back to and would lose every character it does not know"
        )
    tokens, types = _tokens(definition, rows=folder.vocab_size)
    known: dict[str, Any] = {"tokens": tokens, "types": types, **_ends(definition, folder)}
    found = (
        _byte_level(definition, folder.path, known) if definition.family == "byte-level" else _sentencepiece(definition, folder.path, known)
    )
    remarks = [*found.remarks, *_of_added_tokens(definition), *([] if "eos" in found.special else [Remark(code="unknown_end")])]
    return replace(found, remarks=(*remarks, *_compared(found, definition, folder.path, texts)))


def _byte_level(definition: Definition, path: Path, known: Mapping[str, Any]) -> GgufVocabulary:
    model = definition.data["model"]
    remarks: list[Remark] = []
    for part in components(definition.data.get("normalizer")):
        if part.get("type") == "NFC":
            remarks.append(Remark(code="nfc"))
        elif part.get("type") != "Sequence":
            _refuse(path, f"a normaliser ({part.get('type')}), which llama.cpp has for no byte-level tokenizer")
    patterns = _patterns(definition, path)
    whole_words = bool(model.get("ignore_merges"))
    fitting = {name: taken for name, (wanted, taken) in PRE_TOKENIZERS.items() if wanted == patterns}
    if not fitting:
        _refuse(path, f"a pre-tokenizer that llama.cpp does not have: it knows a fixed list by name, and none cuts by {_short(patterns)}")
    pre = next((name for name, taken in fitting.items() if taken == whole_words), None)
    if pre is None:
        pre, taken = next(iter(fitting.items()))
        if lost := _unmerged(definition):
            _refuse(
                path,
                f"{len(lost)} tokens, such as {lost[0]!r}, that its merges cannot make: {'taken whole' if whole_words else 'never made'} here, "
                f"{'taken whole' if taken else 'never made'} by llama.cpp's pre-tokenizer {pre}",
            )
    if broken := next((part for merge in definition.merges for part in merge if " " in part), None):
        _refuse(path, f"the token {broken!r} in its merges, which GGUF cannot write because it separates them by spaces")
    remarks.insert(0, Remark(code="pre", values={"pre": pre}, warns=False))
    merges = [f"{left} {right}" for left, right in definition.merges]
    return GgufVocabulary(model="gpt2", pre=pre, merges=merges, remarks=tuple(remarks), **known)


def _patterns(definition: Definition, path: Path) -> tuple[str, ...]:
    """The regular expressions by which a byte-level tokenizer cuts text into words."""
    found: list[str] = []
    for part in components(definition.data.get("pre_tokenizer")):
        kind, pattern = part.get("type"), (part.get("pattern") or {}).get("Regex")
        if kind == "Sequence":
            continue
        if kind == "ByteLevel" and not part.get("add_prefix_space"):
            found += [GPT2_WORDS] if part.get("use_regex", True) else []
        elif kind == "ByteLevel":
            _refuse(path, "a space put before every text (add_prefix_space), which llama.cpp does for no byte-level tokenizer")
        elif kind == "Digits" and part.get("individual_digits"):
            found.append(r"\p{N}")
        elif kind == "Split" and pattern and (part.get("behavior"), bool(part.get("invert"))) in (("Isolated", False), ("Removed", True)):
            found.append(pattern.replace("\r", r"\r").replace("\n", r"\n").replace(_CASED_CONTRACTIONS, _CONTRACTIONS))
        else:
            _refuse(path, f"a pre-tokenizer of the kind {kind}, which llama.cpp does not have")
    return tuple(found)


def _unmerged(definition: Definition) -> list[str]:
    """Ordinary tokens that merges alone do not make."""
    from tokenizers import Tokenizer, models

    model = definition.data["model"]
    ordinary = [token for token in model["vocab"] if token not in definition.control]
    bare = Tokenizer(models.BPE(model["vocab"], definition.merges, ignore_merges=False))
    encoded = bare.encode_batch(ordinary, add_special_tokens=False)
    return [token for token, found in zip(ordinary, encoded, strict=True) if len(found.ids) != 1]


def _sentencepiece(definition: Definition, path: Path, known: Mapping[str, Any]) -> GgufVocabulary:
    missing = next((token for token in map(byte_token, range(256)) if token not in definition.vocab), None)
    if missing or not definition.data["model"].get("byte_fallback"):
        _refuse(path, f"no byte tokens to fall back to ({missing or 'byte_fallback is off'}), which llama.cpp needs")
    prefix, remarks = _space_prefix(definition, path)
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(definition.merges):
        ranks.setdefault(left + right, rank)
    scores = [LOWEST_SCORE] * len(known["tokens"])
    for token, number in definition.vocab.items():
        # Single characters are never joined out of others; their score is never looked at.
        scores[number] = -float(ranks[token]) if token in ranks else 0.0 if len(token) == 1 else LOWEST_SCORE
    return GgufVocabulary(model="llama", pre="default", scores=scores, add_space_prefix=prefix, remarks=tuple(remarks), **known)


def _space_prefix(definition: Definition, path: Path) -> tuple[bool, list[Remark]]:
    """Whether a space goes before the text, and what that says about the rest of it."""
    scheme = "never"
    for part in components(definition.data.get("normalizer")):
        kind = part.get("type")
        if kind == "Prepend" and part.get("prepend") == SPACE_MARK:
            scheme = "normalizer"
        elif kind == "Replace" and part.get("content") == SPACE_MARK and (part.get("pattern") or {}).get("String") == " ":
            continue
        elif kind != "Sequence":
            _refuse(path, f"a normaliser ({kind}) that llama.cpp does not have for this kind of tokenizer")
    for part in components(definition.data.get("pre_tokenizer")):
        if part.get("type") == "Metaspace" and part.get("replacement", SPACE_MARK) == SPACE_MARK:
            scheme = part.get("prepend_scheme") or ("always" if part.get("add_prefix_space", True) else "never")
        elif part.get("type") != "Sequence":
            _refuse(path, f"a pre-tokenizer of the kind {part.get('type')}, which llama.cpp does not have for SentencePiece vocabularies")
    remarks = {"always": [Remark(code="leading_space")], "first": [Remark(code="leading_space"), Remark(code="after_special")]}
    return scheme != "never", remarks.get(scheme, [])


def missing_splits(definition: Definition) -> int:
    """Ways to make a token of two others that its merges do not have: llama.cpp's "llama" tokenizer would take them too."""
    merges = set(definition.merges)
    pieces = {token for token in definition.vocab if len(token) == 1} | {left + right for left, right in definition.merges}
    return sum(
        token[:cut] in pieces and token[cut:] in pieces and (token[:cut], token[cut:]) not in merges
        for token in pieces
        for cut in range(1, len(token))
    )


def _compared(found: GgufVocabulary, definition: Definition, path: Path, texts: Iterable[str]) -> list[Remark]:
    """Ids by llama.cpp's rules against the tokenizer's own on sample text."""
    lines = sample_lines(definition, texts)
    total, differing = compare(found.rewritten().encode, definition, lines)
    share = differing / max(1, total)
    if share > TOLERATED_SHARE:
        _refuse(path, f"merges in an order that llama.cpp cannot follow: it would cut {share:.1%} of {total:,} sample tokens differently")
    if found.model != "llama":
        return []
    splits = missing_splits(definition)
    remarks = [Remark(code="tokens_differ", values={"share": share})] if differing else []
    remarks += [Remark(code="splits", values={"splits": splits})] if splits else []
    return remarks or [Remark(code="scores", values={"tokens": total}, warns=False)]


def compare(encode: Any, definition: Definition, lines: Sequence[str]) -> tuple[int, int]:
    """Tokens of the lines, and how many of these stand in lines' parts that `encode` cuts differently."""
    expected = definition.tokenizer().encode_batch(lines, add_special_tokens=False)
    total = differing = 0
    for line, one in zip(lines, expected, strict=True):
        ids = encode(line)
        total += len(one.ids)
        if ids != one.ids:
            differing += differing_tokens(ids, one.ids)
    return total, differing


def differing_tokens(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens left over after the common beginning and the common end."""
    shorter = min(len(first), len(second))
    front = next((index for index in range(shorter) if first[index] != second[index]), shorter)
    back = next((index for index in range(shorter - front) if first[-1 - index] != second[-1 - index]), shorter - front)
    return max(len(first), len(second)) - front - back


def _tokens(definition: Definition, *, rows: int) -> tuple[list[str], list[int]]:
    """Token texts and types by id, filled up to the rows of the embedding."""
    added = {token["content"]: bool(token.get("special")) for token in definition.added}
    tokens, types = [], []
    for number in range(rows):
        token = definition.by_id[number] if number < definition.size else None
        if token is None:
            name = f"[PAD{number}]"
            tokens.append(name if name not in definition.vocab else f"[UNUSED{number}]")
            types.append(UNUSED)
            continue
        special = added.get(token)
        plain = definition.family == "sentencepiece" and special is False
        tokens.append(token.replace(SPACE_MARK, " ") if plain else token)
        if token == definition.unknown:
            types.append(UNKNOWN)
        elif special is not None:
            types.append(CONTROL if special else USER_DEFINED)
        else:
            types.append(BYTE if definition.family == "sentencepiece" and is_byte_token(token) else NORMAL)
    return tokens, types


def _ends(definition: Definition, folder: ModelFolder) -> dict[str, Any]:
    """Ids of the special tokens, and which of them go before and after a text."""
    file = folder.path / "tokenizer_config.json"
    named = named_ids(read_json_object(file) if file.is_file() else {}, definition.vocab)
    special = {name: named[f"{name}_token_id"] for name in ("bos", "eos", "unk", "pad") if f"{name}_token_id" in named}
    ends = folder.eos_token_id if isinstance(folder.eos_token_id, list) else [folder.eos_token_id]
    ends = [number for number in ends if number is not None and number < definition.size]
    if ends:
        special.setdefault("eos", ends[0])
    # A model may stop at several tokens; llama.cpp has room for three.
    special |= dict(zip(("eot", "eom"), [number for number in ends if number != special["eos"]], strict=False)) if ends else {}
    if folder.bos_token_id is not None and folder.bos_token_id < definition.size:
        special.setdefault("bos", folder.bos_token_id)
    before, after = _template(definition, folder.path)
    for name, number in (("bos", before), ("eos", after)):
        if number is not None:
            special[name] = number
    if definition.unknown is not None and definition.unknown in definition.vocab:
        special["unk"] = definition.vocab[definition.unknown]
    return {"special": special, "add_bos": before is not None, "add_eos": after is not None}


def _template(definition: Definition, path: Path) -> tuple[int | None, int | None]:
    """Ids of the tokens that the post-processor puts before and after a text."""
    before: int | None = None
    after: int | None = None
    for part in components(definition.data.get("post_processor")):
        if part.get("type") in ("Sequence", "ByteLevel"):
            continue
        if part.get("type") != "TemplateProcessing":
            _refuse(path, f"a post-processor of the kind {part.get('type')}, which llama.cpp does not have")
        places = [entry["SpecialToken"]["id"] if "SpecialToken" in entry else None for entry in part["single"]]
        position = places.index(None)
        ids = [list(part["special_tokens"][name]["ids"]) for name in places if name is not None]
        if position > 1 or len(places) - position > 2 or any(len(group) != 1 for group in ids):
            _refuse(path, "more than one token put before or after each text, which llama.cpp cannot do")
        before = ids[0][0] if position == 1 else None
        after = ids[-1][0] if len(places) - position == 2 else None
    return before, after


def _of_added_tokens(definition: Definition) -> list[Remark]:
    stripping = [token["content"] for token in definition.added if any(token.get(side) for side in ("lstrip", "rstrip", "single_word"))]
    return [Remark(code="strip", values={"token": stripping[0]})] if stripping else []


def _short(patterns: Sequence[str]) -> str:
    text = " and ".join(patterns) or "no rule at all"
    return text if len(text) <= 120 else text[:117] + "..."


def _refuse(path: Path, reason: str) -> NoReturn:
    raise TokenizerError(f"no GGUF can hold the tokenizer of {path}: it has {reason}", HF_INSTEAD)
