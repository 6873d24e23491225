"""Texts of the corpus tab."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "corpus.intro": (
        "Text in the language that the model shall learn. Files of any size are read as a stream; exact repeats are dropped, and a part is kept out of vocabulary and training for honest measuring.",
        "Тексты на языке, который модель должна выучить. Файлы любого размера читаются потоком; точные повторы отбрасываются, часть текста не участвует ни в словаре, ни в обучении и служит для честных измерений.",
    ),
    "corpus.upload": ("Upload files (optional)", "Загрузить файлы (если нужно)"),
    "corpus.add": ("Add corpus", "Добавить корпус"),
    "corpus.statistics": ("What is in it", "Что в нём есть"),
    "corpus.select": ("Corpus", "Корпус"),
    "corpus.none": ("No corpus yet.", "Корпуса ещё нет."),
    "corpus.preview": ("Read it", "Прочитать"),
    "corpus.split": ("Part", "Часть"),
    "corpus.page": ("Page", "Страница"),
    "corpus.source": ("From", "Откуда"),
    "corpus.text": ("Text", "Текст"),
    "corpus.documents": ("Documents", "Документов"),
    "corpus.characters": ("Characters", "Символов"),
    "corpus.words": ("Words", "Слов"),
    "corpus.bytes": ("Bytes", "Байт"),
    "corpus.duplicates_exact": ("Exact duplicates dropped", "Отброшено точных повторов"),
    "corpus.duplicates_near": ("Near duplicates", "Почти повторов"),
    "corpus.splits": ("Parts", "Части"),
    "corpus.encodings": ("Encodings", "Кодировки"),
    "corpus.bad_rows": ("Bad rows", "Негодные строки"),
    "corpus.hash": ("Hash", "Хеш"),
    "corpus.lengths": ("Length of the documents in characters", "Длина документов в символах"),
    "corpus.scripts": ("Share of the letters by script", "Доля букв по письменностям"),
    "corpus.share": ("share", "доля"),
    "split.all": ("all", "всё"),
    "split.train": ("training", "обучение"),
    "split.heldout": ("held out", "отложено"),
}
