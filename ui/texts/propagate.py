"""Texts of the propagate tab."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "propagate.intro": (
        "Carries the trained embeddings over to the instruct model, without training it. Several methods run one after the other, so that they can be compared; none of them is always best.",
        "Переносит обученные эмбеддинги в инструктивную модель без её обучения. Несколько методов выполняются по очереди, чтобы их сравнить; ни один не лучше всегда.",
    ),
    "propagate.instructs": ("Instruct models", "Инструктивные модели"),
    "propagate.instruct_info": (
        "Siblings of the base model that get the new vocabulary; more folders may be typed in",
        "Родственники базовой модели, получающие новый словарь; можно вписать и другие папки",
    ),
    "propagate.methods": ("Methods", "Методы"),
    "propagate.methods_info": (
        "Each method makes a result of its own for each instruct model; one job each",
        "Каждый метод даёт свой результат для каждой инструктивной модели, по заданию на каждый",
    ),
    "method.swap": ("takes the trained rows as they are.", "берёт обученные строки как есть."),
    "method.overlap": (
        "fits a linear map from base to instruct on tokens that both vocabularies have.",
        "подбирает линейное отображение базовой модели в инструктивную по токенам, общим для обоих словарей.",
    ),
    "method.conversion": (
        "fits it on all new tokens, each spelled by its old pieces (T).",
        "подбирает его по всем новым токенам, записанным старыми кусками (T).",
    ),
    "method.ridge": (
        "conversion drawn toward no change; α is chosen on tokens that the map has not seen.",
        "conversion, притянутый к тождественному; α выбирается по токенам, которых отображение не видело.",
    ),
    "method.residual-carry": (
        "conversion, plus what its map misses of each instruct row; untouched tokens return exactly to it.",
        "conversion плюс то, что отображение упустило в каждой строке; нетронутые токены возвращаются к ней в точности.",
    ),
    "method.chat-vector": (
        "adds the difference between instruct and base to the trained rows; nothing is fitted.",
        "прибавляет к обученным строкам разность инструктивной и базовой модели; ничего не подбирается.",
    ),
    "method.procrustes": (
        "the best rotation: lengths and angles of the trained rows survive.",
        "лучшее вращение: длины строк и углы между ними сохраняются.",
    ),
    "method.low-rank": (
        "no change plus a correction of small rank r, between swap and conversion.",
        "тождественное плюс поправка малого ранга r, между swap и conversion.",
    ),
    "method_formula.swap": ("E = A", "E = A"),
    "method_formula.overlap": ("E = A·W, W = argmin ‖B[shared]·W − I[shared]‖", "E = A·W, W = argmin ‖B[общие]·W − I[общие]‖"),
    "method_formula.conversion": ("E = A·W, W = argmin ‖T·B·W − T·I‖", "E = A·W, W = argmin ‖T·B·W − T·I‖"),
    "method_formula.ridge": ("W = argmin ‖T·B·W − T·I‖² + α·s²·‖W − 1‖²", "W = argmin ‖T·B·W − T·I‖² + α·s²·‖W − 1‖²"),
    "method_formula.residual-carry": ("E = A·W + (T·I − T·B·W)", "E = A·W + (T·I − T·B·W)"),
    "method_formula.chat-vector": ("E = A + (T·I − T·B)", "E = A + (T·I − T·B)"),
    "method_formula.procrustes": ("W = argmin ‖T·B·W − T·I‖, WᵀW = 1", "W = argmin ‖T·B·W − T·I‖, WᵀW = 1"),
    "method_formula.low-rank": ("W = 1 + X, rank X ≤ r", "W = 1 + X, ранг X ≤ r"),
    "propagate.letters": (
        "A: trained rows, B: base rows, I: instruct rows, E: the result; input embedding and head each have their own map W.",
        "A – обученные строки, B – базовые, I – инструктивные, E – результат; у эмбеддингов и выходного слоя свои отображения W.",
    ),
    "propagate.start": ("Propagate", "Перенести"),
    "propagate.report": ("How well the maps fit", "Насколько точны отображения"),
    "propagate.result": ("Result", "Результат"),
    "propagate.none": ("No propagated model yet.", "Перенесённых моделей ещё нет."),
    "propagate.spectrum": ("Singular values of the fitted rows", "Сингулярные числа строк"),
    "propagate.index": ("number", "номер"),
    "propagate.singular": ("singular value", "сингулярное число"),
    "propagate.worst": ("Tokens that fit worst", "Токены с наибольшей ошибкой"),
    "propagate.token": ("Token", "Токен"),
    "propagate.residuals": ("Residual, {matrix} (less is better)", "Ошибка, {matrix} (меньше – лучше)"),
    "propagate.residual_axis": ("residual", "ошибка"),
    "propagate.cross_validation": (
        "Ridge: residual on unseen tokens, 5 folds",
        "Ridge: ошибка на невиданных токенах, 5 частей",
    ),
    "propagate.fit_formulas": ("What the columns mean", "Что значат столбцы"),
    "propagate.fit_formulas_text": (
        "- **Rank** = independent directions among the fitted base rows / width\n"
        "- **Condition** = largest / smallest singular value of these rows\n"
        "- **Residual** = ‖T·B·W − T·I‖ / ‖T·I‖ on the fitted tokens\n"
        "- **Held-out** = the residual on a tenth of the tokens, with a map fitted on the others: only this one tells whether a map means something\n"
        "- **No map** = ‖T·B − T·I‖ / ‖T·I‖, on the same tokens: what swap leaves as it is\n"
        "- **‖W − 1‖** = distance from no change, ‖W − 1‖ / √width",
        "- **Ранг** = независимые направления среди строк базовой модели / ширина\n"
        "- **Обусл.** (обусловленность) = наибольшее / наименьшее сингулярное число этих строк\n"
        "- **Ошибка** = ‖T·B·W − T·I‖ / ‖T·I‖ на токенах, по которым подбиралось отображение\n"
        "- **Отложенные** = ошибка на десятой части токенов с отображением по остальным: только она показывает, имеет ли отображение смысл\n"
        "- **Без W** (без отображения) = ‖T·B − T·I‖ / ‖T·I‖ на тех же токенах: то, что оставляет swap\n"
        "- **‖W − 1‖** = отличие от тождественного, ‖W − 1‖ / √ширины",
    ),
    "propagate.warn_rank": (
        "Fewer directions are determined than there are; the map loses the others. Compare with swap or ridge, or use a larger vocabulary:",
        "Определены не все направления; остальные отображение теряет. Сравните со swap или ridge или возьмите больший словарь:",
    ),
    "propagate.warn_rank_identity": (
        "Fewer directions are determined than there are; the others stay as they are:",
        "Определены не все направления; остальные остаются как есть:",
    ),
    "propagate.warn_moved": (
        "Training moved the rows of shared tokens far; such moves cost the demo's models skills although bits per byte fell. Measure tasks in both languages, compare with residual-carry, and calibrate if they fell:",
        "Обучение далеко сдвинуло строки общих токенов; моделям демо такие сдвиги стоили умений, хотя бит на байт становилось меньше. Измерьте задания на обоих языках, сравните с residual-carry и откалибруйте, если результат упал:",
    ),
    "propagate.warn_condition": (
        "The fitted rows are nearly dependent, so the map may follow noise; compare with ridge (condition):",
        "Строки почти зависимы, и отображение может следовать шуму; сравните с ridge (обусловленность):",
    ),
    "propagate.warn_worse": (
        "On unseen tokens these maps are worse than no map (residual / without a map); compare with swap or ridge, and measure:",
        "На невиданных токенах эти отображения хуже, чем никакого (ошибка / без отображения); сравните со swap или ridge и измерьте:",
    ),
    "propagate.warn_ridge": (
        "Ridge draws the map toward no change:",
        "Ridge притягивает отображение к тождественному:",
    ),
    "propagate.warn_ridge_edge": (
        "The strongest ridge that was tried is the best, so swap should do as well:",
        "Лучшим оказался самый сильный ridge, так что swap должен быть не хуже:",
    ),
    "propagate.logits_equal": (
        "✔ Loaded again with plain transformers, the logits equal ours bit by bit:",
        "✔ Заново загружены обычным transformers, логиты совпадают с нашими до бита:",
    ),
    "propagate.logits_differ": (
        "⚠ Loaded again with plain transformers, the logits differ from ours; do not use these, and report it:",
        "⚠ Заново загружены обычным transformers, логиты отличаются от наших; не используйте их и сообщите нам:",
    ),
    "propagate.logits_unknown": (
        "Too large to be loaded twice, so logits were not compared; the export proves them:",
        "Слишком велики для повторной загрузки, логиты не сравнивались; их докажет экспорт:",
    ),
    "propagate.places": ("Where the results lie", "Где лежат результаты"),
    "propagate.written": ("{mib} MiB written, {linked} files linked", "записано {mib} МиБ, файлов-ссылок: {linked}"),
    "fit.matrix": ("Matrix", "Матрица"),
    "fit.input": ("embedding", "эмбеддинги"),
    "fit.output": ("head", "выходной слой"),
    "fit.tokens": ("Tokens", "Токены"),
    "fit.rank": ("Rank", "Ранг"),
    "fit.condition_number": ("Condition", "Обусл."),
    "fit.relative_residual": ("Residual / no map", "Ошибка / без W"),
    "fit.heldout_residual": ("Held-out / no map", "Отложенные / без W"),
    "fit.distance_from_identity": ("‖W−1‖", "‖W−1‖"),
    "fit.options": ("Chosen", "Выбор"),
    "residual.relative_residual": ("fitted tokens", "токены, по которым подбиралось"),
    "residual.heldout_residual": ("held-out tokens", "отложенные токены"),
    "residual.heldout_identity_residual": ("held-out tokens, no map", "отложенные токены без отображения"),
    # Propagate: embeddings.
    "explore.title": ("What the rows stand for", "Что значат строки"),
    "explore.intro": (
        "Nearest neighbours of words and a map of the rows, before and after: did training and propagation keep meanings together?",
        "Ближайшие соседи слов и карта строк до и после: сохранили ли обучение и перенос близость смыслов?",
    ),
    "explore.models": ("Models", "Модели"),
    "explore.models_info": ("The first one sets the map's axes", "Первая задаёт оси карты"),
    "explore.words": ("Words", "Слова"),
    "explore.words_info": ("Separated by commas", "Через запятую"),
    "explore.sample": ("медведь, волк, рыба, bear, fish", "медведь, волк, рыба, bear, fish"),
    "explore.start": ("Look", "Посмотреть"),
    "explore.side": ("Matrix", "Матрица"),
    "explore.word": ("Word", "Слово"),
    "explore.spelled": ("spelled {token}", "записано {token}"),
    "explore.map_of": ("Map of", "Карта модели"),
    "explore.kind_shared": ("in the first model too", "есть и в первой модели"),
    "explore.kind_new": ("new", "новые"),
    "explore.kind_special": ("special", "служебные"),
}
