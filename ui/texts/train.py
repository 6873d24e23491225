"""Texts of the train tab."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "train.intro": (
        "One click makes two jobs: the base model gets the new vocabulary (rows of new tokens begin as averages), then embedding and head are trained on your text. Everything else stays frozen, and a hash proves it.",
        "Один щелчок создаёт два задания: базовая модель получает новый словарь (строки новых токенов начинаются со средних), затем эмбеддинги и выходной слой обучаются на вашем тексте. Всё остальное заморожено, что доказывает хеш.",
    ),
    "train.tokenizer": ("New tokenizer", "Новый токенизатор"),
    "train.tokenizer_info": ("Built on the tab before this", "Построен на предыдущей вкладке"),
    "train.preset": ("Preset", "Набор настроек"),
    "train.preset_info": ("Fills in the fields below", "Заполняет поля ниже"),
    "preset.project": ("this project", "для этого проекта"),
    "preset.laptop": ("laptop", "ноутбук"),
    "preset.gpu": ("one GPU", "один GPU"),
    "train.initialization": ("How new rows begin", "С чего начинаются новые строки"),
    "train.start": ("Train", "Обучить"),
    "live.title": ("How it goes", "Как идёт обучение"),
    "live.select": ("Training", "Обучение"),
    "live.none": ("No training yet.", "Обучений ещё нет."),
    "live.train": ("training text", "обучающий текст"),
    "live.heldout": ("held-out text", "отложенный текст"),
    "live.quality": ("Bits per byte (less is better)", "Бит на байт (меньше – лучше)"),
    "live.step": ("step", "шаг"),
    "live.speed": ("Tokens per second", "Токенов в секунду"),
    "live.steps": ("step {step} of {total}", "шаг {step} из {total}"),
    "live.before_after": (
        "held-out bits per byte: **{before}** before, **{after}** after",
        "бит на байт на отложенном тексте: было **{before}**, стало **{after}**",
    ),
    "live.heldout_now": ("held-out bits per byte: **{value}**", "бит на байт на отложенном тексте: **{value}**"),
    "live.rate": ("{value} tokens per second", "{value} токенов в секунду"),
    "live.memory": ("{value} GiB of memory", "{value} ГиБ памяти"),
    "live.frozen_same": ("✔ frozen weights unchanged", "✔ замороженные веса не изменились"),
    "live.samples": ("A sample before and after", "Пример до и после"),
    "live.before": ("Before", "До"),
    "live.after": ("After", "После"),
    "live.command": ("The same on the command line", "То же в командной строке"),
}
