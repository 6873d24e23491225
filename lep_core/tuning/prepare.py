"""Conversations made ready: split into learned and held out, rendered into rows, with everything counted that was left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from lep_core.config import CalibrateConfig
from lep_core.corpus.split import HELDOUT, SplitBalance, digest_of
from lep_core.errors import CorpusError
from lep_core.models import ModelFolder
from lep_core.progress import Reporter
from lep_core.tuning.conversations import ASSISTANT, Conversation
from lep_core.tuning.rendering import ChatRenderer, RenderedConversation, Row, UnrenderableError
from lep_core.tuning.template import ChatTokenizer

# Enough to measure two digits of the loss, and little beside the training.
_MOST_HELDOUT = 200
_REPORTED_EVERY = 200


@dataclass(frozen=True, eq=False)
class PreparedRows:
    """Rows to learn from and rows to measure on. `unusable` conversations cannot be rendered, `cut` ones lost their last turns,
    `dropped` ones were too long. `fingerprint` changes with any conversation, the tokenizer or the template."""

    rows: list[Row]
    heldout_rows: list[Row]
    conversations: int
    heldout_conversations: int
    unusable: int
    cut: int
    dropped: int
    max_length: int
    fingerprint: str


def prepare_rows(
    config: CalibrateConfig, conversations: Sequence[Conversation], chat: ChatTokenizer, model: ModelFolder, reporter: Reporter
) -> PreparedRows:
    """Render all conversations.

    Raises:
        CorpusError: a conversation cannot be rendered (unless such are skipped), or none is left to learn from.
    """
    reporter.stage("rendering the conversations")
    max_length = longest_row(config, model)
    renderer = ChatRenderer(chat.tokenizer, end_ids=chat.end_ids, max_length=max_length, cut=config.too_long == "cut")
    found: list[tuple[Conversation, RenderedConversation]] = []
    unusable: list[str] = []
    dropped = 0
    for number, conversation in enumerate(conversations):
        if number % _REPORTED_EVERY == 0:
            reporter.progress(number, len(conversations), "conversations")
            if reporter.should_stop():
                raise KeyboardInterrupt("stopped before the first step")
        rendered = _rendered(renderer, conversation, config, unusable)
        if rendered is not None and rendered.rows:
            found.append((conversation, rendered))
        elif rendered is not None:
            dropped += 1
    is_heldout = _heldout([conversation for conversation, _ in found], config.heldout_share)
    learned = [rendered for (_, rendered), measured in zip(found, is_heldout, strict=True) if not measured]
    heldout = [rendered for (_, rendered), measured in zip(found, is_heldout, strict=True) if measured]
    rows, heldout_rows = ([row for rendered in side for row in rendered.rows] for side in (learned, heldout))
    if not rows:
        raise _nothing_left(len(conversations), dropped, unusable, max_length)
    cut = sum(rendered.cut for _, rendered in found)
    unrolled = sum(len(rendered.rows) > 1 for _, rendered in found)
    _say(reporter, cut=cut, dropped=dropped, unrolled=unrolled, unusable=unusable, max_length=max_length, ends=renderer.appended_ends)
    return PreparedRows(
        rows=rows,
        heldout_rows=heldout_rows,
        conversations=len(learned),
        heldout_conversations=len(heldout),
        unusable=len(unusable),
        cut=cut,
        dropped=dropped,
        max_length=max_length,
        fingerprint=_fingerprint(conversations, chat),
    )


def longest_row(config: CalibrateConfig, model: ModelFolder) -> int:
    """Tokens of the longest row: as set, but no more than the model reads."""
    most = model.config.get("max_position_embeddings")
    wanted = int(config.max_length or 0)
    return min(wanted, most) if isinstance(most, int) and most > 0 else wanted


def _rendered(
    renderer: ChatRenderer, conversation: Conversation, config: CalibrateConfig, unusable: list[str]
) -> RenderedConversation | None:
    try:
        return renderer.render(conversation)
    except UnrenderableError as error:
        said = f"{conversation.source}: {error}"
        if config.bad_conversations == "refuse":
            hint = "Mend or remove that conversation, add --bad-conversations skip, or give another --template-from"
            raise CorpusError(said, hint) from error
        unusable.append(said)
        return None


def _heldout(conversations: Sequence[Conversation], share: float) -> list[bool]:
    """Which conversations are measured only. The question decides, so that no answer to it is learned elsewhere."""
    balance = SplitBalance(min(share, _MOST_HELDOUT / max(1, len(conversations))))
    digests = [digest_of(json.dumps(_questions(conversation), ensure_ascii=False)) for conversation in conversations]
    sides = {digest: balance.decide(digest) for digest in digests}
    if share and (correction := balance.correction()) is not None:
        sides[correction[0]] = correction[1]
    return [sides[digest] == HELDOUT for digest in digests]


def _questions(conversation: Conversation) -> list[str]:
    return [message["content"] for message in conversation.messages if message["role"] != ASSISTANT]


def _nothing_left(conversations: int, dropped: int, unusable: Sequence[str], max_length: int) -> CorpusError:
    if unusable:
        return CorpusError(
            f"none of the {conversations:,} conversations can be learned from, the first: {unusable[0]}",
            "Mend the data, or give another --template-from",
        )
    if dropped:
        return CorpusError(
            f"the first answers of all conversations to learn from end beyond {max_length:,} tokens, {dropped:,} conversations were dropped",
            "Give a larger --max-length (at most what the model reads), or shorter conversations",
        )
    return CorpusError(f"all {conversations:,} conversations are held out", "Give more conversations, or --heldout-share 0")


def _say(reporter: Reporter, *, cut: int, dropped: int, unrolled: int, unusable: Sequence[str], max_length: int, ends: int) -> None:
    if unusable:
        reporter.message(f"{len(unusable):,} conversations cannot be rendered and were skipped, the first: {unusable[0]}")
    if cut:
        reporter.message(f"{cut:,} conversations are longer than {max_length:,} tokens and lost their last turns")
    if dropped:
        reporter.message(f"{dropped:,} conversations are longer than {max_length:,} tokens and were dropped")
    if unrolled:
        reporter.message(
            f"the chat template writes earlier turns otherwise when a chat goes on: {unrolled:,} conversations give one row for each answer"
        )
    if ends:
        reporter.message(f"the chat template ends {ends:,} answers with no token at which generation stops: one was appended")


def _fingerprint(conversations: Sequence[Conversation], chat: ChatTokenizer) -> str:
    digest = hashlib.sha256((chat.folder / "tokenizer.json").read_bytes())
    digest.update(json.dumps(chat.tokenizer.chat_template, sort_keys=True, ensure_ascii=False).encode())
    for conversation in conversations:
        digest.update(json.dumps(conversation.messages, ensure_ascii=False).encode())
    return digest.hexdigest()
