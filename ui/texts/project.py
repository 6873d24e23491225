"""Texts of the project tab."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "project.selector": ("Project", "Проект"),
    "project.intro": (
        "A project adapts one pair of models: a **base** model, which learns your language, and its **instruct** sibling, which receives what was learned. "
        "The demo project is ready: a tiny pair and generated texts, so that every step takes seconds to minutes on a laptop.",
        "Проект адаптирует пару моделей: **базовая** модель учит ваш язык, её **инструктивная** сестра получает выученное. "
        "Демопроект готов: крошечная пара и сгенерированные тексты, поэтому каждый шаг занимает секунды или минуты на ноутбуке.",
    ),
    "project.check": ("Check that the two belong together", "Проверить, подходят ли модели друг другу"),
    "project.siblings_ok": (
        "The two belong together: {shared} tokens have the same ids; the instruct model has {extra} of its own.",
        "Модели подходят друг другу: у {shared} токенов одинаковые номера; у инструктивной {extra} собственных.",
    ),
    "path.title": ("The whole path as one job", "Весь путь одной задачей"),
    "path.intro": (
        "Corpus, vocabulary, initialisation, training, propagation, calibration if wanted, and the measurements, one after the other. "
        "A stopped or failed job goes on at the stage it had reached. The tabs do the same step by step, with more to set and to see.",
        "Корпус, словарь, инициализация, обучение, перенос, при желании калибровка и измерения, одно за другим. "
        "Остановленная или упавшая задача продолжается с того шага, до которого дошла. Вкладки делают то же по шагам: там больше настроек и видно больше.",
    ),
    "path.text_info": (
        "Text in the language to be learned: corpora, files or folders",
        "Текст на изучаемом языке: корпуса, файлы или папки",
    ),
    "path.start": ("Adapt", "Адаптировать"),
    "project.new": ("New project with your own models", "Новый проект со своими моделями"),
    "project.name": ("Name", "Название"),
    "project.name_info": ("What the project is called", "Как называется проект"),
    "project.model_info": (
        "Folder on this server, or a Hugging Face id when online",
        "Папка на сервере или имя на Hugging Face при наличии сети",
    ),
    "project.no_name": ("the project has no name", "у проекта нет названия"),
    "project.name_taken": ("there is already a project called {name}", "проект с названием {name} уже есть"),
    "project.give_name": ("Give it a name of its own", "Дайте ему своё название"),
    "project.swapped": (
        "the base model has a chat template and the instruct model has none",
        "у базовой модели есть шаблон диалога, а у инструктивной нет",
    ),
    "project.swap_them": ("The two seem to be swapped: exchange them", "Похоже, модели перепутаны: поменяйте их местами"),
    "project.create": ("Create project", "Создать проект"),
    "project.path": ("Folder", "Папка"),
    "project.architecture": ("Architecture, layers × width", "Архитектура, слои × ширина"),
    "project.parameters": ("Parameters", "Параметров"),
    "project.vocabulary": ("Vocabulary", "Словарь"),
    "project.rows": ("{tokens} tokens, {rows} rows", "{tokens} токенов, {rows} строк"),
    "project.tied": ("Embedding and head", "Эмбеддинги и выходной слой"),
    "project.tied_yes": ("one matrix (tied)", "одна матрица (связаны)"),
    "project.tied_no": ("two matrices", "две матрицы"),
    "project.padded": ("Padded rows", "Строк-заполнителей"),
    "project.special": ("Special tokens", "Специальные токены"),
    "project.template": ("Chat template", "Шаблон диалога"),
    "project.machine": ("This machine", "Эта машина"),
    "project.cpus": ("{count} CPU cores", "ядер процессора: {count}"),
    "project.memory": ("memory {free} of {total} GiB free", "свободно {free} из {total} ГиБ памяти"),
    "project.disk": ("{free} GiB free on the disk of {path}", "{free} ГиБ свободно на диске {path}"),
    "project.no_gpu": ("no GPU", "без GPU"),
    "field_base": ("Base", "Базовая"),
    "field_instruct": ("Instruct", "Инструктивная"),
}
