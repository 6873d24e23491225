"""Texts of the tabs that look at results: calibrate, chat, benchmark, export; and the verdict."""

from __future__ import annotations

from lep_core.evaluation.verdict import ENGLISH

TEXTS: dict[str, tuple[str, str]] = {
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
    "benchmark.items_info": (
        "JSONL or CSV: {prompt, answer}, {good, bad} or {question, choices, answer}; BLiMP, RuBLiMP, MMLU, ARC and XCOPA as they are",
        "JSONL или CSV: {prompt, answer}, {good, bad} или {question, choices, answer}; BLiMP, RuBLiMP, MMLU, ARC и XCOPA как есть",
    ),
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
    "task.instruct": ("questions", "вопросы"),
    "task.minimal-pairs": ("minimal pairs", "минимальные пары"),
    "task.multiple-choice": ("multiple choice", "выбор ответа"),
    "task.in_language": ("{task}, {language}", "{task}, {language}"),
    "task.metric": ("{task} ({metric})", "{task} ({metric})"),
    "metric.exact_copy": ("exact copies", "точные копии"),
    "metric.accuracy_both_orders": ("right in both orders", "верно в обоих порядках"),
    "metric.accuracy_normalized": ("per byte", "на байт"),
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
