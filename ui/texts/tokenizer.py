"""Texts of the tokenizer tab."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
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
}
