"""Texts of the nine tabs."""

from __future__ import annotations

from lep_core.evaluation.verdict import ENGLISH

TEXTS: dict[str, tuple[str, str]] = {
    # Project.
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
    # Corpus.
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
    # Tokenizer: fertility.
    "fertility.title": ("How well do tokenizers fit your text?", "Насколько токенизаторы подходят вашему тексту?"),
    "fertility.intro": (
        "Fewer tokens for the same text mean faster answers and more text in the context.",
        "Меньше токенов на тот же текст – быстрее ответы и больше текста в контексте.",
    ),
    "fertility.tokenizers": ("Tokenizers", "Токенизаторы"),
    "fertility.text": ("Text", "Текст"),
    "fertility.measure": ("Measure", "Измерить"),
    "fertility.none": ("Not measured yet.", "Ещё не измерено."),
    "fertility.one": ("{name}: {value} characters per token.", "{name}: {value} символа на токен."),
    "fertility.best": (
        "**{name}** needs **{saved} fewer tokens** for your text: {gain} times as much text in the same context, and up to {gain} times as many characters per second.",
        "**{name}** тратит на ваш текст **на {saved} меньше токенов**: в тот же контекст входит в {gain} раза больше текста, скорость в символах до {gain} раза выше.",
    ),
    "fertility.own_is_best": (
        "{name} already needs the fewest tokens for this text.",
        "{name} и так тратит на этот текст меньше всего токенов.",
    ),
    "fertility.chart_characters": ("Characters per token (more is better)", "Символов на токен (больше – лучше)"),
    "fertility.chart_words": ("Tokens per word (fewer is better)", "Токенов на слово (меньше – лучше)"),
    "fertility.formulas": ("What the columns mean", "Что значат столбцы"),
    "fertility.formulas_text": (
        "- **Tokens saved** = 1 − tokens / tokens of the model's own tokenizer\n"
        "- **Characters per token** = code points of the text / tokens\n"
        "- **Tokens per word** = tokens / words; a word is a run of characters without white space\n"
        "- **Bytes per token** = UTF-8 bytes / tokens\n"
        "- **Continued words** = words cut into two tokens or more / words\n"
        "- **Whole words** = words that are a single token / words\n"
        "- **Vocabulary used** = different tokens that occur / vocabulary size\n"
        "- **Embedding, MiB** = vocabulary size × width × bytes per number, for embedding and head\n"
        "- **Round trip** = decoding gives the text back exactly",
        "- **Экономия токенов** = 1 − токены / токены собственного токенизатора модели\n"
        "- **Символов на токен** = символы Юникода / токены\n"
        "- **Токенов на слово** = токены / слова; слово – символы подряд без пробелов\n"
        "- **Байт на токен** = байты UTF-8 / токены\n"
        "- **Разрезанные слова** = слова из двух и более токенов / слова\n"
        "- **Целые слова** = слова из одного токена / слова\n"
        "- **Использование словаря** = встретившиеся токены / размер словаря\n"
        "- **Эмбеддинги, МиБ** = размер словаря × ширина × байт на число, для эмбеддингов и выходного слоя\n"
        "- **Туда и обратно** = декодирование возвращает в точности тот же текст",
    ),
    "column.name": ("Tokenizer", "Токенизатор"),
    "column.vocab_size": ("Vocabulary", "Словарь"),
    "column.tokens": ("Tokens", "Токенов"),
    "column.saved": ("Tokens saved", "Экономия токенов"),
    "column.characters_per_token": ("Characters per token", "Символов на токен"),
    "column.tokens_per_word": ("Tokens per word", "Токенов на слово"),
    "column.bytes_per_token": ("Bytes per token", "Байт на токен"),
    "column.continued_word_rate": ("Continued words", "Разрезанные слова"),
    "column.single_token_word_rate": ("Whole words", "Целые слова"),
    "column.vocabulary_used_rate": ("Vocabulary used", "Использование словаря"),
    "column.embedding_mib": ("Embedding, MiB", "Эмбеддинги, МиБ"),
    "column.round_trip_ok": ("Round trip", "Туда и обратно"),
    # Tokenizer: building.
    "build.title": ("Build a vocabulary for your text", "Постройте словарь для своего текста"),
    "build.intro": (
        "When it is done, it is compared with the model's own on the same text by itself.",
        "По окончании он сам сравнивается с собственным словарём модели на том же тексте.",
    ),
    "build.start": ("Build tokenizer", "Построить токенизатор"),
    "build.sizes": ("{size} tokens, {new} of them new, {removed} removed", "{size} токенов, из них {new} новых, {removed} удалено"),
    "build.change": ("characters per token: {before} before, {after} now", "символов на токен: было {before}, стало {after}"),
    "build.round_trip_ok": ("✔ every text comes back exactly", "✔ любой текст возвращается в точности"),
    "build.round_trip_bad": ("⚠ some texts do not come back exactly", "⚠ некоторые тексты возвращаются с изменениями"),
    "build.unreachable": ("⚠ {count} tokens can never occur", "⚠ {count} токенов не могут встретиться"),
    "tokens.title": ("See the tokens", "Посмотреть на токены"),
    "tokens.text": ("Text", "Текст"),
    "tokens.sample": (
        "Повторить: медведь, рыба, волк. Ответ: медведь, рыба, волк. Съешь ещё этих мягких французских булок. Hello, world!",
        "Повторить: медведь, рыба, волк. Ответ: медведь, рыба, волк. Съешь ещё этих мягких французских булок. Hello, world!",
    ),
    "tokens.ids": ("Show token numbers", "Показать номера токенов"),
    "tokens.count": (
        "{count} tokens · {rate} characters per token · red = cut elsewhere by the other one",
        "{count} токенов · {rate} символа на токен · красное = другой режет иначе",
    ),
    "browser.title": ("New tokens, the most frequent first", "Новые токены, самые частые вначале"),
    "browser.tokenizer": ("Tokenizer", "Токенизатор"),
    "browser.search": ("Search (Enter)", "Поиск (Enter)"),
    "browser.id": ("Number", "Номер"),
    "browser.token": ("Token", "Токен"),
    "browser.count": ("Occurrences", "Вхождений"),
    "browser.pieces": ("Replaces these old pieces", "Заменяет старые куски"),
    # Train.
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
    # Propagate.
    "propagate.intro": (
        "Carries the trained embeddings over to the instruct model, without training it. Several methods run one after the other, so that they can be compared; none of them is always best.",
        "Переносит обученные эмбеддинги в инструктивную модель без её обучения. Несколько методов выполняются по очереди, чтобы их сравнить; ни один не лучше всегда.",
    ),
    "propagate.instruct_info": ("Gets the new vocabulary", "Получает новый словарь"),
    "propagate.methods": ("Methods", "Методы"),
    "propagate.start": ("Propagate", "Перенести"),
    "propagate.report": ("How well the maps fit", "Насколько точны отображения"),
    "propagate.result": ("Result", "Результат"),
    "propagate.none": ("No propagated model yet.", "Перенесённых моделей ещё нет."),
    "propagate.spectrum": ("Singular values of the fitted rows", "Сингулярные числа строк, по которым строилось отображение"),
    "propagate.index": ("number", "номер"),
    "propagate.singular": ("singular value", "сингулярное число"),
    "propagate.worst": ("Tokens that fit worst", "Токены с наибольшей ошибкой"),
    "propagate.logits_equal": ("✔ reloaded in plain transformers: equal logits", "✔ загружена в обычном transformers: логиты равны"),
    "propagate.logits_differ": (
        "⚠ reloaded in plain transformers: logits differ",
        "⚠ загружена в обычном transformers: логиты различаются",
    ),
    "propagate.written": ("{mib} MiB written, {linked} files linked", "записано {mib} МиБ, файлов-ссылок: {linked}"),
    "fit.matrix": ("Matrix", "Матрица"),
    "fit.input": ("embedding", "эмбеддинги"),
    "fit.output": ("head", "выходной слой"),
    "fit.tokens": ("Tokens fitted", "Токенов"),
    "fit.rank": ("Rank", "Ранг"),
    "fit.condition_number": ("Condition", "Обусловленность"),
    "fit.relative_residual": ("Residual", "Ошибка"),
    "fit.heldout_residual": ("Held-out residual", "Ошибка на отложенных"),
    "fit.identity_residual": ("Residual of no map", "Ошибка без отображения"),
    "fit.distance_from_identity": ("Distance from identity", "Отличие от тождественного"),
    # Calibrate.
    "calibrate.title": ("Comes in a later release", "Появится в следующих версиях"),
    "calibrate.text": (
        "Calibration will let the adapted model learn from the original model's own answers for a short while, and so win back skills that propagation has cost. "
        "Until then: the benchmark tab shows what was lost; longer training, more varied text, fewer new tokens and another propagation method help.",
        "Калибровка позволит адаптированной модели недолго учиться на ответах исходной и так вернуть умения, потерянные при переносе. "
        "А пока вкладка «Сравнение» показывает потери; помогают более долгое обучение, более разнообразный текст, меньше новых токенов и другой метод переноса.",
    ),
    # Chat.
    "chat.panes": ("Panes", "Окон"),
    "chat.prompt": ("Your message to all of them", "Ваше сообщение всем сразу"),
    "chat.placeholder": ("Type here, then press Send", "Введите текст и нажмите «Отправить»"),
    "chat.send": ("Send", "Отправить"),
    "chat.stop": ("Stop", "Стоп"),
    "chat.clear": ("Clear", "Очистить"),
    "chat.settings": ("Settings for all panes", "Настройки для всех окон"),
    "chat.model": ("Model {number}", "Модель {number}"),
    "chat.tokens": ("Tokens of the answer", "Токены ответа"),
    "chat.nothing_yet": ("The answer appears here", "Здесь появится ответ"),
    "chat.empty_answer": ("(the model ended at once)", "(модель сразу закончила)"),
    "chat.loading": ("the model is loading …", "модель загружается …"),
    "chat.numbers": (
        "**{tokens}** tokens · {characters} characters · **{speed}** characters/s · first token after {first} ms",
        "токенов: **{tokens}** · символов: {characters} · **{speed}** символов/с · первый токен через {first} мс",
    ),
    "chat.tokens_so_far": ("{tokens} tokens …", "токенов: {tokens} …"),
    "chat.plain_model": ("no chat template: continues the text", "без шаблона диалога: продолжает текст"),
    # Benchmark.
    "benchmark.intro": (
        "Measures the original and every result on the same held-out text and the same questions. The control has the new vocabulary but no training: it shows what training was worth.",
        "Измеряет исходную модель и каждый результат на одном и том же отложенном тексте и одних вопросах. Контроль имеет новый словарь, но не обучен: видно, чего стоило обучение.",
    ),
    "benchmark.models": ("Models", "Модели"),
    "benchmark.text": ("Text in the new language", "Текст на новом языке"),
    "benchmark.old_text": ("Text in the old language", "Текст на прежнем языке"),
    "benchmark.items_info": ("JSONL: prompt, answer, language", "JSONL: prompt, answer, language"),
    "benchmark.control": ("Add the control", "Добавить контроль"),
    "benchmark.control_info": ("New vocabulary, averaged rows, no training", "Новый словарь, средние строки, без обучения"),
    "benchmark.speed": ("Measure speed too", "Измерить и скорость"),
    "benchmark.run": ("Run benchmark", "Запустить сравнение"),
    "benchmark.select": ("Benchmark", "Сравнение"),
    "benchmark.name": ("Benchmark {number}", "Сравнение {number}"),
    "benchmark.none": ("No results yet.", "Результатов ещё нет."),
    "benchmark.verdict": ("What the numbers say", "Что говорят числа"),
    "benchmark.no_original": (
        "The original instruct model was not measured, so nothing can be said about gain and loss.",
        "Исходная инструктивная модель не измерена, поэтому о выигрыше и потерях судить нельзя.",
    ),
    "benchmark.nothing_to_compare": (
        "Only one model was measured: there is nothing to compare yet.",
        "Измерена только одна модель: сравнивать пока не с чем.",
    ),
    "benchmark.model": ("Model", "Модель"),
    "benchmark.characters_per_token": ("characters per token", "символов на токен"),
    "benchmark.chart_bits": ("Bits per byte (less is better)", "Бит на байт (меньше – лучше)"),
    "benchmark.chart_skills": ("Right answers (more is better)", "Верные ответы (больше – лучше)"),
    "benchmark.chart_speed": ("Characters per second (more is better)", "Символов в секунду (больше – лучше)"),
    "benchmark.csv": ("Download CSV", "Скачать CSV"),
    "benchmark.json": ("Download JSON", "Скачать JSON"),
    "task.bits-per-byte": ("bits per byte", "бит на байт"),
    "task.copy-sentence": ("copies sentences", "копирует предложения"),
    "task.copy-paragraph": ("copies paragraphs", "копирует абзацы"),
    "task.instruct": ("questions, all", "вопросы, все"),
    "task.instruct_language": ("questions, {language}", "вопросы, {language}"),
    "task.old_language": ("{task}, old language", "{task}, прежний язык"),
    # Export.
    "export.intro": (
        "Writes a folder that works anywhere: transformers, vLLM, Hugging Face. The folder is loaded again in plain transformers to prove that it computes the same.",
        "Записывает папку, которая работает везде: transformers, vLLM, Hugging Face. Папка заново загружается в обычном transformers, чтобы доказать, что она вычисляет то же самое.",
    ),
    "export.start": ("Export", "Экспортировать"),
    "export.select": ("Exported", "Экспортировано"),
    "export.none": ("Nothing exported yet.", "Ещё ничего не экспортировано."),
    "export.folder": ("Folder on the server", "Папка на сервере"),
    "export.snippet": ("How to use it", "Как использовать"),
    "export.card": ("Model card", "Карточка модели"),
    "export.logits_equal": ("Loaded in plain transformers it computes equal logits", "В обычном transformers вычисляет те же логиты"),
    "export.logits_differ": ("Loaded in plain transformers its logits differ", "В обычном transformers логиты отличаются"),
    "export.difference": ("largest difference {value}", "наибольшая разница {value}"),
    "export.ids_equal": ("AutoTokenizer gives the same token ids", "AutoTokenizer даёт те же номера токенов"),
    "export.ids_differ": ("AutoTokenizer gives other token ids", "AutoTokenizer даёт другие номера токенов"),
    "export.size": ("{mib} MiB", "{mib} МиБ"),
    # What the numbers say. The English words are those of the command line (`lep_core.evaluation.verdict`).
    "verdict.fewer_tokens": (
        ENGLISH["fewer_tokens"],
        "На тот же текст на {saved:.0%} меньше токенов: {before:.3f} токена на символ было, {after:.3f} стало.",
    ),
    "verdict.more_tokens": (
        ENGLISH["more_tokens"],
        "Новый словарь тратит на тот же текст на {more:.0%} больше токенов. Он не подходит этому тексту: постройте его на похожем тексте.",
    ),
    "verdict.text_better": (
        ENGLISH["text_better"],
        "{model}: текст предсказывается лучше, чем исходной: {value:.3f} бит на байт против {original:.3f}.",
    ),
    "verdict.text_worse": (
        ENGLISH["text_worse"],
        "{model}: текст предсказывается хуже, чем исходной: {value:.3f} бит на байт против {original:.3f}. Обучайте дольше или на большем тексте.",
    ),
    "verdict.training_helped": (
        ENGLISH["training_helped"],
        "{model}: обучение дало {gain:.3f} бит на байт: {control:.3f} только со средними строками, {value:.3f} после него.",
    ),
    "verdict.training_did_not_help": (
        ENGLISH["training_did_not_help"],
        "{model}: обучение не помогло: {control:.3f} бит на байт только со средними строками, {value:.3f} после него. Попробуйте другую скорость обучения.",
    ),
    "verdict.skill_kept": (
        ENGLISH["skill_kept"],
        "{model}: умения сохранились, {language} язык: {value:.1%} верно, у исходной {original:.1%} (n = {n}).",
    ),
    "verdict.skill_better": (
        ENGLISH["skill_better"],
        "{model}: отвечает лучше, {language} язык: {value:.1%} верно, у исходной {original:.1%} (n = {n}).",
    ),
    "verdict.skill_suffers": (
        ENGLISH["skill_suffers"],
        "{model}: умения пострадали, {language} язык: {value:.1%} верно, у исходной {original:.1%}, без обучения {control:.1%} (n = {n}).",
    ),
    "verdict.what_helps": (
        ENGLISH["what_helps"],
        "Одни биты на байт это скрыли бы. Помогают: меньше новых токенов, больше текста с новыми словами в разных окружениях, примесь текста на прежнем языке, другой метод переноса и калибровка на ответах исходной модели.",
    ),
    "verdict.faster": (
        ENGLISH["faster"],
        "{model}: пишет в {ratio:.2f} раза больше символов в секунду, чем исходная.",
    ),
    "verdict.not_faster": (
        ENGLISH["not_faster"],
        "{model}: пишет в {ratio:.2f} раза больше символов в секунду, чем исходная: больший словарь стоит больше, чем экономит на этой модели.",
    ),
}
