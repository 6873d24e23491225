"""Texts of the propagate tab."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
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
}
