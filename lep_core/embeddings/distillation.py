"""Token distillation (Dobler, Elliott & de Melo 2025, arXiv 2505.20133): a new row does in the model what its old pieces did.

The unchanged model reads snippets of text twice: with a new token spelled in old pieces, and with the one new row in their place. The
row is trained until the last hidden states agree, at the token's own end and at the positions behind it. Nothing else learns, and
no loss over the vocabulary is computed.

Shapes: V new vocabulary, U old vocabulary, N new tokens, D hidden size, B snippets of a step, L positions of a snippet,
P positions compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lep_core.errors import ModelError
from lep_core.models import ModelFolder, load_model
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.encoded import Ids, encoded_documents
from lep_core.tokenizer.load import as_tokenizer
from lep_core.tokenizer.mapping import VocabularyMapping

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SNIPPETS_PER_STEP = 64
MOST_SNIPPETS_PER_TOKEN = 24
BEFORE, AFTER = 24, 12
MOST_TOKENS_READ = 20_000_000
# The learning rate as a share of the embedding's root mean square: models differ in the size of their rows.
RELATIVE_RATE = 0.1
BETAS, EPSILON = (0.9, 0.99), 1e-12
MEASURED_SNIPPETS = 128
PROGRESS_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What was done: snippets collected, steps, tokens that learned, tokens not found in the text, mean squared differences of states."""

    steps: int
    snippets: int
    trained_tokens: int
    unseen_tokens: int
    loss_before: float | None
    loss_after: float | None


@dataclass(frozen=True)
class Snippet:
    """An occurrence of new token `token` (its place among the N) with its surroundings in old ids."""

    token: int
    before: list[int]
    pieces: list[int]
    after: list[int]


def distill(
    base: ModelFolder,
    rows_ND: Tensor,
    ids_N: NDArray[np.int64],
    mapping: VocabularyMapping,
    texts: Iterable[str],
    *,
    old_tokenizer: Any,
    new_tokenizer: Any,
    steps: int,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    reporter: Reporter = SILENT,
) -> Distillation:
    """Train `rows_ND` (float32, in place), the input rows of the new tokens `ids_N`. Tokens that the text lacks keep their row.

    Raises:
        ModelError: the model does more to its embeddings than looking them up.
    """
    cap = min(MOST_SNIPPETS_PER_TOKEN, max(1, math.ceil(steps * SNIPPETS_PER_STEP / max(1, len(ids_N)))))
    reporter.stage("collecting snippets")
    snippets = collect_snippets(texts, new_tokenizer, mapping, ids_N, cap=cap, reporter=reporter)
    seen = len({snippet.token for snippet in snippets})
    if not snippets:
        return Distillation(steps=0, snippets=0, trained_tokens=0, unseen_tokens=len(ids_N), loss_before=None, loss_after=None)
    reporter.stage("loading the model")
    model = load_model(base.path, device=device, dtype=dtype).requires_grad_(False)
    reader = _Reader(model, base, first=_first_ids(old_tokenizer))
    rng = np.random.default_rng(seed)
    measured = [snippets[number] for number in rng.permutation(len(snippets))[:MEASURED_SNIPPETS]]
    rows = _RowAdam(rows_ND.to(device), rate=RELATIVE_RATE * reader.embedding_UD.float().square().mean().sqrt().item())
    before = reader.mean_loss(measured, rows.values_ND)
    reporter.stage("distilling rows")
    done = _train(reader, rows, snippets, steps=steps, rng=rng, reporter=reporter)
    after = reader.mean_loss(measured, rows.values_ND)
    rows_ND.copy_(rows.values_ND)
    return Distillation(
        steps=done,
        snippets=len(snippets),
        trained_tokens=seen,
        unseen_tokens=len(ids_N) - seen,
        loss_before=before,
        loss_after=after,
    )


