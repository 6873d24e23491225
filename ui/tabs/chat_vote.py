"""Blind votes: the buttons below the panes, and what all votes of a project say."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lep_core.runs.chats import LETTERS, REVEALED, Chat, ChatStore
from ui.chat_files import VOTE_DOWNLOADS, PairRow, pair_rows, write_vote_downloads
from ui.i18n import Translator
from ui.messages import escape, view
from ui.studio import Studio

COLUMNS = ("first", "second", "first_wins", "second_wins", "ties", "both_bad", "n", "share")
MOST_CHARTED = 12


class VoteRow:
    """Which answer is better? Shown below finished answers of a blind round; afterwards what was preferred."""

    def __init__(self, t: Translator, *, said: gr.Markdown) -> None:
        self.said = said
        with gr.Row(visible=False, elem_classes=["vote"], equal_height=True) as self.row:
            gr.Markdown(t("vote.ask"), elem_classes=["vote-ask"])
            self.buttons = {
                letter: gr.Button(t("vote.better", letter=letter), variant="primary", size="md", elem_id=f"vote-{letter}", min_width=90)
                for letter in LETTERS
            }
            self.buttons |= {
                name: gr.Button(t(f"vote.{name}"), size="md", elem_id=f"vote-{name}", min_width=90) for name in ("tie", "bad", REVEALED)
            }

    @property
    def outputs(self) -> list[Any]:
        return [self.row, self.said, *(self.buttons[letter] for letter in LETTERS)]

    def draw(self, chat: Chat | None, t: Translator, *, running: bool) -> dict[Any, Any]:
        """The buttons for the letters that there are, or the result."""
        last = chat.exchanges[-1] if chat is not None and chat.exchanges else None
        hidden = gr.update(visible=False)
        if chat is None or last is None or not last.blind:
            return {self.row: hidden, self.said: hidden}
        if chat.names_hidden(last.round):
            waiting = gr.update(value=t("vote.wait"), visible=running)
            seats = len(last.answers)
            label = "vote.better" if seats == 2 else "vote.best"
            letters = {
                self.buttons[letter]: gr.update(value=t(label, letter=letter), visible=number < seats and last.ended)
                for number, letter in enumerate(LETTERS)
            }
            return {self.row: gr.update(visible=not running), self.said: waiting, **letters}
        return {self.row: hidden, self.said: gr.update(value=result(chat, t), visible=not running)}


def result(chat: Chat, t: Translator) -> str:
    """Markdown: what became of the newest blind round."""
    vote = chat.votes.get(chat.round)
    if vote is None:
        return t("vote.was_failed")
    if vote.choice in LETTERS and LETTERS.index(vote.choice) < len(vote.contestants):
        return t("vote.was_letter", letter=vote.choice, name=escape(vote.contestants[LETTERS.index(vote.choice)].get("name", "")))
    return t(f"vote.was_{vote.choice}" if vote.choice in ("tie", "bad") else "vote.was_none")


class VoteSummary:
    """All votes of the project: sentences, table, chart, downloads."""

    def __init__(self, studio: Studio) -> None:
        self.studio, t = studio, studio.t
        self.said = gr.Markdown(t("vote.none_yet"), elem_id="vote-summary", elem_classes=["card"])
        self.table = gr.Dataframe(
            headers=[t(f"vote.{name}") for name in COLUMNS],
            datatype="str",
            interactive=False,
            wrap=True,
            elem_id="vote-table",
            column_widths=["19%", "19%", "10%", "10%", "9%", "9%", "6%", "18%"],
            visible=False,
        )
        self.chart = gr.Plot(show_label=False, elem_id="vote-chart", visible=False)
        with gr.Row():
            self.downloads = [
                gr.DownloadButton(t(f"vote.{kind}"), size="sm", visible=False, elem_id=f"vote-download-{kind}", scale=0, min_width=200)
                for kind in VOTE_DOWNLOADS
            ]
        self.explain = gr.Markdown(t("vote.explain"), visible=False, elem_id="vote-explain")

    def connect(self, tab: gr.Tab) -> None:
        outputs = [self.said, self.table, self.chart, self.explain, *self.downloads]
        view(tab.select, self.draw, inputs=[self.studio.project], outputs=outputs, t=self.studio.t)

    def draw(self, project_id: str) -> dict[Any, Any]:
        """Counted from the chats whenever the tab is opened."""
        t, project = self.studio.t, self.studio.open_project(project_id)
        rows = pair_rows(ChatStore(project.path))
        if not rows:
            hidden = gr.update(visible=False)
            return {self.said: t("vote.none_yet"), **dict.fromkeys([self.table, self.chart, self.explain, *self.downloads], hidden)}
        files = write_vote_downloads(project)
        return {
            self.said: "\n".join(f"- {sentence(row, t)}" for row in rows[:MOST_CHARTED]),
            self.table: gr.update(value=[[_cell(row, name, t) for name in COLUMNS] for row in rows], visible=True),
            self.chart: _chart(rows, t),
            self.explain: gr.update(visible=True),
            **{button: gr.update(value=str(path), visible=True) for button, path in zip(self.downloads, files, strict=True)},
        }


def sentence(row: PairRow, t: Translator) -> str:
    """Markdown: what is known of a pair; a winner only where the interval leaves out one half."""
    decided = row.result.first_wins + row.result.second_wins
    first, second = escape(row.first), escape(row.second)
    if row.share is None or row.low <= 0.5 <= row.high:
        return t("vote.unsure", first=first, second=second, n=decided)
    ahead = row.share > 0.5
    share, low, high = (row.share, row.low, row.high) if ahead else (1 - row.share, 1 - row.high, 1 - row.low)
    names = {"winner": first, "loser": second} if ahead else {"winner": second, "loser": first}
    return t("vote.sure", **names, share=_percent(share), n=decided, low=_percent(low), high=_percent(high))


def _cell(row: PairRow, name: str, t: Translator) -> str:
    if name in ("first", "second"):
        return getattr(row, name)
    if name == "share":
        return "–" if row.share is None else f"{_percent(row.share)} [{_percent(row.low)} – {_percent(row.high)}]"
    return str(getattr(row.result, name))


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _chart(rows: list[PairRow], t: Translator) -> dict[str, Any]:
    from ui.plots import lying_bars

    drawn = [row for row in rows if row.share is not None][:MOST_CHARTED]
    if not drawn:
        return gr.update(visible=False)
    name = t("vote.share")
    labels = [t("vote.pair", first=row.first, second=row.second) for row in drawn]
    errors = {name: [((row.share or 0.0) - row.low, row.high - (row.share or 0.0)) for row in drawn]}
    figure = lying_bars(labels, {name: [row.share for row in drawn]}, title=t("vote.chart"), x=t("vote.chart_axis"), errors=errors)
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    figure.add_vline(x=0.5, line={"color": "#d65f5f", "dash": "dash", "width": 1})
    return gr.update(value=figure, visible=True)
