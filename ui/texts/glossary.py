"""The words of each tab: what they mean, how they are computed, where they come from.

Term -> (English name, Russian name), (English, Russian) meaning, formula (one for both languages, or empty), source (or empty). Names that
stand in tables and charts are written as they are there.
"""

from __future__ import annotations

from typing import NamedTuple

LEP = "Tikhomirov & Chernyshev 2024, arXiv:2412.21140"


class Term(NamedTuple):
    name: tuple[str, str]
    meaning: tuple[str, str]
    formula: str = ""
    source: str = ""


BITS_PER_BYTE = Term(
    ("bits per byte", "бит на байт"),
    (
        "How many bits the model needs for a byte of held-out text. Unlike perplexity it can be compared between vocabularies.",
        "Сколько бит нужно модели на байт отложенного текста. В отличие от перплексии сравнимо между словарями.",
    ),
    "−Σ log₂ p(token) / bytes",
    "Gao et al. 2020, arXiv:2101.00027",
)
SPEED = Term(
    ("characters per second", "символов в секунду"),
    ("Speed that does not depend on how a vocabulary cuts the text.", "Скорость, не зависящая от того, как словарь делит текст."),
    "characters written / seconds",
)

GLOSSARY: dict[str, tuple[Term, ...]] = {
    "project": (
        Term(
            ("base model, instruct model", "базовая модель, инструктивная модель"),
            (
                "The base model continues text; the instruct model was made from it and answers. Only the first is trained here.",
                "Базовая модель продолжает текст; инструктивная сделана из неё и отвечает. Обучается здесь только первая.",
            ),
            "",
            LEP,
        ),
        Term(
            ("tied", "связаны"),
            (
                "One matrix serves as embedding (token to numbers) and as head (numbers to token).",
                "Одна матрица служит и эмбеддингами (токен в числа), и выходным слоем (числа в токен).",
            ),
            "",
            "Press & Wolf 2017, arXiv:1608.05859",
        ),
        Term(
            ("padded rows", "строки-заполнители"),
            (
                "Rows of the matrix that no token has; they are never chosen.",
                "Строки матрицы, у которых нет токена; они никогда не выбираются.",
            ),
            "rows − tokens",
        ),
        Term(
            ("special tokens", "специальные токены"),
            ("Marks that are no text: beginning, end, roles of a chat.", "Метки, не являющиеся текстом: начало, конец, роли диалога."),
        ),
    ),
    "corpus": (
        Term(
            ("held-out text", "отложенный текст"),
            (
                "Documents that neither vocabulary nor training ever sees: only on these can be measured honestly.",
                "Документы, которых не видят ни словарь, ни обучение: честно измерять можно только на них.",
            ),
        ),
        Term(
            ("near duplicates", "почти повторы"),
            (
                "Documents that share most of their word beginnings with an earlier one, found by MinHash.",
                "Документы, у которых большинство начал слов общее с более ранним; ищутся по MinHash.",
            ),
            "|A ∩ B| / |A ∪ B|",
            "Broder 1997",
        ),
        Term(
            ("fingerprint", "отпечаток"),
            ("A hash of the whole corpus: equal ones mean equal text.", "Хеш всего корпуса: одинаковый значит одинаковый текст."),
            "SHA-256",
        ),
    ),
    "tokenizer": (
        Term(
            ("fertility", "фертильность"),
            ("Into how many tokens a word falls; fewer is cheaper.", "На сколько токенов распадается слово; меньше – дешевле."),
            "tokens / words",
            "Rust et al. 2021, arXiv:2012.15613",
        ),
        Term(
            ("BPE, merge", "BPE, слияние"),
            (
                "A vocabulary that grows by joining the most frequent pair of pieces again and again.",
                "Словарь, растущий повторным соединением самой частой пары кусков.",
            ),
            "",
            "Sennrich et al. 2016, arXiv:1508.07909",
        ),
        Term(
            ("Unigram", "Unigram"),
            ("A vocabulary that is cut down from a large one by likelihood.", "Словарь, урезаемый из большого по правдоподобию."),
            "",
            "Kudo 2018, arXiv:1804.10959",
        ),
        Term(
            ("parity", "паритет"),
            ("Tokens for the same text in two languages.", "Токены на один и тот же текст на двух языках."),
            "tokens(language) / tokens(reference)",
            "Petrov et al. 2023, arXiv:2305.15425",
        ),
        Term(
            ("predicted speed", "ожидаемая скорость"),
            (
                "Each token costs a pass through body and head, so fewer, dearer tokens have a best size.",
                "Каждый токен стоит прохода через тело и выход, поэтому у размера словаря есть оптимум.",
            ),
            "2 (body + width × vocabulary) / characters per token",
        ),
    ),
    "train": (
        BITS_PER_BYTE,
        Term(
            ("initialisation", "инициализация"),
            (
                "What a new token's row holds before training: by default the average of its old pieces.",
                "Что стоит в строке нового токена до обучения: по умолчанию среднее его старых кусков.",
            ),
            "E(new) = T·E(old)",
            f"{LEP}; FOCUS: Dobler & de Melo 2023, arXiv:2305.14481",
        ),
        Term(
            ("frozen weights unchanged", "замороженные веса не изменились"),
            (
                "Only embedding and head learn; a hash of all other weights before and after proves it.",
                "Учатся только эмбеддинги и выход; хеш всех остальных весов до и после это доказывает.",
            ),
            "SHA-256",
            LEP,
        ),
        Term(
            ("replay text", "текст для повторения"),
            (
                "Text in the old language, mixed in so that it is not forgotten.",
                "Текст на прежнем языке, подмешанный, чтобы его не забыть.",
            ),
        ),
        Term(
            ("LoRA", "LoRA"),
            ("Small extra matrices that learn beside frozen ones.", "Малые добавочные матрицы, которые учатся рядом с замороженными."),
            "W + B·A",
            "Hu et al. 2021, arXiv:2106.09685",
        ),
    ),
    "propagate": (
        Term(
            ("propagation", "перенос"),
            (
                "The trained rows of the base model are brought into the instruct model by a map between the two, without training.",
                "Обученные строки базовой модели переводятся в инструктивную отображением между ними, без обучения.",
            ),
            "E = A·W",
            LEP,
        ),
        Term(
            ("residual", "ошибка"),
            ("What the map leaves unexplained; 0 is perfect.", "Что отображение не объясняет; 0 – идеально."),
            "‖T·B·W − T·I‖ / ‖T·I‖",
            LEP,
        ),
        Term(
            ("condition", "обусловленность"),
            (
                "Large ones mean rows that are nearly dependent: the map may follow noise.",
                "Большая значит почти зависимые строки: отображение может следовать шуму.",
            ),
            "σ₁ / σ_n",
        ),
        Term(
            ("chat vector", "chat-vector"),
            ("The difference of two models, added to a third.", "Разность двух моделей, прибавленная к третьей."),
            "A + (I − B)",
            "Huang et al. 2023, arXiv:2310.04799",
        ),
        Term(
            ("Procrustes", "Procrustes"),
            ("The best map that only turns and mirrors.", "Лучшее отображение из одних поворотов и отражений."),
            "W = U·Vᵀ",
            "Schönemann 1966",
        ),
        Term(
            ("neighbours, map", "соседи, карта"),
            (
                "Rows with the largest cosine; the map shows the two directions with most variance.",
                "Строки с наибольшим косинусом; карта показывает два направления с наибольшей дисперсией.",
            ),
            "a·b / (‖a‖ ‖b‖)",
        ),
    ),
    "calibrate": (
        Term(
            ("self-calibration", "самокалибровка"),
            (
                "The original answers prompts, and the result learns these answers with its own tokens: no foreign data is needed.",
                "Исходная модель отвечает на запросы, результат учит эти ответы своими токенами: чужие данные не нужны.",
            ),
            "",
            LEP,
        ),
        Term(
            ("copy tasks", "задания на копирование"),
            ("Repeat this text: they practise the new tokens.", "Повтори этот текст: так упражняются новые токены."),
        ),
        BITS_PER_BYTE,
    ),
    "chat": (
        SPEED,
        Term(
            ("time to first token", "время до первого токена"),
            ("From sending to the first piece of the answer.", "От отправки до первого куска ответа."),
            "ms",
        ),
        Term(
            ("temperature, top-p", "температура, top-p"),
            (
                "How much chance decides; 0 always takes the likeliest token. The same seed gives the same draws.",
                "Сколько решает случай; 0 всегда берёт вероятнейший токен. Одно зерно даёт один выбор.",
            ),
            "softmax(logits / temperature)",
            "Holtzman et al. 2020, arXiv:1904.09751",
        ),
        Term(
            ("95 % Wilson interval", "95-процентный интервал Уилсона"),
            ("Where the true share lies in 95 of 100 such experiments.", "Где истинная доля лежит в 95 таких опытах из 100."),
            "",
            "Wilson 1927",
        ),
    ),
    "benchmark": (
        BITS_PER_BYTE,
        SPEED,
        Term(
            ("[low – high]", "[от – до]"),
            (
                "95 % interval: Wilson's for shares, bootstrap over documents or questions for all else. Differences draw both models on the same units.",
                "95-процентный интервал: Уилсона для долей, бутстреп по документам или вопросам для остального. Отличия считаются на одних и тех же.",
            ),
            "",
            "Wilson 1927; Efron 1979",
        ),
        Term(
            ("control", "контроль"),
            (
                "New vocabulary, averaged rows, no training: the distance from it is what training was worth.",
                "Новый словарь, средние строки, без обучения: отличие от него – польза обучения.",
            ),
        ),
        Term(
            ("minimal pairs", "минимальные пары"),
            ("Is the grammatical one of two sentences the likelier?", "Вероятнее ли из двух предложений грамотное?"),
            "p(good) > p(bad)",
            "Warstadt et al. 2020, arXiv:1912.00582",
        ),
        Term(
            ("multiple choice", "выбор ответа"),
            ("Is the right option the likeliest, by its bytes?", "Вероятнее ли всех верный вариант, с учётом длины?"),
            "log p(option) / bytes",
            "Hendrycks et al. 2021, arXiv:2009.03300",
        ),
        Term(
            ("copies sentences", "копирует предложения"),
            (
                "Does the model use its new tokens? 1 is right, less means spelling out.",
                "Пользуется ли модель новыми токенами? 1 – да, меньше – пишет кусками.",
            ),
            "tokens(text) / tokens(copy)",
            LEP,
        ),
        Term(
            ("ROUGE-L", "ROUGE-L"),
            ("Longest common sequence of words with the reference.", "Наибольшая общая последовательность слов с образцом."),
            "F(LCS)",
            "Lin 2004",
        ),
        Term(
            ("instructions", "выполнение указаний"),
            ("Share of demands that a program finds fulfilled.", "Доля требований, выполнение которых видит программа."),
            "",
            "Zhou et al. 2023, arXiv:2311.07911",
        ),
        Term(
            ("predicted speed-up", "ожидаемое ускорение"),
            ("From model size and characters per token alone.", "Только из размера модели и символов на токен."),
            "characters per byte of weights read, new / old",
        ),
    ),
    "export": (
        Term(
            ("equal logits", "одинаковые логиты"),
            (
                "The written folder, loaded by plain transformers, computes the same numbers bit by bit.",
                "Записанная папка, загруженная обычным transformers, даёт те же числа бит в бит.",
            ),
            "max |a − b| = 0",
        ),
        Term(
            ("safetensors, GGUF", "safetensors, GGUF"),
            (
                "Weight files without code: the first for transformers and vLLM, the second for llama.cpp.",
                "Файлы весов без кода: первый для transformers и vLLM, второй для llama.cpp.",
            ),
        ),
    ),
}