def collect_snippets(
    texts: Iterable[str], new_tokenizer: Any, mapping: VocabularyMapping, ids_N: Ids, *, cap: int, reporter: Reporter = SILENT
) -> list[Snippet]:
    """The first `cap` occurrences of each new token, at most one of a token in a document; context comes from the same document."""
    place_of = np.full(mapping.new_size, -1, dtype=np.int64)
    place_of[ids_N] = np.arange(len(ids_N))
    missing = np.full(len(ids_N), cap)
    pieces = [mapping.pieces_of(int(index)) for index in ids_N]
    snippets: list[Snippet] = []
    for document in encoded_documents(texts, new_tokenizer, most_tokens=MOST_TOKENS_READ):
        places_L = place_of[document]
        wanted, firsts = np.unique(places_L, return_index=True)
        for place, position in zip(wanted.tolist(), firsts.tolist(), strict=True):
            if place < 0 or not missing[place]:
                continue
            before = _old_ids(mapping, document[max(0, position - BEFORE) : position])[-BEFORE:]
            after = _old_ids(mapping, document[position + 1 : position + 1 + AFTER])[:AFTER]
            snippets.append(Snippet(place, before, pieces[place], after))
            missing[place] -= 1
        reporter.progress(len(snippets), cap * len(ids_N), "snippets")
        if reporter.should_stop():
            raise KeyboardInterrupt("stopped while collecting snippets")
        if not missing.any():
            break
    return snippets


def _old_ids(mapping: VocabularyMapping, new_ids: Ids) -> list[int]:
    return [piece for index in new_ids.tolist() for piece in mapping.pieces_of(index)]


def _first_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text, such as bos."""
    tokenizer = as_tokenizer(tokenizer)
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    ids = tokenizer.encode("a").ids
    return ids[: ids.index(plain[0])] if plain and plain[0] in ids else []


class _Reader:
    """The frozen model: hidden states of snippets, with old pieces or with new rows."""

    def __init__(self, model: PreTrainedModel, folder: ModelFolder, *, first: list[int]) -> None:
        self.body = model.get_decoder()
        self.embedding_UD = model.get_parameter(folder.input_name)
        self.first = first
        probe = torch.arange(min(8, len(self.embedding_UD)), device=self.embedding_UD.device)
        if not torch.equal(model.get_input_embeddings()(probe), self.embedding_UD[probe]):
            raise ModelError(
                f"{folder.architecture} scales or shifts its embeddings, which distillation does not support", "Choose --method mean"
            )

    def loss(self, snippets: list[Snippet], rows_RD: Tensor, places_B: Tensor) -> Tensor:
        """Mean squared difference of the last hidden states; snippet b's token has the row `rows_RD[places_B[b]]`."""
        teacher_ids, teacher_ends_B = self._padded([[*self.first, *s.before, *s.pieces] for s in snippets], snippets)
        student_ids, student_ends_B = self._padded([[*self.first, *s.before, s.pieces[0]] for s in snippets], snippets)
        offsets_P = torch.arange(AFTER + 1, device=self.embedding_UD.device)
        lengths_B = torch.tensor([len(snippet.after) for snippet in snippets], device=offsets_P.device)
        is_compared_BP = offsets_P <= lengths_B[:, None]
        with torch.no_grad():
            target_BPD = self._states(self.embedding_UD[teacher_ids], teacher_ends_B, offsets_P)
        embedded_BLD = self.embedding_UD[student_ids]
        number_B = torch.arange(len(snippets), device=offsets_P.device)
        embedded_BLD[number_B, student_ends_B] = rows_RD[places_B].to(embedded_BLD.dtype)
        state_BPD = self._states(embedded_BLD, student_ends_B, offsets_P)
        return (state_BPD - target_BPD).square().mean(dim=2)[is_compared_BP].mean()

    @torch.no_grad()
    def mean_loss(self, snippets: list[Snippet], rows_ND: Tensor) -> float:
        """`loss` over all snippets, a step's worth at a time."""
        total = 0.0
        for begin in range(0, len(snippets), SNIPPETS_PER_STEP):
            part = snippets[begin : begin + SNIPPETS_PER_STEP]
            places_B = torch.tensor([snippet.token for snippet in part], device=rows_ND.device)
            total += float(self.loss(part, rows_ND, places_B)) * len(part)
        return total / len(snippets)

    def _padded(self, heads: list[list[int]], snippets: list[Snippet]) -> tuple[Tensor, Tensor]:
        """Ids B x L of heads with what follows them, filled up on the right (nothing looks ahead), and each head's last position."""
        lines = [[*head, *snippet.after] for head, snippet in zip(heads, snippets, strict=True)]
        longest = max(map(len, lines))
        device = self.embedding_UD.device
        ids_BL = torch.tensor([line + [0] * (longest - len(line)) for line in lines], device=device)
        return ids_BL, torch.tensor([len(head) - 1 for head in heads], device=device)

    def _states(self, embedded_BLD: Tensor, ends_B: Tensor, offsets_P: Tensor) -> Tensor:
        """Last hidden states at the head's end and behind it, B x P x D in float32; positions past the end repeat the last one."""
        hidden_BLD = self.body(inputs_embeds=embedded_BLD, use_cache=False).last_hidden_state
        positions_BP = (ends_B[:, None] + offsets_P).clamp(max=hidden_BLD.shape[1] - 1)
        return hidden_BLD.gather(1, positions_BP[:, :, None].expand(-1, -1, hidden_BLD.shape[2])).float()


