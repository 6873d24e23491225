"""Texts of the tour, of managing projects and of the table of all runs."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    # The tour.
    "tour.title": ("Tour: nine steps", "Обзор: девять шагов"),
    "tour.title_done": ("Tour: nine steps, {done} done", "Обзор: девять шагов, пройдено: {done}"),
    "tour.intro": (
        "From text in your language to a chat with the adapted model. Every button opens its step; ✔ marks what is done, → what comes next. "
        "The demo project has an answer for every field, so that the main button of each step is enough.",
        "От текста на вашем языке до чата с адаптированной моделью. Каждая кнопка открывает свой шаг; ✔ отмечает пройденное, → следующее. "
        "В демопроекте все поля уже заполнены: на каждом шаге достаточно главной кнопки.",
    ),
    "tour.project": ("Choose the base model and its instruct sibling.", "Выберите базовую модель и её инструктивную сестру."),
    "tour.corpus": ("Bring in text; a part is held out for measuring.", "Дайте тексты; часть откладывается для измерений."),
    "tour.tokenizer": (
        "See how many tokens your text costs; build a better vocabulary.",
        "Узнайте, сколько токенов стоит текст; постройте словарь лучше.",
    ),
    "tour.train": (
        "Teach the base model the new tokens; all else stays frozen.",
        "Обучите базовую модель новым токенам; остальное заморожено.",
    ),
    "tour.propagate": (
        "Carry the rows over to the instruct model, without training.",
        "Перенесите строки в инструктивную модель без обучения.",
    ),
    "tour.calibrate": ("If wanted: win back what that has cost.", "По желанию: верните то, чего это стоило."),
    "tour.chat": ("Ask the original and the results side by side.", "Спросите исходную модель и результаты рядом."),
    "tour.benchmark": ("Measure what became better and what worse.", "Измерьте, что стало лучше и что хуже."),
    "tour.export": ("Write a folder or a GGUF file for others.", "Запишите папку или файл GGUF для других."),
    "tour.hide": ("Close the tour", "Закрыть обзор"),
    "glossary.title": ("Words on this page, with formulas and sources", "Слова этой страницы, с формулами и источниками"),
    # Managing projects.
    "manage.title": ("Save, copy, rename or delete this project", "Сохранить, скопировать, переименовать или удалить проект"),
    "manage.intro": (
        "The settings file holds models, language and settings, no texts and no runs. A copy with runs shares the large files with the original, so that it takes hardly any room.",
        "Файл настроек содержит модели, язык и настройки, но не тексты и не задания. Копия с заданиями делит большие файлы с оригиналом и почти не занимает места.",
    ),
    "manage.save": ("Save settings as a file", "Сохранить настройки в файл"),
    "manage.load": ("New project from a settings file", "Новый проект из файла настроек"),
    "manage.name": ("Another name", "Другое название"),
    "manage.name_info": ("For the copy or for renaming; a copy may go without", "Для копии или переименования; копии можно не давать"),
    "manage.rename": ("Rename", "Переименовать"),
    "manage.clone": ("Copy settings and texts", "Копия настроек и текстов"),
    "manage.clone_runs": ("Copy with runs and chats", "Копия с заданиями и чатами"),
    "manage.cloned": ("“{name}” was made and is open now.", "Создан и открыт проект «{name}»."),
    "manage.renamed": ("The project is called “{name}” now.", "Проект теперь называется «{name}»."),
    "manage.delete": ("Delete project …", "Удалить проект …"),
    "manage.sure": (
        "Move “{name}” with {runs} runs to the trash? It can be put back until the trash is emptied.",
        "Переместить «{name}» в корзину вместе с заданиями ({runs})? Его можно вернуть, пока корзина не очищена.",
    ),
    "manage.really": ("Move to the trash", "В корзину"),
    "manage.keep": ("Keep it", "Оставить"),
    "manage.deleted": ("“{name}” is in the trash.", "Проект «{name}» в корзине."),
    "trash.title": ("Trash", "Корзина"),
    "trash.projects": ("Deleted projects", "Удалённые проекты"),
    "trash.runs": ("Deleted runs", "Удалённые задания"),
    "trash.put_back": ("Put back", "Вернуть"),
    "trash.empty": ("Empty the trash …", "Очистить корзину …"),
    "trash.empty_sure": (
        "Delete {count} for good? This frees {size} and cannot be undone.",
        "Удалить навсегда ({count})? Освободится {size}; отменить нельзя.",
    ),
    "trash.empty_really": ("Delete for good", "Удалить навсегда"),
    "size.mib": ("{value} MiB", "{value} МиБ"),
    "size.gib": ("{value} GiB", "{value} ГиБ"),
    "trash.row": ("{name} · {time} · {size}", "{name} · {time} · {size}"),
    "trash.restored": ("“{name}” is back.", "«{name}» на месте."),
    "trash.choose": ("nothing is chosen", "ничего не выбрано"),
    "trash.choose_hint": ("Choose an entry of the list", "Выберите запись из списка"),
    # All runs.
    "runs.title": ("All runs of this project", "Все задания проекта"),
    "runs.intro": (
        "Click a heading to sort, a row to choose that run. Of chosen runs you see what was set differently; they can be noted, or deleted together.",
        "Щелчок по заголовку сортирует, по строке – выбирает задание. У выбранных видно, что задано по-разному; к ним можно сделать заметку или удалить их вместе.",
    ),
    "runs.none": (
        "No runs yet. Every button that starts work makes one; it keeps its settings, its log and its result here.",
        "Заданий ещё нет. Каждая кнопка, начинающая работу, создаёт задание; здесь хранятся его настройки, журнал и результат.",
    ),
    "runs.kind": ("Kinds", "Виды"),
    "runs.kind_info": ("Nothing chosen shows all", "Если ничего не выбрано, видны все"),
    "runs.state": ("States", "Состояния"),
    "runs.search": ("Search", "Поиск"),
    "runs.search_info": ("In names and notes", "В названиях и заметках"),
    "runs.name": ("Run", "Задание"),
    "runs.column_state": ("State", "Состояние"),
    "runs.created": ("Made", "Создано"),
    "runs.seconds": ("Seconds", "Секунд"),
    "runs.note": ("Note", "Заметка"),
    "runs.chosen": ("Chosen runs", "Выбранные задания"),
    "runs.setting": ("Setting", "Настройка"),
    "runs.differences": ("What was set differently", "Что было задано по-разному"),
    "runs.csv": ("Download table (CSV)", "Скачать таблицу (CSV)"),
    "runs.json": ("Settings of the chosen (JSON)", "Настройки выбранных (JSON)"),
    "runs.note_save": ("Save note", "Сохранить заметку"),
    "runs.note_for": ("Note for the chosen runs", "Заметка к выбранным"),
    "runs.delete": ("Delete the chosen …", "Удалить выбранные …"),
    "runs.sure": (
        "Move {names} to the trash? They can be put back until it is emptied.",
        "Переместить в корзину: {names}? Их можно вернуть, пока она не очищена.",
    ),
    "runs.used": (
        "Later runs use the result: {names}. They keep what they made of it.",
        "Результат используют: {names}. Сделанное ими останется.",
    ),
    "runs.choose": ("no run is chosen", "задание не выбрано"),
    "runs.choose_hint": ("Click a row of the table, or choose one of the list", "Щёлкните по строке таблицы или выберите из списка"),
}