class _RowAdam:
    """Adam whose moments and step counts belong to single rows: a row moves only in steps in which its token occurs."""

    def __init__(self, values_ND: Tensor, *, rate: float) -> None:
        self.values_ND = values_ND.clone()
        self._first_ND, self._second_ND = torch.zeros_like(values_ND), torch.zeros_like(values_ND)
        self._steps_N1 = torch.zeros((len(values_ND), 1), device=values_ND.device)
        self._rate = rate

    @torch.no_grad()
    def step(self, rows_R: Tensor, gradient_RD: Tensor, *, share: float) -> None:
        """Move the rows `rows_R` (each at most once) by `share` of the full rate."""
        self._steps_N1[rows_R] += 1
        first, second = BETAS
        first_RD = self._first_ND[rows_R].lerp_(gradient_RD, 1 - first)
        second_RD = self._second_ND[rows_R].lerp_(gradient_RD.square(), 1 - second)
        self._first_ND[rows_R], self._second_ND[rows_R] = first_RD, second_RD
        steps_R1 = self._steps_N1[rows_R]
        direction_RD = (first_RD / (1 - first**steps_R1)) / ((second_RD / (1 - second**steps_R1)).sqrt() + EPSILON)
        self.values_ND[rows_R] -= self._rate * share * direction_RD


def _train(reader: _Reader, rows: _RowAdam, snippets: list[Snippet], *, steps: int, rng: np.random.Generator, reporter: Reporter) -> int:
    """Up to `steps` updates with a rate that falls to 0; returns how many were made before the user stopped it."""
    waiting: list[int] = []
    for step in range(steps):
        if reporter.should_stop():
            return step
        while len(waiting) < SNIPPETS_PER_STEP:
            waiting += rng.permutation(len(snippets)).tolist()
        batch, waiting = [snippets[number] for number in waiting[:SNIPPETS_PER_STEP]], waiting[SNIPPETS_PER_STEP:]
        places_B = torch.tensor([snippet.token for snippet in batch], device=rows.values_ND.device)
        rows_R, places_B = places_B.unique(return_inverse=True)
        moving_RD = rows.values_ND[rows_R].requires_grad_()
        with torch.enable_grad():
            loss = reader.loss(batch, moving_RD, places_B)
        (gradient_RD,) = torch.autograd.grad(loss, moving_RD)
        rows.step(rows_R, gradient_RD, share=1 - step / steps)
        reporter.progress(step + 1, steps, "steps")
        if step % PROGRESS_STEPS == 0:
            reporter.metric({"step": step + 1, "loss": loss.item()})
    return steps
